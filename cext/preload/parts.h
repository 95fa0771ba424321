/* What the provider's files offer to its start and to each other beyond internal.h. */
#pragma once

#include "internal.h"

#include <sys/un.h>

extern pid_t vn_pid;             /* of the process that the tables are of: another one after vfork */

bool table_init(void);
bool is_far_from_limit(int fd);                /* a descriptor that was free: so hundreds more are, most likely */
void table_before_fork(void);    /* every connection is shared by two processes from now on */
void table_after_fork(void);
void broker_after_fork(void);
void fabric_after_fork(void);
void door_after_fork(void);
void pool_before_fork(void);
void pool_after_fork(bool child);
void epoll_after_fork(void);
void report_after_fork(void);
void withdraw_after_fork(void);

uint64_t timeout_of(int fd, int option);       /* connect.c: SO_RCVTIMEO or SO_SNDTIMEO in ns; 0: none */
bool signals_restart(void);                    /* start.c: every handler has SA_RESTART, so TCP would have gone on sleeping */

enum nearness { VN_UNKNOWN, VN_FAR, VN_SILENT, VN_NEAR };   /* near.c: no partition has it; one has, but nobody with */
enum nearness near_look(const struct vn_address *target);   /* the provider listens at its port anywhere; may be had */

/* fabric.c and broker.c */
#define VN_PATIENCE_US 100000                  /* for an answer; then who owes it is left alone for VN_PAUSE_NS */
#define VN_PAUSE_NS 1000000000u
const struct vn_table *fabric_table(void);     /* NULL before there is one */
uint32_t fabric_own_port(void);                /* the number of our partition */
void fabric_learn(const struct vn_reply *reply, int *fds, int count);   /* the table and our number; closes fds */
int broker_call(const char *which, int flags);   /* a connection to the broker (""), or its window; -1. It waits no longer */
                                               /* than VN_PATIENCE_US, with SOCK_NONBLOCK not at all */
socklen_t abstract_name(struct sockaddr_un *name, const char *text, const char *more);   /* its length; 0: too long */
bool broker_hello(void);                       /* there is a broker, and we have its table */

/* listen.c */
int listener_door(struct entry *entry);        /* the descriptor whose readiness says that somebody knocks; -1 without */

/* door.c */
bool door_open(int doors[2]);                  /* the inside and the outside of a new door */
bool door_is_shut(int inside);                 /* somebody has shut it who has the outside */
bool door_renew(int inside, int outside);      /* another door behind the same numbers */
uint64_t door_ticket(const uint64_t secret[2], const struct vn_address *source, const struct vn_address *target);
void door_learn(const struct vn_address *source, const struct vn_address *target, int outside, uint64_t ticket);
void door_learn_none(const struct vn_address *target);       /* there is a listener, but it has no provider */
bool door_was_open(const struct vn_address *target);         /* a door to it was learnt, lately or not */
bool door_is_none(const struct vn_address *target);          /* that was learnt lately */
bool door_source(const struct vn_address *target, struct vn_address *source);   /* from where a door to it was learnt */
bool door_find(struct vn_knock *knock);         /* there is a door for these addresses: its ticket */
bool door_knock(const struct vn_knock *knock, int bell, int half);

/* bell.c: who leads alone may take what the bell has */
bool bell_lead(struct conn *conn);             /* false: another thread leads */
void bell_step_down(struct conn *conn);
ssize_t bell_take_leading(struct conn *conn, int fd, bool consume);
void bell_take_answer(struct conn *conn, int fd);   /* if there is one */

int conn_option(struct conn *conn);            /* options.c: the socket whose options are the connection's */
void conn_buffers(struct conn *conn, int socket);   /* its buffers' sizes, if the program has set them, are the socket's */
ssize_t bell_flush(struct conn *conn, int fd);

struct entry *withdraw_closed(int fd);         /* withdraw.c: entry_clear, not while fd becomes TCP */

/* pool.c */
void pool_keep_memfd(struct pair *pair, int memfd);   /* a hidden copy of its own half's, if that can be kept */
void pool_close(const struct pair *pair);      /* that copy */
bool pool_take(struct pair *pair, const struct vn_knock *knock, uint64_t inode);
    /* an idle pair for a knock: for who wants to make it (inode 0), or for who was offered the half with this inode */
bool pool_empty(void);                         /* gives all idle memory and descriptors back; false: there is none */
bool pool_keep(const struct conn *conn);       /* the connection is over: whether its halves are kept */

/* large.c */
char *large_own(struct conn *conn);            /* the whole rings, mapped; NULL when that can't be */
const char *large_peer(struct conn *conn);
void large_full(struct conn *conn, uint64_t head, uint64_t tail);   /* for who writes, when there is no room */
void large_answer(struct conn *conn);          /* for who reads: the other end wishes a large ring */
void large_close(struct conn *conn);

/* Messages with descriptors over Unix sockets: message.c */
#define VN_MOST_FDS 4
bool message_send(int socket, const void *data, size_t bytes, const int *fds, int count, int flags);
ssize_t message_receive(int socket, void *data, size_t room, int *fds, int *count, int flags);
void close_all(const int *fds, int count);
bool is_unix(int fd);                          /* a Unix socket, whose close can't be made to wait by who sent it */
