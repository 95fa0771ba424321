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
#include "relay/relay.h"

#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#endif
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

struct arguments { long a, b, c, d, e, f; };

/* The last argument is a mask and its size. */
static long pselect_by_number(const struct arguments *x) {
    const struct { const sigset_t *mask; size_t bytes; } *last = (void *)x->f;
    sigset_t mask;
    sigemptyset(&mask);
    if (last != NULL && last->mask != NULL)
        memcpy(&mask, last->mask, KERNEL_MASK_BYTES);
    return pselect((int)x->a, (void *)x->b, (void *)x->c, (void *)x->d, (void *)x->e,
                   last != NULL && last->mask != NULL ? &mask : NULL);
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
    case SYS_epoll_pwait: *result = epoll_pwait((int)x->a, (void *)x->b, (int)x->c, (int)x->d, (void *)x->e); break;
    case SYS_epoll_pwait2: *result = epoll_pwait2((int)x->a, (void *)x->b, (int)x->c, (void *)x->d, (void *)x->e); break;
    case SYS_rt_sigaction: return handlers_system_call((int)x->a, (void *)x->b, (void *)x->c, (size_t)x->d, result);
    case SYS_sendfile: *result = sendfile((int)x->a, (int)x->b, (void *)x->c, (size_t)x->d); break;
    case SYS_splice:
        *result = splice((int)x->a, (void *)x->b, (int)x->c, (void *)x->d, (size_t)x->e, (unsigned)x->f);
        break;
    case SYS_preadv2: *result = preadv2((int)x->a, (void *)x->b, (int)x->c, (off_t)x->d, (int)x->f); break;
    case SYS_pwritev2: *result = pwritev2((int)x->a, (void *)x->b, (int)x->c, (off_t)x->d, (int)x->f); break;
    case SYS_execve: *result = execve((void *)x->a, (void *)x->b, (void *)x->c); break;
    case SYS_execveat: *result = execveat((int)x->a, (void *)x->b, (void *)x->c, (void *)x->d, (int)x->e); break;
    case SYS_pselect6: *result = pselect_by_number(x); break;
    case SYS_prlimit64:
        *result = prlimit((pid_t)x->a, (rlimit_resource)x->b, (void *)x->c, (void *)x->d);
        break;
    case SYS_ppoll: *result = ppoll((void *)x->a, (nfds_t)x->b, (void *)x->c, (void *)x->d); break;
#ifdef SYS_getrlimit
    case SYS_getrlimit: *result = getrlimit((rlimit_resource)x->a, (void *)x->b); break;
    case SYS_setrlimit: *result = setrlimit((rlimit_resource)x->a, (void *)x->b); break;
#endif
#ifdef SYS_dup2   /* older machines' calls */
    case SYS_dup2: *result = dup2((int)x->a, (int)x->b); break;
    case SYS_poll: *result = poll((void *)x->a, (nfds_t)x->b, (int)x->c); break;
    case SYS_select:
        *result = select((int)x->a, (void *)x->b, (void *)x->c, (void *)x->d, (void *)x->e);
        break;
    case SYS_epoll_wait: *result = epoll_wait((int)x->a, (void *)x->b, (int)x->c, (int)x->d); break;
#endif
    default:
        return false;
    }
    return true;
}

/* A call after which another process has our descriptors, and no handler has been told. */
static bool is_fork(long number, const struct arguments *x) {
#ifdef SYS_fork
    if (number == SYS_fork)
        return true;
#endif
    if (number == SYS_clone3 && !is_bad((const void *)x->a)) {
        uint64_t flags;   /* the first field of struct clone_args */
        memcpy(&flags, (const void *)x->a, sizeof(flags));
        return !(flags & CLONE_FILES) && !(flags & CLONE_VM);
    }
    return number == SYS_clone && !(x->a & CLONE_FILES) && !(x->a & CLONE_VM);
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
    if (number == SYS_seccomp)
        relay_replace_all();
    if (UNLIKELY(is_fork(number, &x)))
        lifecycle_fork_is_near();
    else if (!settings.off && by_hook(number, &x, &result))
        return result;
    return real_syscall(number, x.a, x.b, x.c, x.d, x.e, x.f);
}

EXPORT pid_t _Fork(void) {
    REAL(pid_t, "_Fork", (void));
    READY();
    lifecycle_fork_is_near();
    if (real != NULL)
        return real();
    return (pid_t)real_syscall(SYS_clone, (long)SIGCHLD, 0L, 0L, 0L, 0L);
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
