# A systemd of its own: `unshare --pid --fork --mount --uts --ipc --net --cgroup sh start_systemd.sh UNITS`
# It knows the units of that directory alone, and can change nothing of this machine.
set -eu
mount --make-rprivate /
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t sysfs sysfs /sys
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs tmpfs /run
ip link set lo up
export container=test SYSTEMD_UNIT_PATH="$1"
exec /lib/systemd/systemd --system --unit=multi-user.target --show-status=no --log-target=console
