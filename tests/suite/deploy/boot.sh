#!/usr/bin/env bash
# Boots systemd, as process 1 of namespaces of its own, with nothing but the unit of counterd.
#
#   boot.sh HOME CGROUP BINARY UNIT
#
# HOME holds what goes in (`drop-in`, `etc/`), and what is looked at from outside: `state` is its
# /var/lib, `log` its /var/log, `backups` its /backups. CGROUP is an empty control group for it. Needs
# root. Ends, with all that it started, when the process that it becomes is killed.
set -euo pipefail
home=$1 cgroup=$2 binary=$3 unit=$4

if [ "${5:-}" != inside ]; then
  echo $$ >"$cgroup/cgroup.procs"
  exec unshare --mount --uts --ipc --pid --cgroup --fork --kill-child --propagation private \
    "$0" "$home" "$cgroup" "$binary" "$unit" inside
fi

root=$home/root
mkdir -p "$root" "$home/state" "$home/log" "$home/backups"
chown 10001:10001 "$home/backups"
mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p usr proc sys dev etc/systemd/system/counterd.service.d run tmp var/lib var/log var/tmp root home backups old
for name in bin lib lib64 sbin; do ln -s "usr/$name" "$name"; done

mount --bind /usr usr
mount -o remount,bind,ro usr
mount -t tmpfs -o mode=755 tmpfs usr/local
mkdir usr/local/bin
install -m 755 "$binary" usr/local/bin/counterd
# None of this machine's services: only the targets that the unit names.
for place in system system-generators system-environment-generators; do
  [ ! -d "usr/lib/systemd/$place" ] || mount -t tmpfs -o mode=755 tmpfs "usr/lib/systemd/$place"
done
for target in sysinit basic shutdown network-online multi-user; do
  printf '[Unit]\nDefaultDependencies=no\n' >"usr/lib/systemd/system/$target.target"
done
mount --bind "$home/state" var/lib
mount --bind "$home/log" var/log
mount --bind "$home/backups" backups

mount -t proc proc proc
# These are the whole machine's, and not for this systemd to set.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
while read -r name major minor; do mknod -m 666 "dev/$name" c "$major" "$minor"; done <<'DEVICES'
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
DEVICES
ln -s /proc/self/fd dev/fd
mkdir dev/shm dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx

printf 'root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\ncounterd:x:10001:10001::/var/lib/counterd:/bin/false\n' >etc/passwd
printf 'root:x:0:\nnogroup:x:65534:\ncounterd:x:10001:\n' >etc/group
printf '127.0.0.1 localhost\n' >etc/hosts
: >etc/machine-id
cp -r "$home/etc/." etc
cp "$unit" etc/systemd/system/counterd.service
cp "$home/drop-in" etc/systemd/system/counterd.service.d/test.conf

pivot_root . old
cd /
umount -l old
# As on any machine that systemd has booted; the mount of the credentials comes to the service this way.
mount --make-rshared /
exec env -i container=test PATH=/usr/bin:/usr/sbin /usr/lib/systemd/systemd --system \
  --unit=counterd.service --log-target=null --show-status=no
