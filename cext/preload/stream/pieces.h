/* The pieces of memory that a call names, as the kernel judges them. */
#pragma once

#include <limits.h>
#include <sys/uio.h>

#include "base/common.h"

#define MOST_PIECES 1024

/* What lies behind a piece that is no memory is not moved. */
struct pieces {
    size_t count, bytes; /* of those before it */
    bool bad;            /* there is one: EFAULT, if nothing else comes first */
};

int pieces_judge_all(const struct iovec *iov, size_t count, int too_many, bool copies, struct pieces *pieces);

/* 0, or the error of the call; too_many: the one for more than MOST_PIECES. copies: the memory will be used. */
static inline int pieces_judge(const struct iovec *iov, size_t count, int too_many, bool copies,
                               struct pieces *pieces) {
    if (LIKELY(count == 1 && !is_bad(iov) && iov->iov_len <= SSIZE_MAX) && LIKELY(!is_bad(iov->iov_base))) {
        *pieces = (struct pieces){1, iov->iov_len, false};
        return 0;
    }
    return pieces_judge_all(iov, count, too_many, copies, pieces);
}
