/* Which addresses are partitions: the table that the broker shares. */
#pragma once

#include "abi/socket_layout.h"
#include "base/common.h"

const struct vn_table *table_shared(void); /* NULL before there is one; it never moves */
uint32_t table_own_port(void);             /* the number of our partition */
uint64_t table_epoch(void);                /* changes when firewalls, routes or addresses may have changed */
int table_partition_of(const struct vn_address *address);            /* its number; -1 for none */
void table_learn(const struct vn_reply *reply, int *fds, int count); /* the table and our number; closes fds */

void table_before_fork(void);
void table_after_fork_here(void);
void table_after_fork(void);
