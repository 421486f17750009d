/* A malicious server with C corrupt clients: what leaves an honest client it knows at once, and each honest client it
 * asks anything, at any time, any number of times. Dropping, delaying, reordering, repeating and lying are all of that.
 * It has no state but what it knows, so it is written as what can happen to a client. */

#define SENDS(me, type) skip
#define REFUSES(me) skip
#define BEFORE_INPUT(me) before_input(me)
#define AFTER_INPUT(me) check_sum()
#define AFTER_RELEASE(me) after_release(me)

#include "state.pml"
#include "properties.pml"
#include "client.pml"

/* With restarts: before every request the client is started from any snapshot that was ever taken. Not to crash is to
 * start from the latest, so the state in memory need not be kept between requests. A snapshot is before the input the
 * round secret and the requests; after it what is held of others; after the release nothing. The record stays, or is
 * rolled back to what it was when the snapshot was taken. */
#ifdef RECORD_ROLLED_BACK
#define RECORD_WAS(me, input, consent) \
    ME.input_noted = input; ME.consent_noted = consent; ME.release_noted = false
#else
#define RECORD_WAS(me, input, consent) skip
#endif
#define FROM(s, v, input, consent) \
    enter(me, s, ROSTER_OF(v), U2_OF(v), U3_OF(v)); RECORD_WAS(me, input, consent)

#ifdef RESTARTS
#define CRASHES if :: crash = true :: skip fi
inline restart(me) {
    if
    :: FROM(ADVERTISED, 0, false, false)
    :: (ME.shared & 1) -> FROM(SHARED, VIEW(0, 0, 0), false, false)
    :: (ME.shared & 2) -> FROM(SHARED, VIEW(1, 0, 0), false, false)
    :: ME.input[0] -> FROM(MASKED, ME.input[0], true, false)
    :: ME.input[1] -> FROM(MASKED, ME.input[1], true, false)
    :: ME.consent[0] -> FROM(CONSENTED, ME.consent[0], true, true)
    :: ME.consent[1] -> FROM(CONSENTED, ME.consent[1], true, true)
    fi
}
inline stop(me) { close(me) }
#else
#define CRASHES skip
inline restart(me) { ME.stage != CLOSED }   /* R5 */
inline stop(me) { skip }
#endif

/* Any set that is large enough; for all that are too small one such, and for all in a request out of its stage, which is
 * refused whatever it holds, the cohort; not with restarts, where to refuse changes nothing. */
#ifdef NO_ONE_REQUEST
#define TIMELY(s) true
#else
#define TIMELY(s) (ME.stage == s)
#endif
#define TRY(s) :: timely && (s) <= COHORT && SIZE(s) >= L -> set = (s)
#define TRY4(s) TRY(s) TRY((s) + 1) TRY((s) + 2) TRY((s) + 3)
inline any_set(me, timely) {
    if
#ifndef RESTARTS
    :: !timely -> set = COHORT
#endif
    :: timely -> set = BIT(me)
    TRY4(0) TRY4(4) TRY4(8) TRY4(12) TRY4(16) TRY4(20) TRY4(24) TRY4(28)
    fi
}

proctype Client(byte me) {
    byte set;
    bool crash;
end:
    do
    :: atomic {
        restart(me);
        if
        :: d_step { on_roster(me, 0) }
#ifndef ONE_ROSTER
        :: d_step { on_roster(me, 1) }
#endif
#ifdef ONE_U2
        :: set = COHORT; CRASHES; d_step { on_delivery(me, set) }
#else
        :: any_set(me, TIMELY(SHARED)); CRASHES; d_step { on_delivery(me, set) }
#endif
        :: any_set(me, TIMELY(MASKED)); CRASHES; d_step { on_survivors(me, set) }
#ifndef WITHOUT_CONSENT
        :: any_set(me, TIMELY(CONSENTED)); CRASHES; d_step { on_agreement(me, set) }
#endif
        :: d_step { refuse(me) }            /* any other rule broken */
        fi;
        d_step { stop(me); clear(); set = 0; crash = false }
    }
    od
}

init {
    byte i;
    atomic {
        for (i : 1 .. H) {
            /* Advertisements are public and always the same: the roster is where choices begin. */
            at[i - 1].stage = ADVERTISED;
            run Client(i)
        }
        i = 0
    }
}
