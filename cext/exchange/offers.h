/* The offers that wait and the TAKEs that are put aside: by address, by age, and counted by namespace. */
#pragma once

#include "exchange/checks.h"

#include <time.h>

static uint64_t exchange_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* The seed is secret: programs choose addresses, and would choose them all for one bucket. */
static uint32_t exchange_bucket(const struct exchange *s, const struct exchange_key *key) {
    uint64_t words[4], hash = s->seed[0];
    memcpy(&words[0], key->source.ip, 16);
    memcpy(&words[2], key->target.ip, 16);
    for (int i = 0; i < 5; i++) {
        uint64_t word = i < 4 ? words[i] : (uint64_t)key->source.port << 16 | key->target.port;
        __extension__ unsigned __int128 product = (unsigned __int128)(hash ^ word) * (s->seed[1] | 1);
        hash = (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    return (uint32_t)(hash >> 32) % EXCHANGE_BUCKETS;
}

static struct exchange_offer *exchange_find(struct exchange *s, const struct exchange_namespace *to,
                                            const struct exchange_key *key) {
    struct exchange_offer *each;
    LIST_FOREACH(each, &s->offers[exchange_bucket(s, key)], same_bucket)
        if (each->to == to && exchange_same_key(&each->key, key))
            return each;
    return NULL;
}

/* Publishes how many offers wait for a namespace, and how many clients it has. */
static void exchange_publish(struct exchange *s, const struct exchange_namespace *of) {
    if (of->number >= VN_TABLE_PORTS)
        return;
    atomic_store(&s->table->offers[of->number], (uint32_t)of->offers_waiting);
    atomic_store(&s->table->clients[of->number], (uint32_t)of->client_count);
}

/* ------------------------------------------------------------------------------------------- what has ended */

/* Frees it at the end of the round, when no event can point to it. */
static void exchange_bury(struct exchange *s, struct exchange_watched *watched) {
    watched->next_ended = s->ended;
    s->ended = watched;
}

static void exchange_free_ended(struct exchange *s) {
    while (s->ended != NULL) {
        struct exchange_watched *each = s->ended;
        s->ended = each->next_ended;
        if (each->kind == EXCHANGE_LISTENER)
            fd_reaper_release(((struct exchange_namespace *)each)->reaper);
        free(each);
    }
}

/* ---------------------------------------------------------------------------------------------------- offers */

/* Takes the descriptors over; NULL without memory. */
static struct exchange_offer *exchange_add(struct exchange *s, const struct exchange_client *maker,
                                           struct exchange_namespace *to, const struct exchange_key *key,
                                           const int fds[2]) {
    struct exchange_offer *offer = malloc(sizeof(*offer));
    if (offer == NULL)
        return NULL;
    *offer = (struct exchange_offer){.key = *key,
                                     .fds = {fds[0], fds[1]},
                                     .maker = maker->serial,
                                     .from = maker->home,
                                     .to = to,
                                     .deadline = exchange_now() + s->timeout_ns};
    LIST_INSERT_HEAD(&s->offers[exchange_bucket(s, key)], offer, same_bucket);
    LIST_INSERT_HEAD(&to->offers, offer, same_target);
    TAILQ_INSERT_TAIL(&s->offers_by_age, offer, by_age);
    offer->from->offers_made++;
    to->offers_waiting++;
    s->offer_count++;
    exchange_publish(s, to);
    return offer;
}

/* Nobody can find it any more; the caller has its descriptors closed and frees it. */
static void exchange_remove(struct exchange *s, struct exchange_offer *offer) {
    LIST_REMOVE(offer, same_bucket);
    LIST_REMOVE(offer, same_target);
    TAILQ_REMOVE(&s->offers_by_age, offer, by_age);
    offer->to->offers_waiting--;
    s->offer_count--;
    exchange_publish(s, offer->to);
}

static void exchange_dispose(struct exchange *s, struct exchange_offer *offer) {
    struct exchange_namespace *from = offer->from;
    fd_reaper_put(from->reaper, offer->fds, 2, false);
    free(offer);
    if (--from->offers_made == 0 && from->watched.ended)
        exchange_bury(s, &from->watched);
}

static void exchange_drop_offer(struct exchange *s, struct exchange_offer *offer) {
    exchange_remove(s, offer);
    exchange_dispose(s, offer);
}

/* Drops the offers that have waited too long, some at a time. */
static void exchange_expire(struct exchange *s) {
    struct exchange_offer *oldest;
    uint64_t now = exchange_now();
    for (int i = 0; i < 64 && (oldest = TAILQ_FIRST(&s->offers_by_age)) != NULL && oldest->deadline <= now; i++)
        exchange_drop_offer(s, oldest);
}

/* ----------------------------------------------------------------------------------------------------- TAKEs */

static void exchange_put_aside(struct exchange *s, struct exchange_client *client, const struct exchange_key *key) {
    client->take.key = *key;
    client->take.until = s->served + EXCHANGE_DRAIN;
    client->take.waiting = true;
    LIST_INSERT_HEAD(&s->takes[exchange_bucket(s, key)], client, take.same_bucket);
    TAILQ_INSERT_TAIL(&s->takes_by_age, client, take.by_age);
}

static void exchange_resume_take(struct exchange *s, struct exchange_client *client) {
    LIST_REMOVE(client, take.same_bucket);
    TAILQ_REMOVE(&s->takes_by_age, client, take.by_age);
    client->take.waiting = false;
}

/* The client whose TAKE waits for this offer; NULL for none. */
static struct exchange_client *exchange_taker(struct exchange *s, const struct exchange_offer *offer) {
    struct exchange_client *each;
    LIST_FOREACH(each, &s->takes[exchange_bucket(s, &offer->key)], take.same_bucket)
        if (each->home == offer->to && exchange_same_key(&each->take.key, &offer->key))
            return each;
    return NULL;
}
