/* What this process reports to `vnicctl sockets`: a page with the decisions it has made. */
#include "memory/report.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/process.h"
#include "base/signals.h"
#include "base/real.h"
#include "memory/debug.h"

static struct vn_process *page;
static bool sealed;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

bool file_may_have(uint64_t bytes) {
    struct rlimit most;
    return getrlimit(RLIMIT_FSIZE, &most) != 0 || bytes <= most.rlim_cur;
}

void report_before_fork(void) {
    mutex_lock(&mutex);
}

void report_after_fork_here(void) {
    mutex_unlock(&mutex);
}

void report_after_fork(void) {
    pthread_mutex_init(&mutex, NULL);
    if (page != NULL)
        munmap(page, sizeof(*page)); /* the parent's */
    page = NULL;
}

static void make(void) {
    int fd = memfd_create("vnicd-process", MFD_CLOEXEC);
    if (fd < 0)
        return;
    if (file_may_have(sizeof(*page)) && ftruncate(fd, sizeof(*page)) == 0) {
        void *place = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (place != MAP_FAILED)
            page = place;
    }
    quiet_close(fd);
    if (page == NULL)
        return;
    page->version = VN_SOCKETS_VERSION;
    page->pid = process_id;
    strncpy(page->program, program_invocation_short_name, sizeof(page->program) - 1);
    page->magic = VN_PROCESS_MAGIC;
}

void report_seal(void) {
    int saved = errno;
    mutex_lock(&mutex);
    if (page == NULL && !sealed)
        make();
    sealed = true;
    mutex_unlock(&mutex);
    errno = saved;
}

void report(enum vn_reason reason, const struct vn_address *target, int fd) {
    int saved = errno;
    debug_decision(reason, target, fd);
    mutex_lock(&mutex);
    if (page == NULL && !sealed)
        make();
    if (page != NULL) {
        unsigned place = page->recent_count % VN_RECENT;
        page->recent[place].target = *target;
        page->recent[place].reason = reason;
        page->recent[place].fd = fd;
        page->recent[place].when_ns = now_ns();
        page->recent_count++;
        atomic_fetch_add_explicit(&page->decided[reason], 1, memory_order_relaxed);
    }
    mutex_unlock(&mutex);
    errno = saved;
}
