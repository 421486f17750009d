/* What must never be: assertions at the moment when an input or a release leaves an honest client. CHECK picks some by
 * its bits. The scratch variables are cleared, so that they make no states. */

#define ONE_KIND   1  /* no client gives both kinds of share of one peer */
#define ONE_SEED   2  /* no t shares of each kind, of one honest client, reach the server */
#define ONE_VIEW   4  /* no two releases of honest clients under different (roster, U2, U3) */
#define ONE_INPUT  8  /* no client gives two inputs in the session, equal or not */
#define ONE_SUM    16 /* all that can be unmasked is one sum, of L - C honest clients or more */
#define AGREED_SUM 32 /* it is over all honest clients of the U3 of a release */
#define SOME_SUM   64 /* nothing can be unmasked: no property, but what must break where a round can come to its end */
#ifndef CHECK
#define CHECK 63
#endif

byte x, y, turn, kinds1, kinds2, opened_b, opened_s, live, sum;
short w;
inline clear() {
    x = 0; y = 0; turn = 0; kinds1 = 0; kinds2 = 0; opened_b = 0; opened_s = 0; live = 0; sum = 0; w = 0
}

/* The shares in a release v, by owner. A share is held if its owner ever sent shares under that roster; a corrupt
 * owner's always. */
#define HOLDS(j, v) (((at[(j) - 1].shared >> ROSTER_OF(v)) & 1) << ((j) - 1))
#define HELD0(j) HOLDS(j, 0)
#define HELD1(j) HOLDS(j, 1024)
#define HELD(v) ((COHORT & ~HONEST) | (ROSTER_OF(v) -> OVER(HELD1) : OVER(HELD0)))
#define KIND1(v) (U3_OF(v) & HELD(v))
#define KIND2(v) (U2_OF(v) & ~U3_OF(v) & HELD(v))

/* Did client x's share of a kind leave j under roster y? Is x's seed of that kind open to the server? Corrupt holders
 * give both kinds. Shares of two rosters do not combine, but the secret behind them is one. */
#define REL(j, a)   at[(j) - 1].release[a]
#define GAVE1(j, a) (REL(j, a) && ROSTER_OF(REL(j, a)) == y && (U3_OF(REL(j, a)) & BIT(x)))
#define GAVE2(j, a) (REL(j, a) && ROSTER_OF(REL(j, a)) == y && (U2_OF(REL(j, a)) & ~U3_OF(REL(j, a)) & BIT(x)))
#define BY1(j)      ((GAVE1(j, 0) || GAVE1(j, 1)) -> 1 : 0)
#define BY2(j)      ((GAVE2(j, 0) || GAVE2(j, 1)) -> 1 : 0)

inline find_opened() {
    opened_b = 0; opened_s = 0;
    for (x : 1 .. H) {
        for (y : 0 .. 1) {
            if
            :: (at[x - 1].shared >> y) & 1 ->
                if :: C + OVER(BY1) >= T -> opened_b = opened_b | BIT(x) :: else fi;
                if :: C + OVER(BY2) >= T -> opened_s = opened_s | BIT(x) :: else fi
            :: else
            fi
        }
    }
}

/* Between x and y, both honest: x's input has a mask that the server does not know; and y's has the same one. */
#define IN(j)             at[(j) - 1].input[0]
#define MASKED_WITH(x, y) (x != y && (U2_OF(IN(x)) & BIT(y)) && !(opened_s & (BIT(x) | BIT(y))))
#define CANCELS(x, y)     (IN(y) && ROSTER_OF(IN(x)) == ROSTER_OF(IN(y)) && (U2_OF(IN(y)) & BIT(x)))

/* Which linear combinations of the inputs have no unknown mask in them? An input whose self-mask is open counts; one
 * that has an unknown pairwise mask that no counting input cancels does not. What remains falls into connected parts,
 * each of which gives one sum. */
inline find_sums() {
    live = 0;
    for (x : 1 .. H) {
        if :: IN(x) && (opened_b & BIT(x)) -> live = live | BIT(x) :: else fi
    }
    for (turn : 1 .. H) {
        for (x : 1 .. H) {
            for (y : 1 .. H) {
                if
                :: (live & BIT(x)) && MASKED_WITH(x, y) && !(CANCELS(x, y) && (live & BIT(y))) -> live = live & ~BIT(x)
                :: else
                fi
            }
        }
    }
    sum = live & -live;
    for (turn : 1 .. H) {
        for (x : 1 .. H) {
            for (y : 1 .. H) {
                if :: (sum & BIT(x)) && (live & BIT(y)) && MASKED_WITH(x, y) -> sum = sum | BIT(y) :: else fi
            }
        }
    }
}

#define IS_U3(j) (((REL(j, 0) && live == (U3_OF(REL(j, 0)) & HONEST)) || \
                   (REL(j, 1) && live == (U3_OF(REL(j, 1)) & HONEST))) -> 1 : 0)

inline check_sum() {
    if
    :: CHECK & (ONE_SUM | AGREED_SUM | SOME_SUM) ->
        find_opened();
        if
        :: opened_b ->
            find_sums();
            assert(!(CHECK & SOME_SUM) || !live);
            assert(!(CHECK & ONE_SUM) || !live || (sum == live && SIZE(live) >= L - C));
            assert(!(CHECK & AGREED_SUM) || !live || OVER(IS_U3))
        :: else
        fi
    :: else
    fi
}

inline before_input(me) {
    assert(!(CHECK & ONE_INPUT) || !ME.input[0])
}

inline after_release(me) {
    if
    :: CHECK & ONE_KIND ->
        kinds1 = KIND1(REL(me, 0)) | KIND1(REL(me, 1));
        kinds2 = KIND2(REL(me, 0)) | KIND2(REL(me, 1));
        assert(!(kinds1 & kinds2))
    :: else
    fi;
    if
    :: CHECK & ONE_SEED -> find_opened(); assert(!(opened_b & opened_s))
    :: else
    fi;
    if
    :: CHECK & ONE_VIEW ->
        w = ME.release[0];
        for (x : 1 .. H) {
            assert((!REL(x, 0) || REL(x, 0) == w) && (!REL(x, 1) || REL(x, 1) == w))
        }
    :: else
    fi;
    check_sum()
}
