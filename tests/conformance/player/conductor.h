/* What the conductor knows of each actor, and how it waits. */
#ifndef CONDUCTOR_H
#define CONDUCTOR_H

#include "player.h"

enum {
    PATIENCE_US = 1000000, /* for what must happen, in a process that may get no CPU for a while */
    EARLY_US = 200000,     /* for what the kernel tells at once, and somebody else may tell a little later */
    TIMED_US = 150000      /* for a call that ends by itself, unless the program is such that it does not */
};

enum found { RETURNED, RUNNING, ENDED };

struct watch {
    int stat, pidfd; /* of its thread and its process; -1 until they are needed */
    uint32_t go;     /* what was last put into the mailbox */
    int step;        /* the step whose call is outstanding; -1 for none */
};

extern struct watch watches[ENDS * ACTORS];

int64_t now_us(void);
char thread_state(int actor);
bool is_gone(int actor);
enum found wait_return(int actor, int64_t budget_us);
enum found wait_stable(int actor, int looks);
enum found look(int actor);

#endif
