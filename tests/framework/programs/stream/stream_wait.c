/* The stream program's single-threaded styles: reads and writes when poll, select or epoll says so. */
#include "stream.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

enum { READABLE = 1, WRITABLE = 2 };

/* Again when a signal came: SIGCHLD does that, though nobody handles it, while another thread forks. */
#define UNINTERRUPTED(call) \
    ({ \
        int result_; \
        do \
            result_ = (call); \
        while (result_ < 0 && errno == EINTR); \
        result_; \
    })

static int by_poll(struct stream *s, int wanted, int precise)
{
    struct pollfd one = {.fd = s->fd, .events = (wanted & READABLE ? POLLIN : 0) | (wanted & WRITABLE ? POLLOUT : 0)};
    struct timespec patience = {PATIENCE_MS / 1000, 0};
    if (UNINTERRUPTED(precise ? ppoll(&one, 1, &patience, NULL) : poll(&one, 1, PATIENCE_MS)) < 0)
        broken(s, "poll failed");
    return (one.revents & (POLLIN | POLLHUP | POLLERR) ? READABLE : 0) | (one.revents & POLLOUT ? WRITABLE : 0);
}

static int by_select(struct stream *s, int wanted, int precise)
{
    struct timeval patience = {PATIENCE_MS / 1000, 0};
    struct timespec precisely = {PATIENCE_MS / 1000, 0};
    fd_set reading, writing;
    FD_ZERO(&reading);
    FD_ZERO(&writing);
    if (wanted & READABLE)
        FD_SET(s->fd, &reading);
    if (wanted & WRITABLE)
        FD_SET(s->fd, &writing);
    if (UNINTERRUPTED(precise ? pselect(s->fd + 1, &reading, &writing, NULL, &precisely, NULL)
                              : select(s->fd + 1, &reading, &writing, NULL, &patience)) < 0)
        broken(s, "select failed");
    return (FD_ISSET(s->fd, &reading) ? READABLE : 0) | (FD_ISSET(s->fd, &writing) ? WRITABLE : 0);
}

static int by_epoll(struct stream *s, int epoll, int wanted, int precise)
{
    struct epoll_event event = {.events = (wanted & READABLE ? EPOLLIN : 0) | (wanted & WRITABLE ? EPOLLOUT : 0)};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, s->fd, &event))
        broken(s, "EPOLL_CTL_MOD failed");
    int count = UNINTERRUPTED(precise ? epoll_pwait(epoll, &event, 1, PATIENCE_MS, NULL)
                                      : epoll_wait(epoll, &event, 1, PATIENCE_MS));
    if (count < 0)
        broken(s, "epoll_wait failed");
    if (!count)
        return 0;
    return (event.events & (EPOLLIN | EPOLLHUP | EPOLLERR) ? READABLE : 0) | (event.events & EPOLLOUT ? WRITABLE : 0);
}

static int has_written(struct stream *s) { return s->written == s->total; }

/* Writes as often as may be; shuts the direction after the last byte. 0: there was no room. */
static int write_on(struct stream *s, unsigned times)
{
    while (times-- && !has_written(s)) {
        if (!write_some(s, 1))
            return 0;
        if (has_written(s))
            finish_writing(s);
    }
    return 1;
}

/* Reads as often as may be. 0: there was nothing more. */
static int read_on(struct stream *s, unsigned times)
{
    while (times-- && !s->ended)
        if (!read_some(s, 1))
            return 0;
    return 1;
}

static void set_blocking(struct stream *s, int blocking)
{
    int flags = fcntl(s->fd, F_GETFL);
    if (flags < 0 || fcntl(s->fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK))
        broken(s, "fcntl failed");
}

/* Edge triggered: an edge is good until the call says that there is nothing more. */
static void carry_by_edges(struct stream *s, int epoll)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
    int ready = 0;
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, s->fd, &event))
        broken(s, "EPOLL_CTL_MOD failed");
    while (!s->ended || !has_written(s)) {
        unsigned times = 1 + below(&s->chance, 8);
        if (ready & READABLE && !read_on(s, times))
            ready &= ~READABLE;
        if (ready & WRITABLE && !write_on(s, times))
            ready &= ~WRITABLE;
        int idle = !(ready & READABLE && !s->ended) && !(ready & WRITABLE && !has_written(s));
        if (s->ended && has_written(s))
            return;
        int count = UNINTERRUPTED(epoll_wait(epoll, &event, 1, idle ? PATIENCE_MS : 0));
        if (count < 0 || (!count && idle))
            broken(s, "no edge came");
        if (count && event.events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            ready |= READABLE;
        if (count && event.events & EPOLLOUT)
            ready |= WRITABLE;
    }
}

void carry_by_waiting(struct stream *s, int style)
{
    struct epoll_event nothing = {.events = 0};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &nothing))
        broken(s, "epoll_ctl failed");
    set_blocking(s, 0);
    if (style == EDGE)
        carry_by_edges(s, epoll);
    while (!s->ended || !has_written(s)) {
        int way = style == MIXED ? POLL + (int)below(&s->chance, EPOLL - POLL + 1) : style;
        int wanted = (s->ended ? 0 : READABLE) | (has_written(s) ? 0 : WRITABLE);
        int precise = below(&s->chance, 2);
        if (style == MIXED && !below(&s->chance, 16))
            set_blocking(s, below(&s->chance, 2));
        int ready = way == POLL     ? by_poll(s, wanted, precise)
                    : way == SELECT ? by_select(s, wanted, precise)
                                    : by_epoll(s, epoll, wanted, precise);
        if (!ready)
            broken(s, "nothing came and there is no room");
        /* What is said to be possible must be possible once; whether more is, one sees. */
        if (ready & READABLE && wanted & READABLE) {
            if (!read_on(s, 1))
                broken(s, "said to be readable, and is not");
            read_on(s, below(&s->chance, 6));
        }
        if (ready & WRITABLE && wanted & WRITABLE && write_on(s, 1))
            write_on(s, below(&s->chance, 6));
    }
    close(epoll);
}
