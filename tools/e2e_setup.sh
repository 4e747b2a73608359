#!/usr/bin/env bash
# Installs what `make e2e` needs beside f2fcam (Debian): PipeWire with its session manager, the portal, browsers, GStreamer; and
# an emulated machine with programs that read the camera in it. Its kernel is downloaded by the tests and not installed.
set -euo pipefail

packages=(
    dbus dbus-bin pipewire pipewire-bin wireplumber xdg-desktop-portal python3-gi
    gstreamer1.0-pipewire gstreamer1.0-tools gstreamer1.0-plugins-base chromium firefox-esr
    qemu-system-x86 busybox-static cpio kmod make gcc v4l-utils ffmpeg chromium-headless-shell
    pipewire-pulse pulseaudio-utils
)
command -v apt-get >/dev/null || { echo "This is no Debian: install the like of ${packages[*]}"; exit 0; }
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if ((${#missing[@]})); then
    as_root=()
    if (($(id -u) != 0)); then as_root=(sudo); fi
    echo "Installing ${missing[*]}"
    "${as_root[@]}" apt-get update -q
    # Gates whose program could not be had are skipped and say so.
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" || true
fi
