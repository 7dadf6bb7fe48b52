"""What the runner prints and writes: the table, the JSON file and the list of what must pass."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from .columns import COLUMNS, FAMILIES, GRADIENT_DTYPES, VALUE_DTYPES, family
from .runner import Result

Passing = dict[str, set[str]]


def counts(results: Iterable[Result]) -> dict[str, Counter[str]]:
    """Count the states of each column."""
    found: dict[str, Counter[str]] = {column: Counter() for column in COLUMNS}
    for result in results:
        found[result.column][result.status] += 1
    return found


def passing(results: Iterable[Result]) -> Passing:
    """Return the columns that pass, by entry."""
    found: Passing = defaultdict(set)
    for result in results:
        if result.status == "pass":
            found[result.entry].add(result.column)
    return dict(found)


def complete(results: list[Result], columns: tuple[str, ...]) -> tuple[int, int]:
    """Count the entries that pass in all of `columns` that apply, and those where one applies."""
    states: dict[str, set[str]] = defaultdict(set)
    for result in results:
        if result.column in columns and result.status != "none":
            states[result.entry].add(result.status)
    return sum(state == {"pass"} for state in states.values()), len(states)


def format_table(results: list[Result]) -> str:
    """Return passed/total for each column of each family, then for whole entries."""
    return "\n\n".join(
        _format_family(name, [r for r in results if family(r.entry) == name])
        for name in FAMILIES
        if any(family(r.entry) == name for r in results)
    )


def _format_family(name: str, results: list[Result]) -> str:
    lines = [f"{name:<14} {'passed':>6} /{'total':>5}   failed  crashed  timed out"]
    found = counts(results)
    for column in FAMILIES[name]:
        states = found[column]
        total = sum(states.values()) - states["none"]
        if total:
            others = f"{states['fail']:>6}  {states['crash']:>7}  {states['timeout']:>9}"
            lines.append(f"{column:<14} {states['pass']:>6} /{total:>5}   {others}")
    for title, columns in _list_totals(name).items():
        passed, total = complete(results, columns)
        if total:
            lines.append(f"{title:<14} {passed:>6} /{total:>5}")
    return "\n".join(lines)


def _list_totals(name: str) -> dict[str, tuple[str, ...]]:
    if name == "ops":
        return {"all values": VALUE_DTYPES, "all gradients": tuple(GRADIENT_DTYPES)}
    return {"whole entries": FAMILIES[name]}


def format_failures(results: Iterable[Result]) -> str:
    """Return one line for each failure, with its first reason; equal reasons of an entry once."""
    grouped: dict[tuple[str, str], list[str]] = defaultdict(list)
    for result in sorted(results, key=lambda r: (r.entry, COLUMNS.index(r.column))):
        if result.status in ("fail", "crash", "timeout"):
            prefix = "" if result.status == "fail" else f"{result.status}: "
            grouped[result.entry, prefix + result.reason].append(result.column)
    return "\n".join(
        f"{entry} [{','.join(columns)}] {reason}" for (entry, reason), columns in grouped.items()
    )


def write_json(path: Path, results: list[Result], meta: dict[str, object]) -> None:
    """Write everything found, for other programs to read."""
    entries: dict[str, dict[str, object]] = defaultdict(dict)
    for result in results:
        entries[result.entry][result.column] = result.as_dict()
    document = {
        "meta": {**meta, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())},
        "columns": {name: dict(states) for name, states in counts(results).items()},
        "families": {
            name: dict(zip(("passed", "total"), complete(mine, FAMILIES[name]), strict=True))
            for name in FAMILIES
            if (mine := [r for r in results if family(r.entry) == name])
        },
        "entries": dict(sorted(entries.items())),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def read_list(path: Path) -> Passing:
    """Read lines `entry column[,column...]`; `#` starts a comment."""
    found: Passing = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or not set(words[1].split(",")) <= set(COLUMNS):
            raise ValueError(f"{path}:{number}: expected `entry column[,column...]`, got {line!r}")
        found.setdefault(words[0], set()).update(words[1].split(","))
    return found


def write_list(path: Path, entries: Passing) -> None:
    """Write the list, sorted, so that two of them merge line by line."""
    lines = [
        f"{entry} {','.join(column for column in COLUMNS if column in columns)}"
        for entry, columns in sorted(entries.items())
        if columns
    ]
    path.write_text("\n".join(lines) + "\n" if lines else "")
