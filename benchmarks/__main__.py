"""The command line: `python -m benchmarks --only 'CNN|import'`."""

import argparse
import json
import platform
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path

from . import measure, sizes
from .measure import Row

RESULTS = Path(__file__).parent / "results"
HEADER = f"{'workload':<42} {'Flambeau':>11} {'PyTorch':>11}    {'ratio':>6} {'target':>7}"


def format_row(row: Row) -> str:
    """Return a line of the table."""
    figures = [f"{x:,.2f}" if x is not None else "-" for x in (row.flambeau, row.torch)]
    ratio = f"{row.ratio:.3f}" if row.ratio is not None else "-"
    target = "" if row.target is None else f"{row.target:g}{' ' + row.unit if row.absolute else ''}"
    mark = {True: "ok", False: "MISSED", None: ""}[row.reached]
    line = f"{row.name:<42} {figures[0]:>11} {figures[1]:>11} {row.unit:<2} {ratio:>6} {target:>7}"
    return f"{line}  {mark}" + (f"  ({row.error})" if row.error else "")


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--only", type=re.compile, default=re.compile(""), metavar="REGEX", help="rows by name")
    add("--rounds", type=int, default=11, help="blocks of each workload (default 11)")
    add("--subject", default="flambeau", help="`torch` compares PyTorch with itself")
    add("--json", type=Path, metavar="FILE", help="default: results/DATE.json")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Print the table and write it as JSON."""
    options = parse_arguments(arguments)
    only: re.Pattern[str] = options.only
    rows: list[Row] = []

    def show(row: Row) -> None:
        if only.search(row.name):
            rows.append(row)
            print(format_row(row), flush=True)

    print(HEADER)
    measure.time_workloads(options.subject, only, options.rounds, show)
    if only.search("import, whole process"):
        show(measure.time_import(options.subject))
    if any(only.search(name) for name in measure.MEMORY_ROWS):
        for row in measure.measure_memory(options.subject):
            show(row)
    if any(only.search(name) for name in measure.DEMO_ROWS):
        for row in measure.time_demo():
            show(row)
    report = {"rows": [asdict(row) | {"ratio": row.ratio, "reached": row.reached} for row in rows]}
    if not only.pattern:
        report |= print_sizes()
    write_json(options.json, report)
    return 0


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


def write_json(path: Path | None, report: dict[str, object]) -> None:
    """Write the results with the machine's description."""
    path = path or RESULTS / time.strftime("%Y-%m-%d-%H%M%S.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {"machine": platform.machine(), "system": platform.platform(), "threads": 2}
    path.write_text(json.dumps({**machine, **report}, indent=1) + "\n")
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
