/* The C library's own functions, behind those that the library puts before them. */
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/common.h"

// clang-format off
#define REALS(X) \
    X(int, close, (int)) X(int, dup, (int)) X(int, dup2, (int, int)) X(int, dup3, (int, int, int)) \
    X(int, fcntl, (int, int, ...)) X(int, ioctl, (int, unsigned long, ...)) X(int, socket, (int, int, int)) \
    X(int, listen, (int, int)) X(int, accept4, (int, struct sockaddr *, socklen_t *, int)) \
    X(int, connect, (int, const struct sockaddr *, socklen_t)) X(int, shutdown, (int, int)) \
    X(int, getsockname, (int, struct sockaddr *, socklen_t *)) X(int, getpeername, (int, struct sockaddr *, socklen_t *)) \
    X(int, getsockopt, (int, int, int, void *, socklen_t *)) X(int, setsockopt, (int, int, int, const void *, socklen_t)) \
    X(ssize_t, read, (int, void *, size_t)) X(ssize_t, write, (int, const void *, size_t)) \
    X(ssize_t, readv, (int, const struct iovec *, int)) X(ssize_t, writev, (int, const struct iovec *, int)) \
    X(ssize_t, recv, (int, void *, size_t, int)) X(ssize_t, send, (int, const void *, size_t, int)) \
    X(ssize_t, recvfrom, (int, void *, size_t, int, struct sockaddr *, socklen_t *)) \
    X(ssize_t, sendto, (int, const void *, size_t, int, const struct sockaddr *, socklen_t)) \
    X(ssize_t, recvmsg, (int, struct msghdr *, int)) X(ssize_t, sendmsg, (int, const struct msghdr *, int)) \
    X(int, recvmmsg, (int, struct mmsghdr *, unsigned, int, struct timespec *)) \
    X(int, sendmmsg, (int, struct mmsghdr *, unsigned, int)) \
    X(int, poll, (struct pollfd *, nfds_t, int)) \
    X(int, ppoll, (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *)) \
    X(int, select, (int, fd_set *, fd_set *, fd_set *, struct timeval *)) \
    X(int, pselect, (int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *)) \
    X(int, epoll_ctl, (int, int, int, struct epoll_event *)) \
    X(int, epoll_wait, (int, struct epoll_event *, int, int)) \
    X(int, epoll_pwait, (int, struct epoll_event *, int, int, const sigset_t *)) \
    X(long, syscall, (long, ...))
// clang-format on

#define X(type, name, arguments) extern type(*real_##name) arguments;
REALS(X)
#undef X

void *real_function(const char *name); /* dlsym(RTLD_NEXT), or compat.c's; NULL when neither has it */
void real_init(void);

/* The same as system calls: no cancellation points, for what must not end half done. */
int quiet_close(int fd);
int quiet_epoll(void); /* a new one: the hook would take it for the program's */
int quiet_connect(int fd, const struct sockaddr *name, socklen_t length);
int quiet_poll(struct pollfd *fds, nfds_t count, int ms);
ssize_t quiet_send(int fd, const void *data, size_t bytes, int flags);
ssize_t quiet_recv(int fd, void *data, size_t bytes, int flags);
ssize_t quiet_write(int fd, const void *data, size_t bytes);
int quiet_look(struct pollfd *fds, nfds_t count);                  /* poll, without waiting */
int quiet_events(int epoll, struct epoll_event *events, int room); /* epoll_wait, without waiting: it takes edges */

/* The function of this name behind ours, as `real`, looked up at the first use. */
#define REAL(type, name, arguments) \
    static _Atomic(void *) looked_up; \
    void *found = atomic_load_explicit(&looked_up, memory_order_relaxed); \
    if (UNLIKELY(found == NULL)) \
        atomic_store_explicit(&looked_up, found = real_function(name), memory_order_relaxed); \
    type(*real) arguments; \
    *(void **)&real = found
