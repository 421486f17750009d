/* A server that follows the protocol, and N clients that do; up to DROPS of them stop, at any moment. What is asked:
 * does every run end, with a result where it must have one? With SEMI_HONEST also: what do C of the clients learn
 * together with the server?
 *
 * A stage ends when every client that was asked and lives has answered; with CLOCK at any time. A client that is no
 * longer asked is told when the round is over; with NO_NOTICE it is not. */

#define RUNNING N
#define SENDS(me, type) answered[type] = answered[type] | BIT(me)
#if defined(RESTARTS) || defined(SERVER_TAKEN_UP)
#define REFUSES(me) skip
#else
#define REFUSES(me) assert(false)   /* nobody lies: there is nothing to refuse */
#endif
#define BEFORE_INPUT(me) before_input(me)
#define AFTER_INPUT(me) check_sum()
#define AFTER_RELEASE(me) \
    if \
    :: (me) <= H -> after_release(me) \
    :: else \
    fi

#include "state.pml"
#ifndef DROPS
#define DROPS (N - L)
#endif

byte answered[5];           /* who has answered a request; the answer may still be on its way */
byte down, left, drops;     /* who has stopped; who is out of the round, by its end or by having stopped */
bool over, completed, taken_up;
chan ask[N] = [2] of { byte, byte };

#include "properties.pml"
#include "client.pml"

/* To stop is final, or, with RESTARTS, is followed by one start from any snapshot. The server waits no longer for that
 * client, but takes its answers while the stage lasts. */
proctype Client(byte me) {
    byte type, set;
    bool crash;
    at[me - 1].stage = NEW;
running:
    do
    :: atomic {
        ask[me - 1]?type(set) ->
            if
            :: drops < DROPS && type >= DELIVERY -> crash = true; drops++; down = down | BIT(me)
            :: true
            fi;
            d_step {
                if
                :: type == OFFER -> on_offer(me)
                :: type == ROSTER -> on_roster(me, 0)
                :: type == DELIVERY -> on_delivery(me, set)
                :: type == SURVIVORS -> on_survivors(me, set)
                :: type == AGREEMENT -> on_agreement(me, set)
                fi;
                clear(); type = 0; set = 0
            }
            if
            :: crash -> crash = false; goto stopped
            :: else
            fi
        }
    :: atomic { drops < DROPS && !(down & BIT(me)) -> drops++; down = down | BIT(me); goto stopped }
#ifndef NO_NOTICE
    :: d_step { over && empty(ask[me - 1]) -> close(me) } break
#else
    :: d_step { ME.stage == CLOSED -> skip } break
#endif
    od;
    goto out;
stopped:
#ifdef RESTARTS
    atomic {
        if
        :: enter(me, NEW, 0, 0, 0)
        :: answered[OFFER] & BIT(me) -> enter(me, ADVERTISED, 0, 0, 0)
        :: ME.shared -> enter(me, SHARED, 0, 0, 0)
        :: ME.input[0] -> enter(me, MASKED, 0, U2_OF(ME.input[0]), 0)
        :: ME.consent[0] -> enter(me, CONSENTED, 0, U2_OF(ME.consent[0]), U3_OF(ME.consent[0]))
        :: goto out
        fi;
        goto running
    }
#endif
out:
    left = left | BIT(me)
}

/* Who is asked next: who answered, and never fewer than L. A server taken up from its snapshot of the input stage ends
 * that stage again, with the inputs that have come by then. */
proctype Server() {
    byte stage, asked = COHORT, u2, i;
    do
    :: atomic {
        i = 1;
        do
        :: i <= N && (asked & BIT(i)) -> ask[i - 1]!stage(asked); i++
        :: i <= N && !(asked & BIT(i)) -> i++
        :: i > N -> break
        od;
        i = 0
    }
#ifdef WITHOUT_CONSENT
    if :: stage == SURVIVORS -> stage = AGREEMENT :: else fi;   /* the answer to SURVIVORS is the release */
#endif
    if
    :: atomic { (asked & ~down & ~answered[stage]) == 0 -> asked = asked & answered[stage] }
#ifdef CLOCK
    :: asked = asked & answered[stage]
#endif
#ifdef SERVER_TAKEN_UP
    :: atomic {
        (stage == SURVIVORS || stage == AGREEMENT) && !taken_up ->
            taken_up = true; stage = DELIVERY; asked = u2 & answered[DELIVERY];
            answered[SURVIVORS] = 0; answered[AGREEMENT] = 0
    }
#endif
    fi;
    if
    :: SIZE(asked) < L -> break
    :: SIZE(asked) >= L && stage == AGREEMENT -> completed = true; break
    :: SIZE(asked) >= L && stage < AGREEMENT ->
        if :: stage == ROSTER -> u2 = asked :: else fi;
        stage++
    fi
    od;
    over = true
}

init {
    atomic {
        byte i;
        for (i : 1 .. N) { run Client(i) }
        i = 0;
        run Server()
    }
}

ltl ends { <> (over && left == COHORT) }
ltl result { <> (completed && left == COHORT) }
