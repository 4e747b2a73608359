#!/usr/bin/env bash
# Installs what `make e2e` needs beside f2fcam (Debian): `bash tools/e2e_setup.sh [session] [guest]`, both without an argument.
#
# session: PipeWire with its session manager, the portal, a sound server, browsers, GStreamer.
# guest: an emulated machine, what it takes to compile v4l2loopback for its kernel (which the tests download and do not install),
#        and programs that read the camera in it.
# What it gets from the network may take $F2FCAM_APT_S seconds. Ends with 1 where something is still missing.
set -uo pipefail
cd "$(dirname "$0")/.."

session=(
    dbus dbus-bin pipewire pipewire-bin wireplumber xdg-desktop-portal python3-gi
    gstreamer1.0-pipewire gstreamer1.0-tools gstreamer1.0-plugins-base chromium firefox-esr
    pipewire-pulse pulseaudio-utils
)
guest=(qemu-system-x86 busybox-static cpio kmod make gcc v4l-utils ffmpeg chromium-headless-shell)
wanted=()
(($#)) || set -- session guest
for group in "$@"; do
    declare -n packages=$group
    wanted+=("${packages[@]}")
done
command -v apt-get >/dev/null || { echo "This is no Debian: install the like of ${wanted[*]}"; exit 1; }

missing() {
    for package in "${wanted[@]}"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
    done
}
as_root=(env)
if (($(id -u) != 0)); then as_root=(sudo); fi
end=$((SECONDS + ${F2FCAM_APT_S:-900}))
apt() { # what goes wrong here goes wrong soon: no mirror is waited for
    local left=$((end - SECONDS))
    timeout $((left > 1 ? left : 1)) "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q \
        -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o DPkg::Lock::Timeout=60 "$@"
}

mapfile -t lacking < <(missing)
if [[ " ${wanted[*]} " == *" qemu-system-x86 "* ]] && ! compgen -G "build/guest/machines/*/*/complete" >/dev/null; then
    kernel=yes # to be downloaded by the tests: by a list of packages that is not of yesterday
fi
if ((${#lacking[@]})) || [ -n "${kernel:-}" ]; then apt update; fi
if ((${#lacking[@]})); then
    echo "Installing ${lacking[*]}"
    if apt install -y --no-install-recommends --download-only "${lacking[@]}"; then
        end=$((SECONDS + 600)) # nothing is fetched any more, and to break off would leave packages half configured
        apt install -y --no-install-recommends --no-download "${lacking[@]}"
    fi
fi
mapfile -t lacking < <(missing)
if ((${#lacking[@]})); then
    echo "Could not be had: ${lacking[*]}"
    exit 1
fi
