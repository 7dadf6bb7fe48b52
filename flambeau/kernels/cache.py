"""From LLVM IR to callable machine code, through a memory and a disk cache.

Objects are files named by a hash of everything they depend on, written to a temporary name and
renamed, so that many processes may share the folder. A second folder, beside the installed package,
may hold objects that were compiled at installation; it is only read. llvmlite is imported only when
something must be compiled.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from .. import core
from . import target as targets
from .source_hash import hash_sources
from .target import Target

PACKAGED = os.path.join(os.path.dirname(os.path.dirname(__file__)), "_kernels")
_modules: dict[str, object] = {}  # digest -> loaded object
_KINDS = (".o", ".sig", ".tmp")  # machine code; what a signature needs; unfinished files
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_DIGEST = re.compile("[0-9a-f]{40}")
compiled = 0  # modules compiled by this process (cache misses), for reports


def folder() -> Path:
    """Where objects are kept: $FLAMBEAU_CACHE, or the system's folder for caches."""
    chosen = os.environ.get("FLAMBEAU_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "flambeau"


def packaged() -> str | None:
    """The folder of kernels beside the package, where `flambeau cache warm --package` put them;
    FLAMBEAU_PACKAGED=0 leaves it out."""
    if os.environ.get("FLAMBEAU_PACKAGED") == "0":
        return None
    return PACKAGED if os.path.isdir(PACKAGED) else None


def function(ir: str, symbol: str = "k", target: Target | None = None) -> int:
    """Address of a kernel given as IR text."""
    target = target or targets.host()
    show("ir", ir)
    return _symbol(_digest(ir, target), symbol, lambda: ir, target)


def named(key: str, build: Callable[[], str], symbol: str = "k") -> int:
    """Address of a kernel known by a key, so that its IR need not be generated when it is
    cached."""
    target = targets.host()
    return _symbol(_digest(f"{key}\0{generator_version()}", target), symbol, build, target)


class Piece(NamedTuple):
    """One function of a module whose machine code is kept under `digest`."""

    digest: str
    symbol: str = "k"


def pieces(texts: Sequence[str]) -> list[Piece]:
    """Where the machine code of these IR texts is kept; it need not be there yet."""
    return [Piece(_digest(text, targets.host())) for text in texts]


def named_piece(key: str, symbol: str) -> Piece:
    """Where `named(key, ...)` keeps its machine code."""
    return Piece(_digest(f"{key}\0{generator_version()}", targets.host()), symbol)


def remember(key: str | None, texts: Sequence[str], facts: Sequence[int | float]) -> list[int]:
    """Addresses of the kernels with these IR texts; `recall(key)` finds them and the facts
    again."""
    addresses = [function(text) for text in texts]
    if key is not None:
        note(key, pieces(texts), facts)
    return addresses


def note(key: str, needs: Sequence[Piece], facts: Sequence[int | float]) -> None:
    """Note under a key which machine code a signature or plan needs, and facts about it."""
    words = [f"{piece.digest}:{piece.symbol}" for piece in needs]
    counts = f"{len(needs)} {len(facts)}"
    text = f"{counts}\n{' '.join(words)}\n{' '.join(map(repr, facts))}\n"
    _write(_note(key), text.encode("ascii"))


def recall(key: str) -> tuple[list[int], list[int | float]] | None:
    """What was remembered under a key, if all of it is still there: addresses, facts.

    Nothing is recalled while FLAMBEAU_SHOW asks for stages that recalling leaves out.
    """
    if _shown("graph") or _shown("ir") or _shown("asm"):
        return None
    try:
        counts, needs, facts, _ = _read(_note(key)).decode("ascii").split("\n")
        found = [_load_known(need) for need in needs.split()], [_number(f) for f in facts.split()]
        return found if counts == f"{len(found[0])} {len(found[1])}" else None
    except (OSError, ValueError, KeyError):  # not there, or damaged: it will be written afresh
        return None


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdecimal() else float(text)


def _note(key: str) -> str:
    target = targets.host()
    return os.path.join(target.name, f"{_digest(key, target)}.sig")


def _load_known(need: str) -> int:
    digest, _, symbol = need.partition(":")
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"no digest: {digest!r}")
    module = _modules.get(digest)
    if module is None:
        code = _read(os.path.join(targets.host().name, f"{digest}.o"))
        module = _modules[digest] = core.load_object(code)
    return core.find_symbol(module, symbol)


def _read(name: str) -> bytes:
    """A file of the cache, by its path within: the user's, else the package's."""
    for base in (str(folder()), packaged()):
        if base is None:
            continue
        path = os.path.join(base, name)
        try:
            with open(path, "rb", buffering=0) as file:
                code = file.read()
        except OSError:  # not there, or not readable
            continue
        show("cache", f"found {path}")
        return code
    raise FileNotFoundError(name)


def _digest(text: str, target: Target) -> str:
    parts = (text, target.triple, target.cpu, target.features, compiler_version())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]


@cache
def compiler_version() -> str:
    """llvmlite's version, read without importing it."""
    spec = importlib.util.find_spec("llvmlite")
    if spec is None or spec.origin is None:
        return "none"
    return Path(spec.origin).with_name("_version.py").read_text(encoding="utf-8")


@cache
def generator_version() -> str:
    """A hash of the generators' sources: a changed generator invalidates what it made."""
    return hash_sources(Path(__file__).parent)


def _symbol(digest: str, symbol: str, build: Callable[[], str], target: Target) -> int:
    module = _modules.get(digest)
    if module is None:
        module = _modules[digest] = _load(digest, build, target)
    return core.find_symbol(module, symbol)


def _load(digest: str, build: Callable[[], str], target: Target) -> object:
    name = os.path.join(target.name, f"{digest}.o")
    if _shown("asm"):
        show("asm", assembly(build(), target))
    try:
        return core.load_object(_read(name))
    except OSError:  # not there, or not readable
        pass
    except ValueError as error:  # damaged: compile afresh and replace it
        show("cache", f"{name}: {error}")
    code = compile_object(build(), target)
    _write(name, code)
    return core.load_object(code)


def _write(name: str, code: bytes) -> None:
    """Write atomically; a cache that can't be written is no reason to fail."""
    path = os.path.join(folder(), name)
    # no name of tempfile's: they cost more than the writing; a thread writes one file at a time
    temporary = f"{path}.{os.getpid()}.{threading.get_ident()}.tmp"
    try:
        try:
            handle = os.open(temporary, _CREATE, 0o600)
        except FileNotFoundError:  # the folder's first file
            os.makedirs(os.path.dirname(path), exist_ok=True)
            handle = os.open(temporary, _CREATE, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(code)
        os.replace(temporary, path)
        show("cache", f"wrote {path}")
    except OSError as error:
        show("cache", f"could not write {path}: {error}")


# Passes of LLVM's that find nothing to do in kernels of explicit vectors, and take their time:
# but for the first, which costs a third, the machine code is the same without them.
_LEFT_OUT = (
    "-disable-lsr",
    "-disable-constant-hoisting",
    "-disable-partial-libcall-inlining",
    "-disable-mergeicmps",
    "-disable-early-ifcvt",
    "-disable-post-ra",
    "-enable-shrink-wrap=false",
    "-disable-x86-domain-reassignment",
    "-disable-x86-lea-opt",
    "-x86-cmov-converter=false",
    "-x86-disable-avoid-SFB",
)

# Level 0 as we use it: what optimises is left out, but instructions are selected and registers
# assigned as at the other levels.
_LEVEL_0 = ("-fast-isel=false", "-optimize-regalloc=true")

# Where the body is a line of vector operations within one loop, and constants are where they should
# be, there is nothing to move, share or forward: level 0 gives the same code in two thirds of the
# time. The processor orders such a line as well.
PLAIN = "; compiled at level 0\n"  # ends the IR of such a one
_orders = True  # does LLVM order instructions? That is its own state, and slow to set


@cache
def _machine(target: Target, optimise: int = 2):
    import llvmlite.binding as llvm

    _initialise(llvm, target)
    for option in (*_LEFT_OUT, *_LEVEL_0):
        llvm.set_option("flambeau", option)
    machine = llvm.Target.from_triple(target.triple)
    return machine.create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=optimise,
        reloc="pic",
        codemodel="small",
        jit=False,
    )


def _initialise(llvm: ModuleType, target: Target) -> None:
    """Make LLVM know the target. Every pass is told of all there are: this process's own is
    quicker."""
    if target.triple.split("-")[0] == llvm.get_process_triple().split("-")[0]:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    else:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()


def _machine_for(ir: str, target: Target):
    """The compiler for a module. Another thread may switch the ordering of instructions meanwhile:
    that bears on the code's speed only."""
    global _orders
    import llvmlite.binding as llvm

    plain = ir.endswith(PLAIN) and target.name != "neon"  # measured on x86 only
    machine = _machine(target, 0 if plain else 2)
    if plain is _orders:
        _orders = not plain
        llvm.set_option("flambeau", f"-enable-misched={'false' if plain else 'true'}")
    return machine


def compile_object(ir: str, target: Target | None = None) -> bytes:
    """Object code of a module (ELF on every system)."""
    global compiled
    import llvmlite.binding as llvm

    machine = _machine_for(ir, target or targets.host())
    try:
        module = llvm.parse_assembly(ir)
    except RuntimeError as error:
        raise RuntimeError(f"generated IR is not valid: {error}\n{ir}") from None
    compiled += 1
    return machine.emit_object(module)


def assembly(ir: str, target: Target | None = None) -> str:
    """The machine code of a module, readable."""
    import llvmlite.binding as llvm

    machine = _machine_for(ir, target or targets.host())
    return machine.emit_assembly(llvm.parse_assembly(ir))


def _shown(stage: str) -> bool:
    return stage in os.environ.get("FLAMBEAU_SHOW", "").split(",")


def show(stage: str, text: str) -> None:
    """Print a stage of compilation if FLAMBEAU_SHOW lists it: graph, ir, asm, cache."""
    if _shown(stage):
        print(f"--- {stage}\n{text}", file=sys.stderr)


# ---- the `flambeau cache` command ----------------------------------------------------------------


def summary() -> dict[str, object]:
    """Folder, number of objects and bytes of the disk cache."""
    return measure(folder())


def count_objects(base: Path) -> int:
    """How many objects a folder of kernels holds."""
    return sum(1 for _ in base.glob("*/*.o"))


def measure(base: Path) -> dict[str, object]:
    """The same of any folder of kernels."""
    files = [p for p in base.glob("*/*.o") if p.is_file()]
    size = sum(p.stat().st_size for p in files)
    return {"folder": str(base), "objects": len(files), "bytes": size}


def clear() -> int:
    """Delete the cached objects; how many there were."""
    files = [p for kind in _KINDS for p in folder().glob(f"*/*{kind}")]
    for path in files:
        path.unlink(missing_ok=True)
    return sum(path.suffix == ".o" for path in files)
