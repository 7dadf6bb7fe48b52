"""The command line: `python -m tests.conformance --op 'add.*' --columns value,grad`."""

import argparse
import re
import sys
import time
from pathlib import Path

from . import report
from .columns import COLUMNS, GROUPS, parse_columns
from .runner import Job, Result, Settings, run_jobs

RESULTS = Path(__file__).parent / "results" / "latest.json"


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance",
        description="Feed PyTorch's tables of ops, modules and optimisers to Flambeau.",
        epilog=f"Columns: {', '.join(COLUMNS)}; groups: {', '.join(GROUPS)}.",
    )
    add = parser.add_argument
    add(
        "--op",
        metavar="REGEX",
        default=".*",
        help="entries by full name: 'nn.functional.*', 'optim.*'",
    )
    add("--columns", type=parse_columns, default=COLUMNS, help="comma-separated columns or groups")
    add(
        "--max-samples", type=int, default=5, metavar="N", help="per dtype; 0 means all (default 5)"
    )
    add("--list", type=Path, metavar="FILE", help="check only what it lists; all of it must pass")
    add("--write-list", type=Path, metavar="FILE", help="write what passes to a list file")
    add("--jobs", type=int, default=2, help="worker processes (default 2)")
    add("--timeout", type=float, default=60, metavar="S", help="seconds for a column (default 60)")
    add("--against", default="flambeau", metavar="MODULE", help="`torch` checks the runner itself")
    add("--json", type=Path, default=RESULTS, metavar="FILE", help="where the results go")
    add("--quiet", action="store_true", help="print no reasons, only the table")
    return parser.parse_args(arguments)


def choose_jobs(options: argparse.Namespace) -> tuple[list[Job], report.Passing]:
    """Return the columns to check for each entry, and what is required to pass."""
    from . import families

    table = families.entries()
    required = report.read_list(options.list) if options.list else {}
    if options.list and not required:
        raise SystemExit(f"{options.list}: the list is empty, so nothing would be checked")
    unknown = sorted(set(required) - set(table))
    if unknown:
        raise SystemExit(f"{options.list}: not in the table: {', '.join(unknown)}")
    pattern = re.compile(options.op)
    jobs: list[Job] = []
    for name in table:
        wanted = [c for c in options.columns if not options.list or c in required.get(name, ())]
        columns = tuple(c for c in wanted if families.has_column(name, c))
        if columns and pattern.fullmatch(name):
            jobs.append((name, columns))
    chosen = dict(jobs)
    required = {k: v & set(options.columns) for k, v in required.items() if pattern.fullmatch(k)}
    absent = [f"{k} {c}" for k, v in required.items() for c in v if c not in chosen.get(k, ())]
    if absent:
        raise SystemExit(f"{options.list}: the table has no such column: {', '.join(absent)}")
    return jobs, required


def main(arguments: list[str]) -> int:
    """Run what was asked for; return 1 if something that must pass does not."""
    options = parse_arguments(arguments)
    jobs, required = choose_jobs(options)
    start = time.monotonic()
    results = _run(jobs, options)
    seconds = time.monotonic() - start
    if not options.quiet and (failures := report.format_failures(results)):
        print(failures, end="\n\n")
    print(report.format_table(results))
    meta = {"against": options.against, "max_samples": options.max_samples, "seconds": seconds}
    report.write_json(options.json, results, meta)
    print(f"\n{len(jobs)} entries in {seconds:.0f} s; details in {options.json}")
    if options.write_list:
        _update_list(options, results)
    return _judge(required, results)


def _run(jobs: list[Job], options: argparse.Namespace) -> list[Result]:
    results: list[Result] = []
    total = sum(len(columns) for _, columns in jobs)

    def record(result: Result) -> None:
        results.append(result)
        if sys.stderr.isatty():
            print(f"\r{len(results)}/{total} {result.entry:<60.60}", end="", file=sys.stderr)

    settings = Settings(options.against, options.max_samples, options.timeout)
    run_jobs(jobs, settings, options.jobs, record)
    if sys.stderr.isatty():
        print("\r" + " " * 78 + "\r", end="", file=sys.stderr)
    return results


def _update_list(options: argparse.Namespace, results: list[Result]) -> None:
    """Write what passes now; what this run did not look at stays as it is."""
    path = options.write_list
    listed = report.read_list(path) if path.exists() else {}
    for result in results:
        columns = listed.setdefault(result.entry, set())
        (columns.add if result.status == "pass" else columns.discard)(result.column)
    report.write_list(path, listed)
    print(f"wrote {sum(map(bool, listed.values()))} entries to {path}")


def _judge(required: report.Passing, results: list[Result]) -> int:
    passed = report.passing(results)
    broken = [
        f"{entry} {column}"
        for entry, columns in sorted(required.items())
        for column in COLUMNS
        if column in columns - passed.get(entry, set())
    ]
    checked = sum(len(columns) for columns in required.values())
    if required:
        print(f"{checked - len(broken)} passed, {len(broken)} failed")
    for line in broken:
        print(f"must pass: {line}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
