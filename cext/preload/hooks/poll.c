/* The hooks of poll and ppoll: straight to the kernel without direct descriptors. */
#include "epoll.h"

#include <sys/resource.h>

static bool has_direct(const struct pollfd *fds, nfds_t count) {
    if (fds == NULL || vn_highest < 0)
        return false;
    for (nfds_t i = 0; i < count; i++) {
        struct entry *entry = entry_of(fds[i].fd);
        if (UNLIKELY(entry != NULL))
            return true;
    }
    return false;
}

static bool too_many(nfds_t count) {   /* the kernel's EINVAL; and no access beyond what the program has */
    struct rlimit limit;
    return count > 1024 && getrlimit(RLIMIT_NOFILE, &limit) == 0 && count > limit.rlim_cur;
}

EXPORT int poll(struct pollfd *fds, nfds_t count, int ms) {
    READY();
    if (LIKELY(vn_highest < 0) || too_many(count) || LIKELY(!has_direct(fds, count)))
        return real_poll(fds, count, ms);
    return poll_direct(fds, count, ms < 0 ? FOR_EVER : (uint64_t)ms * 1000000, NULL);
}

EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *time, const sigset_t *mask) {
    READY();
    bool wrong = time != NULL && (time->tv_sec < 0 || time->tv_nsec < 0 || time->tv_nsec >= 1000000000);
    if (LIKELY(vn_highest < 0) || wrong || too_many(count) || LIKELY(!has_direct(fds, count)))
        return real_ppoll(fds, count, time, mask);
    uint64_t timeout = time == NULL ? FOR_EVER : (uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec;
    return poll_direct(fds, count, timeout, mask);
}

extern void __chk_fail(void) __attribute__((noreturn));
EXPORT int __poll_chk(struct pollfd *fds, nfds_t count, int ms, size_t bytes) {
    if (bytes / sizeof(*fds) < count)
        __chk_fail();
    return poll(fds, count, ms);
}

EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *time, const sigset_t *mask, size_t bytes) {
    if (bytes / sizeof(*fds) < count)
        __chk_fail();
    return ppoll(fds, count, time, mask);
}
