/* What earlier connections of this process have shown of their targets.
 *
 * A connection whose offer nobody takes waits for VNICD_ANSWER_MS before it goes on by TCP: where a firewall redirects
 * it to another port, or the address has moved to a host without partitions. That must not happen to each connection.
 * What was learnt is forgotten when firewall, routes or addresses change (the broker's epoch). */
#include "discovery/targets.h"

#include <pthread.h>
#include <string.h>

#include "base/sockaddr.h"
#include "discovery/table.h"

#define PLACES 64
#define SILENT_NS SECOND_NS
#define FIRST_HOLD_NS (2 * SECOND_NS)
#define MOST_HOLD_NS (600 * SECOND_NS)

struct place {
    struct vn_address target;
    enum target what;
    uint64_t until, hold_ns, epoch;
};

static struct place places[PLACES];
static unsigned next;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void targets_before_fork(void) {
    pthread_mutex_lock(&mutex);
}

void targets_after_fork_here(void) {
    pthread_mutex_unlock(&mutex);
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

enum target targets_recall(const struct vn_address *target) {
    pthread_mutex_lock(&mutex);
    const struct place *place = find(target);
    enum target what = place != NULL && is_valid(place) ? place->what : TARGET_UNKNOWN;
    pthread_mutex_unlock(&mutex);
    return what;
}

void targets_learn(const struct vn_address *target, enum target what) {
    pthread_mutex_lock(&mutex);
    struct place *place = find(target);
    if (place == NULL)
        place = &places[next++ % PLACES];
    uint64_t hold = SILENT_NS;
    if (what == TARGET_FELL_BACK) {
        bool again = place->what == TARGET_FELL_BACK && address_same(&place->target, target);
        hold = again ? 2 * place->hold_ns : FIRST_HOLD_NS;
        hold = hold < MOST_HOLD_NS ? hold : MOST_HOLD_NS;
    }
    *place = (struct place){*target, what, now_ns() + hold, hold, table_epoch()};
    pthread_mutex_unlock(&mutex);
}
