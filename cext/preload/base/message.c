/* Messages with descriptors over Unix sockets, as the broker and a doorbell carry them. */
#include "base/message.h"

#include <string.h>
#include <sys/syscall.h>

#include "base/real.h"

union control {
    struct cmsghdr header;
    char room[CMSG_SPACE(VN_MOST_FDS * sizeof(int))];
};

void close_all(const int *fds, int count) {
    int saved = errno;
    for (int i = 0; i < count; i++)
        quiet_close(fds[i]);
    errno = saved;
}

bool message_send(int socket, const void *data, size_t bytes, const int *fds, int count, int flags) {
    union control control;
    struct iovec iov = {(void *)data, bytes};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t sent;
    if (count > 0) {
        memset(&control, 0, sizeof(control));
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        memcpy(CMSG_DATA(&control.header), fds, (size_t)count * sizeof(int));
    }
    do
        sent = real_syscall(SYS_sendmsg, socket, &message, flags | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)bytes;
}

ssize_t message_receive(int socket, void *data, size_t room, int *fds, int *count, int flags) {
    union control control;
    struct iovec iov = {data, room};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t got;
    *count = 0;
    do
        got = real_syscall(SYS_recvmsg, socket, &message, flags | MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return got;
    for (struct cmsghdr *each = CMSG_FIRSTHDR(&message); each != NULL; each = CMSG_NXTHDR(&message, each)) {
        if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS)
            continue;
        int here = (int)((each->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int i = 0; i < here && *count < VN_MOST_FDS; i++)
            memcpy(&fds[(*count)++], CMSG_DATA(each) + (size_t)i * sizeof(int), sizeof(int));
    }
    if ((flags & MSG_PEEK) && (message.msg_flags & MSG_CTRUNC) && *count == 0) {
        errno = EMFILE;
        return -1;
    }
    return got;
}
