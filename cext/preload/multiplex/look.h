/* What is ready in an epoll, from memory, and what has to be done before a sleep. */
#pragma once

#include "watch/registry.h"

#define MOST_NESTED 64 /* epolls in an epoll */

struct looked {
    bool active, young; /* there are entries in the active list; some of them are not direct yet */
    int said_count;     /* epolls in this one that the kernel has reported, by their generations */
    uint32_t said[MOST_NESTED];
};
int epoll_look(struct epoll *epoll, struct epoll_event *out, int room, uint64_t now, struct looked *looked);
void epoll_look_for_deaths(struct epoll *epoll);    /* for who does not sleep */
void epoll_serve(struct epoll *epoll);              /* connections that are not direct yet */
void epoll_collect(struct epoll *epoll);            /* what the doorbells have said, in those that are in it as well */
uint64_t epoll_arrivals(struct epoll *epoll);       /* another number than before: something came since */
bool epoll_arm(struct epoll *epoll, uint64_t *due); /* before a sleep; true: do not sleep, something is ready */
bool epoll_is_ready(struct epoll *epoll);           /* for those that it is nested in */
void epoll_sleep_begins(struct epoll *epoll, uint64_t *due); /* for who polls the epoll itself */
void epoll_sleep_ended(struct epoll *epoll);
