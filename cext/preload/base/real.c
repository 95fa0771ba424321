/* The C library's own functions, behind those that the provider puts before them. */
#include "internal.h"

#include <dlfcn.h>

#define X(type, name, arguments) type(*real_##name) arguments;
REALS(X)
#undef X

void *real_function(const char *name) {
    return dlsym(RTLD_NEXT, name);
}

void real_init(void) {
#define X(type, name, arguments) *(void **)&real_##name = real_function(#name);
    REALS(X)
#undef X
}
