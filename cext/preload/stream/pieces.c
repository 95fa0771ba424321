/* The pieces of memory that a call names: see pieces.h. */
#include "stream/pieces.h"

int pieces_judge_all(const struct iovec *iov, size_t count, int too_many, bool copies, struct pieces *pieces) {
    size_t all = 0;
    *pieces = (struct pieces){0, 0, false};
    if (UNLIKELY(count > MOST_PIECES))
        return too_many;
    if (UNLIKELY(count != 0 && is_bad(iov)))
        return EFAULT;
    for (size_t i = 0; i < count; i++) {
        if (UNLIKELY(iov[i].iov_len > SSIZE_MAX - all))
            return EINVAL;
        all += iov[i].iov_len;
        pieces->bad |= UNLIKELY(copies && iov[i].iov_len != 0 && is_bad(iov[i].iov_base));
        if (!pieces->bad) {
            pieces->count++;
            pieces->bytes = all;
        }
    }
    return 0;
}
