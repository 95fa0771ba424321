/* The three requests of the exchange: OFFER, TAKE and FORGET. */
#pragma once

#include "exchange/offers.h"
#include "resolver/resolver.h"

static bool exchange_before(const struct exchange_entry *entry, const struct vn_address *address) {
    if (entry->address.family != address->family)
        return entry->address.family < address->family;
    return memcmp(entry->address.ip, address->ip, sizeof(address->ip)) < 0;
}

/* The namespace that has an address, NULL for none; *own: so has `home`. */
static struct exchange_namespace *exchange_home_of(const struct exchange *s, const struct vn_address *address,
                                                   const struct exchange_namespace *home, bool *own) {
    struct exchange_namespace *found = NULL;
    int low = 0, high = s->entry_count;
    *own = false;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (exchange_before(&s->entries[middle], address))
            low = middle + 1;
        else
            high = middle;
    }
    for (int i = low; i < s->entry_count && exchange_same_ip(&s->entries[i].address, address); i++) {
        found = s->entries[i].index < EXCHANGE_NAMESPACES ? s->namespaces[s->entries[i].index] : NULL;
        *own = *own || found == home;
    }
    return found;
}

/* Where an offer goes, if it goes anywhere. */
static enum vn_reason exchange_judge(const struct exchange *s, struct exchange_namespace *home,
                                     const struct exchange_key *key, struct exchange_namespace **to) {
    bool source_is_own, target_is_own;
    bool source_is_local = resolver_is_loopback(&key->source), target_is_local = resolver_is_loopback(&key->target);
    exchange_home_of(s, &key->source, home, &source_is_own);
    *to = exchange_home_of(s, &key->target, home, &target_is_own);
    if (target_is_local || target_is_own)
        *to = home;
    bool speaks = source_is_own || (source_is_local && *to == home);
    if (*to == NULL || !speaks)
        return VN_REASON_not_a_partition;
    if (key->source.port == 0 || key->target.port == 0)
        return VN_REASON_unsupported;
    if (!resolver_has_listener((*to)->probe, &key->target))
        return VN_REASON_no_library;
    if (home->offers_made >= EXCHANGE_OFFERS || s->offer_count >= s->most_offers)
        return VN_REASON_no_descriptors;
    return VN_REASON_direct;
}

/* The answer to a TAKE that has found its offer; false when the client does not take it. */
static bool exchange_hand_over(struct exchange *s, struct exchange_client *client, struct exchange_offer *offer) {
    exchange_remove(s, offer);
    bool taken = exchange_answer(client->fd, VN_REASON_direct, offer->fds, 2);
    exchange_dispose(s, offer);
    return taken;
}

static void exchange_drop(struct exchange *s, struct exchange_client *client);

/* A TAKE may have been read before the offer that it is for. */
static void exchange_serve_taker(struct exchange *s, struct exchange_offer *offer) {
    struct exchange_client *taker = exchange_taker(s, offer);
    if (taker == NULL)
        return;
    exchange_resume_take(s, taker);
    if (!exchange_hand_over(s, taker, offer))
        exchange_drop(s, taker);
}

/* Each of these is false when the client is to go. Descriptors that are left in the message are closed. */
static bool exchange_offer(struct exchange *s, struct exchange_client *client, struct exchange_message *message) {
    struct exchange_key key = {message->request.source, message->request.target};
    struct exchange_namespace *to;
    struct exchange_names names;
    if (message->count < 3) /* we had no room for them, or none were sent */
        return exchange_answer(client->fd, VN_REASON_no_descriptors, NULL, 0);
    if (!exchange_is_doorbell(message->fds[0]) || !exchange_is_region(message->fds[1]))
        return false;
    enum vn_reason reason = exchange_judge(s, client->home, &key, &to);
    if (reason != VN_REASON_direct)
        return exchange_answer(client->fd, reason, NULL, 0);
    if (!exchange_tcp_names(message->fds[2], &names) || names.cookie != client->home->cookie ||
        !exchange_may_become(&names.local, &key.source))
        return false;
    struct exchange_offer *offer = exchange_find(s, to, &key);
    if (offer != NULL) /* of a connection that was not made, or an impostor's */
        exchange_drop_offer(s, offer);
    offer = exchange_add(s, client, to, &key, message->fds);
    if (offer == NULL)
        return exchange_answer(client->fd, VN_REASON_no_memory, NULL, 0);
    message->fds[0] = message->fds[--message->count]; /* the surplus stays in the message, in any order */
    message->fds[1] = message->fds[--message->count];
    if (!exchange_answer(client->fd, VN_REASON_direct, NULL, 0)) { /* its connection is plain TCP */
        exchange_drop_offer(s, offer);
        return false;
    }
    exchange_serve_taker(s, offer);
    message->direct = true;
    return true;
}

static bool exchange_take(struct exchange *s, struct exchange_client *client, struct exchange_message *message) {
    struct exchange_key key = {message->request.source, message->request.target};
    struct exchange_names names;
    if (message->count == 0)
        return exchange_answer(client->fd, VN_REASON_no_descriptors, NULL, 0);
    if (!exchange_tcp_names(message->fds[0], &names))
        return false;
    if (!exchange_same(&names.local, &key.target) || !exchange_same(&names.remote, &key.source) ||
        names.cookie != client->home->cookie)
        return exchange_answer(client->fd, VN_REASON_no_offer, NULL, 0);
    struct exchange_offer *offer = exchange_find(s, client->home, &key);
    message->direct = offer != NULL;
    if (offer != NULL)
        return exchange_hand_over(s, client, offer);
    exchange_put_aside(s, client, &key);
    return true;
}

/* Only the client that has made an offer can take it back. */
static void exchange_forget(struct exchange *s, const struct exchange_client *client, const struct exchange_key *key) {
    struct exchange_offer *each, *next;
    for (each = LIST_FIRST(&s->offers[exchange_bucket(s, key)]); each != NULL; each = next) {
        next = LIST_NEXT(each, same_bucket);
        if (each->maker == client->serial && exchange_same_key(&each->key, key))
            exchange_drop_offer(s, each);
    }
}

static bool exchange_refuse_take(struct exchange *s, struct exchange_client *client) {
    exchange_resume_take(s, client);
    return exchange_answer(client->fd, VN_REASON_no_offer, NULL, 0);
}

/* One request of a client; false when it is to go. */
static bool exchange_serve(struct exchange *s, struct exchange_client *client, struct exchange_message *message) {
    struct vn_request *request = &message->request;
    if (!exchange_normalize(&request->source) || !exchange_normalize(&request->target))
        return false;
    if (client->take.waiting && !exchange_refuse_take(s, client)) /* answers come in the order of the questions */
        return false;
    if (request->version != VN_SOCKETS_VERSION)
        return exchange_answer(client->fd, VN_REASON_unsupported, NULL, 0);
    switch (request->op) {
    case VN_OFFER: return exchange_offer(s, client, message);
    case VN_TAKE: return exchange_take(s, client, message);
    case VN_FORGET: exchange_forget(s, client, &(struct exchange_key){request->source, request->target}); return true;
    default: return false;
    }
}
