/* One writer and one reader at a time, among the threads and processes that have one end of a connection.
 *
 * A signal's handler may write to the connection that its own thread is writing to: POSIX allows it. It finds the
 * lock in its own hands and goes on without; the call below it notices, as it shows what it has done by an exchange
 * that fails when the cursor has moved (stream/ring.c). A handler may also jump out of the call for good: then the
 * frame that took the lock is gone, and the next call of the thread takes it over. A process that was killed with the
 * lock is found out by its thread's number.
 */
#pragma once

#include "stream/conn.h"

struct stream_lock {
    _Atomic uint32_t *word;   /* NULL: not taken, and nothing to give back */
    uintptr_t outer;          /* the frame of the lock that this thread held before */
};

struct stream_lock stream_lock(const struct conn *conn, _Atomic uint32_t *word);
bool stream_try_lock(_Atomic uint32_t *word, struct stream_lock *lock);   /* without waiting */
void stream_unlock(const struct stream_lock *lock);
void stream_unlock_fenced(const struct stream_lock *lock);   /* and a full fence after all that was stored before */
