"""`start` and what steers the running camera."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from f2fcam.cli.console import err, out, print_json
from f2fcam.cli.options import Json, ProfileName, Profiles, Quality, configured_profiles
from f2fcam.cli.tables import status_table


def start(
    profile: ProfileName,
    profiles: Profiles = None,
    source: Annotated[
        Optional[str], typer.Option(help="webcam:0, /dev/videoN, a video file, or synthetic.", show_default=False)
    ] = None,
    sink: Annotated[
        Optional[str],
        typer.Option(
            help="auto, v4l2[:/dev/videoN], pipewire, virtualcam[:DEVICE], preview[:PORT], FILE.mp4 or null.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[Optional[str], typer.Option(help="Output size, as in 1280x720.", show_default=False)] = None,
    fps: Annotated[Optional[float], typer.Option(help="Output frames a second.", show_default=False)] = None,
    quality: Annotated[
        Optional[Quality],
        typer.Option(
            help="auto spends less on a picture where the machine is too slow, and says so in `status`; full never does.",
            show_default=False,
        ),
    ] = None,
    always_on: Annotated[
        Optional[bool],
        typer.Option("--always-on/--on-demand", help="Work even while nobody looks at the camera.", show_default=False),
    ] = None,
    metrics: Annotated[
        Optional[int],
        typer.Option(help="Numbers for Prometheus at this port of this machine.", metavar="PORT", show_default=False),
    ] = None,
    sound: Annotated[
        Optional[str],
        typer.Option(
            help='auto, off, or a microphone, to be heard as "F2F Microphone" as late as the picture is seen.',
            show_default=False,
        ),
    ] = None,
    sound_gate: Annotated[
        Optional[str],
        typer.Option(help="off, or the level in dB below which the microphone is silent: -50.", show_default=False),
    ] = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay until Ctrl-C.")] = False,
    seconds: Annotated[Optional[float], typer.Option(help="Stop after so long.", show_default=False)] = None,
    barcode: Annotated[
        bool, typer.Option("--barcode", help="For tests: a time code in a corner.", hidden=True)
    ] = False,
    check_only: Annotated[
        bool, typer.Option("--check-only", help="Look at the options, start nothing.", hidden=True)
    ] = False,
) -> None:
    """Put the target on the air as a camera."""
    from f2fcam.config import StartConfig, load_config, parse_size
    from f2fcam.profile_search import find_profile

    settings = load_config()
    profiles = profiles or configured_profiles(settings)
    defaults = settings.start
    config = StartConfig(
        profile=profile,
        profiles=profiles.absolute() if profiles else None,
        source=_device(source or defaults.source, "webcam"),
        sink=_device(sink or defaults.sink, "v4l2"),
        size=parse_size(size or defaults.size),
        fps=defaults.fps if fps is None else fps,
        duration_s=seconds,
        quality=quality.value if quality else defaults.quality,
        always_on=defaults.always_on if always_on is None else always_on,
        idle_s=defaults.idle_s,
        metrics_port=defaults.metrics if metrics is None else metrics,
        sound=sound or defaults.sound,
        sound_gate=sound_gate or defaults.sound_gate,
        barcode=barcode,
    )
    find_profile(profile, profiles)  # a wrong name shows before anything starts
    if check_only:
        return
    if foreground:
        from f2fcam import supervisor
        from f2fcam.logs import keep_log

        keep_log("supervisor")
        raise typer.Exit(supervisor.start(config, announce=_announce))
    from f2fcam.daemon import start_detached

    device = start_detached(config, announce=_announce)
    err.print(
        f"{profile} is on the air: {device}. End it with `f2fcam stop`."
        if device
        else "Still loading; see `f2fcam status`."
    )


def check_start(arguments: list[str]) -> None:
    """Raise what `f2fcam start` would raise about these options."""
    checker = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    checker.command()(start)
    checker([*arguments, "--check-only"], prog_name="f2fcam start", standalone_mode=False)


def _device(uri: str, kind: str) -> str:
    """A bare device path with the kind of source or sink that it can only mean."""
    return f"{kind}:{uri}" if uri.startswith("/dev/video") else uri


def stop() -> None:
    """End the running camera."""
    _command("stop", "Stopped.")


def status(as_json: Json = False) -> None:
    """Say what the running camera does."""
    from f2fcam.control import request

    facts = request("status")
    if as_json:
        print_json(facts)
    else:
        out.print(status_table(facts))


def switch(name: Annotated[str, typer.Argument(help="Another profile.", show_default=False)]) -> None:
    """Put another target on the air."""
    from f2fcam.control import request
    from f2fcam.profile_search import checked_name, find_profile

    checked_name(name)
    profiles = request("status").get("profiles")
    find_profile(name, Path(str(profiles)) if profiles else None)  # a wrong name shows before the engine is exchanged
    _command("switch", f"{name} is on the air.", profile=name)


def pause() -> None:
    """Stop acting; the target idles."""
    _command("pause", "Paused.")


def resume() -> None:
    """Act again."""
    _command("resume", "Acting again.")


def mute() -> None:
    """Silence "F2F Microphone"."""
    _command("mute", "Muted.")


def unmute() -> None:
    """Let "F2F Microphone" be heard again."""
    _command("unmute", "Heard again.")


def recalibrate() -> None:
    """Learn the actor's relaxed face anew: look into the camera with a calm face."""
    _command("recalibrate", "Keep a calm face for two seconds.")


def _announce(event: str, what: str) -> None:
    """What the camera tells while it comes up."""
    if event == "open":
        err.print(f"Output: {what}", markup=False)
    elif event == "no sound":
        err.print(f"No sound for now: {what}", markup=False)
    else:
        err.print(f"{what} is on the air. End it with Ctrl-C.", markup=False)


def _command(name: str, message: str, **arguments: str) -> None:
    from f2fcam.control import request

    request(name, **arguments)
    out.print(message, markup=False)
