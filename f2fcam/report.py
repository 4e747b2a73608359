"""The page that shows what enrolment found: one file, no scripts, nothing fetched, readable without us."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from f2fcam.mouth.coverage import IMPOSSIBLE, OPENINGS, WIDTHS, Coverage, coverage_line, reach

JPEG_QUALITY = 86
LONG_LIST = 40
"""Longer lists of transitions are folded away."""
CURVE_POINTS = 900
"""Longer clips are thinned for their curves."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Values over time; NaN leaves a gap."""

    title: str
    unit: str
    values: Float[np.ndarray, " n"]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with a line below it."""

    rgb: UInt8[np.ndarray, "h w 3"]
    caption: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything on the page, in its order.

    Attributes:
        facts: name -> value, for the head of the page.
        keyframes: what was bundled, with the fit beside it.
        times_s: of the curves' values. statuses: of the same frames.
        mouths: which mouths the clip has.
        rejected: what was not used, and why.
        playback: how the clip goes on for ever. transitions: kind, from, to, and the change against its limit.
    """

    name: str
    facts: dict[str, str]
    keyframes: list[Picture]
    portraits: list[Picture]
    times_s: Float[np.ndarray, " n"]
    statuses: list[str]
    curves: list[Curve]
    mouths: Coverage
    rejected: list[tuple[str, str]] = field(default_factory=list)
    playback: str = ""
    transitions: list[tuple[str, str, str, str]] = field(default_factory=list)


def page(report: Report) -> str:
    """The report as HTML."""
    name = html.escape(report.name)
    facts = "".join(
        f"<div><dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd></div>" for key, value in report.facts.items()
    )
    curves = "".join(_curve(curve, report.times_s, report.statuses) for curve in report.curves)
    rejected = "".join(
        f"<tr><td>{html.escape(what)}</td><td>{html.escape(why)}</td></tr>" for what, why in report.rejected
    )
    rejected = f"<table>{rejected}</table>" if rejected else "<p>Nothing: every frame was used.</p>"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name} - f2fcam profile</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><main>'
        f"<header><p>f2fcam profile</p><h1>{name}</h1><dl>{facts}</dl></header>"
        f"<section><h2>The person</h2>{_pictures(report.portraits, 'portraits')}</section>"
        f"<section><h2>Keyframes and their fit</h2><p>The frames that shape, skin and camera were estimated from: the "
        f"picture, the fitted surface over it, and the re-rendered model.</p>"
        f"{_pictures(report.keyframes, 'keyframes')}</section>"
        f"<section><h2>Tracking</h2>{curves}</section>"
        f"<section><h2>Mouths in the clip</h2><p>{html.escape(coverage_line(report.mouths))}.</p>"
        f"{_mouths(report.mouths)}<p>Each dot is a frame, each circle a mouth that is wanted: filled where the clip shows "
        f"enough of it, dashed where it is made from its nearest neighbours.</p></section>"
        f"<section><h2>Playing on for ever</h2><p>{html.escape(report.playback)}</p>{_transitions(report)}</section>"
        f"<section><h2>Not used</h2>{rejected}</section>"
        f"</main></body></html>\n"
    )


def jpeg(rgb: UInt8[np.ndarray, "h w 3"], quality: int = JPEG_QUALITY) -> bytes:
    """A picture as JPEG."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()


def png(rgb: UInt8[np.ndarray, "h w *c"]) -> bytes:
    """A picture, with or without alpha, as PNG."""
    code = cv2.COLOR_RGBA2BGRA if rgb.shape[2] == 4 else cv2.COLOR_RGB2BGR
    done, data = cv2.imencode(".png", cv2.cvtColor(rgb, code))
    assert done
    return data.tobytes()


def _pictures(pictures: list[Picture], kind: str) -> str:
    figures = "".join(
        f'<figure><img alt="" src="data:image/jpeg;base64,{base64.b64encode(jpeg(p.rgb)).decode()}">'
        f"<figcaption>{html.escape(p.caption)}</figcaption></figure>"
        for p in pictures
    )
    return f'<div class="{kind}">{figures}</div>'


def _curve(curve: Curve, times_s: np.ndarray, statuses: list[str]) -> str:
    """A line over time; what was not tracked is shaded."""
    width, height = 1000.0, 150.0
    count = len(curve.values)
    every = max(1, -(-count // CURVE_POINTS))
    finite = curve.values[np.isfinite(curve.values)]
    top = float(np.quantile(finite, 0.995)) * 1.15 if len(finite) else 1.0
    top = top or 1.0
    start, span = float(times_s[0]), max(float(times_s[-1] - times_s[0]), 1e-6)
    across = (times_s - start) / span * width
    up = height - np.clip(np.nan_to_num(curve.values) / top, 0, 1) * height
    runs, open_run = [], False
    for row in range(0, count, every):
        if not np.isfinite(curve.values[row]):
            open_run = False
            continue
        runs.append(f"{'L' if open_run else 'M'}{across[row]:.1f} {up[row]:.1f}")
        open_run = True
    step = width / max(count - 1, 1)
    shade = "".join(
        f'<rect class="{html.escape(status)}" x="{across[row]:.1f}" y="0" width="{step:.2f}" height="{height:.0f}"/>'
        for row, status in enumerate(statuses)
        if status != "tracked"
    )
    middle = float(np.median(finite)) if len(finite) else float("nan")
    return (
        f'<figure class="curve"><figcaption><b>{html.escape(curve.title)}</b> median {middle:.3g} {html.escape(curve.unit)}'
        f" <span>{html.escape(curve.note)}</span></figcaption>"
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" preserveAspectRatio="none">{shade}<path d="{" ".join(runs)}"/></svg>'
        f"<p><span>{start:.1f} s</span><span>top {top:.3g} {html.escape(curve.unit)}</span>"
        f"<span>{start + span:.1f} s</span></p></figure>"
    )


def _transitions(report: Report) -> str:
    """The list of transitions, folded away where it is long."""
    if not report.transitions:
        return "<p>No transitions: it turns at its two ends.</p>"
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in report.transitions
    )
    head = "<tr><th>Transition</th><th>From</th><th>To</th><th>Largest change, of its limit</th></tr>"
    note = (
        "<p>Limits are the 99th percentile of the clip's own lasting changes from frame to frame, for each of 64 regions "
        "of the picture and for the head; a cut's change is measured to the frame that was due, a turn's over the three "
        "frames that it shows again.</p>"
    )
    opened = " open" if len(report.transitions) <= LONG_LIST else ""
    count = f"{len(report.transitions)} transitions"
    return f"{note}<details{opened}><summary>{count}</summary><table>{head}{rows}</table></details>"


def _mouths(mouths: Coverage) -> str:
    """Frames and wanted mouths over lip gap (across) and width (up)."""
    seen = np.isfinite(mouths.opening) & np.isfinite(mouths.width)
    if not seen.any():
        return "<p>No mouth was seen.</p>"
    opening, width = mouths.opening[seen], mouths.width[seen]
    right = max(OPENINGS[-1] + 0.09, float(np.quantile(opening, 0.998)))
    high = max(WIDTHS[-1] + 0.06, float(np.abs(width).max()))
    across, up = 900.0 / (right + 0.05), 130.0 / high
    circles = ""
    for o, gap in enumerate(OPENINGS):
        for w, change in enumerate(WIDTHS):
            if (gap, change) not in IMPOSSIBLE:
                rx, ry = reach(gap)
                kind = "enough" if mouths.covered[o, w] else "rare"
                circles += (
                    f'<ellipse class="{kind}" cx="{90 + across * (gap + 0.04):.1f}" cy="{150 - up * change:.1f}"'
                    f' rx="{across * rx:.1f}" ry="{up * ry:.1f}"/>'
                )
    every = max(1, len(opening) // 2000)
    dots = "".join(
        f'<circle cx="{90 + across * (x + 0.04):.1f}" cy="{150 - up * y:.1f}" r="3"/>'
        for x, y in zip(opening[::every], width[::every], strict=True)
    )
    sides = "".join(
        f'<text class="side" x="80" y="{155 - up * change:.1f}">{word}</text>'
        for change, word in zip(WIDTHS, ("rounded", "relaxed", "spread"), strict=True)
    )
    below = "".join(
        f'<text x="{90 + across * (gap + 0.04):.1f}" y="303">{word}</text>'
        for gap, word in ((OPENINGS[0], "shut"), (OPENINGS[2], "open"), (OPENINGS[-1], "wide open"))
    )
    return f'<svg class="mouths" viewBox="0 0 1000 312">{circles}{dots}{sides}{below}</svg>'


_STYLE = (
    ":root{color-scheme:light dark;--ink:#1c1f26;--dim:#6a7180;--paper:#f6f6f3;--card:#fff;--line:#2b6cb0;--rule:#e2e2dc}"
    "@media(prefers-color-scheme:dark){:root{--ink:#eceef2;--dim:#98a0af;--paper:#14161a;--card:#1d2026;--line:#6db3f2;"
    "--rule:#2c3038}}*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);"
    "font:16px/1.55 system-ui,sans-serif}main{max-width:1080px;margin:0 auto;padding:48px 24px 96px}"
    "header>p{color:var(--dim);letter-spacing:.08em;text-transform:uppercase;font-size:13px;margin:0}"
    "h1{font-size:44px;line-height:1.1;margin:.1em 0 .5em;letter-spacing:-.02em}h2{font-size:22px;margin:0 0 .5em}"
    "section{background:var(--card);border:1px solid var(--rule);border-radius:14px;padding:26px 28px;margin-top:26px}"
    "section>p{color:var(--dim);max-width:68ch;margin-top:0}dl{display:flex;flex-wrap:wrap;gap:12px 36px;margin:0}"
    "dt{color:var(--dim);font-size:13px}dd{margin:0;font-weight:600}figure{margin:0}img{display:block;width:100%;"
    "border-radius:8px}figcaption{color:var(--dim);font-size:13px;margin-top:6px}"
    ".keyframes{display:grid;grid-template-columns:repeat(auto-fill,minmax(440px,1fr));gap:18px}"
    ".portraits{display:grid;grid-template-columns:repeat(auto-fill,minmax(220px,1fr));gap:18px}"
    ".curve{margin-bottom:22px}.curve figcaption b{color:var(--ink)}.curve p{display:flex;justify-content:space-between;"
    "color:var(--dim);font-size:12px;margin:2px 0}.curve svg{width:100%;height:150px;background:var(--paper);border-radius:8px;"
    "margin-top:6px}path{fill:none;stroke:var(--line);stroke-width:1.6;vector-effect:non-scaling-stroke}"
    "rect{fill:#d9772955}.lost{fill:#c0392b66}.mouths{width:100%}.mouths circle{fill:var(--line);opacity:.5}"
    ".mouths text{fill:var(--dim);font-size:15px;text-anchor:middle}.mouths .side{text-anchor:end}"
    ".enough{fill:#2f9e6e2e;stroke:#2f9e6e}.rare{fill:none;stroke:#d97729;stroke-width:2;stroke-dasharray:5 5}"
    "table{border-collapse:collapse;width:100%}td{border-top:1px solid var(--rule);padding:8px 14px 8px 0;"
    "vertical-align:top}td:first-child{white-space:nowrap;font-weight:600}th{text-align:left;color:var(--dim);"
    "font-size:13px;font-weight:400}summary{cursor:pointer;font-weight:600;margin-bottom:8px}"
)
