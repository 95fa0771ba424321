/* System calls that programs make by the C library's `syscall`, and forks that no handler hears of.
 *
 * libuv closes by syscall(SYS_close), others read or poll so. Each call that touches a descriptor goes by the hook of the
 * function that it stands for. io_uring is refused as in most containers (ENOSYS): the kernel would read from the TCP socket
 * under a direct connection, where nothing comes; programs fall back to what can be seen. */
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"
#include "base/settings.h"
#include "base/signals.h"
#include "discovery/policy.h"
#include "multiplex/poll.h"
#include "multiplex/select.h"
#include "relay/relay.h"

#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#endif
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

struct arguments {
    long a, b, c, d, e, f;
};

/* Waits for descriptors are handed on as they are where nothing is direct: the system calls have a mask's size, and say
 * what is left of the time. The C library's functions do neither. */

static bool is_mask(long mask, long bytes) {
    return mask == 0 || (!is_bad((void *)mask) && bytes == KERNEL_MASK_BYTES);
}

static void put_left(struct timespec *time, uint64_t began) {
    uint64_t asked = time_ns(time), took = now_ns() - began;
    if (asked == FOR_EVER)
        return;
    uint64_t left = took < asked ? asked - took : 0;
    *time = (struct timespec){(time_t)(left / SECOND_NS), (long)(left % SECOND_NS)};
}

static bool ppoll_by_number(const struct arguments *x, long *result) {
    struct timespec *time = (void *)x->c;
    if (!poll_has_direct((void *)x->a, (nfds_t)x->b) || !is_time(time) || !is_mask(x->d, x->e))
        return false;
    uint64_t began = now_ns();
    *result = ppoll((void *)x->a, (nfds_t)x->b, time, (void *)x->d);
    put_left(time, began);
    return true;
}

/* The last argument is a mask and its size. */
static bool pselect_by_number(const struct arguments *x, long *result) {
    const struct {
        long mask, bytes;
    } *last = (void *)x->f;
    struct timespec *time = (void *)x->e;
    sigset_t mask;
    if (!select_has_direct((int)x->a, (void *)x->b, (void *)x->c, (void *)x->d) || !is_time(time) ||
        is_bad_option(last) || (last != NULL && !is_mask(last->mask, last->bytes)))
        return false;
    bool masked = last != NULL && last->mask != 0;
    sigemptyset(&mask);
    if (masked)
        memcpy(&mask, (void *)last->mask, KERNEL_MASK_BYTES);
    uint64_t began = now_ns();
    *result = pselect((int)x->a, (void *)x->b, (void *)x->c, (void *)x->d, time, masked ? &mask : NULL);
    put_left(time, began);
    return true;
}

/* Not all are hooks' to do: false, and the system call is made as it is. */
static bool wait_by_number(long number, const struct arguments *x, long *result) {
    switch (number) {
    case SYS_ppoll: return ppoll_by_number(x, result);
    case SYS_pselect6: return pselect_by_number(x, result);
    case SYS_epoll_pwait:
        if (!is_mask(x->e, x->f))
            return false;
        *result = epoll_pwait((int)x->a, (void *)x->b, (int)x->c, (int)x->d, (void *)x->e);
        return true;
    case SYS_epoll_pwait2:
        if (!is_mask(x->e, x->f) || !is_time((void *)x->d))
            return false;
        *result = epoll_pwait2((int)x->a, (void *)x->b, (int)x->c, (void *)x->d, (void *)x->e);
        return true;
#ifdef SYS_select /* older machines' calls */
    case SYS_poll:
        if (!poll_has_direct((void *)x->a, (nfds_t)x->b))
            return false;
        *result = poll((void *)x->a, (nfds_t)x->b, (int)x->c);
        return true;
    case SYS_select:
        if (!select_has_direct((int)x->a, (void *)x->b, (void *)x->c, (void *)x->d) || is_bad_option((void *)x->e))
            return false;
        *result = select((int)x->a, (void *)x->b, (void *)x->c, (void *)x->d, (void *)x->e);
        return true;
#endif
    default: return false;
    }
}

/* By the hook that has the same arguments; false: no hook has. */
static bool by_hook(long number, const struct arguments *x, long *result) {
    switch (number) {
    case SYS_close: *result = close((int)x->a); break;
    case SYS_close_range: *result = close_range((unsigned)x->a, (unsigned)x->b, (int)x->c); break;
    case SYS_dup: *result = dup((int)x->a); break;
    case SYS_dup3: *result = dup3((int)x->a, (int)x->b, (int)x->c); break;
    case SYS_fcntl: *result = fcntl((int)x->a, (int)x->b, (void *)x->c); break;
    case SYS_ioctl: *result = ioctl((int)x->a, (unsigned long)x->b, (void *)x->c); break;
    case SYS_read: *result = read((int)x->a, (void *)x->b, (size_t)x->c); break;
    case SYS_write: *result = write((int)x->a, (void *)x->b, (size_t)x->c); break;
    case SYS_readv: *result = readv((int)x->a, (void *)x->b, (int)x->c); break;
    case SYS_writev: *result = writev((int)x->a, (void *)x->b, (int)x->c); break;
    case SYS_recvfrom:
        *result = recvfrom((int)x->a, (void *)x->b, (size_t)x->c, (int)x->d, (void *)x->e, (void *)x->f);
        break;
    case SYS_sendto:
        *result = sendto((int)x->a, (void *)x->b, (size_t)x->c, (int)x->d, (void *)x->e, (socklen_t)x->f);
        break;
    case SYS_recvmsg: *result = recvmsg((int)x->a, (void *)x->b, (int)x->c); break;
    case SYS_sendmsg: *result = sendmsg((int)x->a, (void *)x->b, (int)x->c); break;
    case SYS_recvmmsg: *result = recvmmsg((int)x->a, (void *)x->b, (unsigned)x->c, (int)x->d, (void *)x->e); break;
    case SYS_sendmmsg: *result = sendmmsg((int)x->a, (void *)x->b, (unsigned)x->c, (int)x->d); break;
    case SYS_socket: *result = socket((int)x->a, (int)x->b, (int)x->c); break;
    case SYS_listen: *result = listen((int)x->a, (int)x->b); break;
    case SYS_accept: *result = accept((int)x->a, (void *)x->b, (void *)x->c); break;
    case SYS_accept4: *result = accept4((int)x->a, (void *)x->b, (void *)x->c, (int)x->d); break;
    case SYS_connect: *result = connect((int)x->a, (void *)x->b, (socklen_t)x->c); break;
    case SYS_shutdown: *result = shutdown((int)x->a, (int)x->b); break;
    case SYS_getsockname: *result = getsockname((int)x->a, (void *)x->b, (void *)x->c); break;
    case SYS_getpeername: *result = getpeername((int)x->a, (void *)x->b, (void *)x->c); break;
    case SYS_getsockopt: *result = getsockopt((int)x->a, (int)x->b, (int)x->c, (void *)x->d, (void *)x->e); break;
    case SYS_setsockopt: *result = setsockopt((int)x->a, (int)x->b, (int)x->c, (void *)x->d, (socklen_t)x->e); break;
    case SYS_epoll_ctl: *result = epoll_ctl((int)x->a, (int)x->b, (int)x->c, (void *)x->d); break;
    case SYS_rt_sigaction: return handlers_system_call((int)x->a, (void *)x->b, (void *)x->c, (size_t)x->d, result);
    case SYS_sendfile: *result = sendfile((int)x->a, (int)x->b, (void *)x->c, (size_t)x->d); break;
    case SYS_splice:
        *result = splice((int)x->a, (void *)x->b, (int)x->c, (void *)x->d, (size_t)x->e, (unsigned)x->f);
        break;
    case SYS_preadv2: *result = preadv2((int)x->a, (void *)x->b, (int)x->c, (off_t)x->d, (int)x->f); break;
    case SYS_pwritev2: *result = pwritev2((int)x->a, (void *)x->b, (int)x->c, (off_t)x->d, (int)x->f); break;
    case SYS_execve: *result = execve((void *)x->a, (void *)x->b, (void *)x->c); break;
    case SYS_execveat: *result = execveat((int)x->a, (void *)x->b, (void *)x->c, (void *)x->d, (int)x->e); break;
    case SYS_prlimit64: *result = prlimit((pid_t)x->a, (rlimit_resource)x->b, (void *)x->c, (void *)x->d); break;
#ifdef SYS_getrlimit
    case SYS_getrlimit: *result = getrlimit((rlimit_resource)x->a, (void *)x->b); break;
    case SYS_setrlimit: *result = setrlimit((rlimit_resource)x->a, (void *)x->b); break;
#endif
#ifdef SYS_dup2 /* older machines' calls */
    case SYS_dup2: *result = dup2((int)x->a, (int)x->b); break;
    case SYS_epoll_wait: *result = epoll_wait((int)x->a, (void *)x->b, (int)x->c, (int)x->d); break;
#endif
    default: return wait_by_number(number, x, result);
    }
    return true;
}

/* A call after which another process has our descriptors, and no handler has run. */
static bool is_fork(long number, const struct arguments *x) {
#ifdef SYS_fork
    if (number == SYS_fork)
        return true;
#endif
    if (number == SYS_clone3 && !is_bad((const void *)x->a)) {
        uint64_t flags; /* the first field of struct clone_args */
        memcpy(&flags, (const void *)x->a, sizeof(flags));
        return !(flags & CLONE_FILES) && !(flags & CLONE_VM);
    }
    return number == SYS_clone && !(x->a & CLONE_FILES) && !(x->a & CLONE_VM);
}

/* The child of such a call is adopted at once: until then its parent takes it for a copy that nobody knows of, and leaves
 * it to the kernel to say when a connection has ended. */
static long in_child(long result) {
    if (result == 0)
        READY();
    return result;
}

EXPORT long syscall(long number, ...) {
    struct arguments x;
    va_list list;
    long result;
    va_start(list, number);
    x = (struct arguments){va_arg(list, long), va_arg(list, long), va_arg(list, long),
                           va_arg(list, long), va_arg(list, long), va_arg(list, long)};
    va_end(list);
    READY();
    if (number == SYS_io_uring_setup && !settings.io_uring && !settings.off) {
        errno = ENOSYS;
        return -1;
    }
    if (number == SYS_seccomp) {
        relay_replace_all();
        policy_seal();
    }
    if (UNLIKELY(is_fork(number, &x))) {
        lifecycle_fork_is_near();
        return in_child(real_syscall(number, x.a, x.b, x.c, x.d, x.e, x.f));
    }
    if (!settings.off && by_hook(number, &x, &result))
        return result;
    return real_syscall(number, x.a, x.b, x.c, x.d, x.e, x.f);
}

EXPORT pid_t _Fork(void) {
    REAL(pid_t, "_Fork", (void));
    READY();
    lifecycle_fork_is_near();
    return (pid_t)in_child(real != NULL ? real() : real_syscall(SYS_clone, (long)SIGCHLD, 0L, 0L, 0L, 0L));
}

EXPORT int clone(int (*function)(void *), void *stack, int flags, void *argument, ...) {
    REAL(int, "clone", (int (*)(void *), void *, int, void *, ...));
    va_list list;
    va_start(list, argument);
    pid_t *parent = va_arg(list, pid_t *);
    void *tls = va_arg(list, void *);
    pid_t *child = va_arg(list, pid_t *);
    va_end(list);
    READY();
    if (!(flags & CLONE_FILES) && !(flags & CLONE_VM))
        lifecycle_fork_is_near();
    return real(function, stack, flags, argument, parent, tls, child);
}
