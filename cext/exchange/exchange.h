/* The exchange: brings the client's end of a direct connection to the program that accepts it. Its state and limits.
 *
 * Theory of operation. One thread serves an abstract name in each partition's namespace, so whoever connects there is in
 * that partition and speaks for it. A client offers its end (a doorbell and a stream region) under the addresses that the
 * TCP connection will have, and shows the TCP socket that is bound to its own address; the accepting program takes what
 * was offered under the addresses of the TCP socket that it has accepted, and shows that socket. So only the holder of
 * a port can offer for it, and only the holder of the connection gets the offer. The exchange neither makes connections
 * nor allows them: firewall and routes decide on the TCP connection.
 *
 * Like a TCP connection in the accept queue, an offer survives its program: what was written is in the region that we
 * hold. An offer goes when it is taken, when its program says that connect failed (FORGET), when the namespace that it
 * was made to ends, when another one is made under the same addresses, and in any case after `timeout_ns`.
 *
 * A client may connect without waiting for the answer to its offer. Its request is then in our queue before the TCP
 * connection exists, but we may read the acceptor's TAKE first. So a TAKE that finds nothing is put aside until all other
 * sockets have been read that have something to read, EXCHANGE_DRAIN requests at most, and is only then refused.
 *
 * Programs are strangers. A request is copied, checked and answered at once, and one request of a client is read before
 * others have their turn. The numbers of clients, offers and unclosed descriptors are limited by namespace. The thread
 * itself never closes a descriptor that a program has sent (see fd_reaper.h).
 *
 * One mutex covers the state; the thread holds it for one event at a time, and nothing below it blocks. The thread
 * fetches an event without the mutex, and what the event points to may end meanwhile: so clients and namespaces that
 * have ended are marked, and freed at the end of a round.
 */
#pragma once

#include "exchange/fd_reaper.h"
#include "abi/socket_layout.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

enum {
    EXCHANGE_NAMESPACES = 1024,
    EXCHANGE_CLIENTS = 4096, /* of one namespace, connected at a time */
    EXCHANGE_OFFERS = 4096,  /* made in one namespace, whether their programs still run or not */
    /* descriptors of one namespace in its reaper, above which no client is accepted there ... */
    EXCHANGE_UNCLOSED = 4096,
    EXCHANGE_MOST_UNCLOSED = 16384, /* ... and above which those that are there are not served any more */
    EXCHANGE_BUCKETS = 8192,
    EXCHANGE_DRAIN = 1024,
    EXCHANGE_REST_MS = 100,  /* without accepting after it has failed */
    EXCHANGE_MOST_FDS = 253, /* of one message; the kernel would close those for which there is no room */
};

_Static_assert(EXCHANGE_MOST_UNCLOSED + EXCHANGE_MOST_FDS + 2 * EXCHANGE_OFFERS + EXCHANGE_CLIENTS < FD_REAPER_ROOM,
               "all that a namespace can have fits into its reaper");

enum exchange_kind { EXCHANGE_COMMAND, EXCHANGE_LISTENER, EXCHANGE_CLIENT };

struct exchange_watched { /* what an event points to */
    enum exchange_kind kind;
    bool ended;
    struct exchange_watched *next_ended;
};

struct exchange_key { /* the addresses of a TCP connection, as its client has them */
    struct vn_address source, target;
};

struct exchange_namespace {
    struct exchange_watched watched; /* first */
    int listener, probe;             /* the caller's */
    int index;
    uint32_t number; /* of the partition */
    uint64_t cookie; /* by which the kernel tells the namespace */
    bool resting;    /* the listener is not watched */
    int client_count;
    int offers_made;    /* by its programs */
    int offers_waiting; /* for its programs */
    struct fd_reaper *reaper;
    LIST_HEAD(, exchange_client) clients;
    LIST_HEAD(, exchange_offer) offers; /* for its programs */
};

struct exchange_take { /* of a client, put aside */
    bool waiting;
    struct exchange_key key;
    uint64_t until; /* the number of requests served after which it is refused */
    LIST_ENTRY(exchange_client) same_bucket;
    TAILQ_ENTRY(exchange_client) by_age;
};

struct exchange_client {
    struct exchange_watched watched; /* first */
    int fd;
    uint64_t serial; /* never another's */
    struct exchange_namespace *home;
    struct exchange_take take;
    LIST_ENTRY(exchange_client) neighbours;
};

struct exchange_offer {
    struct exchange_key key;
    int fds[2];     /* doorbell and stream region */
    uint64_t maker; /* serial of the client */
    uint64_t deadline;
    struct exchange_namespace *from, *to;
    LIST_ENTRY(exchange_offer) same_bucket, same_target;
    TAILQ_ENTRY(exchange_offer) by_age;
};

struct exchange_entry { /* of the table of addresses, sorted */
    struct vn_address address;
    uint32_t index, order; /* of the namespace; of several with one address the last counts */
};

struct exchange {
    pthread_mutex_t mutex;
    int poll, command;
    bool stopping;
    struct exchange_watched commands;
    struct vn_table *table;   /* `offers` is ours to write */
    uint64_t timeout_ns;      /* that an offer waits */
    uint64_t served, serials; /* requests; clients */
    uint64_t rest_until;      /* 0: no namespace rests */
    uint64_t seed[2];         /* of the hash */
    int client_count, offer_count;
    int most_offers, most_fds; /* of all namespaces together */
    int entry_count;
    struct exchange_entry *entries;
    struct exchange_watched *ended; /* to be freed */
    struct exchange_namespace *namespaces[EXCHANGE_NAMESPACES];
    LIST_HEAD(, exchange_offer) offers[EXCHANGE_BUCKETS];
    LIST_HEAD(, exchange_client) takes[EXCHANGE_BUCKETS];
    TAILQ_HEAD(, exchange_offer) offers_by_age;
    TAILQ_HEAD(, exchange_client) takes_by_age;
};
