"""Draw charts as inline SVG and HTML without scripts, fonts or network access; colours come from
the page, so that light and dark themes both work. Pure text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 440, 280
LEFT, RIGHT, TOP, BOTTOM = 56, 22, 12, 50
"""Margins in pixels of the picture's own scale; the page scales it to the column."""


@dataclass(frozen=True)
class Series:
    """One line of a chart with its band."""

    name: str
    x: Sequence[float]
    value: Sequence[float]
    low: Sequence[float] = ()
    """Lower end of the band, whose upper end is ``high``; both are empty if there is no band."""
    high: Sequence[float] = ()
    colour: int = 0
    """Number of the page's colour and of the mark, which are the same for one system in every
    chart.
    """


def line_chart(
    description: str,
    x_label: str,
    y_label: str,
    series: Sequence[Series],
    x_ticks: Sequence[float] | None = None,
    tick_names: Sequence[str] | None = None,
    y_range: tuple[float, float] | None = None,
) -> str:
    """Return a chart of lines with bands. ``description`` is the text for screen readers; the
    legend is below, and each line has its own mark.

    ``y_range`` gives charts side by side the same scale; without it the range covers all values.
    """
    every_x = [x for one in series for x in one.x]
    every_y = [y for one in series for y in (*one.value, *one.low, *one.high)]
    x_low, x_high = min(every_x), max(every_x)
    y_low, y_high, step = nice_range(*(y_range or (min(every_y), max(every_y))))

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / ((x_high - x_low) or 1.0)
        up = (y - y_low) / ((y_high - y_low) or 1.0)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (
            HEIGHT - TOP - BOTTOM
        )

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(description)}">']
    tick = y_low
    while tick <= y_high + step / 2:
        _, y = at(x_low, tick)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<text x="{LEFT - 8}" y="{y + 5:.1f}" text-anchor="end">{tick:g}</text>')
        tick = round(tick + step, 10)
    ticks = x_ticks if x_ticks is not None else sorted({x_low, (x_low + x_high) / 2, x_high})
    for x, name in zip(ticks, tick_names or [f"{x:g}" for x in ticks], strict=True):
        place, _ = at(x, y_low)
        parts.append(
            f'<text x="{place:.1f}" y="{HEIGHT - BOTTOM + 20}"'
            f' text-anchor="middle">{escape(name)}</text>'
        )
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}"'
        f' text-anchor="middle">{escape(x_label)}</text>'
    )
    parts.append(
        f'<text transform="translate(15 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)"'
        f' text-anchor="middle">{escape(y_label)}</text>'
    )
    for one in series:
        if one.low:
            upper = [at(x, y) for x, y in zip(one.x, one.high, strict=True)]
            lower = [at(x, y) for x, y in zip(one.x, one.low, strict=True)]
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*upper, *reversed(lower)])
            parts.append(f'<polygon class="band s{one.colour}" points="{points}"/>')
    for one in series:
        places = [at(x, y) for x, y in zip(one.x, one.value, strict=True)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="line s{one.colour}" points="{points}"/>')
        if len(places) <= 20:
            parts += [_mark(one.colour, x, y) for x, y in places]
    parts.append("</svg>")
    return "".join(parts) + legend(series)


def legend(series: Sequence[Series]) -> str:
    """Return the legend: each line's colour and mark beside its name."""
    keys = (
        f'<li><svg viewBox="0 0 26 12" aria-hidden="true"><line class="line s{one.colour}" x1="1"'
        f' x2="25" y1="6" y2="6"/>{_mark(one.colour, 13, 6)}</svg>{escape(one.name)}</li>'
        for one in series
    )
    return f'<ul class="legend">{"".join(keys)}</ul>'


def _mark(colour: int, x: float, y: float) -> str:
    """Return a mark whose shape distinguishes lines for readers who cannot distinguish the
    colours.
    """
    if colour % 4 == 0:
        return f'<circle class="mark s{colour}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    square, triangle, diamond = (
        ((-4, -4), (4, -4), (4, 4), (-4, 4)),
        ((0, -5), (5, 4), (-5, 4)),
        ((0, -5), (5, 0), (0, 5), (-5, 0)),
    )
    corners: tuple[tuple[int, int], ...] = (square, triangle, diamond)[colour % 4 - 1]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon class="mark s{colour}" points="{points}"/>'


def nice_range(low: float, high: float) -> tuple[float, float, float]:
    """Return the ends of a range of round numbers around ``low`` to ``high``, and its step: 1, 2 or
    5 times a power of ten, so that the range has about four to nine steps.
    """
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span))
    step = next(
        power * factor for factor in (0.1, 0.2, 0.5, 1.0, 2.0) if span / (power * factor) <= 7
    )
    first = step * (low // step)
    last = first + step  # a single value has a range too
    while last < high - step * 1e-9:
        last += step
    return round(first, 10), round(last, 10), step


def heat_map(
    corner: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[float | None]]],
    full: float,
) -> str:
    """Return a table whose cells are coloured from loss to gain and have their numbers as text; the
    value ``full`` has the strongest colour.
    """
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = []
    for name, values in rows:
        cells = "".join(_cell(value, full) for value in values)
        body.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return (
        f'<table class="heat"><thead><tr><th scope="col">{escape(corner)}</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def _cell(value: float | None, full: float) -> str:
    if value is None:
        return "<td>–</td>"
    strength = min(1.0, abs(value) / full) if full else 0.0
    return (
        f'<td class="{"gain" if value >= 0 else "loss"}"'
        f' style="--v:{100 * strength:.0f}%">{value:+.0f}</td>'
    )


def bars(rows: Sequence[tuple[str, float, float, float]], unit: str) -> str:
    """Return horizontal bars from 0 to 100 with their interval; each row is name, value, low,
    high.
    """
    items = (
        f'<li><span class="name">{escape(name)}</span><span class="track"><span class="bar"'
        f' style="width:{value:.1f}%"></span><span class="range"'
        f' style="left:{low:.1f}%;width:{max(0.0, high - low):.1f}%"></span></span><span'
        f' class="value">{value:.1f} {escape(unit)}</span></li>'
        for name, value, low, high in rows
    )
    return f'<ul class="bars">{"".join(items)}</ul>'
