/* Sockets that must stay with TCP, as their program has set what can't be carried otherwise. */
#pragma once

#include "base/common.h"

bool marks_init(void);
void mark_plain(int fd);
void mark_clear(int fd);       /* a new descriptor has the number, or nobody has */
bool is_marked_plain(int fd);
