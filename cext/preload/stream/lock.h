/* One writer and one reader at a time, among the threads and processes that have one end of a connection.
 *
 * The word is 0 or the number of the thread that has it. Who takes one holds handlers back, or has blocked the signals, so
 * none can jump out with it. A process that was killed with the lock is found out by its thread's number, and so is a thread that
 * a handler of the program's own instructions took away from it.
 */
#pragma once

#include "stream/conn.h"

struct stream_lock {
    _Atomic uint32_t *word; /* NULL: not taken, as nobody else is there */
};

struct stream_lock stream_lock(const struct conn *conn, _Atomic uint32_t *word);
bool stream_try_lock(_Atomic uint32_t *word, struct stream_lock *lock); /* without waiting */
void stream_unlock(const struct stream_lock *lock);
void stream_unlock_fenced(const struct stream_lock *lock); /* and a full fence after all that was stored before */
