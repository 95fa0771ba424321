/* The library's start in a process, and its end. */
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"
#include "base/settings.h"
#include "fdtable/entry.h"
#include "fdtable/hidden.h"
#include "fdtable/marks.h"
#include "handshake/progress.h"
#include "lifecycle/copies.h"
#include "lifecycle/fork.h"
#include "wait/sleeper.h"
#include "wait/stay.h"

static bool map_process_page(void) {
    void *page = mmap(NULL, (size_t)getpagesize(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return false;
    madvise(page, (size_t)getpagesize(), MADV_WIPEONFORK);
    process_page = page;
    return true;
}

static _Atomic unsigned char never_wiped; /* for a process that can't have a page: READY must end */

static void start_once(void) {
    int saved = errno;
    real_init();
    process_id = getpid();
    settings_read();
    if (!map_process_page()) {
        process_page = &never_wiped;
        settings.off = true;
    }
    if (!entry_table_init() || !hidden_init() || !marks_init() || !stay_init() || !fork_init() || !copies_init())
        settings.off = true;
    sleeper_init();
    if (is_other_library())
        settings.off = true;
    atomic_store(process_page, 1);
    errno = saved;
}

void lifecycle_enter(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int saved = errno;
    pthread_once(&once, start_once);
    if (atomic_load(process_page) == 0)
        fork_adopt();
    errno = saved;
}

__attribute__((constructor)) static void at_load(void) {
    lifecycle_enter();
}

/* What was written and nobody has accepted yet goes by TCP: the program will not be there when it turns out that nobody
 * does. */
__attribute__((destructor)) static void at_exit(void) {
    for (int fd = 0; fd <= entry_highest; fd++) {
        struct conn *conn = conn_hold(fd);
        if (conn == NULL)
            continue;
        if (conn_phase(conn) == CONN_OFFERED && atomic_load(&conn->own->head) != 0)
            progress_fall_back(conn, fd);
        conn_release(conn);
    }
}
