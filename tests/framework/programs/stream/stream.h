/* What the files of the stream program share; see stream.c. */
#pragma once

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { THREAD, FORK, POLL, SELECT, EPOLL, EDGE, MIXED, ANY };

#define PERIOD 1000003u /* a prime: a shift by any power of two shows */
#define LARGEST (1u << 18)
#define PATIENCE_MS 30000

/* One end of a connection. */
struct stream {
    const char *name;
    uint64_t seed;
    int number, style, in_process, fd;
    uint64_t chance;
    uint64_t total;
    uint64_t written, read;
    int ended;              /* the other end has shut its direction */
    unsigned char *out, *in; /* what is sent and what must come: PERIOD bytes, then LARGEST of them again */
    unsigned char *buffer;  /* of the reader */
};

static inline uint64_t next(uint64_t *chance)
{
    uint64_t z = (*chance += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static inline uint64_t below(uint64_t *chance, uint64_t limit) { return next(chance) % limit; }

/* Says what went wrong and where, and ends the whole program. */
void broken(struct stream *s, const char *what) __attribute__((noreturn));

unsigned char *content_of(uint64_t seed);

/* Writes a piece of random size in a random way. 0: it would have blocked (never in the blocking kind). */
int write_some(struct stream *s, int dont_wait);
void finish_writing(struct stream *s);

/* Reads a piece of random size in a random way and checks it. 0: nothing was there. Sets `ended`. */
int read_some(struct stream *s, int dont_wait);

void carry_by_waiting(struct stream *s, int style);
