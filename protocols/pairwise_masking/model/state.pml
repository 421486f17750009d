/* Sets, thresholds, views, and all that is remembered of an honest client. A set of clients is a byte, bit i-1 for
 * client i; honest clients are 1 .. H, corrupt ones H+1 .. N. */

#ifndef N
#define N 4
#endif
#ifndef C
#define C 1
#endif
#if N > 5
#error "a set has five bits"
#endif
#define H       (N - C)
#define BIT(i)  (1 << ((i) - 1))
#define COHORT  ((1 << N) - 1)
#define HONEST  ((1 << H) - 1)
#define SIZE(s) (((s) & 1) + (((s) >> 1) & 1) + (((s) >> 2) & 1) + (((s) >> 3) & 1) + (((s) >> 4) & 1))

/* The least number of survivors L, of shares T and of consents THETA: in a complete graph they are equal. The low ones
 * are too low by one. */
#define LOW ((N + C) / 2)
#ifdef SEMI_HONEST
#define ENOUGH (((C > N / 2) -> C : N / 2) + 1)
#else
#define ENOUGH (LOW + 1)
#endif
#ifdef LOW_THRESHOLD
#define L LOW
#define LOW_SHARES
#define LOW_CONSENTS
#else
#define L ENOUGH
#endif
#ifdef LOW_SHARES
#define T LOW
#else
#define T ENOUGH
#endif
#ifdef LOW_CONSENTS
#define THETA LOW
#else
#define THETA ENOUGH
#endif

#if defined(SEMI_HONEST) || defined(NO_CONSENT)
#define WITHOUT_CONSENT
#endif

/* A view: which roster, U2, U3. Two rosters are enough for two clients to differ. Never 0: a client is in its U2. */
#define VIEW(p, u2, u3) (((p) << 10) | ((u2) << 5) | (u3))
#define ROSTER_OF(v)    ((v) >> 10)
#define U2_OF(v)        (((v) >> 5) & 31)
#define U3_OF(v)        ((v) & 31)

/* The part of a view that a consent signs. */
#ifdef NO_ROSTER_IN_CONSENT
#define SIGNED_PART(v) ((v) & 1023)
#elif defined(NO_U2_IN_CONSENT)
#define SIGNED_PART(v) ((v) & (1024 | 31))
#else
#define SIGNED_PART(v) (v)
#endif

mtype = { NEW, ADVERTISED, SHARED, MASKED, CONSENTED, CLOSED };   /* what a client did last */
mtype = { INPUT, CONSENT, RELEASE };

/* The five requests, and so the stages of the server. */
#define OFFER     0
#define ROSTER    1
#define DELIVERY  2
#define SURVIVORS 3
#define AGREEMENT 4

typedef Honest {
    mtype stage;
    byte roster, u2, u3;            /* what the state holds of the requests */
    bool input_noted, consent_noted, release_noted;  /* the record */
    /* All that ever left this client, which is also all that there are snapshots of. Two of a kind suffice for a
     * counterexample; with every defence in place there is one. */
    byte shared;                    /* bit p: shares were sent under roster p */
    short input[2], consent[2], release[2];
};

/* The clients that follow the protocol and run: under a semi-honest server the corrupt ones too. */
#ifndef RUNNING
#define RUNNING H
#endif
Honest at[RUNNING];
#define ME at[me - 1]

/* Did j sign this part of a view? */
#define SIGNED(j, v) ((at[(j) - 1].consent[0] && SIGNED_PART(at[(j) - 1].consent[0]) == SIGNED_PART(v)) \
                   || (at[(j) - 1].consent[1] && SIGNED_PART(at[(j) - 1].consent[1]) == SIGNED_PART(v)))

/* What leaves is kept, if it is new; a third one is lost. */
#define BITS(s) (s) & 1, ((s) >> 1) & 1, ((s) >> 2) & 1, ((s) >> 3) & 1, ((s) >> 4) & 1
#define KEEP(what, name, v) \
    printf("client %d gives its %e: roster %d, U2 %d%d%d%d%d, U3 %d%d%d%d%d\n", \
           me, name, ROSTER_OF(v), BITS(U2_OF(v)), BITS(U3_OF(v))); \
    if \
    :: ME.what[0] != (v) && ME.what[1] != (v) && !ME.what[0] -> ME.what[0] = v \
    :: ME.what[0] != (v) && ME.what[1] != (v) && ME.what[0] && !ME.what[1] -> ME.what[1] = v \
    :: else \
    fi

/* For the H honest clients. */
#if N - C == 3
#define OVER(f) (f(1) + f(2) + f(3))
#elif N - C == 4
#define OVER(f) (f(1) + f(2) + f(3) + f(4))
#else
#error "three or four honest clients"
#endif
