/* What earlier connections of this process have shown of their targets.
 *
 * A connection whose offer nobody takes waits for VNICD_ANSWER_MS before it goes on by TCP: where a firewall redirects
 * it to another port, or the address has moved to a host without partitions. That must not happen to each connection.
 * What was learnt is forgotten when firewall, routes or addresses change (the broker's epoch).
 *
 * To become direct costs both ends a third of a millisecond of CPU time, ten times as much as TCP's handshake and the few
 * frames of a short request. So where connections are made at a high rate and end soon, the next ones stay TCP for a
 * while; then some are direct again, which shows whether that has changed. */
#include "discovery/targets.h"

#include <pthread.h>
#include <string.h>

#include "base/signals.h"
#include "base/sockaddr.h"
#include "discovery/table.h"

#define PLACES 64
#define SILENT_NS SECOND_NS
#define FIRST_HOLD_NS (2 * SECOND_NS)
#define MOST_HOLD_NS (600 * SECOND_NS)
#define SHORT_LIVED_COUNT 16 /* in a row, within SHORT_LIVED_NS, leave a target to TCP */
#define SHORT_LIVED_NS SECOND_NS
#define SHORT_LIVED_MOST_NS (64 * SECOND_NS)

struct place {
    struct vn_address target;
    enum target what;
    uint64_t until, hold_ns, epoch;
    /* of short-lived connections: */
    unsigned count;
    uint64_t counted_from, plain_until, plain_ns;
};

static struct place places[PLACES];
static unsigned next;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void targets_before_fork(void) {
    mutex_lock(&mutex);
}

void targets_after_fork_here(void) {
    mutex_unlock(&mutex);
}

void targets_after_fork(void) {
    pthread_mutex_init(&mutex, NULL);
}

static struct place *find(const struct vn_address *target) {
    for (int i = 0; i < PLACES; i++)
        if (places[i].what != TARGET_UNKNOWN && address_same(&places[i].target, target))
            return &places[i];
    return NULL;
}

static bool is_valid(const struct place *place) {
    if (place->what == TARGET_DIRECT || place->what == TARGET_DEFERS)
        return true;
    return now_ns() < place->until && place->epoch == table_epoch();
}

enum target targets_lookup(const struct vn_address *target) {
    mutex_lock(&mutex);
    const struct place *place = find(target);
    enum target what = place != NULL && is_valid(place) ? place->what : TARGET_UNKNOWN;
    if (place != NULL && place->plain_until != 0 && now_ns() < place->plain_until)
        what = TARGET_SHORT_LIVED;
    mutex_unlock(&mutex);
    return what;
}

static void count_short_lived(struct place *place, uint64_t now) {
    if (place->count == 0 || now - place->counted_from > SHORT_LIVED_NS) {
        place->count = 0;
        place->counted_from = now;
    }
    if (++place->count < SHORT_LIVED_COUNT || now < place->plain_until)
        return;
    bool again = place->plain_ns != 0 && now - place->plain_until < place->plain_ns;
    uint64_t hold = again ? 2 * place->plain_ns : SHORT_LIVED_NS;
    place->plain_ns = hold < SHORT_LIVED_MOST_NS ? hold : SHORT_LIVED_MOST_NS;
    place->plain_until = now + place->plain_ns;
    place->count = 0;
}

void targets_ended(const struct vn_address *target, bool short_lived) {
    mutex_lock(&mutex);
    struct place *place = find(target);
    if (place != NULL && short_lived)
        count_short_lived(place, now_ns());
    else if (place != NULL)
        place->count = 0, place->plain_ns = 0, place->plain_until = 0;
    mutex_unlock(&mutex);
}

void targets_learn(const struct vn_address *target, enum target what) {
    mutex_lock(&mutex);
    struct place *place = find(target);
    if (place == NULL) {
        place = &places[next++ % PLACES];
        *place = (struct place){.target = *target};
    }
    uint64_t hold = SILENT_NS;
    if (what == TARGET_FELL_BACK) {
        hold = place->what == TARGET_FELL_BACK ? 2 * place->hold_ns : FIRST_HOLD_NS;
        hold = hold < MOST_HOLD_NS ? hold : MOST_HOLD_NS;
    }
    place->what = what;
    place->until = now_ns() + hold;
    place->hold_ns = hold;
    place->epoch = table_epoch();
    mutex_unlock(&mutex);
}
