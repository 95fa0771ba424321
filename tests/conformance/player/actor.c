/* Actors: threads and processes that wait for a step, make its call and write down what came of it. */
#include "player.h"

#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

__thread int me;
pthread_t threads[THREADS];
static __thread sigjmp_buf before_call;

#define OP(name, kinds) op_##name,
static operation *const operations[OPS] = {
#include "ops.h"
};
#undef OP

static void count_signal(int number) {
    struct mailbox *mailbox = &board->mailbox[me];
    if (number == SIGPIPE) {
        mailbox->pipes++;
        return;
    }
    mailbox->handled++;
    if (number == SIGRTMIN && mailbox->in_call)
        siglongjmp(before_call, 1);
}

static void handle_signals(void) {
    struct sigaction action = {.sa_handler = count_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    sigaction(SIGRTMIN, &action, NULL);
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, NULL);
    signal(SIGTERM, SIG_DFL);
}

/* The first actor of this actor's process. */
int process_of(int actor) {
    int within = actor % ACTORS;
    return within < THREADS ? actor - within : actor;
}

int *slot_of(int slot) {
    return slot < 0 || slot >= SLOTS ? NULL : &board->fd[process_of(me)][slot];
}

int fd_of(int slot) {
    int *place = slot_of(slot);
    return place == NULL ? -1 : *place;
}

void slot_set(int slot, int fd) {
    int *place = slot_of(slot);
    if (place != NULL && fd >= 0)
        *place = fd;
}

static void play(const struct step *step, struct outcome *outcome) {
    struct mailbox *mailbox = &board->mailbox[me];
    uint32_t pipes = mailbox->pipes, handled = mailbox->handled;
    memset(outcome, 0, sizeof *outcome);
    if (sigsetjmp(before_call, 1) == 0) {
        mailbox->in_call = 1;
        errno = 0;
        outcome->result = step->op < OPS ? operations[step->op](step->arg, outcome) : -2;
        outcome->error = outcome->result < 0 ? errno : 0;
    } else {
        outcome->result = -3; /* a handler jumped out of the call */
    }
    mailbox->in_call = 0;
    outcome->pipes = (uint16_t)(mailbox->pipes - pipes);
    outcome->handled = (uint16_t)(mailbox->handled - handled);
}

void actor_loop(int actor) {
    struct mailbox *mailbox = &board->mailbox[actor];
    uint32_t last = 0;
    me = actor;
    mailbox->pid = (int32_t)kernel(SYS_getpid, 0, 0, 0, 0, 0, 0);
    mailbox->tid = (int32_t)kernel(SYS_gettid, 0, 0, 0, 0, 0, 0);
    __atomic_store_n(&mailbox->ready, 1, __ATOMIC_SEQ_CST);
    futex_wake(&mailbox->ready);
    notify();
    for (;;) {
        uint32_t go = __atomic_load_n(&mailbox->go, __ATOMIC_SEQ_CST);
        if (go == last) {
            futex_wait(&mailbox->go, last, -1);
            continue;
        }
        last = go;
        if ((go & QUIT) == QUIT)
            kernel(SYS_exit_group, 0, 0, 0, 0, 0, 0);
        struct outcome outcome;
        uint32_t index = (go & QUIT) - 1;
        play(&board->step[index], &outcome);
        board->outcome[index] = outcome;
        __atomic_store_n(&mailbox->done, go, __ATOMIC_SEQ_CST);
        notify();
    }
}

/* After an exec: the slots are as they were, and the handlers are set again. */
void actor_resume(int actor) {
    handle_signals();
    actor_loop(actor);
}

static void thread_cancelled(void *actor) {
    board->mailbox[(intptr_t)actor].cancelled = 1;
    notify();
}

static void *thread_begin(void *actor) {
    pthread_cleanup_push(thread_cancelled, actor);
    actor_loop((int)(intptr_t)actor);
    pthread_cleanup_pop(0);
}

/* A pair of Unix sockets by which the processes of this end send descriptors to each other. */
static void make_passage(void) {
    int pair[2] = {-1, -1};
    if (kernel(SYS_socketpair, AF_UNIX, SOCK_DGRAM, 0, (long)pair, 0, 0) < 0)
        abort();
    for (int index = 0; index < 2; index++) {
        kernel(SYS_dup3, pair[index], PASSING + index, 0, 0, 0, 0);
        kernel(SYS_close, pair[index], 0, 0, 0, 0, 0);
    }
}

/* The first process of an end, for one program. */
static void end_play(int end) {
    int first = end * ACTORS;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    kernel(SYS_setpgid, 0, 0, 0, 0, 0, 0);
    handle_signals();
    make_passage();
    for (uint32_t index = 1; index < board->threads[end]; index++) {
        if (pthread_create(&threads[index], NULL, thread_begin, (void *)(intptr_t)(first + (int)index)) != 0)
            abort();
    }
    actor_loop(first);
}

static volatile pid_t playing; /* the first process of the program that is played */

/* The conductor has gone: its program's processes go as well. */
static void end_all(int number) {
    (void)number;
    if (playing > 0)
        kernel(SYS_kill, -playing, SIGKILL, 0, 0, 0, 0);
    kernel(SYS_exit_group, 1, 0, 0, 0, 0, 0);
}

/* Forks a fresh process for each program, and takes away what it leaves. */
void end_serve(int end) {
    uint32_t last = 0;
    signal(SIGTERM, end_all);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (kernel(SYS_getppid, 0, 0, 0, 0, 0, 0) != board->conductor)   /* it has died before */
        _exit(0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (;;) {
        uint32_t run = __atomic_load_n(&board->run[end], __ATOMIC_SEQ_CST);
        if (run == last) {
            futex_wait(&board->run[end], last, -1);
            continue;
        }
        last = run;
        pid_t pid = fork();
        if (pid == 0)
            end_play(end);
        kernel(SYS_setpgid, pid, pid, 0, 0, 0, 0);
        playing = pid;
        int status = 0;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            continue;
        board->status[end] = status;
        __atomic_store_n(&board->ended[end], run, __ATOMIC_SEQ_CST);
        notify();
        while (waitpid(-1, NULL, WNOHANG) > 0)
            continue;
    }
}
