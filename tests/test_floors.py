"""Imports go downward only: each part of the package stands on a floor and uses those below it.

Parts of one floor may use each other. The top, `flambeau/__init__.py`, gathers the public API; only
libraries and what stands above them may import it. Imports inside functions count as well; imports
for type checkers alone do not.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "flambeau"
LIBRARIES = """
    _C _checkpoint _settings accelerator _utils amp backends cpu cuda distributions
    fft func futures hub library linalg masked mps multiprocessing nested nn onnx optim overrides
    profiler quasirandom random return_types safetensors serialization signal sparse special storage
    testing
    torch_version types utils version
"""
# From the ground up. A new file or folder directly in the package needs its place here.
FLOORS = (
    {"core"},
    {"kernels"},
    {"ops"},
    {"_meta", "_meta_rules", "_modes", "_tensor", "_tensor_str", "autograd"},
    set(LIBRARIES.split()),
    {"graph", "fx", "jit", "compiler", "export"},
    {"audio", "distributed", "serve", "text", "vision"},
    {"__main__", "_compat", "cli"},
)
LEVEL = {part: level for level, floor in enumerate(FLOORS) for part in floor}
PUBLIC_API_FROM = LEVEL["nn"]
CYTHON_IMPORT = re.compile(
    r"^\s*(?:from\s+(flambeau[\w.]*)\s+c?import|c?import\s+(flambeau[\w.]*))"
)
IMPORT_CALL = re.compile(r"(?:import_module|__import__)\(\s*[\"'](flambeau[\w.]*)")

# A module that is imported, with the line where.
Import = tuple[str, int]


def python_imports(source: str, module: str, is_package: bool) -> Iterator[Import]:
    """Yield the absolute names a Python module imports at run time."""
    tree = ast.parse(source)
    skipped = {id(node) for branch in _type_checking(tree) for node in ast.walk(branch)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, is_package)
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)
    for match in IMPORT_CALL.finditer(source):
        yield match[1], source.count("\n", 0, match.start()) + 1


def _type_checking(tree: ast.Module) -> Iterator[ast.stmt]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from node.body


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parents = module.split(".") if is_package else module.split(".")[:-1]
    base = parents[: len(parents) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def cython_imports(source: str) -> Iterator[Import]:
    """Yield the names a Cython file imports, by their lines: it has no parser for us to use."""
    for number, line in enumerate(source.splitlines(), start=1):
        for match in (CYTHON_IMPORT.match(line), IMPORT_CALL.search(line)):
            if match:
                yield next(name for name in match.groups() if name), number


def part_of(name: str, parts: set[str]) -> str | None:
    """Return the part of the package that a dotted name is in: "" for the top, None for others."""
    words = name.split(".")
    if words[0] != "flambeau":
        return None
    return words[1] if len(words) > 1 and words[1] in parts else ""


def violations(module: str, imports: Iterator[Import], parts: set[str]) -> Iterator[str]:
    """Yield a line for each import that goes up."""
    own = part_of(module, parts)
    if not own or own not in LEVEL:
        return  # the top may import everything; another test asks for a missing floor
    for name, line in imports:
        target = part_of(name, parts)
        if target == "" and LEVEL[own] < PUBLIC_API_FROM:
            yield f"{module}:{line} imports the public API ({name}) from below the libraries"
        elif target and LEVEL.get(target, 0) > LEVEL[own]:
            yield f"{module}:{line} imports {name}, which stands above"


def package_files() -> list[Path]:
    """Return the sources of the package."""
    return sorted(x for x in PACKAGE.rglob("*") if x.suffix in {".py", ".pyx", ".pxi"})


def package_parts() -> set[str]:
    """Return the names directly in the package: modules, and folders with sources."""
    found = {path.relative_to(PACKAGE).parts[0].partition(".")[0] for path in package_files()}
    return found - {"__init__"}


def module_name(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    words = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


def imports_of(path: Path) -> Iterator[Import]:
    """Yield what a file imports."""
    source = path.read_text()
    if path.suffix != ".py":
        return cython_imports(source)
    return python_imports(source, module_name(path), path.name == "__init__.py")


def test_every_part_has_a_floor() -> None:
    assert package_parts() - set(LEVEL) == set(), "give the new part its place in FLOORS"


def test_imports_go_downward_only() -> None:
    files = package_files()
    parts = package_parts()
    assert {"core", "kernels", "nn"} <= parts
    found = [
        line for path in files for line in violations(module_name(path), imports_of(path), parts)
    ]
    assert not found, "\n" + "\n".join(found)


def test_pytorch_is_never_imported() -> None:
    found = [
        f"{module_name(path)}:{line} imports {name}"
        for path in package_files()
        for name, line in imports_of(path)
        if name.split(".")[0] in {"torch", "torchvision"}
    ]
    assert not found, "\n" + "\n".join(found)


PARTS = {"core", "kernels", "ops", "nn", "vision"}


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("flambeau.kernels.llvm", "from flambeau.core import _core", 0),
        ("flambeau.kernels.llvm", "def f():\n    from flambeau.ops import record", 1),
        ("flambeau.kernels.llvm", "from ..ops.record import Record", 1),
        ("flambeau.kernels.llvm", "from .. import nn", 1),
        ("flambeau.kernels.llvm", "from . import scalar", 0),
        ("flambeau.ops.views", "import flambeau", 1),
        ("flambeau.ops.views", "from flambeau import Tensor", 1),
        ("flambeau.nn.linear", "import flambeau\nfrom flambeau import Tensor, vision", 1),
        ("flambeau.ops.views", "if TYPE_CHECKING:\n    from flambeau import Tensor", 0),
        ("flambeau.ops.views", "m = import_module('flambeau.nn')", 1),
        ("flambeau", "from flambeau.vision import datasets", 0),
    ],
)
def test_rule_on_python(module: str, source: str, wrong: int) -> None:
    found = list(violations(module, python_imports(source, module, False), PARTS))
    assert len(found) == wrong, found


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("from flambeau.kernels import plan", 1),
        ("    import flambeau.ops", 1),
        ("import sys\nfrom flambeau.core cimport tensor", 0),
        ('ops = importlib.import_module("flambeau.ops")', 1),
    ],
)
def test_rule_on_cython(source: str, wrong: int) -> None:
    assert len(list(violations("flambeau.core._core", cython_imports(source), PARTS))) == wrong
