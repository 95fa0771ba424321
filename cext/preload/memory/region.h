/* Stream regions: made, judged, mapped. */
#pragma once

#include "abi/socket_layout.h"
#include "base/common.h"

/* A new region of our own, mapped; its memfd, or -1. */
int region_make(struct vn_region **region, const struct vn_address *local, const struct vn_address *remote,
                bool accepted);

/* The other end's, read-only; NULL when it is no region. Does not close memfd. */
const struct vn_region *region_map(int memfd);

void region_unmap(const struct vn_region *region);

/* All of a region whose beginning is mapped, once more at another place, with the same access; NULL when that can't be. */
void *region_map_whole(const struct vn_region *region);
void region_unmap_whole(void *whole);

/* After mlockall: rings that are locked would count against the program's limit, with pages that hold nothing. */
void region_lock_future(bool locked);
void region_unlock(const struct vn_region *region);
