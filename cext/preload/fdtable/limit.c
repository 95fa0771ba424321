/* The program's limit of descriptors: see limit.h. */
#include "fdtable/limit.h"

#include <limits.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"
#include "fdtable/entry.h"

#define LAST_ONES 64 /* of the program's numbers */
/* as high: a connection takes one descriptor beside the program's, and a thread that sleeps another */
#define TIMES 3

static _Atomic rlim_t programs; /* soft limit, once the kernel's is higher; 0: both are one */
static _Atomic rlim_t kernels;
static _Atomic int free_number; /* is not open, and no number beyond the limit is given before it; 0: not known */

static int change(const struct rlimit *set, struct rlimit *old) {
    return (int)real_syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, set, old);
}

static rlim_t higher(const struct rlimit *limit) {
    if (limit->rlim_cur < LIMIT_FEW)
        return limit->rlim_cur;
    rlim_t wanted = limit->rlim_cur < MAX_FD / TIMES ? TIMES * limit->rlim_cur : limit->rlim_cur;
    return wanted < limit->rlim_max ? wanted : limit->rlim_max;
}

static void raise_once(void) {
    static _Atomic bool done;
    struct rlimit limit;
    int saved = errno;
    if (LIKELY(atomic_load(&done)) || process_is_borrowed() || atomic_exchange(&done, true) ||
        change(NULL, &limit) != 0)
        return;
    rlim_t soft = limit.rlim_cur;
    limit.rlim_cur = higher(&limit);
    if (limit.rlim_cur > soft && change(&limit, NULL) == 0) {
        atomic_store(&kernels, limit.rlim_cur);
        atomic_store(&programs, soft);
    }
    errno = saved;
}

static int number(rlim_t limit) {
    return limit > MAX_FD ? MAX_FD : (int)limit;
}

static int half(void) {
    static _Atomic int known;
    struct rlimit limit;
    if (UNLIKELY(known == 0) && change(NULL, &limit) == 0)
        known = number(limit.rlim_cur) / 2;
    return known;
}

struct limit_place limit_place(void) {
    raise_once();
    rlim_t soft = atomic_load(&programs);
    int first = soft != 0 ? number(soft) : half();
    return (struct limit_place){soft != 0, first, soft != 0 ? number(atomic_load(&kernels)) - first : first};
}

bool limit_is_reached(int fd) {
    rlim_t limit = atomic_load_explicit(&programs, memory_order_relaxed);
    if (LIKELY(limit == 0) || fd < 0)
        return false;
    int known = atomic_load_explicit(&free_number, memory_order_relaxed);
    if (UNLIKELY(known != 0 && fd >= known))
        atomic_store_explicit(&free_number, 0, memory_order_relaxed);
    return (rlim_t)fd >= limit;
}

static int next_number(int fd, int first) {
    int next = real_fcntl(fd, F_DUPFD_CLOEXEC, first);
    if (next >= 0)
        quiet_close(next);
    return next;
}

/* The kernel gives the lowest number that is free. So as long as one below the limit is known to be free, the next number
 * is no higher, and there is nothing to ask. It is looked for far up, where it is taken last. */
bool limit_forbids_one_more(int fd) {
    rlim_t limit = atomic_load_explicit(&programs, memory_order_relaxed);
    if (LIKELY(limit == 0) || LIKELY(atomic_load_explicit(&free_number, memory_order_relaxed) != 0))
        return false;
    int saved = errno, last = number(limit), next = next_number(fd, last > LAST_ONES ? last - LAST_ONES : 0);
    if (next >= 0 && next < last)
        atomic_store_explicit(&free_number, next, memory_order_relaxed);
    else
        next = next_number(fd, 0);
    errno = saved;
    return next >= last;
}

/* The kernel checks the program's wish, and has a higher limit again at once. */
int limit_change(const struct rlimit *set, struct rlimit *old) {
    rlim_t soft = atomic_load(&programs);
    struct rlimit before, after;
    if (soft == 0 || (set != NULL && process_is_borrowed()))
        return change(set, old);
    if (set != NULL)
        after = *set;
    if (change(set, &before) != 0)
        return -1;
    before.rlim_cur = soft;
    if (old != NULL)
        *old = before;
    if (set == NULL)
        return 0;
    soft = after.rlim_cur;
    after.rlim_cur = higher(&after);
    bool raised = after.rlim_cur > soft && change(&after, NULL) == 0;
    atomic_store(&free_number, 0);
    atomic_store(&kernels, raised ? after.rlim_cur : 0);
    atomic_store(&programs, raised ? soft : 0);
    return 0;
}

static void set_soft(rlim_t from, rlim_t to) {
    struct rlimit limit;
    int saved = errno;
    /* a child of vfork may have set another */
    if (from != 0 && change(NULL, &limit) == 0 && limit.rlim_cur == from) {
        limit.rlim_cur = to;
        change(&limit, NULL);
    }
    errno = saved;
}

void limit_before_exec(void) {
    set_soft(atomic_load(&kernels), atomic_load(&programs));
}

void limit_after_exec(void) {
    set_soft(atomic_load(&programs), atomic_load(&kernels));
}
