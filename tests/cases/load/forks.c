/* Children that are made while other threads connect, send and receive. */
#include "case.h"

#define CHILDREN 40
#define THREADS 3
#define MANY 400

static atomic_bool is_over_now;
static atomic_int failures;

/* Answers each client with one byte, until the listener is shut down. */
static void *answer(void *about) {
    int fd = *(int *)about;
    char byte;
    for (int server; (server = accept(fd, NULL, NULL)) >= 0; close(server))
        if (recv(server, &byte, 1, 0) == 1)
            send(server, &byte, 1, MSG_NOSIGNAL);
    return NULL;
}

static bool talk(void) {
    struct timeval limit = {3, 0};
    char byte = 'q';
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    bool is_right = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
                    send(fd, &byte, 1, MSG_NOSIGNAL) == 1 && recv(fd, &byte, 1, 0) == 1 && byte == 'q';
    close(fd);
    return is_right;
}

static void *keep_talking(void *about) {
    (void)about;
    while (!is_over_now)
        failures += !talk();
    return NULL;
}

/* Whether the child ended well and in time; otherwise it is killed. */
static bool has_ended(void *about) {
    pid_t *pid = about;
    int status = -1;
    if (waitpid(*pid, &status, WNOHANG) != *pid)
        return false;
    *pid = status == 0 ? 0 : -1;
    return true;
}

static bool ends_well(pid_t pid) {
    pid_t left = pid;
    if (await(has_ended, &left, 4000))
        return left == 0;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return false;
}

struct talkers { struct worker *server, *clients[THREADS]; };

/* Threads that connect all the time, to one that answers. */
static struct talkers begin_to_talk(void) {
    struct talkers talkers;
    is_over_now = false;
    failures = 0;
    talkers.server = work(answer, &listener);
    for (int i = 0; i < THREADS; i++)
        talkers.clients[i] = work(keep_talking, NULL);
    return talkers;
}

static void end_to_talk(const struct talkers *talkers, int bad) {
    is_over_now = true;
    for (int i = 0; i < THREADS; i++)
        must(is_over(talkers->clients[i], 4000), "the threads end");
    shutdown(listener, SHUT_RDWR);
    must(is_over(talkers->server, 4000), "the server ends");
    say("children that failed", bad);
    say("threads' connections that failed", failures);
    close(listener);
}

/* Each child connects as well. */
static void fork_beside_connects(void) {
    int bad = 0;
    listener = listen_at(&address, 64);
    struct link link = link_from(listener);
    struct talkers talkers = begin_to_talk();
    for (int i = 0; i < CHILDREN && bad < 2; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(talk() ? 0 : 1);
        bad += !ends_well(pid);
    }
    end_to_talk(&talkers, bad);
    link_close(&link);
}

/* There is a child in each moment of a connection: what is written just then must not get lost. */
static void fork_in_each_moment(void) {
    int bad = 0;
    listener = listen_at(&address, 64);
    struct talkers talkers = begin_to_talk();
    for (int i = 0; i < MANY && bad < 2 && failures == 0; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        bad += !ends_well(pid);
    }
    end_to_talk(&talkers, bad);
}

static void *send_all_the_time(void *about) {
    const struct link *link = about;
    static char data[1 << 14];
    long sent = 0;
    while (!is_over_now) {
        ssize_t more = send(link->near, data, sizeof(data), MSG_NOSIGNAL);
        if (more <= 0)
            break;
        sent += more;
    }
    shutdown(link->near, SHUT_WR);
    return (void *)sent;
}

static void *receive_all_the_time(void *about) {
    const struct link *link = about;
    static char data[1 << 16];
    long received = 0;
    ssize_t more;
    while ((more = recv(link->far, data, sizeof(data), 0)) > 0)
        received += more;
    return more == 0 ? (void *)received : NULL;
}

/* Children come and go beside a stream, of which they have a copy that they do not touch. */
static void fork_beside_traffic(void) {
    struct link link = link_open();
    int bad = 0;
    is_over_now = false;
    struct worker *sender = work(send_all_the_time, &link), *receiver = work(receive_all_the_time, &link);
    for (int i = 0; i < CHILDREN && bad < 2; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        bad += !ends_well(pid);
    }
    is_over_now = true;
    must(is_over(sender, 4000) && is_over(receiver, 4000), "the threads end");
    say("children that failed", bad);
    say_is("all was received", sender->result == receiver->result && sender->result != NULL);
    link_close(&link);
}

CASES({"fork_beside_connects", fork_beside_connects}, {"fork_in_each_moment", fork_in_each_moment},
      {"fork_beside_traffic", fork_beside_traffic})
