#!/bin/sh
# Runs a command that cannot raise the number of hugepages; in a mount namespace of its own: no_more_pages.sh COMMAND...

mount --make-private /sys
mount --make-private /proc
for limit in /sys/kernel/mm/hugepages/*/nr_overcommit_hugepages /proc/sys/vm/nr_overcommit_hugepages; do
    mount --bind "$limit" "$limit"
    mount -o remount,bind,ro "$limit"
done
exec "$@"
