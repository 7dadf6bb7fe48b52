"""The command line: `python -m benchmarks --only 'models|import'`."""

import argparse
import importlib.metadata
import json
import platform
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path

from . import machine, measure, sizes, summary
from .children import Side
from .measure import Row
from .workloads import WORKLOADS

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("Flambeau", "PyTorch")


def format_row(row: Row) -> str:
    """Return a line of the table."""
    figures = [f"{x:,.2f}" if x is not None else "-" for x in (row.flambeau, row.torch)]
    ratio = f"{row.ratio:.3f}" if row.ratio is not None else "-"
    target = "" if row.target is None else f"{row.target:.3g}"
    floor = "" if row.floor is None else f"{row.floor:,.1f}"
    share = "" if row.share is None else f"{row.share:.0%}"
    mark = {True: "", False: "MISSED", None: ""}[row.reached]
    name = f"{row.group}: {row.name}"
    line = f"{name:<58} {figures[0]:>12} {figures[1]:>12} {row.unit:<2} {ratio:>6} {target:>5}"
    line += f" {floor:>10} {share:>5}  {mark}"
    return line.rstrip() + (f"  ({row.error})" if row.error else "")


def header(columns: tuple[str, str]) -> str:
    """Return the table's first line."""
    figures = f"{columns[0]:>12} {columns[1]:>12}"
    return f"{'workload':<58} {figures}     ratio  goal      floor reached"


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--only", type=re.compile, default=re.compile(""), metavar="REGEX", help="`group: name`")
    add("--rounds", type=int, default=11, help="blocks of each workload (default 11)")
    add("--against", choices=("eager", "compile"), default="eager", help="PyTorch's mode")
    add("--subject", default="flambeau", help="`torch` compares PyTorch with itself")
    add("--scaling", action="store_true", help="large workloads: two threads beside one")
    add("--neighbour", action="store_true", help="large workloads: one core kept busy")
    add("--no-memory", action="store_true", help="leave out peak memory")
    add("--json", type=Path, metavar="FILE", help="default: results/DATE.json, with a picture")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Print the table, the means; write both as JSON and SVG."""
    options = parse_arguments(arguments)
    rows: list[Row] = []

    def show(row: Row) -> None:
        rows.append(row)
        print(format_row(row), flush=True)

    chosen = [w for w in WORKLOADS if options.only.search(w.key)]
    large = [w for w in chosen if w.large]
    report = describe(options)
    if options.scaling:
        print(header(("2 threads", "1 thread")))
        measure.time_scaling(options.subject, large, options.rounds, show)
    elif options.neighbour:
        print(header(("busy core", "quiet")))
        measure.time_neighbour(options.subject, large, options.rounds, show)
    else:
        report |= compare(options, chosen, rows, show)
    report["rows"] = [asdict(x) | {"ratio": x.ratio, "share": x.share} for x in rows]
    write(options, report, rows)
    return 0


def compare(
    options: argparse.Namespace, chosen: list, rows: list[Row], show: measure.Show
) -> dict[str, object]:
    """Time everything chosen against PyTorch; return the means and sizes."""
    limits = machine.measure()
    rates = ", ".join(f"{r / 1e9:.0f} GB/s in {s >> 20} MB" for s, r in limits.bandwidth.items())
    print(f"{limits.cpu}: {limits.peak / 1e9:.0f} GF fp32, {rates}\n{header(COLUMNS)}")
    sides = (Side(options.subject), Side("torch", options.against))
    measure.time_workloads(sides, chosen, limits, options.rounds, show)
    measure.time_starts(sides, options.only, show)
    if not options.no_memory:
        wanted = [w for w in chosen if w.memory]
        measure.measure_memory(sides, wanted, show)
    if options.only.search("start: demo"):
        measure.time_demo(show)
    means = summary.summarise(rows)
    print_means(means)
    report: dict[str, object] = {"limits": asdict(limits), "means": means}
    if not options.only.pattern:
        report |= print_sizes()
    return report


def print_means(means: list[dict[str, object]]) -> None:
    """Print the geometric mean of each group."""
    print(f"\n{'group':<14} {'mean':>6} {'goal':>6} {'rows':>5} {'above 1':>8}")
    for line in means:
        mark = "" if line["mean"] <= line["target"] else "  MISSED"  # type: ignore[operator]
        figures = (
            f"{line['mean']:6.3f} {line['target']:6.2f} {line['count']:5} {line['above_one']:8}"
        )
        print(f"{line['group']:<14} {figures}{mark}")


def print_sizes() -> dict[str, object]:
    """Print lines of code and installed sizes; return them for the JSON file."""
    lines = sizes.lines_of_code()
    print("\nLines of code (not blank)")
    for name, count in lines.items():
        print(f"  {name:<24} {count:>7,}")
    installed = {name: sizes.installed_bytes(name) for name in ("flambeau", "torch")}
    for name, parts in installed.items():
        detail = ", ".join(f"{key} {value / 1e6:.1f}" for key, value in parts.items())
        print(f"Installed size, {name}: {sum(parts.values()) / 1e6:.1f} MB ({detail})")
    return {"lines": lines, "installed_bytes": installed}


def describe(options: argparse.Namespace) -> dict[str, object]:
    """Return what a reader of the results must know about machine, versions and options."""
    versions = {"python": platform.python_version()}
    for name in ("torch", "numpy", "llvmlite"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "machine": platform.machine(),
        "system": platform.platform(),
        "cpu": machine.describe(),
        "threads": 2,
        "versions": versions,
        "against": options.against,
        "only": options.only.pattern,
    }


def write(options: argparse.Namespace, report: dict[str, object], rows: list[Row]) -> None:
    """Write the results, with a picture beside those of a comparison."""
    path = options.json or RESULTS / time.strftime("%Y-%m-%d-%H%M%S.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nwritten to {path}")
    if summary.group_ratios(rows):
        title = f"Time relative to PyTorch {report['versions']['torch']} ({options.against})"  # type: ignore[index]
        path.with_suffix(".svg").write_text(summary.draw(rows, title))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
