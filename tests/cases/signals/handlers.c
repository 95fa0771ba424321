/* Handlers that use connections, interrupt calls on them, and leave these by a jump. */
#include "case.h"

#include <dirent.h>
#include <setjmp.h>
#include <sys/select.h>
#include <sys/time.h>

enum { MESSAGE = 2048, MESSAGES = 20000, ENOUGH = 100, ROUNDS = 200 };

static struct link shared;
static int set, other = -1;
static atomic_int handled;
static sigjmp_buf before;
static volatile sig_atomic_t may_jump;

/* A signal each `us`, which only this thread takes. */
static void begin_signals(void (*handle)(int), int us) {
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
    struct itimerval each = {{0, us}, {0, us}};
    handled = 0;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &each, NULL);
}

static void end_signals(void) {
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
    signal(SIGALRM, SIG_IGN);
}

static struct worker *work_without_signals(void *(*run)(void *), void *about) {
    sigset_t signals, was;
    sigemptyset(&signals);
    sigaddset(&signals, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &signals, &was);
    struct worker *worker = work(run, about);
    pthread_sigmask(SIG_SETMASK, &was, NULL);
    return worker;
}

/* ------------------------------------------------------------------------------------ writing in a handler */

static bool send_message(char letter) {
    char data[MESSAGE];
    memset(data, letter, sizeof(data));
    if (poll(&(struct pollfd){shared.near, POLLOUT, 0}, 1, 0) != 1)   /* then there is room for all of it */
        return false;
    ssize_t sent = send(shared.near, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL);
    must(sent == MESSAGE || sent < 0, "a whole message");
    return sent > 0;
}

static void send_in_handler(int number) {
    int saved = errno;
    (void)number;
    handled += send_message('h');
    errno = saved;
}

static void *count_mixed(void *about) {
    int *mixed = about;
    char data[MESSAGE];
    while (far_receive_all(&shared, data, sizeof(data)) == sizeof(data))
        for (int i = 1; i < MESSAGE; i++)
            if (data[i] != data[0]) {
                ++*mixed;
                break;
            }
    return NULL;
}

static void messages_apart(void) {
    int mixed = 0;
    shared = link_open();
    struct worker *worker = work_without_signals(count_mixed, &mixed);
    begin_signals(send_in_handler, 50);
    for (int sent = 0; sent < MESSAGES || handled < ENOUGH;)
        if (send_message('m'))
            sent++;
        else
            poll(&(struct pollfd){shared.near, POLLOUT, 0}, 1, 10);
    end_signals();
    shutdown(shared.near, SHUT_WR);
    say_is("the reader ends", is_over(worker, 5000));
    say("mixed messages", mixed);
    link_close(&shared);
}

/* ------------------------------------------------------------------------------------- the same calls inside */

static void make_calls(int which) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT};
    struct pollfd entry = {shared.near, POLLIN, 0};
    fd_set fds;
    int copy;
    switch (which % 5) {
    case 0: epoll_wait(set, &event, 1, 0); break;
    case 1: epoll_ctl(set, EPOLL_CTL_MOD, shared.near, &event); break;
    case 2: poll(&entry, 1, 0); break;
    case 3:
        FD_ZERO(&fds);
        FD_SET(shared.near, &fds);
        select(shared.near + 1, &fds, NULL, NULL, &(struct timeval){0, 0});
        break;
    default:   /* in two sets, and out of them again */
        copy = dup(shared.near);
        epoll_ctl(set, EPOLL_CTL_ADD, copy, &event);
        close(copy);
    }
}

static void call_in_handler(int number) {
    int saved = errno;
    (void)number;
    make_calls(handled++);
    errno = saved;
}

static void calls_in_handlers(void) {
    struct epoll_event event = {.events = EPOLLIN};
    shared = link_open();
    set = epoll_create1(0);
    epoll_ctl(set, EPOLL_CTL_ADD, shared.near, &event);
    begin_signals(call_in_handler, 50);
    for (int i = 0; i < 5 * ROUNDS || handled < 5 * ENOUGH; i++)
        make_calls(i);
    end_signals();
    note("all calls returned");
    close(set);
    link_close(&shared);
}

/* ------------------------------------------------------------------------------------------------- jumps */

static void jump(int number) {
    (void)number;
    handled++;
    if (may_jump) {
        may_jump = 0;
        siglongjmp(before, 1);
    }
}

/* In the middle of something, or asleep. */
static void call_until_jump(int which) {
    struct epoll_event event = {.events = EPOLLIN};
    struct pollfd entry = {shared.near, POLLIN, 0};
    char byte;
    fd_set fds;
    if (sigsetjmp(before, 1) != 0)
        return;
    may_jump = 1;
    for (;;)
        switch (which % 8) {
        case 0: epoll_wait(set, &event, 1, -1); break;
        case 1: epoll_ctl(set, EPOLL_CTL_MOD, shared.near, &event); break;
        case 2: poll(&entry, 1, -1); break;
        case 3:
            FD_ZERO(&fds);
            FD_SET(shared.near, &fds);
            select(shared.near + 1, &fds, NULL, NULL, NULL);
            break;
        case 4: send(other, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL); break;
        case 5: recv(shared.near, &byte, 1, 0); break;
        case 6: recv(shared.near, &byte, 1, MSG_DONTWAIT); break;
        default: epoll_wait(set, &event, 1, 0);
        }
}

static int count_descriptors(void) {
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;
    must(folder != NULL, "/proc/self/fd");
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static void open_and_jump(void) {
    struct epoll_event event = {.events = EPOLLIN};
    shared = link_open();
    other = dup(shared.near);
    set = epoll_create1(0);
    epoll_ctl(set, EPOLL_CTL_ADD, shared.near, &event);
    begin_signals(jump, 200);
    for (int i = 0; i < ROUNDS; i++)
        call_until_jump(i);
    end_signals();
}

static void close_all(void) {
    close(set);
    close(other);
    link_close(&shared);
}

static void jumps(void) {
    char byte;
    open_and_jump();   /* what the library makes once is there afterwards */
    close_all();
    int descriptors = count_descriptors();
    open_and_jump();
    far_send(&shared, "y", 1);
    say_text("recv", &byte, recv(shared.near, &byte, 1, 0));
    close_all();
    say("descriptors left", count_descriptors() - descriptors);
}

CASES({"messages_apart", messages_apart}, {"calls_in_handlers", calls_in_handlers}, {"jumps", jumps})
