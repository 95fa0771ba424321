/* Taking bytes off a doorbell that a hostile peer may put descriptors into.
 *
 * A descriptor that nobody asks for is closed by the kernel, in the thread that takes the byte it came with, and that
 * takes as long as its owner likes: seconds for a TCP socket that lingers. Since Linux 6.16 a socket can refuse them, and
 * the hosting daemon has both ends of a doorbell do so before it hands them out. Where the kernel can't, we look before
 * we take: a look closes nothing. What a doorbell with descriptors in it still holds is closed with it, so that is left
 * to a thread that may wait.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

enum doorbell_state { DOORBELL_RANG, DOORBELL_ENDED, DOORBELL_BROKEN };

/* Whether nobody can have put a descriptor into it. */
static inline bool doorbell_refuses_descriptors(int fd) {
    int passes = 1;
    socklen_t length = sizeof(passes);
    return getsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &passes, &length) == 0 && passes == 0;
}

/* How many bytes are there to be taken; -1 when there is a descriptor among them. */
static inline ssize_t doorbell_look(int fd, char *bytes, size_t room) {
    struct iovec iov = {bytes, room};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t got = recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);
    return got > 0 && (message.msg_flags & MSG_CTRUNC) ? -1 : got > 0 ? got : (ssize_t)room;
}

/* Empties it, or takes what it can at once. The end of the stream, or a reset, is the peer's death. */
static inline enum doorbell_state doorbell_take(int fd, bool refuses) {
    char bytes[256];
    ssize_t room = refuses ? (ssize_t)sizeof(bytes) : doorbell_look(fd, bytes, sizeof(bytes));
    if (room < 0)
        return DOORBELL_BROKEN;
    ssize_t got = recv(fd, bytes, (size_t)room, MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR) ? DOORBELL_ENDED : DOORBELL_RANG;
}
