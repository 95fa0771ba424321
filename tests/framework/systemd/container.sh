#!/usr/bin/env bash
# Boots a systemd in a container on an overlay of this machine's root, and takes everything away when it is over.
#
#   container.sh NAME TREE
#
# To be started in a mount namespace of its own (unshare --mount), so that no mount outlives it. What the
# container writes is in a tmpfs and is kept when the container reboots; SIGTERM shuts it down. TREE is there at the
# same place, and cannot be changed. Of /proc/sys and /sys it can write only what is its network's.

# shellcheck disable=SC2317  # it does not see that the traps call functions
set -euo pipefail

NAME=$1 TREE=$2
BASE=/var/tmp/$NAME
GROUP=/sys/fs/cgroup/$NAME
LIMIT=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages
REBOOT=133 # the exit code that systemd-nspawn asks for another boot with
MASKED=(systemd-sysctl systemd-modules-load systemd-udevd systemd-udev-trigger systemd-remount-fs
    console-getty systemd-tmpfiles-clean.timer apt-daily.timer dpkg-db-backup.timer dev-hugepages.mount sys-kernel-debug.mount
    sys-kernel-tracing.mount sys-kernel-config.mount dev-mqueue.mount systemd-networkd systemd-resolved)

main() {
    trap leave EXIT
    trap stop TERM INT
    mkdir "$BASE"
    mount -t tmpfs -o mode=755 container "$BASE"
    mkdir "$BASE"/{upper,work,root}
    # The files of fabrics that run on this machine meanwhile are hidden, by a device that says that nothing is there.
    mkdir -m 755 "$BASE/upper/etc"
    mknod "$BASE/upper/etc/netns" c 0 0
    mount -t overlay -o "lowerdir=/,upperdir=$BASE/upper,workdir=$BASE/work" container "$BASE/root"
    # What systemd-nspawn notes of running containers is not for this machine to see, nor to be left behind.
    mkdir -p /run/systemd
    mount -t tmpfs container /run/systemd
    join_cgroup
    make_plain "$BASE/root"
    while ((!STOPPED)); do
        boot
        ((CODE == REBOOT)) || break
    done
    exit "$CODE"
}
STOPPED=0 CODE=0 NSPAWN=

# A control group of our own in the unified hierarchy, wherever this machine has mounted that.
join_cgroup() {
    umount --recursive /sys/fs/cgroup
    mount -t cgroup2 container /sys/fs/cgroup
    FORMER=$(sed -n 's/^0:://p' /proc/self/cgroup)
    mkdir "$GROUP"
    echo $$ >"$GROUP/cgroup.procs"
}

# Nothing of this machine's own services is to run in there, and no vnicd be installed yet.
make_plain() {
    local root=$1 unit
    rm -rf "$root"/etc/systemd/system/* "$root"/etc/rc?.d/S* "$root"/opt/vnicd* "$root"/etc/vnicd \
        "$root"/usr/local/bin/{vnicd,vnicctl} "$root"/var/log/journal
    : >"$root/etc/fstab"
    rm -rf "$root/run" && mkdir "$root/run"
    for unit in "${MASKED[@]}"; do
        [[ $unit == *.* ]] || unit+=.service
        ln -s /dev/null "$root/etc/systemd/system/$unit"
    done
    ln -sf /dev/null "$root/etc/tmpfiles.d/tmp.conf" # /tmp is empty anyway, but for mounts of ours
    echo "$NAME" >"$root/etc/hostname"
    chroot "$root" sh -c 'userdel vnicd; groupdel vnicd' 2>/dev/null || true
    add_unit "$root" test-hugepages <<END
# The machine's limit of hugepages on demand is read-only in here; a file stands for it that can be written.
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=mount --bind /root/overcommit $LIMIT
END
    echo 0 >"$root/root/overcommit"
    add_unit "$root" test-network <<END
# A NIC for the uplink, and at the other end of its cable a namespace called remote.
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=ip netns add remote
ExecStart=ip link add nic0 type veth peer name wire0 netns remote
ExecStart=ip link set nic0 up
ExecStart=ip address add 198.51.100.2/24 dev nic0
ExecStart=ip -n remote link set wire0 up
ExecStart=ip -n remote address add 198.51.100.1/24 dev wire0
END
}

# add_unit ROOT NAME: a service from standard input, started at each boot before anything of ours.
add_unit() {
    local units=$1/etc/systemd/system
    cat >"$units/$2.service"
    mkdir -p "$units/sysinit.target.wants"
    ln -s "../$2.service" "$units/sysinit.target.wants/"
}

boot() {
    CODE=0
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_API_VFS_WRITABLE=network \
        systemd-nspawn --quiet --boot --directory="$BASE/root" --machine="$NAME" --register=no --keep-unit \
        --private-network --capability=all --console=read-only --link-journal=no \
        --tmpfs=/tmp:mode=1777 --tmpfs=/var/tmp:mode=1777 \
        --bind=/dev/net/tun --bind-ro="$TREE" &
    NSPAWN=$!
    wait_for_it
}

# A signal ends the first wait early.
wait_for_it() {
    wait "$NSPAWN" || CODE=$?
    while kill -0 "$NSPAWN" 2>/dev/null; do
        CODE=0
        wait "$NSPAWN" || CODE=$?
    done
}

stop() {
    STOPPED=1
    [[ -z $NSPAWN ]] || kill -TERM "$NSPAWN" 2>/dev/null || true
}

leave() {
    set +e
    [[ -z $NSPAWN ]] || kill -KILL "$NSPAWN" 2>/dev/null
    echo $$ >"/sys/fs/cgroup/$FORMER/cgroup.procs"
    [[ ! -e $GROUP ]] || { echo 1 >"$GROUP/cgroup.kill" && find "$GROUP" -depth -type d -exec rmdir {} +; }
    cd / && umount --recursive --lazy "$BASE"
    rmdir "$BASE"
}

main
