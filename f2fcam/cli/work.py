"""Commands that work on video files: `enroll`, `render`, `evaluate`, `bench`, `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from f2fcam.cli.console import answer, fields, out, progress_bars
from f2fcam.cli.options import (
    Causal,
    FramesChoice,
    Json,
    Look,
    LookChoice,
    ProfileName,
    Profiles,
    Range,
    TargetFrames,
    configured_profiles,
    make_folder,
    require_file,
)


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
    from f2fcam.profile_search import checked_name
    from f2fcam.trust.consent import given_consent

    checked_name(name)
    require_file(video)
    agreed = given_consent(myself, consent)
    part = parse_range(range_)
    profiles = profiles or configured_profiles(load_config())
    from f2fcam.enroll import enroll_video
    from f2fcam.mouth.coverage import coverage_line, profile_coverage

    with progress_bars(quiet=as_json) as progress:
        profile = enroll_video(video, name, agreed, profiles, part, progress)
    facts = {"profile": profile.name, "directory": str(profile.directory), **profile.manifest.counts}
    message = f"Enrolled {profile.name} from {video}: {profile.directory}"
    mouths = profile_coverage(profile.frames, profile.enrolment)
    if mouths is not None:
        facts |= {"mouth_coverage": round(mouths.score, 2), "record_more": list(mouths.missing)}
        message += f"\nMouths: {coverage_line(mouths)}."
    answer(facts, as_json, message)


def render(
    profile: ProfileName,
    source: Annotated[Path, typer.Option("--source", help="The video that drives.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", help="The video to write.", show_default=False)],
    profiles: Profiles = None,
    range_: Range = None,
    target_frames: FramesChoice = TargetFrames.loop,
    appearance: LookChoice = Look.video,
    causal: Causal = False,
    as_json: Json = False,
) -> None:
    """Act a target with a video, frame by frame, into a file."""
    from f2fcam.config import load_config, parse_range

    part = parse_range(range_)
    require_file(source)
    profiles = profiles or configured_profiles(load_config())
    from f2fcam.profile_store import open_profile
    from f2fcam.render_file import render_video

    enrolled = open_profile(profile, profiles)
    with progress_bars(quiet=as_json) as progress:
        done = render_video(
            enrolled, source, output, part, target_frames.value, appearance.value, progress, causal=causal
        )
    answer({"output": str(output), **fields(done)}, as_json, f"Wrote {output}")


def evaluate(
    video: Annotated[Path, typer.Argument(help="A video of one person.", show_default=False)],
    enroll_range: Annotated[Optional[str], typer.Option("--enroll", help="Part that is enrolled, A:B.")] = None,
    test_range: Annotated[Optional[str], typer.Option("--test", help="Part that drives, A:B.")] = None,
    source: Annotated[Optional[Path], typer.Option("--source", help="Another video that drives.")] = None,
    folder: Annotated[Optional[Path], typer.Option("--output", help="Folder for the numbers and pictures.")] = None,
    target_frames: FramesChoice = TargetFrames.loop,
    appearance: LookChoice = Look.video,
    causal: Causal = False,
    as_json: Json = False,
) -> None:
    """Measure how close the acted target comes to the truth."""
    from f2fcam.config import parse_range

    enrolled, tested = parse_range(enroll_range, "--enroll"), parse_range(test_range, "--test")
    require_file(video)
    if source is not None:
        require_file(source)
    if folder is not None:
        make_folder(folder)
    from f2fcam.evaluate import evaluate_video

    result = evaluate_video(
        video,
        enrolled,
        tested,
        source=source,
        target_frames=target_frames.value,
        appearance=appearance.value,
        causal=causal,
        folder=folder,
    )
    answer(result, as_json, str(result["summary"]))


def bench(
    as_json: Json = False,
    profiles: Profiles = None,
    size: Annotated[
        Optional[list[str]],
        typer.Option(
            help="Size of target and source; may be given again. [default: 640x480, 1280x720, 1920x1080]",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        Optional[Path], typer.Option("--source", help="The video that drives.", show_default=False)
    ] = None,
    profile: Annotated[str, typer.Option("--profile", help="Name of the enrolled target.")] = "alice",
    log: Annotated[
        Optional[Path], typer.Option("--log", help="CSV file with every frame's times.", show_default=False)
    ] = None,
    docs: Annotated[
        Optional[Path],
        typer.Option("--docs", help="Folder whose performance.md and plots to refresh.", show_default=False),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Less: one size unless given, no scaling, no enrolment.")
    ] = False,
) -> None:
    """Measure the speed of every stage."""
    from f2fcam.config import checked_size, load_config, parse_size

    asked = tuple(dict.fromkeys(checked_size(parse_size(text)) for text in size or ()))
    if source is not None:
        require_file(source)
    if docs is not None:
        make_folder(docs)
    profiles = profiles or configured_profiles(load_config())
    from f2fcam.bench import run_bench
    from f2fcam.benchmark.tables import tables

    with progress_bars(as_json) as progress:
        result = run_bench(
            profile=profile, profiles=profiles, sizes=asked, source=source, log=log, docs=docs, quick=quick,
            progress=progress,
        )  # fmt: skip
    for table in [] if as_json else tables(result):
        out.print(table)
    answer(result, as_json, str(result["summary"]))


def verify(clip: Annotated[Path, typer.Argument(help="A video.", show_default=False)], as_json: Json = False) -> None:
    """Say whether a video was made by f2fcam."""
    require_file(clip)
    from f2fcam.trust.verify import verify_clip

    found = fields(verify_clip(clip))
    answer(found, as_json, str(found.get("summary", found)))
