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
    enter(me, s, ROSTER_OF(v), U2_OF(v), U3_OF(v)); RECORD_WAS(me, input, consent); \
    printf("client %d starts from its snapshot %e\n", me, s)

#ifdef RESTARTS
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
inline restart(me) { ME.stage != CLOSED }   /* R5 */
inline stop(me) { skip }
#endif

/* What is put into a request. A set that is too small stands for all of these (an agreement takes the fewest:
 * THETA <= L). Where the stage or the record refuses whatever the request holds, the cohort stands for all sets, and a
 * crash between record and message cannot be. */
#ifdef NO_ONE_REQUEST
#define TAKES(s, noted) !(noted)
#else
#define TAKES(s, noted) (ME.stage == s && !(noted))
#endif
#define TRY(s) :: (s) <= COHORT && SIZE(s) >= THETA -> set = (s)
#define TRY4(s) TRY(s) TRY((s) + 1) TRY((s) + 2) TRY((s) + 3)
#ifdef RESTARTS
#define MAY_CRASH if :: crash = true :: skip fi
#else
#define MAY_CRASH skip
#endif
inline any_set(me, takes) {
    if
    :: (takes) ->
        if
        :: set = BIT(me)
        TRY4(0) TRY4(4) TRY4(8) TRY4(12) TRY4(16) TRY4(20) TRY4(24) TRY4(28)
        fi;
        MAY_CRASH
    :: !(takes) -> set = COHORT
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
        :: set = COHORT; MAY_CRASH; d_step { on_delivery(me, set) }
#else
        :: any_set(me, TAKES(SHARED, INPUT_NOTED)); d_step { on_delivery(me, set) }
#endif
#ifdef WITHOUT_CONSENT
        :: any_set(me, TAKES(MASKED, RELEASE_NOTED)); d_step { on_survivors(me, set) }
#else
        :: any_set(me, TAKES(MASKED, CONSENT_NOTED)); d_step { on_survivors(me, set) }
        :: any_set(me, TAKES(CONSENTED, RELEASE_NOTED)); d_step { on_agreement(me, set) }
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
