/* Calls that succeed leave errno as it was: nuttcp and others look at it after a loop of them. */
#include <sys/select.h>
#include <sys/uio.h>

#include "case.h"

#define UNTOUCHED 77
#define LEAVES(call) leaves(#call, (errno = UNTOUCHED, (long)(call)))

static void leaves(const char *call, long result) {
    int error = errno;
    must(result >= 0, call);
    if (error != UNTOUCHED)
        printf("%s sets errno to %d\n", call, error);
}

static void *send_later(void *about) {
    far_send(about, "abc", 3);
    return NULL;
}

static void use(struct link *link) {
    char data[64];
    int count;
    struct iovec iov = {data, sizeof(data)};
    struct pollfd one = {link->near, POLLIN, 0};
    LEAVES(send(link->near, "abc", 3, 0));
    LEAVES(write(link->near, "abc", 3));
    far_send(link, "0123456789", 10);
    LEAVES(poll(&one, 1, 1000));
    LEAVES(ioctl(link->near, FIONREAD, &count));
    LEAVES(recv(link->near, data, 1, MSG_PEEK));
    LEAVES(read(link->near, data, 4));
    LEAVES(readv(link->near, &iov, 1));
    struct worker *worker = work(send_later, link);
    LEAVES(recv(link->near, data, 3, MSG_WAITALL));   /* it may sleep */
    must(is_over(worker, 3000), "the far end has sent");
}

static void errno_of_all(void) {
    struct link link = link_open();
    char data[8];
    int on = 1, epoll = epoll_create1(0);
    struct epoll_event event = {EPOLLIN, {0}};
    use(&link);
    LEAVES(setsockopt(link.near, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
    LEAVES(epoll_ctl(epoll, EPOLL_CTL_ADD, link.near, &event));
    LEAVES(epoll_wait(epoll, &event, 1, 0));
    LEAVES(fcntl(link.near, F_SETFL, O_RDWR));
    LEAVES(shutdown(link.near, SHUT_WR));
    must(far_receive_all(&link, data, 6) == 6, "the far end reads");
    far_close(&link);
    LEAVES(recv(link.near, data, 1, 0));
    LEAVES(close(epoll));
    LEAVES(close(link.near));
    link.near = -1;
    note("done");
}

CASES({"errno_of_all", errno_of_all})
