/* A child has inherited the connection by exec and does nothing with it; its parent still wakes in time. */
#include "case.h"

#include <spawn.h>
#include <sys/select.h>

#define LATE_MS 600
#define LIMIT_MS 1500
#define TURNS 30
#define BUSY_MS 30   /* whoever looks again and again before it sleeps, in whichever process, is asleep by then */
#define MOST_LATE 4

extern char **environ;

/* It ends when we close our end of its input. */
static pid_t fork_child(int input, int fd) {
    fcntl(fd, F_SETFD, 0);
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        dup2(input, 0);
        execlp("cat", "cat", (char *)NULL);
        _exit(1);
    }
    return pid;
}

static pid_t spawn_child(int input, int fd) {
    posix_spawn_file_actions_t actions;
    pid_t pid = -1;
    char *words[] = {"cat", NULL};
    fcntl(fd, F_SETFD, 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input, 0);
    must(posix_spawnp(&pid, "cat", &actions, NULL, words, environ) == 0, "start cat");
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

static int look(char how, int fd, int epoll) {
    struct timeval limit = {LIMIT_MS / 1000, LIMIT_MS % 1000 * 1000};
    struct epoll_event event;
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    if (how == 'p')
        return poll(&(struct pollfd){fd, POLLIN, 0}, 1, LIMIT_MS);
    if (how == 's')
        return select(fd + 1, &set, NULL, NULL, &limit);
    if (how == 'e')
        return epoll_wait(epoll, &event, 1, LIMIT_MS);
    char byte;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return recv(fd, &byte, 1, MSG_PEEK) == 1;
}

struct sender {
    struct link *link;
    pid_t main;
    double sent_at;
};

static void *send_when_asleep(void *about) {
    struct sender *sender = about;
    await_asleep(sender->main);
    poll(NULL, 0, BUSY_MS);
    sender->sent_at = now();
    far_send(sender->link, "a", 1);
    return NULL;
}

static void inherited(char how) {
    struct link link = link_open();
    struct sender sender = {&link, getpid(), 0};
    struct epoll_event event = {.events = EPOLLIN};
    int input[2], epoll = epoll_create1(EPOLL_CLOEXEC), late = 0;
    char byte;
    must(pipe2(input, O_CLOEXEC) == 0, "pipe");
    pid_t pid = fork_child(input[0], link.near);
    epoll_ctl(epoll, EPOLL_CTL_ADD, link.near, &event);
    for (int turn = 0; turn < TURNS && late < MOST_LATE; turn++) {
        struct worker *worker = work(send_when_asleep, &sender);
        int ready = look(how, link.near, epoll);
        double woken_at = now();
        pthread_join(worker->id, NULL);
        late += ready != 1 || woken_at - sender.sent_at > LATE_MS / 1e3;
        recv(link.near, &byte, 1, 0);
    }
    say("late", late);
    close(input[1]);
    waitpid(pid, NULL, 0);
    close(input[0]);
    close(epoll);
    link_close(&link);
}

static void exec_and_poll(void) {
    inherited('p');
}

static void exec_and_select(void) {
    inherited('s');
}

static void exec_and_epoll(void) {
    inherited('e');
}

static void exec_and_recv(void) {
    inherited('r');
}

/* The end is said when the child's copy has gone as well. */
static void keeps_the_end(pid_t (*start_child)(int, int)) {
    struct link link = link_open();
    int input[2];
    must(pipe2(input, O_CLOEXEC) == 0, "pipe");
    fcntl(link.far, F_SETFD, FD_CLOEXEC);
    pid_t pid = start_child(input[0], link.near);
    close(link.near);
    link.near = -1;
    say("events while the child lives", await_events(link.far, POLLIN, 100));
    close(input[1]);
    waitpid(pid, NULL, 0);
    say_far("far", &link);
    close(input[0]);
    link_close(&link);
}

static void exec_keeps_the_end(void) {
    keeps_the_end(fork_child);
}

static void spawn_keeps_the_end(void) {
    keeps_the_end(spawn_child);
}

CASES({"exec_and_poll", exec_and_poll}, {"exec_and_select", exec_and_select}, {"exec_and_epoll", exec_and_epoll},
      {"exec_and_recv", exec_and_recv}, {"exec_keeps_the_end", exec_keeps_the_end},
      {"spawn_keeps_the_end", spawn_keeps_the_end})
