"""The loop, with sockets in place of a TAP and a NIC."""
