"""Lines on two logarithmic axes, as SVG: enough for figures that grow with the size of an index."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 460, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 36, 34, 78
_COLOURS = ("#1b6ca8", "#c0392b", "#2e7d32", "#8e5ea2", "#b9770e", "#555555")
_LEGEND = 2  # columns


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram: its title, what its axes show, and lines of points by name; all values are above 0."""

    title: str
    across: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


def svg(panels: Sequence[Panel]) -> str:
    """Draw panels side by side."""
    width = _WIDTH * len(panels)
    style = "text{font:12px sans-serif;fill:#333}.t{font-weight:bold}.g{stroke:#ddd}.a{stroke:#333}"
    drawn = "".join(
        f'<g transform="translate({_WIDTH * place},0)">{_panel(each)}</g>' for place, each in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" width="{width}" height="{_HEIGHT}">'
        f'<style>{style}</style><rect width="100%" height="100%" fill="white"/>{drawn}</svg>\n'
    )


def decades(values: Sequence[float]) -> tuple[int, int]:
    """Give the powers of ten that a range of values lies between, at least one apart."""
    low = math.floor(math.log10(min(values)) + 1e-9)
    return low, max(low + 1, math.ceil(math.log10(max(values)) - 1e-9))


def place(value: float, bounds: tuple[int, int], start: float, end: float) -> float:
    """Give where a value lies on an axis that runs between two powers of ten."""
    low, high = bounds
    return start + (end - start) * (math.log10(value) - low) / (high - low)


def _panel(panel: Panel) -> str:
    across = decades([point[0] for line in panel.lines.values() for point in line])
    up = decades([point[1] for line in panel.lines.values() for point in line])
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = [f'<text class="t" x="{_LEFT}" y="20">{escape(panel.title)}</text>']
    for power in range(across[0], across[1] + 1):
        x = place(10**power, across, _LEFT, right)
        parts.append(f'<line class="g" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{_label(power)}</text>')
    for power in range(up[0], up[1] + 1):
        y = place(10**power, up, bottom, _TOP)
        parts.append(f'<line class="g" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_label(power)}</text>')
    parts.append(
        f'<text x="{(_LEFT + right) / 2}" y="{bottom + 32}" text-anchor="middle">{escape(panel.across)}</text>'
    )
    for number, (name, line) in enumerate(panel.lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [(place(x, across, _LEFT, right), place(y, up, bottom, _TOP)) for x, y in line]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        column, row = number % _LEGEND, number // _LEGEND
        x, y = _LEFT + column * (right - _LEFT) / _LEGEND, bottom + 50 + 16 * row
        parts.append(f'<rect x="{x:.1f}" y="{y - 8}" width="14" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{x + 20:.1f}" y="{y}">{escape(name)}</text>')
    return "".join(parts)


def _label(power: int) -> str:
    return f"{10**power:,}" if power >= 0 else f"{10**power:.{-power}f}"
