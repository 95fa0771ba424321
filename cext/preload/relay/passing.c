/* Direct descriptors in messages to other processes (SCM_RIGHTS): they become relays first.
 *
 * The sender's descriptor becomes the relay's end too, under its number: so the message stays as it is, and a sender
 * that keeps its descriptor shares the connection with the receiver as it would share a TCP socket. Listeners and
 * sockets that are not direct are passed as ever.
 */
#include "relay/passing.h"

#include <string.h>

#include "base/process.h"
#include "base/real.h"
#include "relay/relay.h"

static int prepare(const struct msghdr *message) {
    struct cmsghdr *each = CMSG_FIRSTHDR(message);
    for (; each != NULL; each = CMSG_NXTHDR((struct msghdr *)message, each)) {
        if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS || each->cmsg_len < CMSG_LEN(0))
            continue;
        const char *end = (const char *)message->msg_control + message->msg_controllen;
        size_t room = (size_t)(end - (const char *)CMSG_DATA(each)), bytes = each->cmsg_len - CMSG_LEN(0);
        for (size_t at = 0; at + sizeof(int) <= bytes && at + sizeof(int) <= room; at += sizeof(int)) {
            int fd;
            memcpy(&fd, CMSG_DATA(each) + at, sizeof(fd));
            if (UNLIKELY(conn_of(fd) != NULL) && !process_is_borrowed() && relay_replace(fd) != 0)
                return -1;
        }
    }
    return 0;
}

ssize_t passing_sendmsg(int fd, const struct msghdr *message, int flags) {
    if (!is_bad(message) && !is_bad(message->msg_control) && message->msg_controllen != 0 && entry_highest >= 0 &&
        prepare(message) != 0)
        return -1;
    return real_sendmsg(fd, message, flags);
}

int passing_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
    for (unsigned i = 0; entry_highest >= 0 && !is_bad(messages) && i < count; i++) {
        const struct msghdr *message = &messages[i].msg_hdr;
        if (!is_bad(message->msg_control) && message->msg_controllen != 0 && prepare(message) != 0)
            return -1;
    }
    return real_sendmmsg(fd, messages, count, flags);
}
