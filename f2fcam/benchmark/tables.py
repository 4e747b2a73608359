"""The benchmark's result as a line and as tables, for a terminal and for Markdown: rows of text are made once for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

PASSES = {
    "one_core": "one core",
    "busy_core": "two cores, one of them busy",
    "busy_core_adaptive": "the same, quality adapts to 30 a second",
}


@dataclass(frozen=True, slots=True)
class Rows:
    """A table: its title, its columns' names, and text."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def rich(self) -> Table:
        """For a terminal."""
        table = Table(*self.head, title=self.title, box=None)
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """With its title in bold above."""
        lines = [f"**{self.title}**", "", _line(self.head), _line(["---"] * len(self.head))]
        return "\n".join([*lines, *(_line(row) for row in self.rows)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def number(value: float | None, digits: int = 2) -> str:
    """A value as text; a dash for none."""
    return "-" if value is None else f"{value:.{digits}f}"


def tables(result: dict[str, Any]) -> list[Table]:
    """All of `all_rows` for a terminal."""
    return [rows.rich() for rows in all_rows(result)]


def all_rows(result: dict[str, Any]) -> list[Rows]:
    """The live passes, stages per size, kernels beside their yardsticks, memory and enrolment, scaling; what there is of it."""
    made = [live_rows(result)] if result.get("chain") else []
    made += [stage_rows(size, chain) for size, chain in result.get("chain", {}).items() if "stages" in chain]
    if result.get("ratios"):
        made.append(kernel_rows(result))
    return made + scaling_rows(result.get("scaling") or {})


def live_rows(result: dict[str, Any]) -> Rows:
    """One line per size, and per way of sharing the processor."""
    rows = []
    for size, chain in result["chain"].items():
        passes = {"two cores": chain.get("live", {})} | {
            words: chain[key] for key, words in PASSES.items() if key in chain
        }
        for words, one in passes.items():
            if not one:
                continue
            fast, slow = one["60"], one["30"]
            rows.append(
                (
                    size, words, number(fast["fps"], 1), number(slow["fps"], 1),
                    number(slow["latency_ms"]["p50"], 0), number(slow["latency_ms"]["p95"], 0),
                    number(slow["latency_growth_ms"], 1), number(slow["cpu_share"]), number(slow["memory_mb"], 0),
                    _levels(fast), _levels(slow),
                )
            )  # fmt: skip
    head = (
        "target",
        "processor",
        "fps at 60",
        "fps at 30",
        "latency at 30, ms",
        "p95",
        "growth, ms",
        "cores used at 30",
        "MB",
        "levels at 60",
        "at 30",
    )
    return Rows("Live threads, source decoded at 60 and at 30 pictures a second", head, tuple(rows))


def _levels(one: dict[str, Any]) -> str:
    """Mean levels of tracking and picture, or that nothing gave way."""
    levels = one.get("levels") or {}
    if not any(levels.values()):
        return "full"
    return f"tracking {number(levels['tracking'], 1)}, picture {number(levels['picture'], 1)}"


def stage_rows(size: str, chain: dict[str, Any]) -> Rows:
    """Each stage's times, allocation, work and yardstick."""
    rows = [
        (
            name, number(one["p50"]), number(one["p95"]), number(one["allocated_kb"], 0), number(one["megabytes"]),
            number(one["megaflops"]), number(one["floor_ms"]), number(one["yardstick_ms"]), number(one["ratio"], 1),
        )
        for name, one in chain["stages"].items()
    ]  # fmt: skip
    for words, key in (("all", "serial_ms"), ("all, processor time", "serial_cpu_ms")):
        rows.append((words, number(chain[key]["p50"]), number(chain[key]["p95"]), *["-"] * 6))
    head = (
        "stage",
        "median ms",
        "p95 ms",
        "allocated kB",
        "MB",
        "MFlop",
        "floor ms",
        "yardstick ms",
        "median / yardstick",
    )
    return Rows(f"{size}, one thread", head, tuple(rows))


def kernel_rows(result: dict[str, Any]) -> Rows:
    """The hot kernels at the main size."""
    rows = [
        (name, *(number(result[key][name], 3) for key in ("kernels_ms", "yardsticks_ms", "floors_ms")), number(ratio))
        for name, ratio in result["ratios"].items()
    ]
    return Rows(
        "Kernels, best of many", ("kernel", "ms", "yardstick ms", "floor ms", "ratio to yardstick"), tuple(rows)
    )


def scaling_rows(scaling: dict[str, Any]) -> list[Rows]:
    """Clip length, samples and meshes."""
    titles = {
        "clip_length": ("Cost of a picture by the target's length", 3),
        "samples": ("Tracking and transfer by surface samples", 2),
        "vertices": ("A frame's mesh by level", 2),
    }
    made = []
    for key, (title, digits) in titles.items():
        entries = scaling.get(key) or []
        if entries:
            cells = [tuple(_cell(value, digits) for value in entry.values()) for entry in entries]
            made.append(Rows(title, tuple(name.replace("_", " ") for name in entries[0]), tuple(cells)))
    return made


def _cell(value: object, digits: int) -> str:
    return number(value, digits) if isinstance(value, float) else str(value)


def clip_growth_ms(scaling: dict[str, Any] | None) -> float | None:
    """How much more retrieval and playback take of the longest clip than of the shortest."""
    lengths = (scaling or {}).get("clip_length")
    return None if not lengths else lengths[-1]["both_ms"] - lengths[0]["both_ms"]


def summary(result: dict[str, Any]) -> str:
    """One line."""
    parts = []
    for size, chain in result["chain"].items():
        latency = chain["latency_ms"]
        parts.append(f"{size}: {chain['fps']:.1f} fps, latency {latency['p50']:.0f} ms (p95 {latency['p95']:.0f})")
    if result["memory_mb"] is not None:
        parts.append(f"{result['memory_mb']:.0f} MB")
    if result["start_s"] is not None:
        parts.append(f"first picture after {result['start_s']['first_frame']:.1f} s")
    enrolment = result["enrolment"]
    if enrolment and "seconds" in enrolment:
        parts.append(f"enrolment {enrolment['seconds_per_clip_second']:.1f} s per second of clip")
    growth = clip_growth_ms(result.get("scaling"))
    if growth is not None:
        parts.append(f"{growth:+.2f} ms from the shortest clip to the longest")
    quality = result["work"]["quality"]
    words = f"level {quality['level']}, {quality['samples']} samples, {quality['gauss_newton_steps']} steps"
    return "; ".join([*parts, f"configuration {result['work']['configuration']} ({words})"])
