/* A listener, as the files that make it and take from it see it. */
#pragma once

#include "internal.h"
#include "parts.h"

struct listener {
    struct entry entry;
    _Atomic int marker;  /* bound to the listener's name; -1: another one is */
    _Atomic bool told;   /* the broker has heard of it */
    _Atomic uint64_t tell_after;   /* and is not told again before then */
    int inside, outside; /* of its door; -1 without */
    int family;
    struct vn_address address;
    uint64_t secret[2];  /* of the tickets to its door */
    uint64_t poll_ns;    /* how long it is worth while to look for one who knocks before sleeping */
};

void listener_tell(struct listener *listener);
    /* listen.c: makes sure that its name is bound and the broker knows of it; tries once a second */

/* answer.c */
struct conn *answer(int bell, int memfd, const struct vn_address *local, const struct vn_address *remote,
                    const struct listener *listener, bool verified);
    /* The accepting end of what was offered; NULL when it can't be: then the other end is told by the bell's end. memfd is
       closed, and before another one is made: there may be no more descriptors */
struct conn *answer_knock(struct listener *listener, int fd, int *bell, struct vn_knock *knock);
    /* Who knocked: what a connection of his needs; NULL and errno when nobody is there, or EMFILE */
