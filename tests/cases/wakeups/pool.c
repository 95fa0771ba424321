/* A pool of threads: one waits in an epoll for requests, once and by edges, and workers read, answer and arm anew. */
#include "case.h"

#include <semaphore.h>

#define LATE_MS 2000
#define REQUEST 64
#define ANSWER (1 << 20)
#define REQUESTS 12
#define MOST_LATE 2
#define FLAGS (EPOLLIN | EPOLLET | EPOLLONESHOT | EPOLLRDHUP)

static struct link connection;
static int epoll;
static sem_t requested;
static atomic_int late;

static void *wait_for_requests(void *about) {
    struct epoll_event event;
    (void)about;
    for (;;)
        if (epoll_wait(epoll, &event, 1, -1) == 1) {
            if (event.data.u32 == 2)   /* the test is over */
                return NULL;
            sem_post(&requested);
        }
}

static bool wait_for(short events) {
    double began = now();
    bool came = await_events(connection.near, events, LATE_MS) != 0;
    late += !came || now() - began > LATE_MS / 2e3;
    return came;
}

static bool read_request(void) {
    char data[REQUEST];
    size_t got = 0;
    while (got < sizeof(data)) {
        ssize_t more = recv(connection.near, data + got, sizeof(data) - got, MSG_DONTWAIT);
        if (more > 0)
            got += (size_t)more;
        else if (more == 0 || !wait_for(POLLIN))
            return false;
    }
    return true;
}

static bool write_answer(void) {
    static const char data[ANSWER];
    size_t sent = 0;
    while (sent < sizeof(data)) {
        ssize_t more = send(connection.near, data + sent, sizeof(data) - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (more > 0)
            sent += (size_t)more;
        else if (!wait_for(POLLOUT))
            return false;
    }
    return true;
}

static void *serve(void *about) {
    struct epoll_event event = {.events = FLAGS, .data.u32 = 1};
    (void)about;
    for (;;) {
        sem_wait(&requested);
        if (!read_request() || !write_answer())
            return NULL;
        epoll_ctl(epoll, EPOLL_CTL_MOD, connection.near, &event);
    }
}

/* A request in two parts, and its whole answer. */
static bool ask(unsigned *seed) {
    static char data[1 << 16];
    struct timeval limit = {LATE_MS / 1000, 0};
    size_t cut = 1 + (size_t)rand_r(seed) % (REQUEST - 1), got = 0;
    setsockopt(connection.far, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    far_send(&connection, data, cut);
    for (volatile int turns = rand_r(seed) % 30000; turns > 0; turns--)
        ;
    far_send(&connection, data, REQUEST - cut);
    while (got < ANSWER) {
        ssize_t more = recv(connection.far, data, sizeof(data), 0);
        if (more <= 0)
            return false;
        got += (size_t)more;
    }
    return true;
}

static void pool(void) {
    struct epoll_event event = {.events = FLAGS, .data.u32 = 1};
    int over[2], answered = 0;
    unsigned seed = 7;
    late = 0;
    connection = link_open();
    epoll = epoll_create1(0);
    must(pipe(over) == 0 && sem_init(&requested, 0, 0) == 0, "prepare");
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, connection.near, &event) == 0, "epoll_ctl");
    event = (struct epoll_event){.events = EPOLLIN, .data.u32 = 2};
    epoll_ctl(epoll, EPOLL_CTL_ADD, over[0], &event);
    struct worker *waiter = work(wait_for_requests, NULL), *server = work(serve, NULL);
    for (int i = 0; i < REQUESTS && late < MOST_LATE; i++) {
        if (ask(&seed))
            answered++;
        else
            late++;
    }
    far_close(&connection);
    must(is_over(server, 2 * LATE_MS), "the worker ends");
    must(write(over[1], "x", 1) == 1 && is_over(waiter, LATE_MS), "the waiting thread ends");
    say("answered", answered);
    say("late", late);
    close(epoll);
    close(over[0]);
    close(over[1]);
    link_close(&connection);
}

CASES({"pool", pool})
