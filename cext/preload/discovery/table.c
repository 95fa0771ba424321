/* Which addresses are partitions: the table that the broker shares, mapped read-only. */
#include "discovery/table.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/message.h"
#include "base/real.h"
#include "base/signals.h"

static _Atomic(const struct vn_table *) table; /* never moves: others may read it at any time */
static _Atomic uint32_t own_port;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* to take a table */

void table_before_fork(void) {
    mutex_lock(&mutex);
}

void table_after_fork_here(void) {
    mutex_unlock(&mutex);
}

void table_after_fork(void) {
    pthread_mutex_init(&mutex, NULL);
}

const struct vn_table *table_shared(void) {
    return atomic_load(&table);
}

uint32_t table_own_port(void) {
    return own_port;
}

uint64_t table_epoch(void) {
    const struct vn_table *fabric = table_shared();
    return fabric != NULL ? atomic_load(&fabric->epoch) : 0;
}

static void map_table(int fd) {
    static dev_t device;
    static ino_t inode;
    struct stat status;
    if (fstat(fd, &status) != 0 || status.st_size < (off_t)sizeof(struct vn_table))
        return;
    const struct vn_table *old = atomic_load(&table);
    if (old != NULL && status.st_dev == device && status.st_ino == inode)
        return; /* it is that one, whose number can't be another's while we have it */
    int seals = real_fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK))
        return;
    const struct vn_table *place = mmap(NULL, sizeof(*place), PROT_READ, MAP_SHARED, fd, 0);
    if (place == MAP_FAILED)
        return;
    if (place->magic != VN_TABLE_MAGIC || place->version != VN_SOCKETS_VERSION) {
        munmap((void *)place, sizeof(*place));
        return;
    }
    if (old == NULL)
        atomic_store(&table, place);
    else /* to the old one's place, where others may be reading */
        mremap((void *)place, sizeof(*place), sizeof(*place), MREMAP_MAYMOVE | MREMAP_FIXED, (void *)old);
    device = status.st_dev;
    inode = status.st_ino;
}

void table_learn(const struct vn_reply *reply, int *fds, int count) {
    mutex_lock(&mutex);
    own_port = reply->port < VN_TABLE_PORTS ? reply->port : 0;
    if (count == 1)
        map_table(fds[0]);
    mutex_unlock(&mutex);
    close_all(fds, count);
}

int table_partition_of(const struct vn_address *address) {
    const struct vn_table *fabric = table_shared();
    for (int tries = 0; fabric != NULL && tries < 100; tries++) {
        uint32_t sequence = atomic_load_explicit(&fabric->sequence, memory_order_acquire);
        int found = -1;
        uint32_t count = fabric->count < VN_TABLE_ENTRIES ? fabric->count : VN_TABLE_ENTRIES;
        for (uint32_t i = 0; i < count && found < 0; i++)
            if (fabric->entries[i].address.family == address->family &&
                memcmp(fabric->entries[i].address.ip, address->ip, sizeof(address->ip)) == 0)
                found = (int)fabric->entries[i].port;
        atomic_thread_fence(memory_order_acquire);
        if (!(sequence & 1) && sequence == atomic_load_explicit(&fabric->sequence, memory_order_relaxed))
            return found;
    }
    return -1;
}
