"""Group means of a run, and their picture."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from .measure import Row
from .workloads import GROUPS, SUITE_TARGET

WIDTH, LEFT, RIGHT, ROW_HEIGHT, TOP = 900, 150, 130, 44, 56
LEAST, MOST = 0.01, 4.0  # the range of ratios drawn


def geometric_mean(ratios: Sequence[float]) -> float:
    """Return exp(mean(log(ratios)))."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def group_ratios(rows: Sequence[Row]) -> dict[str, list[float]]:
    """Return the ratios of each group that has any, in the suite's order."""
    found: dict[str, list[float]] = {name: [] for name in GROUPS}
    for row in rows:
        if row.group in found and row.ratio:
            found[row.group].append(row.ratio)
    return {name: ratios for name, ratios in found.items() if ratios}


def summarise(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Return name, geometric mean, target, count, and count above 1 by group and for all."""
    groups = group_ratios(rows)
    lines = [(name, ratios, GROUPS[name]) for name, ratios in groups.items()]
    if groups:
        lines.append(("all", [r for ratios in groups.values() for r in ratios], SUITE_TARGET))
    return [
        {
            "group": name,
            "mean": geometric_mean(ratios),
            "target": target,
            "count": len(ratios),
            "above_one": sum(r > 1 for r in ratios),
        }
        for name, ratios, target in lines
    ]


def draw(rows: Sequence[Row], title: str) -> str:
    """Return an SVG: every workload's ratio as a dot on a log axis, a bar at each group's mean."""
    groups = group_ratios(rows)
    height = TOP + ROW_HEIGHT * len(groups) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>',
    ]
    bottom = height - 34
    for ratio in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0):
        x = position(ratio)
        colour = "#b00020" if ratio == 1.0 else "#dddddd"
        parts.append(f'<path d="M{x:.1f} {TOP - 16}V{bottom}" stroke="{colour}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{ratio:g}</text>')
    for index, (name, ratios) in enumerate(groups.items()):
        parts += draw_group(name, ratios, TOP + ROW_HEIGHT * index + ROW_HEIGHT / 2)
    return "\n".join([*parts, "</svg>"]) + "\n"


def draw_group(name: str, ratios: Sequence[float], y: float) -> list[str]:
    """Return one group's line."""
    mean = geometric_mean(ratios)
    dots = [
        f'<circle cx="{position(r):.1f}" cy="{y + (i % 5 - 2) * 5:.1f}" r="3.2"'
        f' fill="{"#b00020" if r > 1 else "#1f6feb"}" fill-opacity="0.55"/>'
        for i, r in enumerate(ratios)
    ]
    x, goal = position(mean), position(GROUPS[name])
    return [
        f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{name}</text>',
        *dots,
        f'<path d="M{goal:.1f} {y - 16}v32" stroke="#2da44e" stroke-dasharray="3 3"/>',
        f'<path d="M{x:.1f} {y - 16}v32" stroke="#000000" stroke-width="2.5"/>',
        f'<text x="{WIDTH - RIGHT + 12}" y="{y + 4}">{mean:.2f} of {GROUPS[name]:g}</text>',
    ]


def position(ratio: float) -> float:
    """Return a ratio's horizontal place."""
    share = math.log(min(max(ratio, LEAST), MOST) / LEAST) / math.log(MOST / LEAST)
    return LEFT + share * (WIDTH - LEFT - RIGHT)
