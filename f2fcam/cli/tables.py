"""What the running camera and a profile say, laid out for people; `--json` has all of it for programs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from f2fcam.mouth.coverage import Coverage
    from f2fcam.profile import Manifest


def status_table(facts: dict[str, Any]) -> RenderableType:
    """`f2fcam status`: what is on the air, whence, whither, how fast, and what went wrong."""
    fps, latency = facts.get("fps", {}), facts.get("latency_ms", {})
    faces, knows = facts.get("faces"), {"known": "known", "done": "learnt", None: ""}
    actor = facts.get("actor")
    lines = [
        ("state", f"{facts.get('state', 'unknown')} for {_duration(facts.get('uptime_s', 0.0))}"),
        ("target", f"{facts.get('profile')}" + (f" (of {facts['profiles']})" if facts.get("profiles") else "")),
        ("actor", _joined(_tracking(facts), _faces(faces), knows.get(actor, "still being learnt"))),
        ("source", str(facts.get("source"))),
        ("output", _joined(facts.get("device") or f"{facts.get('sink')}, not there", _size(facts.get("size")))),
        ("readers", _readers(facts.get("readers"), facts.get("state"))),
        ("badge", str(facts.get("badge"))),
        (
            "pictures",
            f"{fps.get('output', 0):.1f} a second sent, {fps.get('engine', 0):.1f} made; {facts.get('frames', 0)} in all",
        ),
        ("delay", _spread(latency, "not known yet")),
        ("sound", _sound(facts.get("sound", {}))),
        ("quality", str(facts.get("quality", {}).get("summary", ""))),
        (
            "left out",
            _joined(*(f"{count} before {stage}" for stage, count in _after(facts.get("drops", {})) if count)) or "none",
        ),
        ("restarts", str(facts.get("restarts", 0) or "none")),
        ("metrics", str(facts.get("metrics") or "")),
        ("logs", str(facts.get("logs") or "")),
        ("processes", f"{facts.get('pid')}, engine {facts.get('engine_pid') or 'none'}"),
    ]
    lines += [("", f"{_clock(one['time'])} {one['reason']}") for one in facts.get("reasons", [])[-3:]]
    lines += [("output lost", f"{_clock(one['time'])} {one['reason']}") for one in facts.get("sink_reasons", [])[-3:]]
    stages = Table("stage", "median ms", "95 % within ms", box=None, padding=(0, 2))
    for name, one in facts.get("stages_ms", {}).items():
        if one.get("p50") is not None:
            stages.add_row(name, f"{one['p50']:.1f}", f"{one['p95']:.1f}")
    return Group(_two_columns(lines), *([Text(), stages] if stages.row_count else []))


def profile_table(directory: Path, manifest: Manifest, mouths: Coverage | None) -> RenderableType:
    """`f2fcam profile show`: who, from what, by whom, with which consent."""
    from f2fcam.mouth.coverage import coverage_line

    counts, consent = manifest.counts, manifest.consent
    maker = "you" if manifest.own else "somebody else"
    said_by = "the person in the video, who enrolled" if consent.own else consent.contact
    return _two_columns(
        [
            ("name", manifest.name),
            ("folder", str(directory)),
            ("made", f"{manifest.created:%Y-%m-%d %H:%M %Z} by {maker}, with f2fcam {manifest.version}"),
            ("video", f"{manifest.source}, {_size(manifest.size)}, {float(manifest.rate):.3g} frames a second"),
            ("frames", _joined(*(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()))),
            *([("mouths", coverage_line(mouths))] if mouths is not None else []),
            ("subject", consent.subject),
            ("consent", f"{consent.statement} Scope: {consent.scope}."),
            ("given by", said_by),
            ("valid until", str(consent.expires)),
            ("face model", f"{manifest.model_hash[:12]}, landmarks by {manifest.detector}"),
        ]
    )


def _two_columns(lines: Iterable[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines:
        if value:
            table.add_row(name, Text(value))
    return table


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def _sound(facts: dict[str, Any]) -> str:
    """Whence, under which name, how late and how late it should be, and what was missed."""
    reason = str(facts.get("reason") or "")
    if facts.get("state") == "asleep":
        return _joined(f"nobody listens to {facts.get('device')}: the microphone is closed", reason)
    if facts.get("state") != "on":
        return _joined(facts.get("state"), reason)
    delay, target, least = facts.get("delay_ms"), facts.get("target_ms") or 0.0, facts.get("least_ms") or 0.0
    return _joined(
        "muted" if facts.get("muted") else "",
        f"{facts.get('microphone')} heard as {facts.get('device')}",
        "" if delay is None else f"{delay:.0f} ms late for {target:.0f} wanted",
        f"not less than {least:.0f} on this machine" if least > target + 1 else "",
        f"{facts.get('xruns', 0)} gaps",
        "quiet" if facts.get("quiet") else "",
    )


def _tracking(facts: dict[str, Any]) -> str:
    sure = facts.get("confidence")
    return str(facts.get("tracking") or "") + ("" if sure is None else f" ({100 * sure:.0f} % sure)")


def _faces(count: int | None) -> str:
    return "" if count is None else f"{count} face{'' if count == 1 else 's'} in the picture"


def _readers(count: int | None, state: Any) -> str:
    if count is None:
        return ""
    if not count:
        return "nobody looks: webcam and engine rest" if state == "asleep" else "nobody looks"
    return f"{count} or more"


def _size(size: Any) -> str:
    return "x".join(str(side) for side in size or ())


def _after(drops: dict[str, int]) -> list[tuple[str, int]]:
    """Pictures that no stage took, by the stage that was not ready for them."""
    waiting = {
        "capture": "tracking",
        "track": "mouth and eyes",
        "retouch": "rendering",
        "render": "publishing",
        "output": "sending",
    }
    return [(waiting.get(stage, stage), count) for stage, count in drops.items()]


def _spread(times: dict[str, float | None], unknown: str) -> str:
    middle, most = times.get("p50"), times.get("p95")
    return unknown if middle is None or most is None else f"{middle:.0f} ms, 95 % within {most:.0f} ms"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
