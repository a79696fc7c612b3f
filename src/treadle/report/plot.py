"""Plots as inline SVG, drawn by hand: text stays text, and colours follow the page's theme.

Colours are CSS classes (`tested`, `control`, `better`, …), never values, so light, dark and print
each show their own. Coordinates are rounded, so the same numbers give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from treadle.report.markup import Child, Safe, Text, tag
from treadle.report.numbers import count, figure, fixed


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps values from `low`…`high` to pixels from `start`…`end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low
        return self.start + (value - self.low) / span * (self.end - self.start)


def axis(values: Sequence[float], start: float, end: float, *, pad: float = 0.06) -> Axis:
    """Return an axis around finite values, with some air on both sides."""
    known = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(known), max(known)
    air = (high - low) * pad or abs(high) * 0.1 or 1.0
    return Axis(low - air, high + air, start, end)


def focus(near: Sequence[float], far: Sequence[Sequence[float]], start: float, end: float) -> Axis:
    """Return an axis over `near` and over those of `far` that do not squash it.

    What lies beyond is drawn as an arrow at the edge (see `whisker`): its numbers are beside it.
    """
    shown = axis(near, start, end)
    limit = 3 * (shown.high - shown.low)
    spans = [axis([*near, *group], start, end) for group in far]
    fitting = [i for i, one in enumerate(spans) if one.high - one.low <= limit or not near]
    if len(fitting) == len(far):
        return axis([*near, *(v for group in far for v in group)], start, end)
    return axis([*near, *(v for i in fitting for v in far[i])], start, end, pad=0.15)


def whisker(
    scale: Axis, low: float, high: float, y: float, class_: str, *, cap: float = 0
) -> list[Safe]:
    """An interval with caps; where it leaves the axis, an arrow points to where it goes on."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return []
    ends = [min(max(scale(v), scale.start), scale.end) for v in (low, high)]
    if high < scale.low:
        ends = [scale.start, scale.start + 26]
    elif low > scale.high:
        ends = [scale.end - 26, scale.end]
    shapes = [line(ends[0], y, ends[1], y, f"whisker {class_}")]
    for value, x, side in ((low, ends[0], 1), (high, ends[1], -1)):
        is_out = (value < scale.low) if side > 0 else (value > scale.high)
        if is_out:
            tip = [(x + 7 * side, y - 5), (x, y), (x + 7 * side, y + 5)]
            shapes.append(path(tip, f"whisker {class_}"))
        elif cap and scale.low <= value <= scale.high:
            shapes.append(line(x, y - cap, x, y + cap, f"whisker {class_}"))
    return shapes


def mark(
    scale: Axis, value: float, y: float, radius: float, class_: str, tip: str = ""
) -> Safe | None:
    """A point, if it lies on the axis."""
    is_on = math.isfinite(value) and scale.low <= value <= scale.high
    return dot(scale(value), y, radius, class_, tip) if is_on else None


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers between `low` and `high`: steps of 1, 2, 2.5 or 5 times a power of ten."""
    raw = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    places = 12 - math.floor(math.log10(step))
    return [round(i * step, places) for i in range(first, last + 1)]


def tick_words(values: Sequence[float]) -> list[str]:
    """Format the values of an axis with the decimals that they need, all alike."""
    most = max(map(abs, values), default=0.0)
    if 0 < most < 1e-4:
        return [figure(v) for v in values]
    places = max((len(f"{v:.6f}".rstrip("0").partition(".")[2]) for v in values), default=0)
    return [count(v) if not v or abs(v) >= 1000 else fixed(v, places) for v in values]


def px(value: float) -> str:
    """Format a coordinate."""
    return f"{value:.1f}".removesuffix(".0")


def svg(width: float, height: float, title: str, *shapes: Child, class_: str = "plot") -> Safe:
    """Build a figure; `title` is what a screen reader says instead of it."""
    return tag(
        "svg",
        *shapes,
        viewBox=f"0 0 {px(width)} {px(height)}",
        width=px(width),
        height=px(height),
        role="img",
        aria_label=title,
        class_=class_,
    )


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Safe:
    return tag("line", x1=px(x1), y1=px(y1), x2=px(x2), y2=px(y2), class_=class_)


def rect(x: float, y: float, width: float, height: float, class_: str, tip: str = "") -> Safe:
    size = {"width": px(max(0.0, width)), "height": px(max(0.0, height))}
    return tag("rect", _tip(tip), x=px(x), y=px(y), class_=class_, **size)


def dot(x: float, y: float, radius: float, class_: str, tip: str = "") -> Safe:
    return tag("circle", _tip(tip), cx=px(x), cy=px(y), r=px(radius), class_=class_)


def text(x: float, y: float, words: Text, class_: str = "", *, anchor: str = "start") -> Safe:
    shown = None if anchor == "start" else anchor
    return tag("text", words, x=px(x), y=px(y), text_anchor=shown, class_=class_ or None)


def path(points: Sequence[tuple[float, float]], class_: str, tip: str = "") -> Safe:
    """A line through points."""
    steps = "L".join(f"{px(x)} {px(y)}" for x, y in points)
    return tag("path", _tip(tip), d=f"M{steps}", class_=class_)


def grid_x(scale: Axis, top: float, bottom: float, about: int = 5) -> list[Safe]:
    """Vertical grid lines with their values underneath."""
    shapes = []
    values = ticks(scale.low, scale.high, about)
    for value, words in zip(values, tick_words(values), strict=True):
        shapes.append(line(scale(value), top, scale(value), bottom, "grid"))
        shapes.append(text(scale(value), bottom + 16, words, "tick", anchor="middle"))
    return shapes


def grid_y(scale: Axis, left: float, right: float, about: int = 4) -> list[Safe]:
    """Horizontal grid lines with their values at the left."""
    shapes = []
    values = ticks(scale.low, scale.high, about)
    for value, words in zip(values, tick_words(values), strict=True):
        shapes.append(line(left, scale(value), right, scale(value), "grid"))
        shapes.append(text(left - 6, scale(value) + 4, words, "tick", anchor="end"))
    return shapes


def bar(part: float, whole: float, class_: str, *, before: float = 0.0) -> Safe:
    """A small bar for a table cell: from `before` to `before + part`, out of `whole`."""
    width = 240
    scale = width / whole if whole else 0.0
    # A part that is there is always to be seen.
    length = max(part * scale, 1.5) if part > 0 else 0.0
    start = min(before * scale, width - length)
    return tag(
        "svg",
        rect(0, 4, width, 10, "track"),
        rect(start, 4, length, 10, class_),
        viewBox=f"0 0 {width} 18",
        preserveAspectRatio="none",
        aria_hidden="true",
        class_="bar",
    )


def _tip(words: str) -> Safe | None:
    return tag("title", words) if words else None
