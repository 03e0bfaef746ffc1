"""Drawings of the interactive page as SVG: icon arrays, ranges of doubt, lines over time.

Shape, colour and text say the same. Marks come from patterns that the page defines once, so that a thousand of them
cost no more than ten.
"""

from __future__ import annotations

import html
import math
import re
from itertools import groupby

from evalkit.report.explore_data import Array, Pair, Span, Trend

_WIDE = 320.0  # units across a range or a trend: about the pixels of a small telephone
_EDGE = 16.0
MARKS = ("full", "best", "maybe", "none")
_MARKS = (("o", "line-1"), ("s", "line-2"), ("t", "line-3"), ("d", "line-4"))


def draw_array(array: Array, pair: Pair) -> str:
    """One icon array as in the report: discs, diamonds and triangles within the range of doubt, then small rings."""
    across = _across(pair)
    rows = max(math.ceil(array.whole / across), 1)
    parts, start = [], 0
    for mark in MARKS:
        count = getattr(array, mark)
        parts += _regions(start, count, across, mark)
        start += count
    label = html.escape(describe_array(array, pair))
    size = "large" if across > 10 else "small"
    return (f'<svg class="array {size}" role="img" aria-label="{label}" viewBox="0 0 {2 * across} {2 * rows}">'
            f'{"".join(parts)}</svg>')  # fmt: skip


def _across(pair: Pair) -> int:
    most = max(a.whole for a in pair.arrays)
    return 10 if most <= 100 else 25 if most <= 400 else 40


def _regions(start: int, count: int, across: int, mark: str) -> list[str]:
    """A run of marks as at most three rectangles: the end of a row, whole rows, the start of a row."""
    found, at, end = [], start, start + count
    while at < end:
        row, column = divmod(at, across)
        if column == 0 and end - at >= across:
            rows = (end - at) // across
            found.append(_rectangle(0, row, across, rows, mark))
            at += rows * across
        else:
            run = min(across - column, end - at)
            found.append(_rectangle(column, row, run, 1, mark))
            at += run
    return found


def _rectangle(column: int, row: int, columns: int, rows: int, mark: str) -> str:
    return (f'<rect x="{2 * column}" y="{2 * row}" width="{2 * columns}" height="{2 * rows}" '
            f'fill="url(#mark-{mark})"/>')  # fmt: skip


def describe_array(array: Array, pair: Pair) -> str:
    """What an array shows, counted: `Picture of 100. 9 discs: went back. 91 rings: did not go back.`"""
    shapes = {"full": "discs", "best": "diamonds", "maybe": "triangles", "none": "rings"}
    counts = {mark: getattr(array, mark) for mark in MARKS}
    parts = [f"{counts[mark]:,} {shapes[mark]}: {getattr(pair, mark)}" for mark in MARKS if counts[mark]]
    return f"Picture of {array.whole:,}. {'. '.join(parts)}."


def draw_key(mark: str) -> str:
    """One mark, for the key under a pair."""
    return f'<svg class="mark" aria-hidden="true" viewBox="0 0 2 2">{_rectangle(0, 0, 1, 1, mark)}</svg>'


def draw_defs() -> str:
    """The marks as patterns, once in a page."""
    marks = {
        "full": '<circle class="full" cx="1" cy="1" r=".8"/>',
        "best": '<path class="best-mark" d="M1 .2 1.8 1 1 1.8 .2 1Z"/>',
        "maybe": '<path class="maybe" d="M1 .3 1.75 1.6H.25Z"/>',
        "none": '<circle class="none" cx="1" cy="1" r=".45"/>',
    }
    return '<svg class="defs" aria-hidden="true" focusable="false" width="0" height="0"><defs>' + "".join(
        f'<pattern id="mark-{name}" width="2" height="2" patternUnits="userSpaceOnUse">{shape}</pattern>'
        for name, shape in marks.items()) + "</defs></svg>"  # fmt: skip


# ---- range of doubt -----------------------------------------------------------------------------


def draw_span(span: Span, *, alt: str) -> str:
    """A range of doubt as a thick line with the best answer on it, beside the line of no change."""
    points = [math.log(x) if span.log else x for x in (span.low, span.value, span.high, span.null)]
    low, width = min(points), (max(points) - min(points)) or 1.0
    x0, x1, x2, xn = (_EDGE + (p - low) / width * (_WIDE - 2 * _EDGE) for p in points)
    left, best, right = (_clamp(x, words) for x, words in zip((x0, x1, x2), span.words, strict=True))
    nought = _clamp(xn, span.none)
    apart = right - left > _half(span.words[0]) + _half(span.words[2])
    rows = (88, 88) if apart else (88, 106)
    return (
        f'<svg class="span" role="img" aria-label="{html.escape(alt)}" viewBox="0 0 {_WIDE:g} {rows[1] + 8}">'
        f'<text class="best" x="{best:.1f}" y="14" text-anchor="middle">{html.escape(span.words[1])}</text>'
        f'<text class="soft" x="{nought:.1f}" y="34" text-anchor="middle">{html.escape(span.none)}</text>'
        f'<line class="nought" x1="{xn:.1f}" y1="39" x2="{xn:.1f}" y2="71"/>'
        f'<line class="range" x1="{x0:.1f}" y1="55" x2="{x2:.1f}" y2="55"/>'
        f'<path class="end" d="M{x0:.1f} 47v16M{x2:.1f} 47v16"/>'
        f'<circle class="point" cx="{x1:.1f}" cy="55" r="6.5"/>'
        f'<text x="{left:.1f}" y="{rows[0]}" text-anchor="middle">{html.escape(span.words[0])}</text>'
        f'<text x="{right:.1f}" y="{rows[1]}" text-anchor="middle">{html.escape(span.words[2])}</text>'
        "</svg>"
    )


def _clamp(x: float, words: str) -> float:
    """The middle of a text so that it stays inside the picture."""
    half = _half(words)
    return min(max(x, half), _WIDE - half)


def _half(words: str) -> float:
    """Half the width of a text: letters are under 8 units wide."""
    return min(3.9 * len(words) + 2, _WIDE / 2)


# ---- over time ----------------------------------------------------------------------------------

_HIGH, _TOP, _LEFT = 190.0, 22.0, 34.0


def draw_trend(trend: Trend, *, alt: str) -> str:
    """Lines over time from nought up; colour, dash and mark differ; gaps where a number is not released."""
    values = [v for line in trend.lines for v in line.values if math.isfinite(v)]
    if not values:
        return ""
    step = _nice(max(values) / 4)
    top = step * math.ceil(max(values) / step)
    wide = _WIDE - _LEFT - 8
    xs = [_LEFT + wide * (i + 0.5) / len(trend.periods) for i in range(len(trend.periods))]

    def y_of(value: float) -> float:
        return _HIGH - 24 - (value / top) * (_HIGH - 24 - _TOP)

    parts = [f'<svg class="trend" role="img" aria-label="{html.escape(alt)}" viewBox="0 0 {_WIDE:g} {_HIGH:g}">']
    for tick in range(round(top / step) + 1):
        y = y_of(tick * step)
        parts.append(f'<line class="rule" x1="{_LEFT:g}" y1="{y:.1f}" x2="{_WIDE - 8:g}" y2="{y:.1f}"/>'
                     f'<text class="tick" x="{_LEFT - 4:g}" y="{y + 4:.1f}" text-anchor="end">'
                     f'{_tick(tick * step)}</text>')  # fmt: skip
    if trend.start is not None:
        x = _LEFT + wide * trend.start / len(trend.periods)
        parts.append(f'<line class="nought" x1="{x:.1f}" y1="{_TOP - 6:g}" x2="{x:.1f}" y2="{_HIGH - 24:g}"/>'
                     f'<text class="tick" x="{_clamp(x, trend.start_words):.1f}" y="11" text-anchor="middle">'
                     f'{html.escape(trend.start_words)}</text>')  # fmt: skip
    for line, (mark, name) in zip(trend.lines, _MARKS, strict=False):
        parts.append(f'<path class="{name}" d="{_path(xs, line.values, y_of)}"/>')
        parts.append(_marks(xs, line.values, y_of, mark, name))
    for at in (0, len(xs) - 1):
        anchor = "start" if at == 0 else "end"
        x = _LEFT if at == 0 else _WIDE - 8
        words = html.escape(re.sub(r" to \w+", "", trend.periods[at]))
        parts.append(f'<text class="tick" x="{x:g}" y="{_HIGH - 6:g}" text-anchor="{anchor}">{words}</text>')
    return "".join([*parts, "</svg>"])


def draw_line_key(place: int) -> str:
    """The look of one line, for the key under a trend."""
    mark, name = _MARKS[place % len(_MARKS)]
    return (f'<svg class="line-key" aria-hidden="true" viewBox="0 0 36 14"><path class="{name}" d="M2 7h32"/>'
            f'{_marks([18], [7.0], lambda y: y, mark, name)}</svg>')  # fmt: skip


def _path(xs: list[float], values: tuple[float, ...], y_of) -> str:
    points = [(x, y_of(v) if math.isfinite(v) else None) for x, v in zip(xs, values, strict=True)]
    runs = [list(run) for there, run in groupby(points, key=lambda p: p[1] is not None) if there]
    return " ".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) for run in runs)


def _marks(xs: list[float], values, y_of, mark: str, name: str) -> str:
    shape = {"o": "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0", "s": "m-3-3h6v6h-6z", "t": "m0-3.5 3.5 6h-7z",
             "d": "m0-4 4 4-4 4-4-4z"}[mark]  # fmt: skip
    d = "".join(f"M{x:.1f} {y_of(v):.1f}{shape}" for x, v in zip(xs, values, strict=True) if math.isfinite(v))
    return f'<path class="{name} dot" d="{d}"/>'


def _nice(step: float) -> float:
    """The next of 1, 2 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(step)) if step > 0 else 1.0
    return next(n * power for n in (1, 2, 5, 10) if n * power >= step - 1e-12)


def _tick(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}"
