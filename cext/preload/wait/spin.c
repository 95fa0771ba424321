/* Polling before sleeping: how long it is worth while is learnt from how long the last sleeps were. */
#include "wait/spin.h"

#include <sched.h>

#include "base/settings.h"

/* How long a yield takes shows who else wants the CPU.
 *
 * None: it comes back at once. There are LOOKS_A_YIELD looks between two yields.
 *
 * Other ends (SWITCH_NS): many share few CPUs, and each look between two yields takes time from them. So the thread yields
 * with every look, until SHARING_YIELDS in a row have come back at once. What others got meanwhile is not our polling.
 * pgbench with 8 processes on 2 CPUs: 5 to 35% more transactions a second than with 16 looks, in runs that vary as much.
 *
 * Perhaps the other end (LONG_YIELD_NS): two that poll on one CPU go on so while another CPU idles, and who sleeps is woken
 * on an idle CPU. So sleep instead of polling on, but not each time, for perhaps no CPU is idle.
 *
 * A program that computes (SLICE_NS): beside it each yield costs a time slice, while a sleeper that is woken preempts it.
 * So the thread does not yield at all for a while. Polling may pay all the same: where WORTH_A_SLICE waits ended by it since
 * the last such yield, the pause is short, else it grows each time. With two computing programs on two CPUs and 1,000
 * requests a second, 99% were answered within 4.3 ms so, within 9.3 ms with pauses of 2 to 100 ms, and 3.7 ms by TCP. */
#define SWITCH_NS 1500
#define SHARING_YIELDS 8
#define LONG_YIELD_NS 20000
#define CROWDED_NS 20000000  /* between two sleeps after long yields */
#define MOST_LENT_NS 2000000 /* in one wait, to others */
#define SLICE_NS 500000
#define SOON_NS (20 * MILLISECOND_NS) /* after the last pause: it is no other end that takes slices */
#define WORTH_A_SLICE 256
#define SHORT_PAUSE_NS (2 * MILLISECOND_NS)
#define FIRST_PAUSE_NS (10 * MILLISECOND_NS)
#define TIMES_PAUSE 8 /* as long, when the last pause has only just ended */
#define MOST_PAUSE_NS SECOND_NS
/* ns: who has learnt that sleeps are long looks some times, and yields to other ends alone */
#define LEARNT_LEAST 1000

static __thread bool crowded;
static __thread unsigned sharing; /* yields that may still come back at once before there is nobody else */
static __thread unsigned paid;    /* waits that polling has ended since the last yield of a slice */
static __thread uint64_t crowded_at, paused_until, pause_ns, alone_until;

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void spin_start(struct spin *spin, _Atomic uint64_t *learnt) {
    if (atomic_load_explicit(learnt, memory_order_relaxed) == 0)
        atomic_store_explicit(learnt, settings.poll_ns, memory_order_relaxed);
    spin->learnt = learnt;
    spin->looks = 0;
    spin->until = spin->lent = spin->now = 0;
}

static uint64_t next_pause(uint64_t since) {
    bool again = pause_ns != 0 && since - paused_until < 2 * pause_ns;
    if (paid >= WORTH_A_SLICE)
        return SHORT_PAUSE_NS;
    if (!again)
        return FIRST_PAUSE_NS;
    return TIMES_PAUSE * pause_ns < MOST_PAUSE_NS ? TIMES_PAUSE * pause_ns : MOST_PAUSE_NS;
}

/* After a yield that gave the CPU to somebody else. */
static void yielded(struct spin *spin, uint64_t since, uint64_t took) {
    sharing = took <= SLICE_NS && since > alone_until ? SHARING_YIELDS : 0;
    if (took > SLICE_NS) {
        if (since < paused_until + SOON_NS)
            alone_until = since + SECOND_NS;
        pause_ns = next_pause(since);
        paused_until = since + took + pause_ns;
        paid = 0;
    } else if (took > LONG_YIELD_NS && since - crowded_at > CROWDED_NS) {
        crowded = true;
        crowded_at = since;
    } else if (spin->lent < MOST_LENT_NS) {
        spin->lent += took;
        spin->until += took;
    }
}

bool spin_on(struct spin *spin) {
    if (++spin->looks % LOOKS_A_YIELD != 0 && sharing == 0 && settings.poll_ns != 0) {
        relax();
        return true;
    }
    uint64_t now = spin->now = now_ns(), learnt = atomic_load_explicit(spin->learnt, memory_order_relaxed);
    if (spin->until == 0)
        spin->until = learnt > LEARNT_LEAST || sharing > 0 ? now + learnt : now;
    if (settings.poll_ns == 0 || now >= spin->until || now < paused_until || crowded) {
        crowded = false;
        return false;
    }
    sched_yield();
    spin->now = now_ns();
    uint64_t took = spin->now - now;
    if (took > SWITCH_NS)
        yielded(spin, now, took);
    else if (sharing > 0)
        sharing--;
    return true;
}

bool spin_shares(void) {
    return sharing != 0;
}

void spin_paid(const struct spin *spin) {
    paid += spin->looks != 0;
}

void spin_slept(struct spin *spin, uint64_t ns) {
    if (ns == 0)
        paid++;
    uint64_t learnt = atomic_load_explicit(spin->learnt, memory_order_relaxed);
    if (ns <= settings.poll_ns)
        learnt = settings.poll_ns;
    else
        learnt = learnt / 2 > LEARNT_LEAST ? learnt / 2 : LEARNT_LEAST;
    atomic_store_explicit(spin->learnt, learnt, memory_order_relaxed);
}
