"""Bytes and texts that vnicd hands to the kernel: announcements, the fanout filter, nftables rules. Pure."""
