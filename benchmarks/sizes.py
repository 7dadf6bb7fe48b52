"""Lines of code by folder, and the size of what an installation brings."""

import importlib.metadata
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = {".py", ".pyx", ".pxi", ".pxd", ".hpp"}
PROSE = {".md"}


def lines_of_code() -> dict[str, int]:
    """Count the lines that are not blank: each folder of the package, then the other folders."""
    package = ROOT / "flambeau"
    counts = {"flambeau/*": _count(package, CODE, deep=False)}
    for folder in sorted(x for x in package.iterdir() if x.is_dir() and x.name != "__pycache__"):
        counts[f"flambeau/{folder.name}"] = _count(folder, CODE)
    for name in ("tests", "benchmarks", "examples", "tools"):
        counts[name] = _count(ROOT / name, CODE)
    counts["docs"] = _count(ROOT / "docs", PROSE)
    return {name: count for name, count in counts.items() if count}


def _count(folder: Path, suffixes: set[str], deep: bool = True) -> int:
    files = folder.rglob("*") if deep else folder.glob("*")
    return sum(
        sum(bool(line.strip()) for line in file.read_text(errors="replace").splitlines())
        for file in files
        if file.suffix in suffixes and file.is_file()
    )


def installed_bytes(name: str) -> dict[str, int]:
    """Return the bytes of a distribution and of what it requires, by distribution."""
    sizes: dict[str, int] = {}
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in sizes:
            continue
        try:
            distribution = importlib.metadata.distribution(current)
        except importlib.metadata.PackageNotFoundError:
            continue
        sizes[current] = _distribution_bytes(current, distribution)
        waiting += _required(distribution)
    return sizes


def _distribution_bytes(name: str, distribution: importlib.metadata.Distribution) -> int:
    if name == "flambeau":  # installed in place: its files are those of the package's folder
        files = [x for x in (ROOT / "flambeau").rglob("*") if "__pycache__" not in x.parts]
        return sum(x.stat().st_size for x in files if x.is_file() and x.suffix != ".cpp")
    located = (Path(str(file.locate())) for file in distribution.files or ())
    return sum(path.stat().st_size for path in located if path.is_file())


def _required(distribution: importlib.metadata.Distribution) -> list[str]:
    """Return the names of the requirements that no extra and no other platform asks for."""
    plain = [x for x in distribution.requires or () if ";" not in x]
    return [re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower() for requirement in plain]
