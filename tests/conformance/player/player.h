/* What the processes of the player share: the board with the program, its outcomes and a mailbox for each actor. */
#ifndef PLAYER_H
#define PLAYER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

enum {
    ENDS = 2,     /* the client's and the server's */
    ACTORS = 5,   /* of each end: three threads of its first process, then two further processes */
    THREADS = 3,  /* those of the first process */
    SLOTS = 16,   /* places for descriptors that each process has */
    ARGS = 8,     /* arguments of a step */
    VALUES = 8,   /* values that a step yields */
    PORT = 7,     /* the value that is a TCP port, for which the conductor puts a label */
    STEPS = 120,  /* of a program at most */
    ENTRIES = 8,  /* addresses of listeners */
    FILLS = 4,    /* connections that are filled */
    QUIT = 0xff,  /* the step that ends an actor */
    PASSING = 110, /* the number of a Unix socket that descriptors are sent by; the next one receives them */
    BLOCK = 65536 /* bytes moved by one call of the looping operations */
};

enum state {
    NOT_RUN, /* the program ended before */
    DONE,    /* the call returned */
    BLOCKED, /* it had not returned when the program ended */
    BUSY,    /* the actor was in another call */
    GONE,    /* there is no such actor, or no more */
    DIED     /* the process ended during the call */
};

enum flags { TIMED = 1 }; /* the call ends by itself, so it is waited for */

#define OP(name, kinds) OP_##name,
enum op {
#include "ops.h"
    OPS
};
#undef OP

struct step {
    uint8_t actor, op, flags, unused;
    int32_t arg[ARGS];
};

struct outcome {
    uint8_t state, waited; /* `waited`: the call blocked first */
    uint16_t finished_at;  /* the step after which it had returned */
    int32_t error;
    int64_t result;
    uint32_t hash; /* of the bytes received */
    uint16_t pipes, handled; /* signals that came meanwhile: SIGPIPE, others */
    int32_t value[VALUES];
    uint8_t head[8]; /* the first bytes received */
};

struct mailbox {
    uint32_t go, done; /* step number + 1, above it a serial number */
    uint32_t ready;
    int32_t pid, tid;
    uint32_t handled, pipes;
    uint32_t in_call;
    uint32_t cancelled; /* the thread has ended, by pthread_cancel */
};

struct address {
    struct sockaddr_storage name;
    socklen_t length;
};

struct board {
    uint32_t run[ENDS], ended[ENDS]; /* counted by the conductor and by the process that forks for each program */
    int32_t status[ENDS];            /* how the first process ended */
    uint32_t events;                 /* changes whenever the conductor might have something to see */
    int32_t conductor;               /* its process */
    uint32_t direct;                 /* sends of which the kernel's TCP has seen nothing */
    uint32_t threads[ENDS];          /* how many threads the program uses */
    uint32_t steps;
    struct mailbox mailbox[ENDS * ACTORS];
    int32_t fd[ENDS * ACTORS][SLOTS]; /* by the first actor of the process */
    struct address entry[ENTRIES];
    uint64_t filled[FILLS];
    struct step step[STEPS];
    struct outcome outcome[STEPS];
};

extern struct board *board;
extern int board_fd;

/* kernel.c: system calls that no preload library sees. */
long kernel(long number, long a, long b, long c, long d, long e, long f);
void futex_wait(uint32_t *word, uint32_t seen, long microseconds);
void futex_wake(uint32_t *word);
void notify(void);
int kernel_domain(int fd);
bool kernel_has_sent_nothing(int fd);

/* actor.c */
extern __thread int me;            /* the actor that this thread is */
extern pthread_t threads[THREADS]; /* those of the first process, but the main one */
void actor_loop(int actor) __attribute__((noreturn));
void end_serve(int end) __attribute__((noreturn));
void actor_resume(int actor) __attribute__((noreturn));
int process_of(int actor);
int *slot_of(int slot); /* of this actor's process; NULL for a number that is no slot */
int fd_of(int slot);
void slot_set(int slot, int fd);

/* The operations, by file. */
typedef int64_t operation(const int32_t *arg, struct outcome *outcome);
#define OP(name, kinds) operation op_##name;
#include "ops.h"
#undef OP

int conduct(void);

#endif
