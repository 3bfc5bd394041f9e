"""Where the marks of a chart go: scales, ticks, lines. Only numbers; the template draws them as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from grader.reports.words import number
from grader.results import Picture

WIDTH, HEIGHT = 520, 290
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 34, 46  # on the left more, where labels are long
LETTER, GAP = 13, 8  # of a label, as a phone shows it; how far from the axis it ends
FAR = 4.0  # a student's line may reach this many times beyond the others before it leaves the frame
TABLE_ROWS = 21
LARGEST = 1e300  # what is further out is drawn there: a frame of twice the largest float has no ends


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Line:
    """One drawn series: SVG points in the frame's own coordinates."""

    label: str
    kind: str
    path: str
    dots: list[tuple[float, float]]
    leaves: str


@dataclass(frozen=True)
class Layout:
    """Everything the chart's macro needs."""

    left: int  # where the y axis stands
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line]
    limits: list[Tick]
    table: tuple[list[str], list[list[str]]]
    empty: bool


def _step(span: float, most: int) -> float:
    """Return the smallest of 1, 2, 2.5 or 5 times a power of ten that gives at most `most` steps."""
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= rough * (1 - 1e-9))


def linear_ticks(low: float, high: float, most: int, *, whole: bool = False) -> list[float]:
    """Return the round numbers from `low` to `high`, at most `most` steps; `whole`: no others are wanted."""
    step = _step(high - low, most)
    if whole and step % 1:
        step = 5.0 if step == 2.5 else 1.0
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _label(value: float) -> str:
    text = f"{value:g}"
    if value and not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.1e}".split("e")
        text = f"{float(mantissa):g}e{int(exponent)}"
    return text.replace("-", "−")


def _decade(value: float) -> str:
    """Return a power of ten, in few characters: all stand left of the axis, on a phone in large letters."""
    exponent = round(math.log10(value))
    return f"{value:g}" if -2 <= exponent <= 3 else f"1e{exponent}".replace("-", "−")


def _widened(low: float, high: float) -> tuple[float, float]:
    if high > low:
        return low, high
    room = abs(low) * 0.5 or 1.0
    return low - room, high + room


def _tame(value: float) -> float:
    return min(max(value, -LARGEST), LARGEST)


def _log(value: float) -> float:
    return math.log10(min(max(value, 1 / LARGEST), LARGEST))


def _shared(picture: Picture, axis: int) -> tuple[list[float], list[float]]:
    """Return the values on an axis (0: x, 1: y): those to be trusted, and the student's where there are others."""
    trusted = [_tame(point[axis]) for s in picture.series if s.role != "yours" for point in s.points]
    trusted += [_tame(y) for _, y in picture.limits] if axis else []
    theirs = [_tame(point[axis]) for s in picture.series if s.role == "yours" for point in s.points]
    return (trusted, theirs) if trusted else (theirs, [])


def _followed(trusted: list[float], theirs: list[float]) -> tuple[float, float]:
    """Return the range of trusted values, and of the student's what is not absurdly far."""
    low, high = min(trusted), max(trusted)
    room = FAR * ((high - low) or abs(high) or 1.0)
    inside = trusted + [min(max(value, low - room), high + room) for value in theirs]
    return min(inside), max(inside)


def _y_range(picture: Picture) -> tuple[float, float]:
    """Return the range of y: the reference, the limits, and of the student's line what is not absurdly far."""
    trusted, theirs = _shared(picture, 1)
    if picture.log_y:
        logs = [_log(y) for y in trusted]
        low, high = min(logs), max(logs)
        room = max(2.0, high - low)
        logs += [min(max(_log(y), low - room), high + room) for y in theirs]
        low, high = math.floor(min(logs) + 1e-9), math.ceil(max(logs) - 1e-9)
        return (low, high) if high > low else (low - 1.0, high + 1.0)
    low, high = _followed(trusted, theirs)
    if low >= 0 and low < 0.6 * high:
        low = 0.0
    low, high = _widened(low, high)
    step = _step(high - low, 5)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def layout(picture: Picture) -> Layout:
    """Place the series of `picture` in a frame of WIDTH x HEIGHT."""
    xs = [_tame(x) for series in picture.series for x, _ in series.points]
    if not xs:
        return Layout(LEFT, [], [], [], [], ([], []), empty=True)
    x_low, x_high = _widened(*_followed(*_shared(picture, 0)))
    y_low, y_high = _y_range(picture)
    if picture.log_y:
        every = max(1, math.ceil(int(y_high - y_low) / 5))
        y_values = [10.0**e for e in range(math.ceil(y_low), math.floor(y_high) + 1, every)]
    else:
        y_values = linear_ticks(y_low, y_high, 5)
    x_values = linear_ticks(x_low, x_high, 6, whole=all(float(x).is_integer() for x in xs))
    y_labels = [_decade(y) if picture.log_y else _label(y) for y in y_values]
    left = max(LEFT, GAP + LETTER * max(map(len, y_labels), default=0))
    inner_w, inner_h = WIDTH - left - RIGHT, HEIGHT - TOP - BOTTOM

    def at_x(x: float) -> float:
        share = (_tame(x) - x_low) / (x_high - x_low)
        return round(left + min(max(share, -3.0), 4.0) * inner_w, 1)

    def at_y(y: float) -> float:
        value = _log(y) if picture.log_y else _tame(y)
        share = (value - y_low) / (y_high - y_low)
        return round(TOP + (1 - min(max(share, -3.0), 4.0)) * inner_h, 1)

    seen: dict[str, int] = {}
    lines = []
    for series in picture.series:
        turn = seen.get(series.role, 0)
        seen[series.role] = turn + 1
        placed = [(at_x(x), at_y(y)) for x, y in series.points]
        out = [
            y for (_, y), (_, at) in zip(series.points, placed, strict=True) if not TOP - 1 <= at <= HEIGHT - BOTTOM + 1
        ]
        lines.append(
            Line(
                label=series.label,
                kind=f"{series.role} d{min(turn, 3)}",
                path=" ".join(f"{x:g},{y:g}" for x, y in placed),
                dots=placed if len(placed) <= 16 else [],
                leaves=f"leaves the frame, as far as {number(max(out, key=abs))}" if out else "",
            )
        )
    return Layout(
        left=left,
        x_ticks=[Tick(at_x(x), _label(x)) for x in x_values],
        y_ticks=[Tick(at_y(y), label) for y, label in zip(y_values, y_labels, strict=True)],
        lines=lines,
        limits=[Tick(at_y(y), label) for label, y in picture.limits],
        table=_table(picture),
        empty=False,
    )


def _table(picture: Picture) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the numbers behind a chart: at most TABLE_ROWS places of x, evenly chosen."""
    by_x = [dict(series.points) for series in picture.series]
    xs: Sequence[float] = sorted({x for values in by_x for x in values})
    if len(xs) > TABLE_ROWS:
        xs = [xs[round(i * (len(xs) - 1) / (TABLE_ROWS - 1))] for i in range(TABLE_ROWS)]
    rows = [[f"{x:g}", *(f"{values[x]:.4g}" if x in values else "–" for values in by_x)] for x in xs]
    return [picture.x_label or "x", *(series.label for series in picture.series)], rows
