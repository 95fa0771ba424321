/* Polling before sleeping: how long it is worth while is learnt from how long the last sleeps were. */
#include "wait/spin.h"

#include <sched.h>

#include "base/settings.h"

/* A yield that takes longer gave the CPU to somebody else. The other end, perhaps: two that poll on one CPU go on so while
 * another CPU idles. Who sleeps is woken on an idle CPU; so after such a yield, sleep instead of polling on. But not each
 * time, for perhaps no CPU is idle: where many ends share few CPUs, a yield costs less than to sleep and be woken (pgbench
 * with 8 processes on 2 CPUs: 74,000 transactions a second against 65,000), and what others got is not our polling.
 *
 * A yield that takes as long as a time slice gave the CPU to a program that computes. Beside such a program each further
 * yield costs a slice, while a sleeper that is woken preempts it: so the thread does not poll at all for a while. With two
 * computing programs on two CPUs, of 1,000 requests a second 228 to 897 were answered with polling, and all without. */
#define LONG_YIELD_NS 20000
#define SLICE_NS 500000
#define LEAST_BUSY_NS (2 * MILLISECOND_NS)    /* without polling, after a yield of a slice: twice as long if the last such pause */
#define MOST_BUSY_NS (100 * MILLISECOND_NS)   /* has only just ended */
#define CROWDED_NS 20000000    /* between two sleeps after long yields */
#define MOST_LENT_NS 2000000   /* in one wait, to others */
#define LEARNT_LEAST 1000      /* ns: that much is looked even by one whose sleeps are long */

static __thread bool crowded;
static __thread uint64_t crowded_at, busy_until, busy_ns;

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
    spin->until = spin->lent = 0;
}

/* After a long yield. */
static void yielded(struct spin *spin, uint64_t since, uint64_t took) {
    if (took > SLICE_NS) {
        bool again = since - busy_until < 2 * busy_ns;
        busy_ns = !again ? LEAST_BUSY_NS : 2 * busy_ns < MOST_BUSY_NS ? 2 * busy_ns : MOST_BUSY_NS;
        busy_until = since + took + busy_ns;
    } else if (since - crowded_at > CROWDED_NS) {
        crowded = true;
        crowded_at = since;
    } else if (spin->lent < MOST_LENT_NS) {
        spin->lent += took;
        spin->until += took;
    }
}

bool spin_on(struct spin *spin) {
    if (++spin->looks % LOOKS_A_YIELD != 0 && settings.poll_ns != 0) {
        relax();
        return true;
    }
    uint64_t now = now_ns();
    if (spin->until == 0)
        spin->until = now + atomic_load_explicit(spin->learnt, memory_order_relaxed);
    if (settings.poll_ns == 0 || now >= spin->until || now < busy_until || crowded) {
        crowded = false;
        return false;
    }
    sched_yield();
    uint64_t took = now_ns() - now;
    if (took > LONG_YIELD_NS)
        yielded(spin, now, took);
    return true;
}

void spin_slept(struct spin *spin, uint64_t ns) {
    uint64_t learnt = atomic_load_explicit(spin->learnt, memory_order_relaxed);
    if (ns <= settings.poll_ns)
        learnt = settings.poll_ns;
    else
        learnt = learnt / 2 > LEARNT_LEAST ? learnt / 2 : LEARNT_LEAST;
    atomic_store_explicit(spin->learnt, learnt, memory_order_relaxed);
}
