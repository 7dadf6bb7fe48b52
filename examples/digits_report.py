"""The report of the digits demo: one HTML file with drawings in SVG, nothing to fetch."""

from __future__ import annotations

import base64
import html
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

WIDTH, HEIGHT = 500, 260  # of a chart
LEFT, RIGHT, TOP, BOTTOM = 46, 64, 16, 34  # its margins
CELL = 40  # of the confusion matrix


@dataclass
class LayerRow:
    """One layer of the network: name, text, shape of its output for one image, parameters."""

    name: str
    text: str
    shape: tuple[int, ...]
    parameters: int


@dataclass
class RunSummary:
    """What the report shows. `images` are rows of numbers 0..255, `probabilities` ten for each."""

    history: list[dict[str, float]]
    layers: list[LayerRow]
    images: list[list[list[int]]]
    labels: list[int]
    probabilities: list[list[float]]
    first_step: float
    seconds: float
    goal: float
    train_size: int
    version: str

    @cached_property
    def predictions(self) -> list[int]:
        """The most probable digit of each image."""
        return [row.index(max(row)) for row in self.probabilities]

    @property
    def mistakes(self) -> int:
        """The number of images whose most probable digit is wrong."""
        return sum(p != t for p, t in zip(self.predictions, self.labels, strict=True))

    @property
    def accuracy(self) -> float:
        """The part of the images whose most probable digit is right."""
        return 1 - self.mistakes / len(self.labels)


def write_report(path: Path, run: RunSummary) -> None:
    """Write the report, complete or not at all."""
    body = "\n".join([
        make_header(run),
        make_tiles(run),
        make_curves(run),
        make_matrix(run),
        make_mistakes(run),
        make_sheet(run),
        make_layers(run),
        FOOTER,
    ])  # fmt: skip
    partial = path.with_suffix(".part")
    partial.write_text(PAGE.replace("{{style}}", STYLE).replace("{{body}}", body), encoding="utf-8")
    os.replace(partial, path)


def make_header(run: RunSummary) -> str:
    """Title and the sentence that says what happened."""
    right = len(run.labels) - run.mistakes
    return f"""<header>
<p class="kicker">Flambeau {html.escape(run.version)} &middot; digits demo</p>
<h1>{right} of {len(run.labels)} handwritten digits read correctly</h1>
<p class="lead">A small convolutional network learned from {run.train_size:,} images of 8&times;8 pixels
in {len(run.history)} epochs, and was then shown {len(run.labels)} images that it had never seen.</p>
</header>"""


def make_tiles(run: RunSummary) -> str:
    """The figures in large type."""
    parameters = sum(row.parameters for row in run.layers)
    verdict = "reached" if run.accuracy >= run.goal else "missed"
    tiles = [
        (f"{run.accuracy:.2%}", "accuracy, held-out images", f"goal {run.goal:.0%} {verdict}"),
        (str(run.mistakes), "mistakes", f"in {len(run.labels)} images"),
        (f"{run.seconds:.1f} s", "from start to result", "all imports and compilation included"),
        (f"{run.first_step:.2f} s", "to the first training step", "in this process"),
        (f"{parameters:,}", "parameters", f"in {sum(r.parameters > 0 for r in run.layers)} layers"),
    ]
    cells = (
        f'<div class="tile"><b>{value}</b><span>{label}</span><small>{note}</small></div>'
        for value, label, note in tiles
    )
    return f'<section class="tiles">{"".join(cells)}</section>'


# ------------------------------------------------------------------------------------- curves


@dataclass
class Axis:
    """The range of a chart's vertical axis, its ticks, and how a value is written."""

    low: float
    high: float
    ticks: list[float]
    form: str

    def place(self, value: float) -> float:
        """Give the height in the drawing, kept inside the frame."""
        part = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return TOP + (1 - part) * (HEIGHT - TOP - BOTTOM)


def make_curves(run: RunSummary) -> str:
    """The learning curves: loss and accuracy over the epochs."""
    names = ("train", "test")
    losses = {name: [row[f"{name}_loss"] for row in run.history] for name in names}
    rates = {name: [row[f"{name}_accuracy"] for row in run.history] for name in names}
    low = 0.9 if min(rates["test"][len(rates["test"]) // 3 :]) > 0.9 else 0.0
    steps = [low + (1 - low) * i / 5 for i in range(6)]
    loss_axis = choose_loss_axis(max(map(max, losses.values())))
    accuracy = draw_chart(rates, Axis(low, 1.0, steps, "{:.0%}"), goal=run.goal)
    note = f"The axis starts at {low:.0%}; earlier epochs lie below it." if low else ""
    return f"""<section class="pair">
<figure class="card"><figcaption>Loss<small>cross-entropy with label smoothing, mean over the images</small></figcaption>
{draw_chart(losses, loss_axis)}</figure>
<figure class="card"><figcaption>Accuracy<small>{note}</small></figcaption>
{accuracy}</figure>
</section>"""


def choose_loss_axis(highest: float) -> Axis:
    """Choose round ticks from zero up to the highest loss."""
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 1e9) if highest <= 5 * s)
    count = max(1, -int(-highest // step))
    return Axis(0.0, step * count, [step * i for i in range(count + 1)], "{:.1f}")


def draw_chart(series: dict[str, list[float]], axis: Axis, goal: float | None = None) -> str:
    """Draw lines over the epochs; the last value is written beside each line."""
    count = len(next(iter(series.values())))
    parts = [draw_grid(axis), draw_epochs(count)]
    if goal is not None:
        y = axis.place(goal)
        parts.append(
            f'<line class="goal" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<text class="tick" x="{LEFT + 4}" y="{y - 5:.1f}">goal {goal:.0%}</text>')
    ends = spread_labels([axis.place(values[-1]) for values in series.values()])
    for (name, values), end in zip(series.items(), ends, strict=True):
        parts.append(draw_line(name, values, axis, end))
    label = " and ".join(series) + " over epochs"
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def place_epoch(index: int, count: int) -> float:
    """Give the horizontal place of an epoch."""
    return LEFT + (WIDTH - LEFT - RIGHT) * (index / max(count - 1, 1))


def draw_grid(axis: Axis) -> str:
    """Draw the horizontal lines and their values."""
    parts = []
    for tick in axis.ticks:
        y = axis.place(tick)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        text = axis.form.format(tick)
        parts.append(f'<text class="tick end" x="{LEFT - 8}" y="{y + 4:.1f}">{text}</text>')
    return "".join(parts)


def draw_epochs(count: int) -> str:
    """Draw the numbers of the epochs below the chart."""
    step = next(s for s in (1, 2, 5, 10, 20, 50, 10**6) if count <= 8 * s)
    shown = sorted({1, *range(step, count + 1, step)})
    y = HEIGHT - BOTTOM + 18
    parts = [
        f'<text class="tick mid" x="{place_epoch(epoch - 1, count):.1f}" y="{y}">{epoch}</text>'
        for epoch in shown
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    return "".join(parts) + f'<text class="tick mid" x="{middle}" y="{HEIGHT - 2}">epoch</text>'


def draw_line(name: str, values: list[float], axis: Axis, end: float) -> str:
    """Draw one line with points that name their value, and its name and last value."""
    points = [(place_epoch(i, len(values)), axis.place(v)) for i, v in enumerate(values)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(
        f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" r="2.2">'
        f"<title>{name}, epoch {i}: {value:.4f}</title></circle>"
        for i, ((x, y), value) in enumerate(zip(points, values, strict=True), 1)
    )
    form = axis.form.replace(".1f", ".3f").replace(".0%", ".1%")
    label = f'<text class="label {name}" x="{WIDTH - RIGHT + 8}" y="{end:.1f}">{name}</text>'
    value = f'<text class="tick" x="{WIDTH - RIGHT + 8}" y="{end + 13:.1f}">{form.format(values[-1])}</text>'
    return f'<polyline class="line {name}" points="{path}"/>{dots}{label}{value}'


def spread_labels(places: list[float], gap: float = 30) -> list[float]:
    """Move the labels of lines apart so that they can be read."""
    top, bottom = sorted(range(len(places)), key=lambda i: places[i])
    room = max(0.0, gap - (places[bottom] - places[top])) / 2
    moved = list(places)
    moved[top], moved[bottom] = places[top] - room, places[bottom] + room
    shift = max(0.0, TOP + 8 - moved[top]) - max(0.0, moved[bottom] - (HEIGHT - BOTTOM - 8))
    return [place + shift for place in moved]


# ------------------------------------------------------------------------------------- images


def encode_png(rows: Sequence[Sequence[int]]) -> str:
    """Encode a grey image as a PNG in a data URI."""
    raw = b"".join(b"\0" + bytes(row) for row in rows)
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b"")
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")


def draw_digit(rows: list[list[int]], size: int, text: str) -> str:
    """Show one digit as ink on paper."""
    ink = [[255 - value for value in row] for row in rows]
    return (
        f'<img src="{encode_png(ink)}" width="{size}" height="{size}" alt="{text}" title="{text}">'
    )


def make_matrix(run: RunSummary) -> str:
    """The confusion matrix: how often each digit was read as which."""
    counts = [[0] * 10 for _ in range(10)]
    for label, prediction in zip(run.labels, run.predictions, strict=True):
        counts[label][prediction] += 1
    size = CELL * 11 + 24
    parts = [draw_cell(row, column, counts) for row in range(10) for column in range(10)]
    for digit in range(10):
        middle = CELL * (digit + 1.5)
        parts.append(f'<text class="axis mid" x="{middle}" y="{CELL - 10}">{digit}</text>')
        parts.append(f'<text class="axis mid" x="{CELL - 16}" y="{middle + 5}">{digit}</text>')
    return f"""<section class="card split">
<div><h2>Confusion matrix</h2>
<p>A row is the digit that was written, a column the digit that was read. The diagonal counts the
correct readings; whatever lies beside it is a mistake.</p>
{make_class_table(counts)}</div>
<svg class="matrix" viewBox="-14 -18 {size} {size}" role="img" aria-label="confusion matrix">
<text class="tick mid" x="{CELL * 6}" y="4">read as</text>
<text class="tick mid" transform="translate(2 {CELL * 6}) rotate(-90)">written</text>
{"".join(parts)}</svg>
</section>"""


def draw_cell(row: int, column: int, counts: list[list[int]]) -> str:
    """Draw one cell of the matrix: darker for a larger part of its row."""
    count, total = counts[row][column], max(sum(counts[row]), 1)
    kind = "empty" if not count else "hit" if row == column else "miss"
    strength = 1.0 if kind == "empty" else min(1.0, 0.25 + 0.75 * count / total)
    if kind == "miss":
        strength = min(1.0, 0.45 + 3 * count / total)
    x, y, side = CELL * (column + 1) + 1, CELL * (row + 1) + 1, CELL - 2
    text = f"<title>{row} read as {column}: {count} of {total}</title>"
    cell = (
        f'<rect class="{kind}" x="{x}" y="{y}" width="{side}" height="{side}" rx="4" '
        f'fill-opacity="{strength:.2f}">{text}</rect>'
    )
    if not count:
        return cell
    middle = f'x="{x + side / 2}" y="{y + side / 2 + 5}"'
    return cell + f'<text class="count mid" {middle}>{count}{text}</text>'


def make_class_table(counts: list[list[int]]) -> str:
    """The accuracy of each digit, with a bar."""
    rows = []
    for digit, row in enumerate(counts):
        total = sum(row)
        part = row[digit] / total if total else 0.0
        bar = f'<i style="width:{100 * part:.1f}%"></i>'
        rows.append(
            f'<tr><th>{digit}</th><td class="bar">{bar}</td><td>{part:.1%}</td>'
            f"<td>{row[digit]}/{total}</td></tr>"
        )
    return f'<table class="classes">{"".join(rows)}</table>'


def make_mistakes(run: RunSummary) -> str:
    """Every mistake, enlarged, with what the network thought."""
    cards = []
    for index, (label, row) in enumerate(zip(run.labels, run.probabilities, strict=True)):
        guess = row.index(max(row))
        if guess == label:
            continue
        text = f"a {label} read as {guess}"
        cards.append(
            f'<figure class="mistake">{draw_digit(run.images[index], 96, text)}'
            f"<figcaption><b>&#10007; read as {guess}</b><span>is a {label}</span>"
            f"{draw_probabilities(row, label)}</figcaption></figure>"
        )
    body = "".join(cards) or "<p>There are none.</p>"
    return f"""<section class="card"><h2>Every mistake</h2>
<p>The bars show how probable the network held each digit; that of the right digit is blue.</p>
<div class="mistakes">{body}</div></section>"""


def draw_probabilities(row: list[float], label: int) -> str:
    """Draw ten small bars, one for each digit."""
    parts = []
    for digit, value in enumerate(row):
        height = max(1.0, 28 * value)
        kind = "right" if digit == label else "other"
        parts.append(
            f'<rect class="{kind}" x="{digit * 11 + 1}" y="{30 - height:.1f}" width="8" '
            f'height="{height:.1f}"><title>{digit}: {value:.1%}</title></rect>'
            f'<text class="tiny mid" x="{digit * 11 + 5}" y="40">{digit}</text>'
        )
    return f'<svg class="bars" viewBox="0 0 111 42" role="img">{"".join(parts)}</svg>'


def make_sheet(run: RunSummary) -> str:
    """All held-out images in rows by digit, each with its reading; mistakes are marked."""
    rows = []
    for digit in range(10):
        cells = [draw_reading(run, i) for i, label in enumerate(run.labels) if label == digit]
        rows.append(f'<div class="row"><b>{digit}</b><div>{"".join(cells)}</div></div>')
    return f"""<section class="card sheet"><h2>All {len(run.labels)} readings</h2>
<p>Sorted by the digit that was written; below each image the digit that was read. Mistakes are framed
and marked <span class="wrong">&#10007;</span>.</p>
{"".join(rows)}</section>"""


def draw_reading(run: RunSummary, index: int) -> str:
    """Show one image with its reading."""
    guess, label = run.predictions[index], run.labels[index]
    text = f"a {label} read as {guess} ({run.probabilities[index][guess]:.1%})"
    image = draw_digit(run.images[index], 32, text)
    if guess == label:
        return f'<span class="reading">{image}<em>{guess}</em></span>'
    return f'<span class="reading wrong">{image}<em>&#10007; {guess}</em></span>'


def make_layers(run: RunSummary) -> str:
    """The layers of the network in the order they run."""
    rows = []
    for row in run.layers:
        shape = " &times; ".join(map(str, row.shape))
        rows.append(
            f"<tr><th>{row.name}</th><td><code>{html.escape(row.text)}</code></td>"
            f"<td>{shape}</td><td>{row.parameters:,}</td></tr>"
        )
    return f"""<section class="card"><h2>The network</h2>
<table class="layers"><thead><tr><th>name</th><th>layer</th><th>output</th><th>parameters</th></tr></thead>
<tbody>{"".join(rows)}</tbody></table></section>"""


FOOTER = """<footer>Data: E. Alpaydin, C. Kaynak, <i>Optical Recognition of Handwritten Digits</i>,
UCI Machine Learning Repository, 1998, doi:10.24432/C50P49, licence CC BY 4.0.</footer>"""


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Flambeau: handwritten digits</title>
<style>{{style}}</style>
</head>
<body><main>
{{body}}
</main></body>
</html>
"""

STYLE = """
:root { color-scheme: light dark;
  --page: #f6f4f0; --card: #ffffff; --ink: #1d1c1a; --soft: #6b6862; --rule: #e4e0d9;
  --train: #2f6fd0; --test: #d9622b; --hit: #2f6fd0; --miss: #d3333f; --on: #ffffff; }
@media (prefers-color-scheme: dark) { :root {
  --page: #171614; --card: #211f1d; --ink: #f1eee8; --soft: #a8a39a; --rule: #37342f;
  --train: #6ea3f2; --test: #f08b56; --hit: #4d84dc; --miss: #e4525d; --on: #ffffff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 Inter, "Segoe UI", system-ui, -apple-system, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 56px 24px 40px; }
h1 { font-size: 40px; line-height: 1.12; letter-spacing: -.02em; margin: 6px 0 14px; max-width: 22ch; }
h2 { font-size: 19px; margin: 0 0 4px; letter-spacing: -.01em; }
p { margin: 0 0 14px; color: var(--soft); max-width: 64ch; }
.kicker { color: var(--test); font-weight: 600; font-size: 14px; margin: 0; }
.lead { font-size: 18px; }
section, header { margin-bottom: 24px; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 14px; padding: 22px 24px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 14px; }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 14px;
  padding: 16px 18px; display: flex; flex-direction: column; }
.tile b { font-size: 28px; letter-spacing: -.02em; font-variant-numeric: tabular-nums; }
.tile span { font-size: 14px; } .tile small { color: var(--soft); font-size: 12.5px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 24px; }
figure { margin: 0; } .pair figcaption { font-weight: 600; font-size: 19px; margin-bottom: 8px; }
.pair small { display: block; font-weight: 400; font-size: 13px; color: var(--soft); min-height: 1.5em; }
svg { width: 100%; height: auto; display: block; font-family: inherit; }
.grid { stroke: var(--rule); } .goal { stroke: var(--soft); stroke-dasharray: 4 4; }
.tick { font-size: 11.5px; fill: var(--soft); font-variant-numeric: tabular-nums; }
.axis { font-size: 14px; fill: var(--ink); font-weight: 600; }
.end { text-anchor: end; } .mid { text-anchor: middle; }
.line { fill: none; stroke-width: 2.2; stroke-linejoin: round; }
.line.train { stroke: var(--train); } .line.test { stroke: var(--test); }
circle.train, text.train { fill: var(--train); } circle.test, text.test { fill: var(--test); }
.label { font-size: 13px; font-weight: 600; }
.split { display: grid; grid-template-columns: minmax(260px, 1fr) minmax(340px, 1.35fr); gap: 32px; }
rect.hit { fill: var(--hit); } rect.miss { fill: var(--miss); } rect.empty { fill: var(--rule); opacity: .45; }
.count { fill: var(--on); font-size: 14px; font-weight: 600; pointer-events: none; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; } td, th { padding: 5px 8px 5px 0; }
.classes td:nth-child(n+3) { text-align: right; color: var(--soft); width: 4.5em; }
.bar { width: 50%; } .bar i { display: block; height: 8px; border-radius: 4px; background: var(--hit); }
.mistakes { display: flex; flex-wrap: wrap; gap: 16px; }
.mistake { display: flex; gap: 14px; padding: 12px; border: 1px solid var(--rule); border-radius: 12px;
  border-left: 4px solid var(--miss); width: 272px; }
.mistake figcaption { flex: 1; font-size: 14px; line-height: 1.35; } .mistake b { color: var(--miss); }
.mistake span { display: block; color: var(--soft); } .bars { margin-top: 6px; }
.bars .other { fill: var(--soft); opacity: .6; } .bars .right { fill: var(--hit); }
.tiny { font-size: 8px; fill: var(--soft); }
img { image-rendering: pixelated; border-radius: 4px; background: #fff; display: block; }
.row { display: flex; gap: 14px; padding: 10px 0; border-top: 1px solid var(--rule); }
.row > b { width: 1em; font-size: 20px; } .row > div { display: flex; flex-wrap: wrap; gap: 6px; }
.reading { display: inline-flex; flex-direction: column; align-items: center; padding: 3px;
  border: 1px solid var(--rule); border-radius: 6px; }
.reading em { font-style: normal; font-size: 12px; line-height: 1.3; color: var(--soft); }
.reading.wrong { border-color: var(--miss); box-shadow: 0 0 0 1px var(--miss); }
.wrong, .reading.wrong em { color: var(--miss); font-weight: 700; }
.layers td:nth-child(n+3), .layers th:nth-child(n+3) { text-align: right; white-space: nowrap; }
.layers tr { border-top: 1px solid var(--rule); } .layers thead tr { border: 0; color: var(--soft); }
code { font: 13px ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
footer { color: var(--soft); font-size: 13px; padding-top: 8px; }
@media (max-width: 760px) { .split { grid-template-columns: 1fr; } .pair { grid-template-columns: 1fr; }
  h1 { font-size: 30px; } main { padding-top: 32px; } }
"""
