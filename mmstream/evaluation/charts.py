"""Small plots as SVG, drawn by hand: a report is one file that opens anywhere, without a script or a font."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from mmstream.types import Float64

WIDTH_PX = 1000.0
"""Of a time line; narrower screens scale it."""
Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a plot."""

    name: str
    points: Sequence[Point]
    style: str = "main"
    """Class of `report.STYLE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One point that is named."""

    name: str
    at: Point
    style: str = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of a time line."""

    name: str
    start_s: float
    end_s: float
    style: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A value in 0..1 with its interval."""

    name: str
    value: float | None
    interval: tuple[float, float] | None = None
    note: str = ""


def plot(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    x_ticks: Sequence[float],
    marks: Sequence[Mark] = (),
    log_x: bool = False,
    size_px: tuple[int, int] = (460, 320),
) -> str:
    """Lines over ``x_ticks`` (its ends are the range of x) and 0..1."""
    width, height = size_px
    left, top, right, bottom = 52.0, 14.0, width - 16.0, height - 46.0
    x_of = _scale(x_ticks[0], x_ticks[-1], left, right, log=log_x)
    y_of = _scale(0.0, 1.0, bottom, top)
    parts = [_open(width, height, f"{y_label} over {x_label}")]
    for tick in x_ticks:
        x = x_of(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = y_of(tick)
        parts.append(f'<line class="grid" x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 7}" y="{y + 4:.1f}" text-anchor="end">{tick:.0%}</text>')
    for line in lines:
        places = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line.points)
        parts.append(
            f'<polyline class="line {line.style}" points="{places}"><title>{escape(line.name)}</title></polyline>'
        )
    for mark in marks:
        x, y = x_of(mark.at[0]), y_of(mark.at[1])
        parts.append(f'<circle class="mark {mark.style}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
        anchor, dx = ("end", -9) if x > (left + right) / 2 else ("start", 9)
        below = 16 if y < top + 20 or mark.style != "main" else -8
        parts.append(
            f'<text class="label" x="{x + dx:.1f}" y="{y + below:.1f}" text-anchor="{anchor}">'
            f"{escape(mark.name)}</text>"
        )
    middle = (left + right) / 2
    parts.append(f'<text class="axis" x="{middle:.1f}" y="{height - 8}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(
        f'<text class="axis" transform="translate(13 {(top + bottom) / 2:.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text></svg>"
    )
    return "".join(parts)


def timeline(
    times_s: Float64,
    values: Float64,
    *,
    from_s: float,
    to_s: float,
    top_value: float,
    threshold: float | None = None,
    spans: Sequence[Span] = (),
    ticks: Sequence[Mark] = (),
) -> str:
    """Scores of one stretch of time, with what was in it behind them and alerts as flags above them."""
    height, top, bottom = 118.0, 18.0, 96.0
    x_of = _scale(from_s, to_s, 0.0, WIDTH_PX)
    y_of = _scale(0.0, max(top_value, 1e-9), bottom, top)
    parts = [_open(WIDTH_PX, height, f"Scores from {clock(from_s)} to {clock(to_s)}")]
    for span in spans:
        x, width = x_of(span.start_s), max(3.0, x_of(span.end_s) - x_of(span.start_s))
        parts.append(
            f'<rect class="span {span.style}" x="{x:.1f}" y="{top}" width="{width:.1f}" height="{bottom - top}">'
            f"<title>{escape(span.name)}</title></rect>"
        )
    inside = (times_s >= from_s) & (times_s < to_s)
    places = " ".join(
        f"{x_of(at_s):.1f},{y_of(min(value, top_value)):.1f}"
        for at_s, value in thinned(times_s[inside], values[inside])
    )
    parts.append(f'<polyline class="line thin" points="{places}"/>')
    if threshold is not None and threshold <= top_value:
        y = y_of(threshold)
        parts.append(f'<line class="threshold" x1="0" y1="{y:.1f}" x2="{WIDTH_PX}" y2="{y:.1f}"/>')
    for tick in ticks:
        x = x_of(tick.at[0])
        parts.append(
            f'<path class="flag {tick.style}" d="M{x:.1f} {top - 2} l-5 -11 h10 z">'
            f"<title>{escape(tick.name)}</title></path>"
        )
    step_s = next(step for step in (10, 60, 300, 600, 1800, 3600, 86400) if (to_s - from_s) / step <= 13)
    for at_s in np.arange(math.ceil(from_s / step_s) * step_s, to_s + 1e-6, step_s):
        anchor = "start" if x_of(at_s) < 20 else "end" if x_of(at_s) > WIDTH_PX - 20 else "middle"
        parts.append(
            f'<text class="tick" x="{x_of(at_s):.1f}" y="{height - 6}" text-anchor="{anchor}">{clock(at_s)}</text>'
        )
    return "".join(parts) + "</svg>"


def bars(rows: Sequence[Bar]) -> str:
    """Horizontal bars with their intervals as whiskers."""
    left, right, step = 220.0, 800.0, 26.0
    height = step * len(rows) + 6
    x_of = _scale(0.0, 1.0, left, right)
    parts = [_open(WIDTH_PX, height, "Shares by name")]
    for number, row in enumerate(rows):
        y = number * step + step / 2 + 3
        parts.append(f'<text class="label" x="{left - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(row.name)}</text>')
        parts.append(f'<rect class="track" x="{left}" y="{y - 8:.1f}" width="{right - left}" height="16" rx="3"/>')
        if row.value is not None:
            width = x_of(row.value) - left
            parts.append(f'<rect class="bar" x="{left}" y="{y - 8:.1f}" width="{width:.1f}" height="16" rx="3"/>')
        if row.interval is not None:
            low, high = x_of(row.interval[0]), x_of(min(1.0, row.interval[1]))
            parts.append(f'<line class="whisker" x1="{low:.1f}" y1="{y:.1f}" x2="{high:.1f}" y2="{y:.1f}"/>')
        value = "-" if row.value is None else f"{row.value:.0%}"
        note = escape(f"{value}  {row.note}".strip())
        parts.append(f'<text class="tick" x="{right + 10}" y="{y + 4:.1f}">{note}</text>')
    return "".join(parts) + "</svg>"


def interval(value: float, around: tuple[float, float], *, x_label: str, x_ticks: Sequence[float]) -> str:
    """A figure and its interval on a logarithmic scale that has 1 in it: what it should be."""
    width, height, middle = 460.0, 96.0, 30.0
    x_of = _scale(x_ticks[0], x_ticks[-1], 16.0, width - 16.0, log=True)
    parts = [_open(width, height, x_label)]
    for tick in x_ticks:
        style = "threshold" if tick == 1.0 else "grid"
        parts.append(f'<line class="{style}" x1="{x_of(tick):.1f}" y1="8" x2="{x_of(tick):.1f}" y2="52"/>')
        parts.append(f'<text class="tick" x="{x_of(tick):.1f}" y="68" text-anchor="middle">{tick:g}</text>')
    low, high = (x_of(end) for end in around)
    parts.append(f'<line class="line" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>')
    parts.append(f'<circle class="mark used" cx="{x_of(value):.1f}" cy="{middle}" r="6"/>')
    parts.append(f'<text class="axis" x="{width / 2}" y="88" text-anchor="middle">{escape(x_label)}</text></svg>')
    return "".join(parts)


def thinned(times_s: Float64, values: Float64, *, num_points: int = 1000) -> list[Point]:
    """At most so many points; each peak stays."""
    if len(times_s) <= num_points:
        return list(zip(times_s.tolist(), values.tolist(), strict=True))
    size = math.ceil(len(times_s) / num_points)
    highest = [first + int(values[first : first + size].argmax()) for first in range(0, len(times_s), size)]
    return [(float(times_s[place]), float(values[place])) for place in highest]


def clock(seconds: float) -> str:
    """
    >>> clock(3725), clock(65)
    ('1:02:05', '1:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _scale(low: float, high: float, from_px: float, to_px: float, *, log: bool = False) -> Callable[[float], float]:
    """Values outside the range are drawn at its edge."""
    if log:
        low, high = math.log(low), math.log(high)

    def place(value: float) -> float:
        value = math.log(max(value, 1e-12)) if log else value
        share = (value - low) / (high - low) if high > low else 0.0
        return from_px + (to_px - from_px) * min(1.0, max(0.0, share))

    return place


def _open(width: float, height: float, what: str) -> str:
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(what, quote=True)}">'
