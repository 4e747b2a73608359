"""Commands about this machine: `doctor`, `warmup` and the service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from f2fcam.cli.console import err, fields, out, print_json, progress_bars
from f2fcam.cli.options import Json, ProfileName, Profiles, configured_profiles


def doctor(profiles: Profiles = None, as_json: Json = False) -> None:
    """Look for what is missing and say which command mends it."""
    from f2fcam.doctor import run_checks

    checks = run_checks(profiles)
    good = all(check.state != "fault" for check in checks)
    if as_json:
        print_json({"ok": good, "checks": [fields(check) for check in checks]})
    else:
        for check in checks:
            out.print(f"{check.state:>8}  {check.name}: {check.finding}", markup=False)
            if check.remedy:
                out.print(f"          mend: {check.remedy}", markup=False)
    raise typer.Exit(0 if good else 1)


def selftest(
    sink: Annotated[str, typer.Option(help="auto, v4l2[:/dev/videoN], pipewire or preview[:PORT].")] = "auto",
    size: Annotated[str, typer.Option(help="Size of the pictures.")] = "1280x720",
    fps: Annotated[float, typer.Option(help="Pictures a second.")] = 30.0,
    seconds: Annotated[float, typer.Option(help="How long.")] = 5.0,
    as_json: Json = False,
) -> None:
    """Send a test card out by the camera and read it back through the device: 0: well, 1: not, 3: no device."""
    from f2fcam.config import StartConfig, parse_size
    from f2fcam.selftest import run_selftest

    checked = StartConfig("selftest", sink=sink, size=parse_size(size), fps=fps, duration_s=seconds)
    found = run_selftest(checked.sink, checked.size, checked.fps, seconds)
    if as_json:
        print_json({"ok": not found.faults, **fields(found)})
    else:
        ages = "of unknown age"
        if found.latency_ms is not None:
            middle, most = found.latency_ms
            ages = f"{middle:.0f} ms old, 95 % within {most:.0f} ms"
        out.print(f"{found.device}, read back by {found.read_by}:", markup=False)
        out.print(f"{found.received} of {found.sent} pictures came back, {found.fps:.1f} a second, {ages}.")
        for fault in found.faults:
            out.print(f"fault: {fault}", markup=False)
    raise typer.Exit(1 if found.faults else 0)


def warmup() -> None:
    """Compile everything now, so that the first start is a fast one."""
    from f2fcam.warmup import warm_up

    with progress_bars() as progress:
        warm_up(progress)
    out.print("Ready.")


def install_service(
    profile: ProfileName,
    profiles: Profiles = None,
    also: Annotated[
        Optional[list[str]], typer.Argument(help="Options of `f2fcam start`, after --.", metavar="[-- OPTIONS]")
    ] = None,
) -> None:
    """Start the camera with every session, and now; what config.toml says holds for it, too."""
    from f2fcam.cli.camera import check_start
    from f2fcam.config import load_config
    from f2fcam.profile_search import find_profile
    from f2fcam.service import UNIT, install

    profiles = profiles or configured_profiles(load_config())
    find_profile(profile, profiles)  # a wrong name shows before anything is installed
    chosen: list[str | Path] = ["--profile", profile, *(["--profiles", profiles.absolute()] if profiles else [])]
    arguments = [str(each) for each in [*chosen, *(also or [])]]
    check_start(arguments)  # so does a wrong option
    file = install(arguments)
    out.print(f"Installed: {file}.", markup=False)
    err.print(f"See it with `systemctl --user status {UNIT}`; end it with `f2fcam service remove`.", markup=False)


def remove_service() -> None:
    """Stop the service and forget it."""
    from f2fcam.service import remove

    out.print("Removed." if remove() else "It was not installed.")
