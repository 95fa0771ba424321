/* Calls with arguments that no correct program has: addresses outside the process, and counts out of range. */
#include "player.h"

#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* What the compiler must not know, or it would refuse the calls. */
static volatile uintptr_t nowhere = 8;
static volatile int below = -1, above = 1025;

static void *bad(void) {
    return (void *)nowhere;
}

static int64_t bad_bytes(int fd, int which) {
    switch (which) {
    case 0:
        return recv(fd, bad(), 4, MSG_DONTWAIT);
    case 1:
        return send(fd, bad(), 4, MSG_NOSIGNAL);
    case 2:
        return read(fd, bad(), 4);
    case 3:
        return write(fd, bad(), 4);
    case 4:
        return recvfrom(fd, bad(), 4, MSG_DONTWAIT, NULL, NULL);
    default:
        return sendto(fd, bad(), 4, MSG_NOSIGNAL, NULL, 0);
    }
}

static int64_t bad_vector(int fd, int which) {
    static struct iovec many[1025];
    struct iovec wrong = {bad(), 4}, huge = {bad(), (size_t)SSIZE_MAX + 1};
    switch (which) {
    case 0:
        return readv(fd, many, below);
    case 1:
        return readv(fd, many, above);
    case 2:
        return writev(fd, many, below);
    case 3:
        return writev(fd, many, above);
    case 4:
        return writev(fd, &wrong, 1);
    case 5:
        return writev(fd, bad(), 1);
    case 6:
        return readv(fd, bad(), 1);
    case 7:
        return writev(fd, &huge, 1);
    default:
        return writev(fd, many, 0);
    }
}

static int64_t bad_message(int fd, int which) {
    static struct iovec many[1025];
    struct iovec wrong = {bad(), 4};
    struct msghdr one = {.msg_iov = &wrong, .msg_iovlen = 1}, too_many = {.msg_iov = many, .msg_iovlen = 1025};
    struct mmsghdr two[1] = {{.msg_hdr = one}};
    struct timespec before = {-1, -1};
    switch (which) {
    case 0:
        return sendmsg(fd, bad(), MSG_NOSIGNAL);
    case 1:
        return recvmsg(fd, bad(), MSG_DONTWAIT);
    case 2:
        return sendmsg(fd, &one, MSG_NOSIGNAL);
    case 3:
        return recvmsg(fd, &one, MSG_DONTWAIT);
    case 4:
        return sendmsg(fd, &too_many, MSG_NOSIGNAL);
    case 5:
        return recvmsg(fd, &too_many, MSG_DONTWAIT);
    case 6:
        return recvmmsg(fd, two, 1, MSG_DONTWAIT, &before);
    case 7:
        return sendmmsg(fd, bad(), 1, MSG_NOSIGNAL);
    default:
        return sendmmsg(fd, two, 0, MSG_NOSIGNAL);
    }
}

static int64_t bad_others(int fd, int which) {
    struct sockaddr_storage name;
    socklen_t length = sizeof name, none = 0;
    switch (which) {
    case 0:
        return getsockname(fd, bad(), &length);
    case 1:
        return getpeername(fd, (struct sockaddr *)&name, bad());
    case 2:
        return getsockopt(fd, SOL_SOCKET, SO_ERROR, bad(), &length);
    case 3:
        return setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, bad(), 4);
    case 4:
        return poll(bad(), 1, 0);
    case 5:
        return ioctl(fd, FIONREAD, bad());
    case 6:
        return getpeername(fd, (struct sockaddr *)&name, &none) == 0 ? (int64_t)none : -1;
    case 7:
        return epoll_ctl(fd, EPOLL_CTL_ADD, fd, bad());
    default:
        return shutdown(fd, 7);
    }
}

/* how: the group of calls in tens, and the call in it. */
int64_t op_badio(const int32_t *arg, struct outcome *outcome) {
    int fd = fd_of(arg[0]), which = arg[1] % 10;
    (void)outcome;
    switch (arg[1] / 10) {
    case 0:
        return bad_bytes(fd, which);
    case 1:
        return bad_vector(fd, which);
    case 2:
        return bad_message(fd, which);
    default:
        return bad_others(fd, which);
    }
}
