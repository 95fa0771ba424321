/* Polling before sleeping: how long it is worth while is learnt from how long the last sleeps were. */
#include "internal.h"

#include <sched.h>

/* A yield that takes longer gave the CPU to somebody else. The other end, perhaps: two that poll on one CPU go on so while
 * another CPU idles. Who sleeps is woken on an idle CPU; so after such a yield, sleep instead of polling on. */
#define LONG_YIELD_NS 20000
#define LEARNT_LEAST 1000      /* ns: that much is looked even by one whose sleeps are long */

static __thread bool crowded;

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
    spin->until = 0;
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
    crowded = now_ns() - now > LONG_YIELD_NS;
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
