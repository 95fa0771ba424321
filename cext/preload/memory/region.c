/* Stream regions: see region.h. */
#include "memory/region.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"
#include "memory/report.h"

#define SEALS_NEEDED (F_SEAL_SHRINK | F_SEAL_GROW)

/* Address space reserved for one region of a peer: once our own region exists, the connection may be accepted, and then
 * mapping the other's must not fail. */
static _Atomic(void *) spare;

static _Atomic bool lock_future; /* mlockall(MCL_FUTURE): new mappings would be filled and locked */

void region_lock_future(bool locked) {
    lock_future = locked;
}

void region_unlock(const struct vn_region *region) {
    if (region != NULL)
        munlock(region, VN_SMALL_BYTES);
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
    void *region = mmap(place, VN_SMALL_BYTES, PROT_READ, MAP_SHARED | MAP_FIXED, memfd, 0);
    if (region == MAP_FAILED)
        munmap(place, VN_SMALL_BYTES);
    return region;
}

static void begin(struct vn_region *region, const struct vn_address *local, const struct vn_address *remote,
                  bool accepted) {
    region->magic = VN_REGION_MAGIC;
    region->version = VN_SOCKETS_VERSION;
    region->pid = process_id;
    region->accepted = accepted;
    region->local = *local;
    region->remote = *remote;
    strncpy(region->program, program_invocation_short_name, sizeof(region->program) - 1);
}

int region_make(struct vn_region **region, const struct vn_address *local, const struct vn_address *remote,
                bool accepted) {
    int fd = memfd_create("vnicd-region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -1;
    struct vn_region *place = MAP_FAILED;
    if (have_spare() && file_may_have(VN_REGION_BYTES) && ftruncate(fd, VN_REGION_BYTES) == 0)
        place = map(PROT_READ | PROT_WRITE, fd);
    if (place == MAP_FAILED || real_fcntl(fd, F_ADD_SEALS, SEALS_NEEDED | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0) {
        if (place != MAP_FAILED)
            munmap(place, VN_SMALL_BYTES);
        quiet_close(fd);
        return -1;
    }
    begin(place, local, remote, accepted);
    *region = place;
    return fd;
}

const struct vn_region *region_map(int memfd) {
    struct stat status;
    int seals = real_fcntl(memfd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS_NEEDED) != SEALS_NEEDED) /* or its maker could cut it short under us: SIGBUS */
        return NULL;
    if (fstat(memfd, &status) != 0 || status.st_size != VN_REGION_BYTES)
        return NULL;
    const struct vn_region *region = map(PROT_READ, memfd);
    if (region == MAP_FAILED && (region = map_into_spare(memfd)) == MAP_FAILED)
        return NULL;
    if (region->magic != VN_REGION_MAGIC || region->version != VN_SOCKETS_VERSION) {
        region_unmap(region);
        return NULL;
    }
    return region;
}

void region_unmap(const struct vn_region *region) {
    if (region != NULL)
        munmap((void *)region, VN_SMALL_BYTES);
}

void *region_map_whole(const struct vn_region *region) {
    void *place = mremap((void *)region, 0, VN_REGION_BYTES, MREMAP_MAYMOVE);
    return place != MAP_FAILED ? place : NULL;
}

void region_unmap_whole(void *whole) {
    if (whole != NULL)
        munmap(whole, VN_REGION_BYTES);
}
