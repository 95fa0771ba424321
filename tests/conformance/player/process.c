/* Operations that make processes which go on with the same descriptors, and that end them. */
#include "player.h"

#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { FORK, FORK_BARE, CLONE, FORK_EXEC, SPAWN, VFORK_EXEC };

static pid_t start_program(int actor, int how) {
    char number[16], fd[16];
    snprintf(number, sizeof number, "%d", actor);
    snprintf(fd, sizeof fd, "%d", board_fd);
    char *words[] = {(char[]){"player"}, (char[]){"resume"}, number, fd, NULL};
    pid_t pid = -1;
    if (how == SPAWN)
        return posix_spawn(&pid, "/proc/self/exe", NULL, NULL, words, environ) == 0 ? pid : -1;
    pid = how == VFORK_EXEC ? vfork() : fork();
    if (pid == 0) {
        execv("/proc/self/exe", words);
        _exit(127);
    }
    return pid;
}

static pid_t start_process(int how) {
    if (how == FORK)
        return fork();
    if (how == FORK_BARE)
        return _Fork();
    return (pid_t)kernel(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
}

/* The actor, a further process of this end, has all descriptors of this one; it is ready when this returns. */
int64_t op_fork(const int32_t *arg, struct outcome *outcome) {
    int first = me / ACTORS * ACTORS, actor = first + THREADS + arg[0] % (ACTORS - THREADS);
    struct mailbox *mailbox = &board->mailbox[actor];
    (void)outcome;
    if (mailbox->ready) {
        errno = EEXIST;
        return -1;
    }
    memcpy(board->fd[actor], board->fd[process_of(me)], sizeof board->fd[actor]);
    pid_t pid = arg[1] >= FORK_EXEC ? start_program(actor, arg[1]) : start_process(arg[1]);
    if (pid == 0)
        actor_loop(actor);
    if (pid < 0)
        return -1;
    while (__atomic_load_n(&mailbox->ready, __ATOMIC_SEQ_CST) == 0) {
        futex_wait(&mailbox->ready, 0, 20000);
        siginfo_t ended = {0};
        if (!mailbox->ready && waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid)
            return -1;
    }
    return 0;
}

/* Sends a descriptor to whichever process of this end takes it. */
int64_t op_give(const int32_t *arg, struct outcome *outcome) {
    char byte = 0;
    struct iovec vector = {&byte, 1};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    int fd = fd_of(arg[0]);
    (void)outcome;
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    return sendmsg(PASSING, &message, MSG_DONTWAIT);
}

int64_t op_take(const int32_t *arg, struct outcome *outcome) {
    char byte;
    struct iovec vector = {&byte, 1};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control;
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    int fd;
    (void)outcome;
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    if (recvmsg(PASSING + 1, &message, MSG_DONTWAIT) < 0)
        return -1;
    if (message.msg_controllen < CMSG_LEN(sizeof fd))
        return 0;
    memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
    slot_set(arg[0], fd);
    return 1;
}

/* Ends this process. */
int64_t op_exit(const int32_t *arg, struct outcome *outcome) {
    (void)outcome;
    if (arg[0] == 0)
        _exit(0);
    kernel(SYS_exit_group, 0, 0, 0, 0, 0, 0);
    return 0;
}

/* Cancels a thread of this process, but never the main one. */
int64_t op_cancel(const int32_t *arg, struct outcome *outcome) {
    int first = process_of(me), index = arg[0] - first;
    (void)outcome;
    if (first % ACTORS != 0 || index < 1 || index >= (int)board->threads[first / ACTORS]) {
        errno = EINVAL;
        return -1;
    }
    return board->mailbox[arg[0]].cancelled ? 1 : pthread_cancel(threads[index]);
}

/* The conductor makes these two itself, so they never get here. */
int64_t op_kill(const int32_t *arg, struct outcome *outcome) {
    (void)arg, (void)outcome;
    errno = ENOSYS;
    return -1;
}

int64_t op_await(const int32_t *arg, struct outcome *outcome) {
    return op_kill(arg, outcome);
}
