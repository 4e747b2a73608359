"""A machine for kernel modules where the real one may load none: Debian's kernel in qemu, every instruction emulated.

It has no disk: its files are this machine's own, read-only, under a layer in memory, so that it runs this checkout and this
virtual environment. Kernel and modules are downloaded and built below `build/guest`; nothing of them is installed.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
FOLDER = ROOT / "build" / "guest"
PROGRAMS = (
    *("qemu-system-x86_64", "busybox", "cpio", "modprobe", "depmod", "make", "gcc", "apt-get", "dpkg"),
    *("v4l2-ctl", "ffmpeg", "chromium-headless-shell"),
)
"""To build it, and those that read the camera in it."""
BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
UNPACKED = (
    *(f"drivers/media/{part}" for part in ("cec/core", "common", "mc", "rc", "test-drivers/vivid", "v4l2-core")),
    *("drivers/virtio", "drivers/video", "fs/9p", "fs/fscache", "fs/netfs", "fs/overlayfs", "net/9p"),
)
"""Of the kernel's modules, what the above, v4l2loopback and vivid are made of."""
SYSTEM_FOLDERS = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MEMORY_MB = 3072
ENDED = "[the machine was ended"
COMPLETE = "complete"
"""A file of this name is in a machine's folder when all is there."""


class Unavailable(Exception):
    """What the machine is made of cannot be had here; says what."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What qemu starts.

    Attributes:
        modules: a root folder for `modprobe --dirname`, with v4l2loopback.
        loopback: the version of that.
    """

    kernel: Path
    initramfs: Path
    modules: Path
    loopback: str

    def run(self, command: Sequence[str], results: Path, environment: dict[str, str], limit_s: float) -> str:
        """Boot it, let it run `command` with `/f2fcam` being the folder `results`, and what it printed.

        A machine that has not ended by itself after `limit_s` is ended, which the last line says (`ENDED`).
        """
        exported = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
        (results / "start.sh").write_text(
            f"export {SYSTEM_FOLDERS} HOME=/run\n{exported}ip link set lo up\ncd {shlex.quote(str(ROOT))}\n"
            f"{shlex.join(command)}\nsync\nbusybox reboot -f\n",
            encoding="utf-8",
        )
        line = (
            "qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max", "-smp", "2",
            "-m", str(MEMORY_MB), "-display", "none", "-monitor", "none", "-nic", "none", "-serial", "stdio", "-no-reboot",
            "-kernel", str(self.kernel), "-initrd", str(self.initramfs),
            "-append", "console=ttyS0 quiet panic=-1 mitigations=off",
            "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
            "-virtfs", f"local,path={results},mount_tag=results,security_model=none",
        )  # fmt: skip
        try:
            done = subprocess.run(
                line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit_s
            )
        except subprocess.TimeoutExpired as error:
            return (error.output or b"").decode(errors="replace") + f"\n{ENDED} after {limit_s:g} s]\n"
        return done.stdout.decode(errors="replace")


def build(folder: Path = FOLDER) -> Machine:
    """The machine, downloaded and built if it, or one by this recipe, is not there yet: a minute. Raises `Unavailable`."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=SYSTEM_FOLDERS.partition("=")[2]) is None]
    if missing:
        raise Unavailable(f"not installed: {', '.join(missing)}; run `bash tools/e2e_setup.sh`")
    if platform.machine() != "x86_64":
        raise Unavailable(f"the emulated machine is an x86_64, this is {platform.machine()}")
    recipe = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in ("init.sh", "machine.py")))
    machines = folder / "machines" / recipe.hexdigest()[:12]
    built = sorted(machines.glob(f"*/{COMPLETE}"))
    version = built[-1].parent.name if built else _kernel_version()
    home = machines / version
    if not built:
        shutil.rmtree(machines.parent, ignore_errors=True)  # those of other recipes, too
        home.mkdir(parents=True)
        _unpack(version, home)
        _build_loopback(version, home)
        _run("depmod", "-b", str(home), version)
        (home / "initramfs.gz").write_bytes(_initramfs(version, home))
        (home / COMPLETE).touch()
    (loopback,) = home.glob("lib/modules/*/updates/v4l2loopback-*")
    return Machine(
        kernel=home / "boot" / f"vmlinuz-{version}",
        initramfs=home / "initramfs.gz",
        modules=home,
        loopback=loopback.name.removeprefix("v4l2loopback-"),
    )


def _kernel_version() -> str:
    """Of Debian's present kernel, such as 6.1.0-56-amd64."""
    depends = _wanted("apt-cache", "--no-all-versions", "show", "linux-image-amd64").split("Depends: linux-image-")
    if len(depends) < 2:
        raise Unavailable("there is no package linux-image-amd64 here")
    return depends[1].split()[0]


def _unpack(version: str, home: Path) -> None:
    """Download the packages and unpack what is needed of them."""
    common = version.replace("-amd64", "-common")
    kbuild = "linux-kbuild-" + ".".join(version.split(".")[:2])
    packages = (f"linux-headers-{version}", f"linux-headers-{common}", kbuild, "v4l2loopback-dkms")
    downloads = home / "downloads"
    downloads.mkdir()
    _wanted("apt-get", "download", "-q", f"linux-image-{version}", *packages, folder=downloads)
    for package in packages:
        (archive,) = downloads.glob(f"{package}_*.deb")
        _run("dpkg", "-x", str(archive), str(home))
    modules = f"./lib/modules/{version}"
    wanted = [f"./boot/vmlinuz-{version}", f"{modules}/modules.order", f"{modules}/modules.builtin"]
    (image,) = downloads.glob(f"linux-image-{version}_*.deb")
    with subprocess.Popen(["dpkg", "--fsys-tarfile", str(image)], stdout=subprocess.PIPE) as archive:
        members = [*wanted, *(f"{modules}/kernel/{part}" for part in UNPACKED)]
        subprocess.run(["tar", "x", "-C", str(home), *members], stdin=archive.stdout, check=True)
    shutil.rmtree(downloads)


def _build_loopback(version: str, home: Path) -> None:
    """Compile v4l2loopback for that kernel."""
    sources = home / "usr" / "src"
    headers = sources / f"linux-headers-{version}"
    makefile = headers / "Makefile"
    makefile.write_text(makefile.read_text(encoding="utf-8").replace("/usr/src", str(sources)), encoding="utf-8")
    (loopback,) = sources.glob("v4l2loopback-*")
    _run("make", "-s", "-C", str(headers), f"M={loopback}", "modules")
    built = home / "lib" / "modules" / version / "updates" / loopback.name
    built.mkdir(parents=True)
    shutil.copy(loopback / "v4l2loopback.ko", built)
    shutil.rmtree(home / "usr")


def _initramfs(version: str, home: Path) -> bytes:
    """An archive of busybox, `init.sh` and the modules that the root folder's file system needs."""
    files: list[Path] = []
    for module in BOOT_MODULES:
        lines = _run("modprobe", "-d", str(home), "-S", version, "--show-depends", module).splitlines()
        files += [Path(line.split()[1]) for line in lines if line.startswith("insmod")]
    files = list(dict.fromkeys(files))
    tree = home / "initramfs"
    for made in ("bin", "modules", "proc", "dev", "lower", "upper", "whole"):
        (tree / made).mkdir(parents=True)
    (tree / "modules" / "order").write_text("".join(f"{file.name}\n" for file in files), encoding="utf-8")
    for file in files:
        shutil.copy(file, tree / "modules")
    shutil.copy(_program("busybox"), tree / "bin" / "busybox")
    (tree / "bin" / "sh").symlink_to("busybox")
    shutil.copy(HERE / "init.sh", tree / "init")
    (tree / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    made = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc"], cwd=tree, input=names.encode(), capture_output=True, check=True
    )
    shutil.rmtree(tree)
    return gzip.compress(made.stdout, 1)


def _program(name: str) -> str:
    found = shutil.which(name, path=SYSTEM_FOLDERS.partition("=")[2])
    assert found is not None, name
    return found


def _run(*command: str, folder: Path | None = None) -> str:
    """What a command prints; its complaints are in the error."""
    done = subprocess.run(
        [_program(command[0]), *command[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"LC_ALL": "C"},
    )
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)} failed: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def _wanted(*command: str, folder: Path | None = None) -> str:
    """The same for what may not be had: no network, no such package."""
    try:
        return _run(*command, folder=folder)
    except RuntimeError as error:
        raise Unavailable(str(error)) from error
