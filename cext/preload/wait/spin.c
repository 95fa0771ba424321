/* Polling before sleeping: how long it is worth while is learnt from how long the last sleeps were. */
#include "internal.h"

#include <sched.h>

/* A yield that takes longer gave the CPU to somebody else. The other end, perhaps: two that poll on one CPU go on so while
 * another CPU idles. Who sleeps is woken on an idle CPU; so after such a yield, sleep instead of polling on. But not each
 * time, for perhaps no CPU is idle: where many ends share few CPUs, a yield costs less than to sleep and be woken (pgbench
 * with 8 processes on 2 CPUs: 74,000 transactions a second against 65,000), and what others got is not our polling. Only
 * who has a CPU for so long that he does not give it back by himself is not waited for. */
#define LONG_YIELD_NS 20000
#define ENDLESS_YIELD_NS 500000
#define CROWDED_NS 20000000    /* between two such sleeps */
#define MOST_LENT_NS 2000000   /* in one wait, to others */
#define LEARNT_LEAST 1000      /* ns: that much is looked even by one whose sleeps are long */

static __thread bool crowded;
static __thread uint64_t crowded_at;

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void spin_start(struct spin *spin, uint64_t *learnt) {
    if (*learnt == 0)
        *learnt = vn_settings.poll_ns;
    spin->learnt = learnt;
    spin->looks = 0;
    spin->until = spin->lent = 0;
}

/* After a long yield. */
static void yielded(struct spin *spin, uint64_t since, uint64_t took) {
    if (took > ENDLESS_YIELD_NS || since - crowded_at > CROWDED_NS) {
        crowded = true;
        crowded_at = since;
    } else if (spin->lent < MOST_LENT_NS) {
        spin->lent += took;
        spin->until += took;
    }
}

bool spin_on(struct spin *spin) {
    if (++spin->looks % LOOKS_A_YIELD != 0 && vn_settings.poll_ns != 0) {
        relax();
        return true;
    }
    uint64_t now = now_ns();
    if (spin->until == 0)
        spin->until = now + *spin->learnt;
    if (vn_settings.poll_ns == 0 || now >= spin->until || crowded) {
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
    uint64_t learnt = *spin->learnt;
    if (ns <= vn_settings.poll_ns)
        learnt = vn_settings.poll_ns;
    else
        learnt = learnt / 2 > LEARNT_LEAST ? learnt / 2 : LEARNT_LEAST;
    *spin->learnt = learnt;
}
