/* What a call does whose connection has gone back to TCP under it: see plain.h. */
#include "wait/plain.h"

#include "base/real.h"
#include "base/signals.h"

size_t plain_send_rest(const struct conn *conn, int fd, const struct iovec *iov, size_t count, int flags,
                       size_t total) {
    int tcp = conn->tcp >= 0 ? conn->tcp : conn_is_under(conn, fd) ? fd : -1;
    size_t moved = total, skip = total;
    struct opening opening;
    for (; count > 0 && skip >= iov->iov_len; iov++, count--)
        skip -= iov->iov_len;
    handlers_open(&opening);
    while (count > 0 && tcp >= 0) {
        struct iovec first = {(char *)iov->iov_base + skip, iov->iov_len - skip};
        struct msghdr message = {.msg_iov = skip != 0 ? &first : (struct iovec *)iov,
                                 .msg_iovlen = skip != 0 ? 1 : count};
        ssize_t n = real_sendmsg(tcp, &message, flags | MSG_NOSIGNAL); /* the next call tells of an error */
        if (n > 0)
            moved += (size_t)n;
        if (skip == 0 || n != (ssize_t)first.iov_len)
            break;
        skip = 0;
        iov++;
        count--;
    }
    handlers_close(&opening);
    return moved;
}
