#!/bin/sh
# First process of the guest: this machine's own files, read-only below a layer in memory, become its root; then /f2fcam/start.sh.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
while read -r module; do $b insmod "/modules/$module"; done </modules/order

nine=trans=virtio,version=9p2000.L,msize=512000
$b mount -t 9p -o "ro,cache=loose,$nine" host /lower &&
    $b mount -t tmpfs memory /upper && $b mkdir /upper/files /upper/work &&
    $b mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /root &&
    $b mkdir -p /root/f2fcam && $b mount -t 9p -o "$nine" results /root/f2fcam ||
    $b reboot -f

for made in proc sys dev run; do $b mkdir -p /root/$made; done
$b mount --move /dev /root/dev
$b mount -t proc proc /root/proc
$b mount -t sysfs sysfs /root/sys
$b mount -t tmpfs run /root/run
$b mkdir -p /root/dev/shm /root/dev/pts
$b mount -t tmpfs shm /root/dev/shm
$b mount -t devpts pts /root/dev/pts
exec $b switch_root /root /bin/sh /f2fcam/start.sh
