#!/bin/sh
# The first process of a guest. Puts the environment's image below a layer that can be written, runs the user-data in
# it, and powers the machine off: when the user-data ends, or at the end of the machine's lifetime, whatever happens.
export PATH=/bin

/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

say() {
    echo "springtide: $* ($(cut -d ' ' -f 1 /proc/uptime) s after the kernel)" > /dev/console
}
off() {
    sync
    poweroff -f
}
give_up() {
    say "$*"
    off
}
option() {
    for word in $(cat /proc/cmdline); do
        [ "${word%%=*}" != "springtide.$1" ] || echo "${word#*=}"
    done
}

if [ -n "$(option probe)" ]; then
    say "it works"
    off
fi

for module in $(cat /modules/order); do
    insmod "/modules/$module" || say "the module $module cannot be loaded"
done

lifetime=$(option lifetime)
# Asks for nothing but the clock, so that it also ends a machine whose user-data hangs.
[ -z "$lifetime" ] || (sleep "$lifetime"; give_up "end of its lifetime of $lifetime s") &

ip link set lo up
address=$(option address)
if [ -n "$address" ]; then
    ip address add "$address" dev eth0
    ip link set eth0 up
    ip route add default via "$(option gateway)"
fi

mkdir -p /image /layer /root /seed
mount -t squashfs -o ro /dev/vda /image || give_up "the image cannot be mounted"
mount -t ext4 /dev/vdb /layer || give_up "the disk cannot be mounted"
mount -t iso9660 -o ro /dev/vdc /seed || give_up "the user-data cannot be mounted"
mkdir -p /layer/upper /layer/work
mount -t overlay -o lowerdir=/image,upperdir=/layer/upper,workdir=/layer/work overlay /root ||
    give_up "the image cannot be made writable"
mkdir -p /root/proc /root/sys /root/dev /root/run /root/tmp /root/var/lib/springtide
mount -t proc proc /root/proc
mount -t sysfs sysfs /root/sys
mount -o bind /dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts devpts /root/dev/pts
mount -t tmpfs -o mode=1777 tmpfs /root/dev/shm
mount -t tmpfs -o mode=755 tmpfs /root/run

name=$(option name)
hostname "$name"
echo "$name" > /root/etc/hostname
printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name" > /root/etc/hosts
nameserver=$(option nameserver)
[ -z "$nameserver" ] || echo "nameserver $nameserver" > /root/etc/resolv.conf

# In memory, as it may hold a key.
(umask 077; cp /seed/user-data /root/run/user-data; chmod 700 /root/run/user-data)
umount /seed

say "user-data starts"
. /image.env
SPRINGTIDE_ENVIRONMENT_DIGEST=$(option digest)
export SPRINGTIDE_ENVIRONMENT_DIGEST SPRINGTIDE_INIT=1
chroot /root /run/user-data < /dev/null > /dev/console 2>&1
status=$?
say "user-data ended with $status"
off
