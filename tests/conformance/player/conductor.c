/* The conductor: has the steps of a program made one after the other, and writes down how each call went. */
#include "conductor.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct request {
    uint32_t steps, hinted, budget_ms, pause_us, threads[ENDS]; /* the pause is made after each step */
};

struct reply {
    uint32_t steps, direct;
    int32_t status[ENDS]; /* how the first processes ended by themselves; -1 if they had not */
};

struct watch watches[ENDS * ACTORS];

static struct request request;
static struct outcome expected[STEPS];
static bool hinted; /* what comes next is known, and nothing was different so far */
static uint32_t serial;
static int labels[64], label_count;

static int64_t budget_us(void) {
    return request.budget_ms * 1000LL;
}

static void pause_for(long microseconds) {
    uint32_t never = 0;
    if (microseconds > 0)
        futex_wait(&never, 0, microseconds);
}

static void label_port(struct outcome *outcome) {
    int port = outcome->value[PORT], found = 0;
    if (port == 0)
        return;
    while (found < label_count && labels[found] != port)
        found++;
    if (found == label_count && label_count < 64)
        labels[label_count++] = port;
    outcome->value[PORT] = found + 1;
}

static void judge(int index) {
    if (hinted && memcmp(&board->outcome[index], &expected[index], sizeof expected[index]) != 0)
        hinted = false;
}

static void finish(int actor, int at, enum found found) {
    struct outcome *outcome = &board->outcome[watches[actor].step];
    uint8_t waited = watches[actor].step != at;
    if (found == ENDED)
        memset(outcome, 0, sizeof *outcome);
    outcome->state = found == ENDED ? DIED : DONE;
    outcome->waited = waited;
    outcome->finished_at = (uint16_t)at;
    label_port(outcome);
    judge(watches[actor].step);
    watches[actor].step = -1;
}

static void dispatch(int actor, int index) {
    struct watch *watch = &watches[actor];
    watch->step = index;
    watch->go = ++serial << 8 | (uint32_t)(index + 1);
    __atomic_store_n(&board->mailbox[actor].go, watch->go, __ATOMIC_SEQ_CST);
    futex_wake(&board->mailbox[actor].go);
}

/* Whether the outcome only says "not yet", where the hint says that more is to come. */
static bool is_early(int index) {
    const struct outcome *got = &board->outcome[index], *want = &expected[index];
    if (!hinted || want->state != DONE)
        return false;
    switch (board->step[index].op) {
    case OP_recv:
    case OP_send:
    case OP_accept:
    case OP_acceptany:
        return got->error == EAGAIN && got->result != want->result && got->pipes == 0;
    case OP_connect:
        return got->error == EALREADY && want->error != EALREADY;
    case OP_poll:
    case OP_ioctl:
        return memcmp(got->value, want->value, sizeof got->value) != 0 && got->result >= 0;
    case OP_epollwait:
        return got->result == 0 && want->result > 0;
    case OP_getsockopt:
        return got->result == 0 && got->value[0] != want->value[0] && want->value[6] != 0;
    default:
        return false;
    }
}

static bool ends_by_itself(const struct step *step) {
    return step->flags & TIMED || step->op == OP_fork || step->op == OP_fill || step->op == OP_drain;
}

static enum found settle(int actor, int index) {
    const struct outcome *want = &expected[index];
    if (ends_by_itself(&board->step[index]))
        return wait_return(actor, hinted && want->state == DONE ? budget_us() : TIMED_US);
    if (!hinted)
        return wait_stable(actor, 1);
    if ((want->state == DONE || want->state == DIED) && !want->waited)
        return wait_return(actor, budget_us());
    return wait_stable(actor, 2);
}

static void make_call(int actor, int index) {
    int64_t end = now_us() + EARLY_US;
    long pause = 100;
    for (;;) {
        dispatch(actor, index);
        enum found found = settle(actor, index);
        if (found == RUNNING)
            return;
        if (found == RETURNED && is_early(index) && now_us() < end) {
            pause_for(pause);
            pause = pause < 5000 ? pause * 2 : pause;
            continue;
        }
        finish(actor, index, found);
        return;
    }
}

/* After a step, and after the last one once more: whose calls have returned because of it? */
static void sweep(int at) {
    bool is_over = at == (int)request.steps;
    for (int actor = 0; actor < ENDS * ACTORS; actor++) {
        int index = watches[actor].step;
        if (index < 0 || index == at)
            continue;
        bool due = hinted && expected[index].finished_at == at && expected[index].state >= DONE;
        enum found found = due ? wait_return(actor, budget_us()) : is_over ? wait_stable(actor, 2) : look(actor);
        if (found == RUNNING && is_gone(actor))
            found = ENDED;
        if (found != RUNNING)
            finish(actor, at, found);
    }
}

static void record(int index, enum state state, int64_t result) {
    board->outcome[index] = (struct outcome){.state = state, .finished_at = (uint16_t)index, .result = result};
    judge(index);
}

/* Sends a signal to an actor's thread; kills its process by SIGKILL. */
static void send_signal(int actor, int number, int index) {
    const struct mailbox *mailbox = &board->mailbox[actor];
    uint32_t handled = mailbox->handled;
    long result = number == SIGKILL ? kill(mailbox->pid, number)
                                    : syscall(SYS_tgkill, mailbox->pid, mailbox->tid, number);
    int64_t end = now_us() + PATIENCE_US;
    while (result == 0 && now_us() < end && !is_gone(actor) && (number == SIGKILL || mailbox->handled == handled)) {
        pause_for(50);
    }
    record(index, DONE, result);
}

/* Steps that the conductor makes itself. */
static void make_step(int actor, int index) {
    const struct step *step = &board->step[index];
    int other = step->arg[0];
    if (step->op == OP_await) {
        if (other >= 0 && other < ENDS * ACTORS && watches[other].step >= 0) {
            enum found found = wait_return(other, hinted ? budget_us() : TIMED_US);
            if (found != RUNNING)
                finish(other, index, found);
        }
        record(index, DONE, 0);
    } else if (step->op == OP_kill) {
        if (other >= 0 && other < ENDS * ACTORS && board->mailbox[other].ready && !is_gone(other))
            send_signal(other, step->arg[1], index);
        else
            record(index, GONE, 0);
    } else if (actor >= ENDS * ACTORS || !board->mailbox[actor].ready || is_gone(actor)) {
        record(index, GONE, 0);
    } else if (watches[actor].step >= 0) {
        record(index, BUSY, 0);
    } else {
        make_call(actor, index);
    }
    sweep(index);
}

static void start_ends(void) {
    for (int end = 0; end < ENDS; end++) {
        board->threads[end] = request.threads[end];
        __atomic_add_fetch(&board->run[end], 1, __ATOMIC_SEQ_CST);
        futex_wake(&board->run[end]);
    }
    for (int end = 0; end < ENDS; end++)
        for (uint32_t thread = 0; thread < request.threads[end]; thread++) {
            uint32_t *ready = &board->mailbox[end * ACTORS + (int)thread].ready;
            while (__atomic_load_n(ready, __ATOMIC_SEQ_CST) == 0 && board->ended[end] != board->run[end])
                futex_wait(ready, 0, 100000);
        }
}

static void wait_end(int end) {
    while (__atomic_load_n(&board->ended[end], __ATOMIC_SEQ_CST) != board->run[end]) {
        uint32_t events = __atomic_load_n(&board->events, __ATOMIC_SEQ_CST);
        if (board->ended[end] != board->run[end])
            futex_wait(&board->events, events, 10000);
    }
}

/* Ends all processes; before, it finds out which first processes have ended by themselves. */
static void stop_ends(struct reply *reply) {
    bool ended[ENDS];
    for (int end = 0; end < ENDS; end++) {
        ended[end] = is_gone(end * ACTORS);
        if (ended[end])
            wait_end(end);
    }
    for (int end = 0; end < ENDS; end++)
        if (board->mailbox[end * ACTORS].pid > 0)
            kill(-board->mailbox[end * ACTORS].pid, SIGKILL);
    for (int end = 0; end < ENDS; end++) {
        wait_end(end);
        reply->status[end] = ended[end] ? board->status[end] : -1;
    }
    for (int actor = 0; actor < ENDS * ACTORS; actor++)
        while (actor % ACTORS >= THREADS && board->mailbox[actor].ready && !is_gone(actor))
            pause_for(50);
}

/* Nothing writes outcomes any more: what had not returned had blocked. */
static void close_watches(void) {
    for (int actor = 0; actor < ENDS * ACTORS; actor++) {
        if (watches[actor].step >= 0)
            board->outcome[watches[actor].step] = (struct outcome){.state = BLOCKED, .waited = 1};
        for (int which = 0; which < 2; which++) {
            int fd = which ? watches[actor].stat : watches[actor].pidfd;
            if (fd >= 0)
                close(fd);
        }
    }
}

static void reset(void) {
    memset(board->mailbox, 0, sizeof board->mailbox);
    memset(board->fd, 0xff, sizeof board->fd);
    memset(board->entry, 0, sizeof board->entry);
    memset(board->filled, 0, sizeof board->filled);
    memset(board->outcome, 0, sizeof board->outcome);
    board->direct = 0;
    label_count = 0;
    for (int actor = 0; actor < ENDS * ACTORS; actor++)
        watches[actor] = (struct watch){-1, -1, 0, -1};
}

static void play_program(struct reply *reply) {
    reset();
    board->steps = request.steps;
    hinted = request.hinted != 0;
    start_ends();
    for (uint32_t index = 0; index < request.steps; index++) {
        make_step(board->step[index].actor, (int)index);
        pause_for(request.pause_us);
    }
    sweep((int)request.steps);
    stop_ends(reply);
    close_watches();
    reply->steps = request.steps;
    reply->direct = board->direct;
}

static bool take(void *into, size_t size) {
    return size == 0 || fread(into, size, 1, stdin) == 1;
}

/* Plays the programs that come by the standard input, until it ends. */
int conduct(void) {
    while (take(&request, sizeof request)) {
        struct reply reply = {0};
        if (request.steps > STEPS || request.threads[0] > THREADS || request.threads[1] > THREADS)
            return 2;
        if (!take(board->step, request.steps * sizeof *board->step) ||
            !take(expected, request.hinted ? request.steps * sizeof *expected : 0))
            return 2;
        play_program(&reply);
        fwrite(&reply, sizeof reply, 1, stdout);
        if (fwrite(board->outcome, sizeof *board->outcome, request.steps, stdout) != request.steps || fflush(stdout))
            return 1;
    }
    return 0;
}
