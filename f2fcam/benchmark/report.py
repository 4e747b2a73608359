"""The benchmark's part of `docs/performance.md`, between markers, and its plots."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from f2fcam.benchmark import svg
from f2fcam.benchmark.chain import STAGES
from f2fcam.benchmark.tables import all_rows, clip_growth_ms
from f2fcam.errors import F2FError

PAGE, PLOTS = "performance.md", "plots"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
PICTURE_MS = 1000 / 30
"""How often a camera of 30 pictures a second wants one."""


def write_report(result: dict[str, Any], ages_ms: dict[str, list[float]], folder: Path) -> None:
    """Refresh the generated part of the page in `folder`, and the plots beside it; what was written by hand stays."""
    page = folder / PAGE
    try:
        old = page.read_text(encoding="utf-8") if page.is_file() else "# Performance\n"
        drawn = plots(result, ages_ms)
        (folder / PLOTS).mkdir(parents=True, exist_ok=True)
        for name, text in drawn.items():
            (folder / PLOTS / name).write_text(text, encoding="utf-8")
        page.write_text(with_section(old, section(result, list(drawn))), encoding="utf-8")
    except OSError as error:
        raise F2FError(f"{folder} cannot be written ({error.strerror}).", hint="Give another --docs folder.") from error


def with_section(page: str, text: str) -> str:
    """The page with what is between the markers replaced by `text`, or with both at its end."""
    marked = f"{BEGIN}\n\n{text}\n\n{END}"
    if BEGIN in page and END in page:
        return re.sub(re.escape(BEGIN) + r".*?" + re.escape(END), lambda _: marked, page, count=1, flags=re.DOTALL)
    return f"{page.rstrip()}\n\n{marked}\n"


def section(result: dict[str, Any], pictures: list[str]) -> str:
    """Conditions, tables and plots as Markdown."""
    parts = ["## Measured last", _conditions(result)]
    parts += [rows.markdown() for rows in all_rows(result)]
    parts.append(_beside(result))
    parts += [f"![{name.removesuffix('.svg').replace('-', ' ')}]({PLOTS}/{name})" for name in pictures]
    return "\n\n".join(part for part in parts if part)


def _conditions(result: dict[str, Any]) -> str:
    machine, work = result["machine"], result["work"]
    quality = work["quality"]
    faces = ", ".join(
        f"{one['face_px'][0]} x {one['face_px'][1]} px at {size}" for size, one in result["chain"].items()
    )
    load = "" if machine.get("load") is None else f", load {machine['load']} at the end"
    return (
        f"By `f2fcam bench` on {machine['processor']}, {machine['cores']} cores{load}: one thread reads"
        f" {machine['memory_gb_per_s']} GB/s and multiplies at {machine['multiply_gflop_per_s']} GFlop/s. Profile"
        f" `{work['profile']}`, source `{work['source']}`; configuration `{work['configuration']}` (level"
        f" {quality['level']}, {quality['samples']} samples, {quality['gauss_newton_steps']} Gauss-Newton steps)."
        f" The target's face: {faces}."
    )


def _beside(result: dict[str, Any]) -> str:
    """Memory, enrolment and what a longer clip costs, as a list."""
    lines = []
    if result["memory_mb"] is not None:
        lines.append(
            f"- Memory: all processes of a running camera held {result['memory_mb']:.0f} MB at most, what they share"
            " counted once (`Pss`)."
        )
    if result["start_s"] is not None:
        after_s = result["start_s"]
        lines.append(
            f"- `f2fcam start`: the placeholder after {after_s['placeholder']:.2f} s, the first reenacted picture after"
            f" {after_s['first_frame']:.2f} s."
        )
    enrolled = result["enrolment"]
    if enrolled and "seconds" in enrolled:
        lines.append(
            f"- Enrolment of {enrolled['clip_s']} s at {enrolled['size'][0]}x{enrolled['size'][1]}: {enrolled['seconds']} s"
            f" ({enrolled['seconds_per_clip_second']} s per second of clip), {enrolled['memory_mb'] or 0:.0f} MB at most."
        )
    growth = clip_growth_ms(result["scaling"])
    if growth is not None:
        lines.append(
            f"- From the shortest target to the longest, retrieval and playback of a picture take {growth:+.2f} ms."
        )
    return "\n".join(lines)


def plots(result: dict[str, Any], ages_ms: dict[str, list[float]]) -> dict[str, str]:
    """File name -> SVG. `ages_ms`: of the pictures that reached the sink, per size."""
    chain = result["chain"]
    parts = {stage: [one["stages_ms"][stage]["p50"] for one in chain.values()] for stage in STAGES}
    drawn = {
        "stages.svg": svg.stacked_bars(
            "A picture's stages in one thread, medians", "milliseconds", list(chain), parts, PICTURE_MS
        )
    }
    ages_ms = {size: ages for size, ages in ages_ms.items() if ages}
    if ages_ms:
        curves = {size: svg.shares(ages) for size, ages in ages_ms.items()}
        drawn["latency.svg"] = svg.lines(
            "From a picture's moment to the sink, source of 30 a second", "milliseconds", "percent of pictures", curves
        )
    scaling = result["scaling"] or {}
    if scaling.get("clip_length"):
        drawn["clip-length.svg"] = svg.lines(
            "Cost of a picture by the target's length", "seconds", "milliseconds",
            {
                words: [(row["seconds"], row[key]) for row in scaling["clip_length"]]
                for words, key in (("retrieval", "retrieve_ms"), ("playback", "playback_ms"))
            },
            log_x=True,
        )  # fmt: skip
    if scaling.get("samples"):
        points = [(row["samples"], row["track_ms"]) for row in scaling["samples"]]
        drawn["samples.svg"] = svg.lines(
            "Tracking and transfer by surface samples", "samples", "milliseconds", {"track": points}
        )
    levels = [row for row in scaling.get("vertices", []) if row["mesh"] != "drawn"]
    if levels:
        points = [(row["vertices"], row["rasterise_ms"]) for row in levels]
        drawn["vertices.svg"] = svg.lines(
            "Rasterising a frame's mesh", "vertices", "milliseconds", {"rasterise": points}, log_x=True
        )
    return drawn
