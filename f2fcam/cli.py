"""The command line: parse, make the values, one call, a message and an exit code. What is done is done elsewhere.

Heavy modules are imported inside the commands, so that `f2fcam --help` and `f2fcam stop` answer at once.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console
from rich.table import Table

from f2fcam import __version__
from f2fcam.errors import ConfigError, F2FError

app = typer.Typer(
    name="f2fcam",
    help="Act another face's video, live, as a camera.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
profile_app = typer.Typer(help="List, show, send, take in and remove enrolled people.", no_args_is_help=True)
app.add_typer(profile_app, name="profile")

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

INTERRUPTED = 130


class TargetFrames(str, Enum):
    loop = "loop"
    nearest_pose = "nearest-pose"


class Look(str, Enum):
    video = "video"
    model = "model"


ProfileName = Annotated[str, typer.Option("--profile", help="Name of the enrolled target.")]
Profiles = Annotated[Optional[Path], typer.Option("--profiles", help="Where profiles are kept.", show_default=False)]
Range = Annotated[Optional[str], typer.Option("--range", help="Part of the video in seconds, A:B.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
FramesChoice = Annotated[TargetFrames, typer.Option("--target-frames", help="Which of the target's frames are shown.")]
LookChoice = Annotated[Look, typer.Option("--appearance", help="The target's own pixels, or the paper's plain model.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        out.print(f"f2fcam {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")] = False,
) -> None:
    """Act another face's video, live, as a camera."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, format="%(message)s", stream=sys.stderr, force=True
    )
    if not verbose:
        for name in ("numba", "matplotlib", "jax", "absl", "PIL"):
            logging.getLogger(name).setLevel(logging.WARNING)


@app.command()
def enroll(
    video: Annotated[
        Path,
        typer.Argument(
            help="A video of the target's face: 10 seconds or more are best, 2 the least.", show_default=False
        ),
    ],
    name: Annotated[str, typer.Option("--name", help="What the profile is called.", show_default=False)],
    myself: Annotated[bool, typer.Option("--self", help="I am the person in the video.")] = False,
    consent: Annotated[
        Optional[Path], typer.Option("--consent", help="TOML file with the person's consent.", show_default=False)
    ] = None,
    profiles: Profiles = None,
    range_: Range = None,
    as_json: Json = False,
) -> None:
    """Learn a target from a video."""
    from f2fcam.config import load_config, parse_range
    from f2fcam.profile_store import checked_name
    from f2fcam.trust.consent import given_consent

    checked_name(name)
    _require_file(video)
    agreed = given_consent(myself, consent)
    part = parse_range(range_)
    profiles = profiles or _configured_profiles(load_config())
    from f2fcam.enroll import enroll_video

    with _progress(quiet=as_json) as progress:
        profile = enroll_video(video, name, agreed, profiles, part, progress)
    facts = {"profile": profile.name, "directory": str(profile.directory), **profile.manifest.counts}
    _answer(facts, as_json, f"Enrolled {profile.name} from {video}: {profile.directory}")


@app.command()
def start(
    profile: ProfileName,
    profiles: Profiles = None,
    source: Annotated[
        Optional[str], typer.Option(help="webcam:0, a video file, or synthetic.", show_default=False)
    ] = None,
    sink: Annotated[
        Optional[str],
        typer.Option(help="auto, v4l2[:/dev/videoN], preview[:PORT], FILE.mp4 or null.", show_default=False),
    ] = None,
    size: Annotated[Optional[str], typer.Option(help="Output size, as in 1280x720.", show_default=False)] = None,
    fps: Annotated[Optional[float], typer.Option(help="Output frames a second.", show_default=False)] = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay until Ctrl-C.")] = False,
    seconds: Annotated[Optional[float], typer.Option(help="Stop after so long.", show_default=False)] = None,
) -> None:
    """Put the target on the air as a camera."""
    from f2fcam.config import StartConfig, load_config, parse_size
    from f2fcam.profile_store import find_profile

    settings = load_config()
    profiles = profiles or _configured_profiles(settings)
    defaults = settings.start
    config = StartConfig(
        profile=profile,
        profiles=profiles.absolute() if profiles else None,
        source=source or defaults.source,
        sink=sink or defaults.sink,
        size=parse_size(size or defaults.size),
        fps=defaults.fps if fps is None else fps,
        duration_s=seconds,
    )
    find_profile(profile, profiles)  # a wrong name shows before anything starts
    if foreground:
        from f2fcam import supervisor

        raise typer.Exit(supervisor.start(config, announce=_announce))
    from f2fcam.daemon import start_detached

    device = start_detached(config)
    err.print(
        f"{profile} is on the air: {device}. End it with `f2fcam stop`."
        if device
        else "Still loading; see `f2fcam status`."
    )


@app.command()
def stop() -> None:
    """End the running camera."""
    _command("stop", "Stopped.")


@app.command()
def status(as_json: Json = False) -> None:
    """Say what the running camera does."""
    from f2fcam.control import request

    answer = request("status")
    _answer(
        answer,
        as_json,
        "\n".join(f"{key:>12}  {_plain(value)}" for key, value in answer.items() if value not in (None, [], {})),
    )


@app.command()
def switch(name: Annotated[str, typer.Argument(help="Another profile.", show_default=False)]) -> None:
    """Put another target on the air."""
    from f2fcam.control import request
    from f2fcam.profile_store import checked_name, find_profile

    checked_name(name)
    profiles = request("status").get("profiles")
    find_profile(name, Path(str(profiles)) if profiles else None)  # a wrong name shows before the engine is exchanged
    _command("switch", f"{name} is on the air.", profile=name)


@app.command()
def pause() -> None:
    """Stop acting; the target idles."""
    _command("pause", "Paused.")


@app.command()
def resume() -> None:
    """Act again."""
    _command("resume", "Acting again.")


@app.command()
def recalibrate() -> None:
    """Learn the actor's relaxed face anew: look into the camera with a calm face."""
    _command("recalibrate", "Keep a calm face for two seconds.")


@app.command()
def render(
    profile: ProfileName,
    source: Annotated[Path, typer.Option("--source", help="The video that drives.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", help="The video to write.", show_default=False)],
    profiles: Profiles = None,
    range_: Range = None,
    target_frames: FramesChoice = TargetFrames.loop,
    appearance: LookChoice = Look.video,
    as_json: Json = False,
) -> None:
    """Act a target with a video, frame by frame, into a file."""
    from f2fcam.config import load_config, parse_range

    part = parse_range(range_)
    _require_file(source)
    profiles = profiles or _configured_profiles(load_config())
    from f2fcam.profile_store import open_profile
    from f2fcam.render_file import render_video

    enrolled = open_profile(profile, profiles)
    with _progress(quiet=as_json) as progress:
        done = render_video(enrolled, source, output, part, target_frames.value, appearance.value, progress)
    _answer({"output": str(output), **_fields(done)}, as_json, f"Wrote {output}")


@app.command()
def evaluate(
    video: Annotated[Path, typer.Argument(help="A video of one person.", show_default=False)],
    enroll_range: Annotated[Optional[str], typer.Option("--enroll", help="Part that is enrolled, A:B.")] = None,
    test_range: Annotated[Optional[str], typer.Option("--test", help="Part that drives, A:B.")] = None,
    source: Annotated[Optional[Path], typer.Option("--source", help="Another video that drives.")] = None,
    folder: Annotated[Optional[Path], typer.Option("--output", help="Folder for the numbers and pictures.")] = None,
    target_frames: FramesChoice = TargetFrames.loop,
    appearance: LookChoice = Look.video,
    as_json: Json = False,
) -> None:
    """Measure how close the acted target comes to the truth."""
    from f2fcam.config import parse_range

    enrolled, tested = parse_range(enroll_range, "--enroll"), parse_range(test_range, "--test")
    _require_file(video)
    if source is not None:
        _require_file(source)
    if folder is not None:
        _make_folder(folder)
    from f2fcam.evaluate import evaluate_video

    result = evaluate_video(
        video,
        enrolled,
        tested,
        source=source,
        target_frames=target_frames.value,
        appearance=appearance.value,
        folder=folder,
    )
    _answer(result, as_json, str(result["summary"]))


@app.command()
def bench(
    as_json: Json = False,
    profiles: Profiles = None,
    size: Annotated[str, typer.Option(help="Output size.")] = "1280x720",
    source: Annotated[
        Optional[Path], typer.Option("--source", help="The video that drives.", show_default=False)
    ] = None,
    profile: Annotated[str, typer.Option("--profile", help="Name of the enrolled target.")] = "alice",
    log: Annotated[
        Optional[Path], typer.Option("--log", help="CSV file with every frame's times.", show_default=False)
    ] = None,
) -> None:
    """Measure the speed of every stage."""
    from f2fcam.config import checked_size, load_config, parse_size

    picture = checked_size(parse_size(size))
    if source is not None:
        _require_file(source)
    profiles = profiles or _configured_profiles(load_config())
    from f2fcam.bench import run_bench
    from f2fcam.benchmark.tables import tables

    with _progress(as_json) as progress:
        result = run_bench(profile=profile, profiles=profiles, size=picture, source=source, log=log, progress=progress)
    for table in [] if as_json else tables(result):
        out.print(table)
    _answer(result, as_json, str(result["summary"]))


@profile_app.command("list")
def profile_list(profiles: Profiles = None, as_json: Json = False) -> None:
    """All profiles."""
    from f2fcam.config import load_config
    from f2fcam.profile_store import list_profiles

    entries = list_profiles(profiles or _configured_profiles(load_config()))
    if as_json:
        _print_json({"profiles": [_entry(entry) for entry in entries]})
        return
    table = Table("name", "frames", "subject", "consent until", "", box=None)
    for entry in entries:
        label = entry.manifest
        facts = (
            (str(label.counts.get("frames", "")), label.consent.subject, str(label.consent.expires))
            if label
            else ("",) * 3
        )
        table.add_row(entry.name, *facts, entry.fault or ("bundled" if entry.bundled else ""))
    out.print(table)


@profile_app.command("show")
def profile_show(
    name: Annotated[str, typer.Argument(show_default=False)], profiles: Profiles = None, as_json: Json = False
) -> None:
    """What a profile holds, after checking it."""
    from f2fcam.config import load_config
    from f2fcam.profile import manifest_table, verify_profile
    from f2fcam.profile_store import find_profile

    directory = find_profile(name, profiles or _configured_profiles(load_config()))
    manifest = verify_profile(directory)
    facts = {"directory": str(directory), "own": manifest.own, **manifest_table(manifest)}
    _answer(facts, as_json, "\n".join(f"{key:>12}  {_plain(value)}" for key, value in facts.items() if key != "files"))


@profile_app.command("export")
def profile_export(
    name: Annotated[str, typer.Argument(show_default=False)],
    output: Annotated[Path, typer.Argument(help="A zip file or a folder.")] = Path(),
    profiles: Profiles = None,
) -> None:
    """Pack a profile into one file."""
    from f2fcam.config import load_config
    from f2fcam.profile_store import export_profile

    out.print(f"Wrote {export_profile(name, output, profiles or _configured_profiles(load_config()))}", markup=False)


@profile_app.command("import")
def profile_import(
    archive: Annotated[Path, typer.Argument(show_default=False)],
    profiles: Profiles = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a profile of that name.")] = False,
) -> None:
    """Take in an exported profile, after checking it."""
    from f2fcam.config import load_config
    from f2fcam.profile_store import import_profile

    place = import_profile(archive, profiles or _configured_profiles(load_config()), replace=replace)
    out.print(f"Took in {place.name}: {place}", markup=False)


@profile_app.command("delete")
def profile_delete(name: Annotated[str, typer.Argument(show_default=False)], profiles: Profiles = None) -> None:
    """Remove a profile for good."""
    from f2fcam.config import load_config
    from f2fcam.profile_store import delete_profile

    out.print(f"Deleted {delete_profile(name, profiles or _configured_profiles(load_config()))}", markup=False)


@app.command()
def doctor(profiles: Profiles = None, as_json: Json = False) -> None:
    """Look for what is missing and say which command mends it."""
    from f2fcam.doctor import run_checks

    checks = run_checks(profiles)
    good = all(check.state != "fault" for check in checks)
    if as_json:
        _print_json({"ok": good, "checks": [_fields(check) for check in checks]})
    else:
        for check in checks:
            out.print(f"{check.state:>8}  {check.name}: {check.finding}", markup=False)
            if check.remedy:
                out.print(f"          mend: {check.remedy}", markup=False)
    raise typer.Exit(0 if good else 1)


@app.command()
def verify(clip: Annotated[Path, typer.Argument(help="A video.", show_default=False)], as_json: Json = False) -> None:
    """Say whether a video was made by f2fcam."""
    _require_file(clip)
    from f2fcam.trust.verify import verify_clip

    found = _fields(verify_clip(clip))
    _answer(found, as_json, str(found.get("summary", found)))


@app.command()
def warmup() -> None:
    """Compile everything now, so that the first start is a fast one."""
    from f2fcam.warmup import warm_up

    with _progress() as progress:
        warm_up(progress)
    out.print("Ready.")


def main() -> None:
    """The program: errors as two lines on stderr and an exit code, never a traceback."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; its exit code."""
    try:
        code = app(arguments, prog_name="f2fcam", standalone_mode=False)
    except F2FError as error:
        _complain(error.message, error.hint)
        return error.exit_code
    except (KeyboardInterrupt, EOFError):
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            err.print(str(error), markup=False)
            return 2
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # the parser's own
            _complain(str(error.format_message()), "See `f2fcam --help`.")
            return 2
        logging.getLogger(__name__).debug("unexpected", exc_info=True)
        _complain(_unexpected(error), "Run it again with `f2fcam --verbose ...` and report what it says.")
        return 1
    if code == INTERRUPTED:
        err.print("Interrupted; what was there before is as it was.")
    return code if isinstance(code, int) else 0


def _unexpected(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "There is not enough memory."
    if isinstance(error, ModuleNotFoundError):
        return f"This installation lacks {error.name}."
    return f"Something went wrong inside f2fcam: {type(error).__name__}: {error}"


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _complain(message: str, hint: str) -> None:
    err.print(f"Error: {message}", markup=False)
    err.print(f"Hint: {hint}", markup=False)


def _announce(event: str, what: str) -> None:
    """What the camera in the foreground tells while it comes up."""
    if event == "open":
        err.print(f"Output: {what}", markup=False)
    else:
        err.print(f"{what} is on the air. End it with Ctrl-C.", markup=False)


def _command(name: str, message: str, **arguments: str) -> None:
    from f2fcam.control import request

    request(name, **arguments)
    out.print(message, markup=False)


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"{path} is not a file that exists.", hint="Check the path.")


def _make_folder(path: Path) -> None:
    """Before the work rather than after it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be a folder: {error.strerror}.", hint="Name another with --output."
        ) from error


def _configured_profiles(settings: Any) -> Path | None:
    return Path(settings.profiles).expanduser() if settings.profiles else None


def _answer(facts: dict[str, Any], as_json: bool, message: str) -> None:
    if as_json:
        _print_json(facts)
    else:
        out.print(message, markup=False)


def _print_json(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts, ensure_ascii=False, default=str) + "\n")


def _fields(value: Any) -> dict[str, Any]:
    """A result's values, whether it is a dictionary or a dataclass."""
    if isinstance(value, dict):
        return value
    import dataclasses

    return dataclasses.asdict(value)


def _entry(entry: Any) -> dict[str, Any]:
    label = entry.manifest
    return {
        "name": entry.name,
        "directory": str(entry.directory),
        "bundled": entry.bundled,
        "fault": entry.fault,
        "subject": label.consent.subject if label else None,
        "expires": str(label.consent.expires) if label else None,
        "counts": dict(label.counts) if label else {},
    }


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return "x".join(str(item) for item in value) if len(value) == 2 else ", ".join(_plain(item) for item in value)
    return str(value)


class _Bars:
    """A bar per stage, on stderr."""

    def __init__(self, bars: Any) -> None:
        self._bars, self._task = bars, None

    def stage(self, name: str) -> Callable[[int, int], None]:
        self._finish()
        task = self._task = self._bars.add_task(name, total=None)

        def report(done: int, total: int) -> None:
            self._bars.update(task, completed=done, total=total or None)

        return report

    def note(self, text: str) -> None:
        self._bars.console.print(text, markup=False)

    def _finish(self) -> None:
        if self._task is not None:
            total = self._bars.tasks[self._task].total or 1
            self._bars.update(self._task, completed=total, total=total)


@contextmanager
def _progress(quiet: bool = False) -> Iterator[Any]:
    """Somebody who draws the work's progress, or nobody."""
    from f2fcam.progress import Silent

    if quiet:
        yield Silent()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err) as bars:
        drawn = _Bars(bars)
        yield drawn
        drawn._finish()


if __name__ == "__main__":
    main()
