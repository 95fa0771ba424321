/* Several threads, or a parent and its child, wait for the same connection: one event wakes all of them. */
#include "case.h"

#include <sys/select.h>

#define LATE_MS 600
#define LIMIT_MS 1500   /* of a call; one that comes back with its event only then is late as well */
#define TURNS 25
#define MOST_LATE 3

struct waiter {
    int fd;
    char how;   /* p, s, e */
};

static double sent_at;

static void *wait_once(void *about) {
    const struct waiter *waiter = about;
    struct timeval limit = {LIMIT_MS / 1000, LIMIT_MS % 1000 * 1000};
    struct epoll_event event = {.events = EPOLLIN};
    fd_set set;
    long ready = 0;
    FD_ZERO(&set);
    FD_SET(waiter->fd, &set);
    if (waiter->how == 'p') {
        ready = poll(&(struct pollfd){waiter->fd, POLLIN, 0}, 1, LIMIT_MS);
    } else if (waiter->how == 's') {
        ready = select(waiter->fd + 1, &set, NULL, NULL, &limit);
    } else {
        int epoll = epoll_create1(0);
        epoll_ctl(epoll, EPOLL_CTL_ADD, waiter->fd, &event);
        ready = epoll_wait(epoll, &event, 1, LIMIT_MS);
        close(epoll);
    }
    return ready > 0 ? about : NULL;
}

static void send_byte(const struct link *link) {
    sent_at = now();
    far_send(link, "a", 1);
}

/* Whether the thread was told of the event in time. */
static bool is_woken(struct worker *worker) {
    must(is_over(worker, 2 * LIMIT_MS), "a thread keeps its time-out");
    return worker->result != NULL && now() - sent_at < LATE_MS / 1e3;
}

/* All of these threads are asleep when a byte comes; those that still are when their time is over are late. */
static void crowd(const char *how) {
    struct link link = link_open();
    int late = 0;
    char byte;
    for (int turn = 0; turn < TURNS && late < MOST_LATE; turn++) {
        struct waiter waiters[4];
        struct worker *workers[4];
        size_t count = strlen(how);
        for (size_t i = 0; i < count; i++) {
            waiters[i] = (struct waiter){link.near, how[i]};
            workers[i] = work_asleep(wait_once, &waiters[i]);
        }
        send_byte(&link);
        for (size_t i = 0; i < count; i++) {
            late += !is_woken(workers[i]);
        }
        must(recv(link.near, &byte, 1, MSG_DONTWAIT) == 1, "the byte is there");
    }
    say("late", late);
    link_close(&link);
}

static void two_in_poll(void) {
    crowd("pp");
}

static void three_in_poll(void) {
    crowd("ppp");
}

static void three_in_select(void) {
    crowd("sss");
}

static void three_in_epoll(void) {
    crowd("eee");
}

static void mixed(void) {
    crowd("pse");
}

/* Several threads share one epoll that is level-triggered; at least one wakes for each byte, and takes it. */
static atomic_int taken;

struct sharer {
    int fd, epoll;
};

static void *take_bytes(void *about) {
    const struct sharer *sharer = about;
    struct epoll_event event;
    char byte;
    while (epoll_wait(sharer->epoll, &event, 1, 8000) == 1) {
        ssize_t got = recv(sharer->fd, &byte, 1, MSG_DONTWAIT);
        if (got == 0)
            break;
        taken += got == 1;
    }
    return NULL;
}

static bool is_taken(void *about) {
    return taken >= *(int *)about;
}

static void one_epoll(void) {
    struct link link = link_open();
    struct sharer sharer = {link.near, epoll_create1(0)};
    struct epoll_event event = {.events = EPOLLIN};
    struct worker *workers[3];
    int late = 0;
    taken = 0;
    epoll_ctl(sharer.epoll, EPOLL_CTL_ADD, link.near, &event);
    for (int i = 0; i < 3; i++)
        workers[i] = work_asleep(take_bytes, &sharer);
    for (int turn = 1; turn <= TURNS && late < MOST_LATE; turn++) {
        send_byte(&link);
        late += !await(is_taken, &turn, LATE_MS);
    }
    far_shutdown(&link, SHUT_WR);
    for (int i = 0; i < 3; i++)
        late += !is_over(workers[i], LATE_MS);
    say("late", late);
    close(sharer.epoll);
    link_close(&link);
}

static void *receive_bytes(void *about) {
    const struct link *link = about;
    char byte;
    while (recv(link->near, &byte, 1, 0) == 1)
        taken++;
    return NULL;
}

/* Each byte wakes one of three threads in recv; the end wakes all. */
static void three_in_recv(void) {
    struct link link = link_open();
    struct worker *workers[3];
    int late = 0;
    taken = 0;
    for (int i = 0; i < 3; i++)
        workers[i] = work_asleep(receive_bytes, &link);
    for (int turn = 1; turn <= TURNS && late < MOST_LATE; turn++) {
        send_byte(&link);
        late += !await(is_taken, &turn, LATE_MS);
    }
    far_shutdown(&link, SHUT_WR);
    for (int i = 0; i < 3; i++)
        late += !is_over(workers[i], LATE_MS);
    say("late", late);
    link_close(&link);
}

/* A child by fork waits beside its parent; both hear of each byte. */
static void parent_and_child(void) {
    struct link link = link_open();
    struct waiter waiter = {link.near, 'p'};
    int go[2], done[2], late = 0;
    char byte = 0;
    must(pipe(go) == 0 && pipe(done) == 0, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        close(go[1]);
        while (read(go[0], &byte, 1) == 1) {
            double began = now();
            byte = wait_once(&waiter) != NULL && now() - began < LATE_MS / 1e3;
            if (write(done[1], &byte, 1) != 1)
                break;
        }
        _exit(0);
    }
    for (int turn = 0; turn < TURNS && late < MOST_LATE; turn++) {
        must(write(go[1], "g", 1) == 1, "tell the child");
        await_asleep(pid);
        struct worker *worker = work_asleep(wait_once, &waiter);
        send_byte(&link);
        late += !is_woken(worker);
        must(read(done[0], &byte, 1) == 1, "hear of the child");
        late += byte == 0;
        must(recv(link.near, &byte, 1, MSG_DONTWAIT) == 1, "the byte is there");
    }
    say("late", late);
    close(go[1]);
    waitpid(pid, NULL, 0);
    close(go[0]);
    close(done[0]);
    close(done[1]);
    link_close(&link);
}

CASES({"two_in_poll", two_in_poll}, {"three_in_poll", three_in_poll}, {"three_in_select", three_in_select},
      {"three_in_epoll", three_in_epoll}, {"mixed", mixed}, {"one_epoll", one_epoll},
      {"three_in_recv", three_in_recv}, {"parent_and_child", parent_and_child})
