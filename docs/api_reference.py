"""A Sphinx extension: a page of reference for each public namespace, and docstrings as they are.

The pages are written under `reference/` before a build, from what the namespaces hold at run time:
ops and their methods are made from records, so reading the sources would not find them. Docstrings
are plain text with `code` in single backquotes; what reStructuredText would read into them besides
is escaped.
"""

import importlib
import inspect
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flambeau
from flambeau.core import _core

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# Namespaces below the package, "" being the package itself; each begins with its docstring.
NAMESPACES = (
    *("", "Tensor", "nn", "nn.functional", "nn.init", "nn.utils", "nn.utils.rnn"),
    *("nn.utils.parametrize", "nn.utils.parametrizations", "nn.utils.prune", "nn.attention"),
    *("optim", "optim.lr_scheduler", "optim.swa_utils", "utils.data", "autograd", "linalg", "fft"),
    *("special", "sparse", "func", "amp", "random", "serialization", "safetensors", "hub"),
    *("vision.datasets", "vision.transforms"),
)
OPS = (_core.Op, _core.LoopOp)
DOCTEST = re.compile(r"^\s*(>>>|\.\.\. )")
CODE = re.compile(r"(`+)(.+?)\1")
SECTION = re.compile(r"^(Args|Arguments|Returns|Raises|Yields|Example|Examples|Note|Notes):\s*$")


def setup(app: "Sphinx") -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("builder-inited", write_pages)
    # Before Napoleon's listener (priority 500), which reads `Args:` and so on.
    app.connect("autodoc-process-docstring", escape_docstring, priority=100)
    return {"parallel_read_safe": True}


# ---- pages


def write_pages(app: "Sphinx") -> None:
    """Write one page a namespace, and the page that lists them."""
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    names = [f"flambeau.{name}".rstrip(".") for name in NAMESPACES]
    homes: dict[type, str] = {}
    for name in names:
        _write(folder / f"{name}.rst", "\n".join(make_page(name, homes)))
    entries = "\n".join(f"   {name}" for name in names)
    _write(folder / "index.rst", f"Reference\n=========\n\n.. toctree::\n\n{entries}\n")


def make_page(name: str, homes: dict[type, str]) -> Iterator[str]:
    """The lines of a namespace's page; `homes` says where a class is described, and learns it."""
    holder = resolve(name)
    yield from (name, "=" * len(name), "")
    yield from (*escape((inspect.getdoc(holder) or "").splitlines()), "")
    groups: dict[str, list[str]] = defaultdict(list)
    for member in list_members(holder):
        groups[classify(holder, getattr(holder, member))].append(member)
    for title in sorted(groups):
        yield from (title, "-" * len(title), "")
        for member in groups[title]:
            path, value = f"{name}.{member}", getattr(holder, member)
            if inspect.isclass(value) and (home := homes.setdefault(value, path)) != path:
                yield from (f"``{path}`` is :py:class:`{home}`.", "")
            else:
                yield from (*make_entry(holder, path, value), "")


def make_entry(holder: Any, path: str, value: Any) -> Iterator[str]:
    """The directive for one member."""
    if inspect.isclass(value):
        yield f".. autoclass:: {path}"
        if not issubclass(value, flambeau.nn.Module) or value is flambeau.nn.Module:
            yield "   :members:"
    elif callable(value):
        yield f".. auto{'method' if inspect.isclass(holder) else 'function'}:: {path}"
    else:
        yield f".. autoattribute:: {path}"


def classify(holder: Any, value: Any) -> str:
    """The section of a page a member belongs to; modules of `nn` go by their source file."""
    if inspect.isclass(value):
        source = value.__module__.removeprefix("flambeau.nn.modules.")
        return source.replace("_", " ").capitalize() if holder is flambeau.nn else "Classes"
    if not callable(value):
        return "Attributes"
    return "Methods" if inspect.isclass(holder) else "Functions"


def list_members(holder: Any) -> list[str]:
    """The public names of a namespace which are documented: `__all__`, or what it holds."""
    names = getattr(holder, "__all__", None) or dir(holder)
    listed = (name for name in names if name[0] != "_" and _is_documented(holder, name))
    return sorted(name for name in listed if holder is not flambeau or name not in NAMESPACES)


def _is_documented(holder: Any, name: str) -> bool:
    value = getattr(holder, name, None)
    if inspect.isclass(holder):
        return bool(inspect.getdoc(value)) and name in vars(holder)
    own = isinstance(value, OPS) or getattr(value, "__module__", "").startswith("flambeau")
    return own and callable(value) and bool(inspect.getdoc(value))


def resolve(name: str) -> Any:
    """The module or class of that dotted name."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        holder, _, last = name.rpartition(".")
        return getattr(importlib.import_module(holder), last)


def _write(path: Path, text: str) -> None:
    """Write a page if it changed, so that Sphinx reads again only what did."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


# ---- docstrings


def escape_docstring(
    app: "Sphinx", what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Autodoc's event: change the lines in place."""
    lines[:] = escape(lines)


def escape(lines: list[str]) -> list[str]:
    """Plain lines with examples as reStructuredText: code is set as such, other marks are text."""
    made: list[str] = []
    example = False
    for line in lines:
        example = bool(DOCTEST.match(line)) or (example and bool(line.strip()))
        if example or SECTION.match(line.strip()):
            made.append(line)
        else:
            made.append(escape_line(line))
    return made


def escape_line(line: str) -> str:
    """One line of text: `code` becomes ``code``; *, _, | and ` stand for themselves."""
    made, end = [], 0
    for found in CODE.finditer(line):
        made += [_escape_text(line[end : found.start()]), f"``{found[2]}``"]
        end = found.end()
    return "".join([*made, _escape_text(line[end:])])


def _escape_text(text: str) -> str:
    return re.sub(r"([\\*_|`])", r"\\\1", text)
