/* SIGIO for what comes on a connection, and its owner, set before the connection is made or after. */
#include "case.h"

#define LIMIT_S 2

static sigset_t blocked;

static void block_signals(void) {
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGIO);
    sigaddset(&blocked, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
}

static void forget_signals(void) {
    struct timespec none = {0, 0};
    while (sigtimedwait(&blocked, NULL, &none) > 0)
        ;
}

static void say_signal(const char *what, int fd) {
    siginfo_t information = {.si_signo = 0};
    struct timespec limit = {LIMIT_S, 0};
    int number = sigtimedwait(&blocked, &information, &limit);
    printf("%s: %s%s\n", what, number == SIGIO ? "SIGIO" : number == SIGRTMIN ? "SIGRTMIN" : "none",
           number == SIGRTMIN ? (information.si_fd == fd ? " for it" : " for another") : "");
}

static void say_bytes(int fd) {
    char data[16];
    say_text("recv", data, recv(fd, data, sizeof(data), MSG_DONTWAIT));
}

static void own(int fd) {
    must(fcntl(fd, F_SETOWN, getpid()) == 0, "F_SETOWN");
    must(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC) == 0, "O_ASYNC");
}

static void say_owner(int fd) {
    say_is("owner kept", fcntl(fd, F_GETOWN) == getpid());
    say_is("O_ASYNC kept", (fcntl(fd, F_GETFL) & O_ASYNC) != 0);
}

static void say_all(struct link *link) {
    say_owner(link->near);
    forget_signals();
    far_send(link, "hello", 5);
    say_signal("signal", link->near);
    say_bytes(link->near);
    forget_signals();
    far_close(link);
    say_signal("signal at the end", link->near);
    say_bytes(link->near);
    link_close(link);
}

static void owner_after_connect(void) {
    block_signals();
    struct link link = link_open();
    own(link.near);
    say_all(&link);
}

static void owner_before_connect(void) {
    char byte;
    block_signals();
    if (listener < 0)
        listener = listen_at(&address, 16);
    struct link link = {.near = socket(AF_INET, SOCK_STREAM, 0)};
    own(link.near);
    must(connect(link.near, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
    link.far = accept_from(listener);
    must(send(link.near, "1", 1, 0) == 1 && recv(link.far, &byte, 1, 0) == 1, "greet");
    must(send(link.far, "2", 1, 0) == 1 && recv(link.near, &byte, 1, 0) == 1, "greet");
    expect_direct();
    say_all(&link);
}

static void signal_chosen(void) {
    block_signals();
    struct link link = link_open();
    must(fcntl(link.near, F_SETSIG, SIGRTMIN) == 0, "F_SETSIG");
    own(link.near);
    say_all(&link);
}

static void owner_by_ioctl(void) {
    int one = 1, owner = getpid();
    block_signals();
    struct link link = link_open();
    say("SIOCSPGRP", ioctl(link.near, SIOCSPGRP, &owner));
    say("FIOASYNC", ioctl(link.near, FIOASYNC, &one));
    say_all(&link);
}

static void owner_of_listener(void) {
    block_signals();
    if (listener >= 0)
        close(listener);
    listener = listen_at(&address, 16);
    own(listener);
    int client = connect_to(&address);
    say_signal("signal of the listener", listener);
    int server = accept_from(listener);
    say_is("O_ASYNC inherited", (fcntl(server, F_GETFL) & O_ASYNC) != 0);
    close(client);
    close(server);
}

/* A handler sends on the connection on which the interrupted code is sending. */
static struct link shared;
static atomic_long sent_by_handler;

static void send_in_handler(int number) {
    int error = errno;
    (void)number;
    if (send(shared.near, "h", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1)
        sent_by_handler++;
    errno = error;
}

static void *count_all(void *about) {
    static char data[1 << 16];
    long *total = about;
    size_t got;
    while ((got = far_receive(&shared, data, sizeof(data))) > 0)
        *total += (long)got;
    return NULL;
}

static void handler_sends(void) {
    static const char data[4096];
    struct sigaction action = {.sa_handler = send_in_handler, .sa_flags = SA_RESTART};
    long received = 0, sent = 0;
    sent_by_handler = 0;
    shared = link_open();
    sigaction(SIGUSR1, &action, NULL);
    struct worker *worker = work(count_all, &received);
    for (int i = 0; i < 3000; i++) {
        if (i % 10 == 0)
            kill(getpid(), SIGUSR1);   /* any thread may take it, also in the midst of a call */
        ssize_t count = send(shared.near, data, sizeof(data), MSG_NOSIGNAL);
        must(count > 0, "send");
        sent += count;
    }
    shutdown(shared.near, SHUT_WR);
    say_is("the reader ends", is_over(worker, 5000));
    say_is("handlers sent", sent_by_handler > 0);
    say_is("all was received", received == sent + sent_by_handler);
    link_close(&shared);
}

CASES({"owner_after_connect", owner_after_connect}, {"owner_before_connect", owner_before_connect},
      {"signal_chosen", signal_chosen}, {"owner_by_ioctl", owner_by_ioctl}, {"owner_of_listener", owner_of_listener},
      {"handler_sends", handler_sends})
