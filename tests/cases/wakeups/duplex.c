/* One thread reads a connection and another writes it, by every mixture of waiting: nobody may sleep over an event. */
#include "case.h"

#include <sys/select.h>

#define LATE_MS 2000
#define TOTAL (768 << 10)   /* bytes of a turn each way */
#define TURNS 12
#define MOST_LATE 2

enum how { BY_CALL, BY_POLL, BY_SELECT, BY_EPOLL, BY_EDGE };

struct side {
    int fd, epoll;
    enum how how;
    short events;
    int late;
    bool broken;
};

static void prepare(struct side *side) {
    struct epoll_event event = {.events = side->events == POLLIN ? EPOLLIN : EPOLLOUT};
    if (side->how == BY_EDGE)
        event.events |= EPOLLET;
    if (side->how == BY_EPOLL || side->how == BY_EDGE) {
        side->epoll = epoll_create1(0);
        must(epoll_ctl(side->epoll, EPOLL_CTL_ADD, side->fd, &event) == 0, "epoll_ctl");
    }
}

/* Whether an event came; one that did not come within the time is late. */
static bool wait_for(struct side *side) {
    struct epoll_event event;
    struct timeval limit = {LATE_MS / 1000, 0};
    fd_set set;
    int ready = 0;
    double began = now();
    FD_ZERO(&set);
    FD_SET(side->fd, &set);
    if (side->how == BY_POLL)
        ready = poll(&(struct pollfd){side->fd, side->events, 0}, 1, LATE_MS);
    else if (side->how == BY_SELECT && side->events == POLLIN)
        ready = select(side->fd + 1, &set, NULL, NULL, &limit);
    else if (side->how == BY_SELECT)
        ready = select(side->fd + 1, NULL, &set, NULL, &limit);
    else if (side->how != BY_CALL)
        ready = epoll_wait(side->epoll, &event, 1, LATE_MS);
    if (ready <= 0 || now() - began > LATE_MS / 2e3)   /* also when it came back only as its time was over */
        side->late++;
    return ready > 0;
}

/* What a call that gives no progress is told; a blocking call has a time-out of LATE_MS. */
static bool may_go_on(struct side *side, ssize_t result) {
    if (result < 0 && errno == EAGAIN) {
        if (side->how != BY_CALL)
            return wait_for(side);
        side->late++;
        return false;
    }
    side->broken = true;
    return false;
}

/* Whether enough is known. */
static bool is_given_up(const struct side *side) {
    return side->late >= MOST_LATE;
}

static void *read_all(void *about) {
    struct side *side = about;
    static _Thread_local char data[1 << 16];
    size_t got = 0;
    while (got < TOTAL && !is_given_up(side)) {
        ssize_t more = recv(side->fd, data, sizeof(data), side->how == BY_CALL ? 0 : MSG_DONTWAIT);
        for (ssize_t i = 0; i < more; i++)
            side->broken |= (unsigned char)data[i] != (unsigned char)((got + (size_t)i) % 251);
        if (more > 0)
            got += (size_t)more;
        else if (!may_go_on(side, more))
            break;
    }
    return NULL;
}

static void *write_all(void *about) {
    struct side *side = about;
    static char data[TOTAL];
    size_t sent = 0;
    for (size_t i = 0; i < TOTAL; i++)
        data[i] = (char)(i % 251);
    while (sent < TOTAL && !is_given_up(side)) {
        size_t count = TOTAL - sent < 1 << 16 ? TOTAL - sent : 1 << 16;
        ssize_t more = send(side->fd, data + sent, count, MSG_NOSIGNAL | (side->how == BY_CALL ? 0 : MSG_DONTWAIT));
        if (more > 0)
            sent += (size_t)more;
        else if (!may_go_on(side, more))
            break;
    }
    return NULL;
}

static void *echo(void *about) {
    const struct link *link = about;
    static _Thread_local char data[1 << 16];
    ssize_t got;
    while ((got = recv(link->far, data, sizeof(data), 0)) > 0)
        for (ssize_t sent = 0, more; sent < got; sent += more)
            if ((more = send(link->far, data + sent, (size_t)(got - sent), MSG_NOSIGNAL)) <= 0)
                return NULL;
    return NULL;
}

static void duplex(enum how reading, enum how writing) {
    struct timeval limit = {LATE_MS / 1000, 0};
    int late = 0, broken = 0;
    for (int turn = 0; turn < TURNS && late < MOST_LATE; turn++) {
        struct link link = link_open();
        setsockopt(link.near, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        setsockopt(link.near, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
        struct side in = {.fd = link.near, .epoll = -1, .how = reading, .events = POLLIN};
        struct side out = {.fd = link.near, .epoll = -1, .how = writing, .events = POLLOUT};
        prepare(&in);
        prepare(&out);
        struct worker *far = work(echo, &link), *reader = work(read_all, &in), *writer = work(write_all, &out);
        must(is_over(writer, 6 * LATE_MS) && is_over(reader, 6 * LATE_MS), "the threads end");
        late += in.late + out.late;
        broken += in.broken + out.broken;
        shutdown(link.near, SHUT_RDWR);
        must(is_over(far, 5000), "the far end's thread ends");
        close(in.epoll);
        close(out.epoll);
        link_close(&link);
    }
    say("late", late);
    say("broken", broken);
}

#define MIXTURE(name, reading, writing)  \
    static void name(void) {             \
        duplex(reading, writing);        \
    }
#define TEST(name) {#name, name}

MIXTURE(recv_and_send, BY_CALL, BY_CALL)
MIXTURE(recv_and_poll, BY_CALL, BY_POLL)
MIXTURE(recv_and_epoll, BY_CALL, BY_EPOLL)
MIXTURE(poll_and_send, BY_POLL, BY_CALL)
MIXTURE(poll_and_poll, BY_POLL, BY_POLL)
MIXTURE(select_and_select, BY_SELECT, BY_SELECT)
MIXTURE(select_and_poll, BY_SELECT, BY_POLL)
MIXTURE(epoll_and_epoll, BY_EPOLL, BY_EPOLL)
MIXTURE(epoll_and_send, BY_EPOLL, BY_CALL)
MIXTURE(edge_and_edge, BY_EDGE, BY_EDGE)
MIXTURE(edge_and_poll, BY_EDGE, BY_POLL)

CASES(TEST(recv_and_send), TEST(recv_and_poll), TEST(recv_and_epoll), TEST(poll_and_send), TEST(poll_and_poll),
      TEST(select_and_select), TEST(select_and_poll), TEST(epoll_and_epoll), TEST(epoll_and_send),
      TEST(edge_and_edge), TEST(edge_and_poll))
