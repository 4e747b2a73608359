#!/bin/sh
# First process of the guest: this machine's own files, read-only below a layer in memory, become its root; then /f2fcam/start.sh.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
while read -r module; do $b insmod "/modules/$module"; done </modules/order

nine=trans=virtio,version=9p2000.L,msize=512000
$b mount -t 9p -o "ro,cache=loose,$nine" host /lower &&
    $b mount -t tmpfs memory /upper && $b mkdir /upper/files /upper/work &&
    $b mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /whole &&
    $b mkdir -p /whole/f2fcam && $b mount -t 9p -o "$nine" results /whole/f2fcam ||
    $b reboot -f

for made in proc sys dev run; do $b mkdir -p /whole/$made; done
$b mount --move /dev /whole/dev
$b mount -t proc proc /whole/proc
$b mount -t sysfs sysfs /whole/sys
$b mount -t tmpfs run /whole/run
$b mkdir -p /whole/dev/shm /whole/dev/pts
$b mount -t tmpfs shm /whole/dev/shm
$b mount -t devpts pts /whole/dev/pts
exec $b switch_root /whole /bin/sh /f2fcam/start.sh
