/* Direct connections in an epoll: their doorbells in the inner one, and the list of those to be looked at. */
#pragma once

#include "watch/registry.h"

/* takes over the reference, also when it fails (-1) */
int watch(struct epoll *epoll, struct watched *watched, struct conn *conn);
void unwatch(struct watched *watched, bool from_kernel);
void watch_activate(struct watched *watched); /* to be looked at from now on; locked */
void watch_park(struct watched *watched);     /* direct ones only */
void watch_tcp(struct watched *watched);      /* before a long sleep */
void watch_kick(struct epoll *epoll);         /* wakes a sleeper, if there is one */
void watch_drain(struct epoll *epoll);        /* those that were touched become active; locked */
struct conn *watch_rung(struct epoll *epoll, uint64_t data, int *fd, bool *tcp);
/* what an event of the inner epoll is of: activates its entries; held, NULL: none is there */
void active_before_fork(void);
void active_after_fork_here(void);
void active_after_fork(void);
