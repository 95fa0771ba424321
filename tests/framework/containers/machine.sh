#!/usr/bin/env bash
# Prepares the file systems of a machine for container runtimes, says "ready", and stays.
#
#   machine.sh FOLDER
#
# To be started in network and mount namespaces of its own, so that nothing outlives it. What runtimes write below the
# folders in OVERLAID is in a tmpfs at FOLDER, and this machine's own files shine through. /run is this machine's, as
# runtime directories and the ledger of hugepages are there; names of namespaces are not.

set -euo pipefail

FOLDER=$1
OVERLAID=(/etc /opt /usr/local /usr/lib/cni /var/lib)
STORES=(/var/lib/containers /var/lib/containerd /var/lib/docker /var/lib/cni)

mount -t tmpfs -o mode=755 machine "$FOLDER"
for place in "${OVERLAID[@]}"; do
    [[ -d $place ]] || continue
    mkdir -p "$FOLDER/upper$place" "$FOLDER/work$place"
    mount -t overlay -o "lowerdir=$place,upperdir=$FOLDER/upper$place,workdir=$FOLDER/work$place" machine "$place"
done
# An overlay can't be the upper layer of another one, and runtimes make overlays of theirs.
for place in "${STORES[@]}"; do
    mkdir -p "$FOLDER/store$place" "$place"
    mount --bind "$FOLDER/store$place" "$place"
done
mkdir -p "$FOLDER/netns" /run/netns
mount --bind "$FOLDER/netns" /run/netns
rm -rf /etc/cni/net.d/* /etc/cdi /etc/vnicd /opt/cni /opt/vnicd /usr/local/bin/vnic*
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
echo ready
exec sleep infinity
