/* The rounds of the exchange's thread, and what the broker passes to it: which namespaces and addresses there are. */
#pragma once

#include "exchange/requests.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>

static int exchange_watch(struct exchange *s, int fd, void *watched) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = watched};
    return epoll_ctl(s->poll, EPOLL_CTL_ADD, fd, &event);
}

static void exchange_unwatch(struct exchange *s, int fd) {
    epoll_ctl(s->poll, EPOLL_CTL_DEL, fd, NULL);
}

/* --------------------------------------------------------------------------------------------------- clients */

/* Its offers stay: their connections may be made already, and wait to be accepted. */
static void exchange_drop(struct exchange *s, struct exchange_client *client) {
    if (client->take.waiting)
        exchange_resume_take(s, client);
    exchange_unwatch(s, client->fd);
    shutdown(client->fd, SHUT_RDWR);
    fd_reaper_put(client->home->reaper, &client->fd, 1, false);
    LIST_REMOVE(client, neighbours);
    client->home->client_count--;
    s->client_count--;
    exchange_publish(s, client->home);
    client->watched.ended = true;
    exchange_bury(s, &client->watched);
}

static bool exchange_is_short_of_fds(const struct exchange *s) {
    uint64_t ours = (uint64_t)s->client_count + 2 * (uint64_t)s->offer_count + atomic_load(&fd_reaper_all);
    return ours + EXCHANGE_MOST_FDS > (uint64_t)s->most_fds;
}

static void exchange_read(struct exchange *s, struct exchange_client *client) {
    struct exchange_message message;
    if (fd_reaper_unclosed(client->home->reaper) > EXCHANGE_MOST_UNCLOSED || exchange_is_short_of_fds(s)) {
        exchange_drop(s, client);
        return;
    }
    enum exchange_heard heard = exchange_hear(client->fd, &message);
    s->served++;
    bool stays = heard == EXCHANGE_NOTHING || (heard == EXCHANGE_REQUEST && exchange_serve(s, client, &message));
    fd_reaper_put(client->home->reaper, message.fds, message.count, !message.direct);
    if (!stays)
        exchange_drop(s, client);
}

/* The listener stays readable; trying again at once would be all that we do. */
static void exchange_rest(struct exchange *s, struct exchange_namespace *home) {
    exchange_unwatch(s, home->listener);
    home->resting = true;
    if (s->rest_until == 0)
        s->rest_until = exchange_now() + EXCHANGE_REST_MS * 1000000ull;
}

static void exchange_end_rest(struct exchange *s) {
    s->rest_until = 0;
    for (int i = 0; i < EXCHANGE_NAMESPACES; i++)
        if (s->namespaces[i] != NULL && s->namespaces[i]->resting) {
            s->namespaces[i]->resting = false;
            if (exchange_watch(s, s->namespaces[i]->listener, s->namespaces[i]) != 0)
                exchange_rest(s, s->namespaces[i]);
        }
}

static void exchange_admit(struct exchange *s, struct exchange_namespace *home, int fd) {
    struct exchange_client *client = home->client_count < EXCHANGE_CLIENTS ? calloc(1, sizeof(*client)) : NULL;
    if (client != NULL && exchange_watch(s, fd, client) == 0) {
        client->watched.kind = EXCHANGE_CLIENT;
        client->fd = fd;
        client->serial = ++s->serials;
        client->home = home;
        LIST_INSERT_HEAD(&home->clients, client, neighbours);
        home->client_count++;
        s->client_count++;
        exchange_publish(s, home);
        return;
    }
    free(client);
    shutdown(fd, SHUT_RDWR);
    fd_reaper_put(home->reaper, &fd, 1, false);
}

static void exchange_accept(struct exchange *s, struct exchange_namespace *home) {
    if (home->resting)
        return;
    if (fd_reaper_unclosed(home->reaper) > EXCHANGE_UNCLOSED || exchange_is_short_of_fds(s)) {
        exchange_rest(s, home);
        return;
    }
    int fd = resolver_accept(home->listener);
    if (fd >= 0)
        exchange_admit(s, home, fd);
    else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        exchange_rest(s, home);
}

/* ---------------------------------------------------------------------------------------------------- rounds */

static void exchange_handle(struct exchange *s, struct exchange_watched *watched) {
    uint64_t counter;
    if (watched->ended)
        return;
    if (watched->kind == EXCHANGE_CLIENT)
        exchange_read(s, (struct exchange_client *)watched);
    else if (watched->kind == EXCHANGE_LISTENER)
        exchange_accept(s, (struct exchange_namespace *)watched);
    else if (read(s->command, &counter, sizeof(counter)) < 0)
        return;
}

/* Refuses TAKEs that were put aside: all of them when there is nothing left to read, else those that have waited for so
 * many requests that somebody must be sending them without end. */
static void exchange_refuse(struct exchange *s, bool all) {
    struct exchange_client *oldest;
    while ((oldest = TAILQ_FIRST(&s->takes_by_age)) != NULL && (all || oldest->take.until <= s->served))
        if (!exchange_refuse_take(s, oldest))
            exchange_drop(s, oldest);
}

static int exchange_timeout(const struct exchange *s) {
    struct exchange_offer *oldest = TAILQ_FIRST(&s->offers_by_age);
    uint64_t next = s->rest_until, now;
    if (!TAILQ_EMPTY(&s->takes_by_age))
        return 0;
    if (oldest != NULL && (next == 0 || oldest->deadline < next))
        next = oldest->deadline;
    if (next == 0)
        return -1;
    now = exchange_now();
    uint64_t milliseconds = next > now ? (next - now) / 1000000 + 1 : 0;
    return milliseconds < 60000 ? (int)milliseconds : 60000;
}

/* Until stop(), or until the kernel gives no events any more. */
static void exchange_rounds(struct exchange *s) {
    struct epoll_event event;
    int timeout = 0;
    for (;;) {
        int count = epoll_wait(s->poll, &event, 1, timeout);
        if (count < 0 && errno != EINTR)
            return;
        pthread_mutex_lock(&s->mutex);
        if (count == 1)
            exchange_handle(s, event.data.ptr);
        exchange_refuse(s, count == 0);
        exchange_expire(s);
        if (s->rest_until != 0 && s->rest_until <= exchange_now())
            exchange_end_rest(s);
        exchange_free_ended(s);
        timeout = exchange_timeout(s);
        bool stops = s->stopping;
        pthread_mutex_unlock(&s->mutex);
        if (stops)
            return;
    }
}

/* ------------------------------------------------------------------------------- for the broker, with the mutex */

/* NULL and errno when it can't be. */
static struct exchange_namespace *exchange_open(struct exchange *s, int listener, int probe, uint64_t cookie,
                                                uint32_t number) {
    struct exchange_namespace *home = calloc(1, sizeof(*home));
    int index = 0;
    while (index < EXCHANGE_NAMESPACES && s->namespaces[index] != NULL)
        index++;
    errno = ENOSPC;
    if (home == NULL || index == EXCHANGE_NAMESPACES || (home->reaper = fd_reaper_new()) == NULL ||
        exchange_watch(s, listener, home) != 0) {
        int error = errno;
        if (home != NULL && home->reaper != NULL)
            fd_reaper_release(home->reaper);
        free(home);
        errno = error;
        return NULL;
    }
    home->watched.kind = EXCHANGE_LISTENER;
    home->listener = listener;
    home->probe = probe;
    home->cookie = cookie;
    home->number = number;
    home->index = index;
    s->namespaces[index] = home;
    return home;
}

static void exchange_wake(const struct exchange *s) {
    uint64_t one = 1;
    if (write(s->command, &one, sizeof(one)) < 0)
        return; /* it is written already */
}

/* The offers that its programs have made to others stay; listener and probe are the caller's. */
static void exchange_close(struct exchange *s, struct exchange_namespace *home) {
    struct exchange_client *client;
    struct exchange_offer *offer;
    if (!home->resting)
        exchange_unwatch(s, home->listener);
    home->watched.ended = true;
    home->offers_made++; /* not buried before we are done with it */
    while ((client = LIST_FIRST(&home->clients)) != NULL)
        exchange_drop(s, client);
    while ((offer = LIST_FIRST(&home->offers)) != NULL)
        exchange_drop_offer(s, offer);
    s->namespaces[home->index] = NULL;
    for (int i = 0; i < s->entry_count; i++) /* the next namespace with its index must not speak for its addresses */
        if (s->entries[i].index == (uint32_t)home->index)
            s->entries[i].index = EXCHANGE_NAMESPACES;
    if (--home->offers_made == 0)
        exchange_bury(s, &home->watched);
    exchange_wake(s); /* the thread frees what is buried, and may sleep until somebody comes */
}

static int exchange_compare(const void *one, const void *other) {
    const struct exchange_entry *a = one, *b = other;
    if (exchange_same_ip(&a->address, &b->address))
        return a->order < b->order ? -1 : a->order > b->order;
    return exchange_before(a, &b->address) ? -1 : 1;
}

/* Takes over the entries, the old ones are the caller's. */
static struct exchange_entry *exchange_settle(struct exchange *s, struct exchange_entry *entries, int count) {
    struct exchange_entry *old = s->entries;
    for (int i = 0; i < count; i++) {
        exchange_normalize(&entries[i].address);
        entries[i].order = (uint32_t)i;
    }
    qsort(entries, (size_t)count, sizeof(*entries), exchange_compare);
    s->entries = entries;
    s->entry_count = count;
    return old;
}

/* A partition's number has changed: the old one may be another namespace's by now. */
static void exchange_renumber(struct exchange *s, struct exchange_namespace *home, uint32_t number) {
    uint32_t old = home->number;
    if (old == number)
        return;
    home->number = number;
    if (old < VN_TABLE_PORTS) {
        atomic_store(&s->table->offers[old], 0);
        atomic_store(&s->table->clients[old], 0);
    }
    for (int i = 0; i < EXCHANGE_NAMESPACES; i++)
        if (s->namespaces[i] != NULL && (s->namespaces[i] == home || s->namespaces[i]->number == old))
            exchange_publish(s, s->namespaces[i]);
}

/* NULL and errno when it can't be. */
static struct exchange *exchange_new(void *table, uint64_t timeout_ns, int most_offers, int most_fds) {
    struct exchange *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    pthread_mutex_init(&s->mutex, NULL);
    TAILQ_INIT(&s->offers_by_age);
    TAILQ_INIT(&s->takes_by_age);
    s->table = table;
    s->timeout_ns = timeout_ns;
    s->most_offers = most_offers;
    s->most_fds = most_fds;
    s->poll = epoll_create1(EPOLL_CLOEXEC);
    s->command = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (getrandom(s->seed, sizeof(s->seed), 0) == sizeof(s->seed) && s->poll >= 0 && s->command >= 0 &&
        exchange_watch(s, s->command, &s->commands) == 0)
        return s;
    int error = errno;
    if (s->poll >= 0)
        close(s->poll);
    if (s->command >= 0)
        close(s->command);
    free(s);
    errno = error;
    return NULL;
}

/* When its thread has ended. */
static void exchange_free(struct exchange *s) {
    for (int i = 0; i < EXCHANGE_NAMESPACES; i++)
        if (s->namespaces[i] != NULL)
            exchange_close(s, s->namespaces[i]);
    exchange_free_ended(s);
    pthread_mutex_destroy(&s->mutex);
    close(s->poll);
    close(s->command);
    free(s->entries);
    free(s);
}

static void exchange_stop(struct exchange *s) {
    pthread_mutex_lock(&s->mutex);
    s->stopping = true;
    pthread_mutex_unlock(&s->mutex);
    exchange_wake(s);
}
