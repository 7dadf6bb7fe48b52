"""Compare the public names of PyTorch's namespaces with Flambeau's: existence, parameter names.

    python tools/api_names.py [--json FILE] [NAMESPACE ...]

It prints the share of names that exist per namespace, then what is missing and which signatures
differ. `tools/api_absences.txt` lists what is absent on purpose, with the reason. The exit status
is 1 when something is missing or differs that the file does not list, or when it lists too much.
"""

import argparse
import importlib
import inspect
import json
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ABSENCES = Path(__file__).with_name("api_absences.txt")
NAMESPACES = (
    *("nn", "nn.functional", "nn.init", "nn.parameter", "nn.modules"),
    *("nn.utils", "nn.utils.rnn", "nn.utils.parametrize", "nn.utils.parametrizations"),
    *("nn.utils.prune", "nn.utils.stateless", "nn.utils.fusion", "nn.attention"),
    *("optim", "optim.lr_scheduler", "optim.swa_utils"),
    *("utils.data", "utils.data.distributed", "serialization"),
)
# Classes whose methods are compared one by one.
CLASSES = (
    *("nn.Module", "nn.Sequential", "nn.ModuleList", "nn.ModuleDict", "nn.ParameterList"),
    *("nn.ParameterDict", "nn.utils.rnn.PackedSequence", "optim.Optimizer"),
    *("optim.lr_scheduler.LRScheduler", "utils.data.DataLoader", "utils.data.Dataset"),
)


@dataclass
class Namespace:
    """What was found in one namespace."""

    name: str
    total: int = 0
    missing: list[str] = field(default_factory=list)
    differing: dict[str, str] = field(default_factory=dict)

    @property
    def faults(self) -> dict[str, str]:
        """Every name that is missing or differs, with what is wrong."""
        missing = {f"{self.name}.{name}": "missing" for name in self.missing}
        return missing | {f"{self.name}.{name}": text for name, text in self.differing.items()}


def list_public(holder: Any) -> list[str]:
    """Return the public names of a namespace: its `__all__`, or what is defined below it."""
    if inspect.isclass(holder):
        return sorted(name for name in vars(holder) if not name.startswith("_"))
    listed = getattr(holder, "__all__", None)
    return sorted(listed or (name for name in dir(holder) if _is_own(holder, name)))


def _is_own(holder: types.ModuleType, name: str) -> bool:
    value = getattr(holder, name)
    if name.startswith("_") or isinstance(value, types.ModuleType):
        return False
    if not (inspect.isclass(value) or callable(value)):
        return False
    # Builtin ops have no module, or the extension's; classes and functions may be imported helpers.
    module = getattr(value, "__module__", None) or ""
    package = holder.__name__.split(".")[:2]
    return inspect.isbuiltin(value) or module.split(".")[:2] == package


def compare_namespace(name: str) -> Namespace:
    """Look up every public name of `torch.NAME` in `flambeau.NAME`."""
    theirs, ours = _find("torch", name), _find("flambeau", name)
    found = Namespace(name)
    for public in list_public(theirs):
        found.total += 1
        if ours is None or not hasattr(ours, public):
            found.missing.append(public)
        elif text := compare_signatures(getattr(theirs, public), getattr(ours, public)):
            found.differing[public] = text
    return found


def _find(root: str, name: str) -> Any:
    """Return a module or class by dotted name; None where it does not exist."""
    try:
        return importlib.import_module(f"{root}.{name}")
    except ModuleNotFoundError:
        holder, _, last = name.rpartition(".")
        return getattr(_find(root, holder) if holder else importlib.import_module(root), last, None)


def compare_signatures(theirs: Any, ours: Any) -> str:
    """Say which parameters PyTorch has and Flambeau lacks or names in another order; or ""."""
    wanted, got = list(_parameters(theirs)), list(_parameters(ours))
    if not wanted or not got:
        return ""  # a builtin or an op of the core: its signature is not written down
    kinds = {p.kind for p in got}
    names = [p.name for p in got]
    if inspect.Parameter.VAR_KEYWORD in kinds and inspect.Parameter.VAR_POSITIONAL in kinds:
        return ""
    lacking = [p.name for p in wanted if _is_named(p) and p.name not in names]
    if lacking and inspect.Parameter.VAR_KEYWORD not in kinds:
        return f"lacks {', '.join(lacking)}"
    theirs_order = [p.name for p in wanted if _is_positional(p)]
    ours_order = [p.name for p in got if _is_positional(p)]
    if not lacking and ours_order[: len(theirs_order)] != theirs_order:
        return f"positional {', '.join(ours_order)}; PyTorch's {', '.join(theirs_order)}"
    return ""


def _parameters(value: Any) -> Iterator[inspect.Parameter]:
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return
    if inspect.isclass(value) and issubclass(value, (BaseException, tuple)):
        return
    yield from parameters


def _is_named(parameter: inspect.Parameter) -> bool:
    return not parameter.name.startswith("_") and parameter.kind in (
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )


def _is_positional(parameter: inspect.Parameter) -> bool:
    return parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD


def read_absences() -> dict[str, str]:
    """Read lines `name  reason`; `#` starts a comment."""
    lines = (line.partition("#")[0].strip() for line in ABSENCES.read_text().splitlines())
    pairs = (line.split(maxsplit=1) for line in lines if line)
    return dict(pairs)


def main(arguments: list[str]) -> int:
    """Print the comparison; return 1 if it finds more or less than the list of absences."""
    parser = argparse.ArgumentParser(prog="python tools/api_names.py")
    parser.add_argument("namespaces", nargs="*", help="below torch, e.g. nn.functional")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings")
    options = parser.parse_args(arguments)
    chosen = options.namespaces or [*NAMESPACES, *CLASSES]
    found = [compare_namespace(name) for name in chosen]
    absences = read_absences()
    print(format_table(found, absences))
    if options.json:
        options.json.write_text(json.dumps([vars(item) for item in found], indent=1) + "\n")
    return judge(found, absences)


def format_table(found: list[Namespace], absences: dict[str, str]) -> str:
    """Return the share per namespace: existing names, and those with PyTorch's parameters."""
    lines = [f"{'namespace':<34} {'exist':>5} /{'total':>5}  share   same parameters   left out"]
    for item in found:
        there = item.total - len(item.missing)
        same = there - len(item.differing)
        out = sum(name in absences for name in item.faults)
        share = 100 * there / max(item.total, 1)
        counts = f"{there:>5} /{item.total:>5} {share:5.1f} % {same:>17} {out:>10}"
        lines.append(f"{item.name:<34} {counts}")
    return "\n".join(lines)


def judge(found: list[Namespace], absences: dict[str, str]) -> int:
    """Print what is wrong and not listed, and what is listed and not wrong."""
    faults = {name: text for item in found for name, text in item.faults.items()}
    namespaces = {item.name for item in found}
    stale = [n for n in absences if n not in faults and n.rpartition(".")[0] in namespaces]
    unlisted = {name: text for name, text in faults.items() if name not in absences}
    if unlisted:
        print("\nMissing or different, and not listed:")
    for name, text in unlisted.items():
        print(f"  {name}: {text}")
    for name in stale:
        print(f"listed as absent, but it is there: {name}")
    return 1 if unlisted or stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
