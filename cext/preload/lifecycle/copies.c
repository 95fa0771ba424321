/* Whether a copy of this process lives that no hook has seen being made.
 *
 * A fork leaves the pages of both processes shared until one of them writes. The kernel tells of each page whether it is
 * mapped once (bit 56 of its entry in /proc/self/pagemap), so a page that nobody writes tells of every copy, however it
 * was made, until that one execs or ends. A child that has called a hook writes to its own page: we know of it. */
#include "lifecycle/copies.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"
#include "fdtable/hidden.h"

#define PRESENT (1ull << 63)
#define MAPPED_ONCE (1ull << 56)

static volatile unsigned char *witness;
static _Atomic int pagemap = -1; /* hidden; of this process */

bool copies_init(void) {
    size_t size = (size_t)getpagesize();
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return false;
    madvise(page, size, MADV_NOHUGEPAGE);
    witness = page;
    *witness = 1;
    return true;
}

void copies_begin_anew(void) {
    int theirs = atomic_exchange(&pagemap, -1);
    if (theirs >= 0)
        hidden_close(theirs);
    if (witness != NULL) /* as it is when the library stands aside */
        *witness = 1;
}

static int opened(void) {
    int fd = atomic_load(&pagemap), expected = -1;
    if (fd >= 0)
        return fd;
    /* no cancellation point */
    fd = (int)real_syscall(SYS_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (fd = hide(fd)) < 0)
        return -1;
    if (atomic_compare_exchange_strong(&pagemap, &expected, fd))
        return fd;
    hidden_close(fd);
    return expected;
}

bool process_is_copied(void) {
    uint64_t entry = 0;
    int saved = errno, fd = witness != NULL ? opened() : -1;
    uint64_t at = (uintptr_t)witness / (size_t)getpagesize() * sizeof(entry);
    bool known =
        fd >= 0 && *witness == 1 && real_syscall(SYS_pread64, fd, &entry, sizeof(entry), at) == (long)sizeof(entry);
    errno = saved;
    return known && entry & PRESENT && !(entry & MAPPED_ONCE);
}
