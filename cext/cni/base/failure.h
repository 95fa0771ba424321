/* What went wrong, in CNI's terms and in those of the hosting daemon. */
#pragma once

#include <stdbool.h>

/* Codes of CNI's specification; from CNI_OWN on a plugin has its own, ours are 100 + the exit code of vnicctl. */
enum {
    CNI_BAD_VERSION = 1,
    CNI_UNKNOWN_CONTAINER = 3,
    CNI_BAD_ENVIRONMENT = 4,
    CNI_IO = 5,
    CNI_DECODE = 6,
    CNI_BAD_CONFIG = 7,
    CNI_TRY_LATER = 11,
    CNI_NOT_AVAILABLE = 50,
    CNI_OWN = 100,
};

struct failure {
    int code;
    char kind[24]; /* the hosting daemon's name of it, such as not_found; empty if it did not come from there */
    char message[1024];
    char details[1024];
};

/* Note what went wrong; false, so that a function can return it. */
bool fail(struct failure *failure, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Note an error that the hosting daemon has answered, or `not_running` or `timeout` in its place. */
bool fail_as(struct failure *failure, const char *kind, const char *message, const char *hint);

bool is_kind(const struct failure *failure, const char *kind);
