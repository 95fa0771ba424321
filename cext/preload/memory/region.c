/* The halves of connections: see region.h. */
#include "memory/region.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"
#include "memory/report.h"

#define SEALS_NEEDED (F_SEAL_SHRINK | F_SEAL_GROW)

/* Address space reserved for one half of a peer: once our own half exists, the connection may be accepted, and then
 * mapping the other's must not fail. */
static _Atomic(void *) spare;

static _Atomic bool lock_future;   /* mlockall(MCL_FUTURE): new mappings would be filled and locked */

void region_lock_future(bool locked) {
    lock_future = locked;
}

void region_unlock(const struct vn_half *half) {
    if (half != NULL)
        munlock(half, VN_SMALL_BYTES);
}

/* As mmap, but not locked: what can't be read is not filled. */
static void *map(int protection, int memfd) {
    if (LIKELY(!lock_future))
        return mmap(NULL, VN_SMALL_BYTES, protection, MAP_SHARED, memfd, 0);
    void *place = mmap(NULL, VN_SMALL_BYTES, PROT_NONE, MAP_SHARED, memfd, 0);
    if (place == MAP_FAILED)
        return place;
    munlock(place, VN_SMALL_BYTES);
    if (mprotect(place, VN_SMALL_BYTES, protection) == 0)
        return place;
    munmap(place, VN_SMALL_BYTES);
    return MAP_FAILED;
}

static bool have_spare(void) {
    void *none = NULL;
    if (atomic_load(&spare) != NULL)
        return true;
    void *place = mmap(NULL, VN_SMALL_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED)
        return false;
    if (!atomic_compare_exchange_strong(&spare, &none, place))
        munmap(place, VN_SMALL_BYTES);
    return true;
}

static void *map_into_spare(int memfd) {
    void *place = atomic_exchange(&spare, NULL);
    if (place == NULL)
        return MAP_FAILED;
    void *half = mmap(place, VN_SMALL_BYTES, PROT_READ, MAP_SHARED | MAP_FIXED, memfd, 0);
    if (half == MAP_FAILED)
        munmap(place, VN_SMALL_BYTES);
    return half;
}

static void begin(struct vn_half *half, const struct vn_address *local, const struct vn_address *remote, bool accepted) {
    half->magic = VN_HALF_MAGIC;
    half->version = VN_SOCKETS_VERSION;
    half->pid = process_id;
    half->accepted = accepted;
    half->local = *local;
    half->remote = *remote;
    strncpy(half->program, program_invocation_short_name, sizeof(half->program) - 1);
}

int region_make(struct vn_half **half, const struct vn_address *local, const struct vn_address *remote, bool accepted) {
    int fd = memfd_create("vnicd-half", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -1;
    struct vn_half *place = MAP_FAILED;
    if (have_spare() && file_may_have(VN_HALF_BYTES) && ftruncate(fd, VN_HALF_BYTES) == 0)
        place = map(PROT_READ | PROT_WRITE, fd);
    if (place == MAP_FAILED || real_fcntl(fd, F_ADD_SEALS, SEALS_NEEDED | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0) {
        if (place != MAP_FAILED)
            munmap(place, VN_SMALL_BYTES);
        quiet_close(fd);
        return -1;
    }
    begin(place, local, remote, accepted);
    *half = place;
    return fd;
}

const struct vn_half *region_map(int memfd) {
    struct stat status;
    int seals = real_fcntl(memfd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS_NEEDED) != SEALS_NEEDED)   /* or its maker could cut it short under us: SIGBUS */
        return NULL;
    if (fstat(memfd, &status) != 0 || status.st_size != VN_HALF_BYTES)
        return NULL;
    const struct vn_half *half = map(PROT_READ, memfd);
    if (half == MAP_FAILED && (half = map_into_spare(memfd)) == MAP_FAILED)
        return NULL;
    if (half->magic != VN_HALF_MAGIC || half->version != VN_SOCKETS_VERSION) {
        region_unmap(half);
        return NULL;
    }
    return half;
}

void region_unmap(const struct vn_half *half) {
    if (half != NULL)
        munmap((void *)half, VN_SMALL_BYTES);
}

void *region_map_whole(const struct vn_half *half) {
    void *place = mremap((void *)half, 0, VN_HALF_BYTES, MREMAP_MAYMOVE);
    return place != MAP_FAILED ? place : NULL;
}

void region_unmap_whole(void *whole) {
    if (whole != NULL)
        munmap(whole, VN_HALF_BYTES);
}
