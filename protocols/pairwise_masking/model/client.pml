/* What an honest client does with a request: the stages and rules of ../README.md in a complete graph. A defence is
 * taken out with -D, see README.md. The including file says what SENDS, REFUSES, BEFORE_INPUT, AFTER_INPUT and
 * AFTER_RELEASE mean to it; `crash` is the caller's: does this client crash between its record and its message? */

/* R4: a request of another stage. A client without this defence answers an earlier stage's request again, and has kept
 * what it needs for that. */
#ifdef NO_ONE_REQUEST
#define ASKED_IN(first, second) (ME.stage == first || ME.stage == second || ME.stage == CONSENTED)
#else
#define ASKED_IN(first, second) (ME.stage == first)
#endif

/* R10. */
#if defined(NO_RECORD) || defined(NO_INPUT_RECORD)
#define INPUT_NOTED false
#else
#define INPUT_NOTED ME.input_noted
#endif
#if defined(NO_RECORD) || defined(NO_CONSENT_RECORD)
#define CONSENT_NOTED false
#else
#define CONSENT_NOTED ME.consent_noted
#endif
#if defined(NO_RECORD) || defined(NO_RELEASE_RECORD)
#define RELEASE_NOTED false
#else
#define RELEASE_NOTED ME.release_noted
#endif

/* Two writes and a crash between them: the note is durable before the message leaves. */
#ifdef RECORD_LATE
#define NOTE_STAYS     (!crash)
#define MESSAGE_LEAVES true
#else
#define NOTE_STAYS     true
#define MESSAGE_LEAVES (!crash)
#endif

inline enter(me, s, p, set2, set3) {
    ME.stage = s; ME.roster = p; ME.u2 = set2; ME.u3 = set3
}

inline close(me) { enter(me, CLOSED, 0, 0, 0) }

inline refuse(me) { REFUSES(me); close(me) }

inline on_offer(me) {
    if
    :: ME.stage == NEW -> enter(me, ADVERTISED, 0, 0, 0); SENDS(me, OFFER)
    :: else -> refuse(me)
    fi
}

inline on_roster(me, p) {
    if
    :: ASKED_IN(ADVERTISED, SHARED) -> ME.shared = ME.shared | (1 << p); enter(me, SHARED, p, 0, 0); SENDS(me, ROSTER)
    :: else -> refuse(me)
    fi
}

inline on_delivery(me, set) {
    if
    :: ASKED_IN(SHARED, MASKED) && !INPUT_NOTED && (set & BIT(me)) && SIZE(set) >= L ->      /* R8 */
        ME.input_noted = NOTE_STAYS;
        if
        :: MESSAGE_LEAVES ->
            BEFORE_INPUT(me);
            KEEP(input, INPUT, VIEW(ME.roster, set, 0));
            AFTER_INPUT(me);
            SENDS(me, DELIVERY)
        :: else
        fi;
        if
        :: crash -> close(me)
        :: else -> enter(me, MASKED, ME.roster, set, 0)
        fi
    :: else -> refuse(me)
    fi
}

inline release_shares(me) {
    if
    :: MESSAGE_LEAVES -> KEEP(release, RELEASE, VIEW(ME.roster, ME.u2, ME.u3)); AFTER_RELEASE(me); SENDS(me, AGREEMENT)
    :: else
    fi;
#ifdef NO_ONE_REQUEST
    if
    :: crash -> close(me)
    :: else
    fi
#else
    close(me)
#endif
}

inline on_survivors(me, set) {
    if
    :: ASKED_IN(MASKED, MASKED) && (set & BIT(me)) && (set & ~ME.u2) == 0 && SIZE(set) >= L ->      /* R9 */
#ifdef WITHOUT_CONSENT
        if
        :: RELEASE_NOTED -> refuse(me)
        :: else -> ME.release_noted = NOTE_STAYS; ME.u3 = set; release_shares(me)
        fi
#else
        if
        :: CONSENT_NOTED -> refuse(me)
        :: else ->
            ME.consent_noted = NOTE_STAYS;
            if
            :: MESSAGE_LEAVES -> KEEP(consent, CONSENT, VIEW(ME.roster, ME.u2, set)); SENDS(me, SURVIVORS)
            :: else
            fi;
            if
            :: crash -> close(me)
            :: else -> enter(me, CONSENTED, ME.roster, ME.u2, set)
            fi
        fi
#endif
    :: else -> refuse(me)
    fi
}

/* The set is U4. Every signature in it is verified (q = n); a corrupt client signs anything. The release is noted
 * before the agreement is looked at: one that is refused uses it up. */
#define FALSELY(j) (((set & BIT(j)) && !SIGNED(j, VIEW(ME.roster, ME.u2, ME.u3))) -> 1 : 0)

inline on_agreement(me, set) {
    if
    :: ASKED_IN(CONSENTED, CONSENTED) && !RELEASE_NOTED ->
        ME.release_noted = NOTE_STAYS;
        if
        :: (set & ~ME.u3) == 0 && OVER(FALSELY) == 0 && SIZE(set) >= THETA -> release_shares(me)    /* W10, C1, C2 */
        :: else -> refuse(me)
        fi
    :: else -> refuse(me)
    fi
}
