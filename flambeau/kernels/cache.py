"""From LLVM IR to callable machine code, through a memory and a disk cache.

Objects are files named by a hash of everything they depend on, written to a temporary name and renamed,
so that many processes may share the folder. llvmlite is imported only when something must be compiled.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from .. import core
from . import target as targets
from .target import Target

_modules: dict[str, object] = {}  # digest -> loaded object
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


def function(ir: str, symbol: str = "k", target: Target | None = None) -> int:
    """Address of a kernel given as IR text."""
    target = target or targets.host()
    show("ir", ir)
    return _symbol(_digest(ir, target), symbol, lambda: ir, target)


def named(key: str, build: Callable[[], str], symbol: str = "k") -> int:
    """Address of a kernel known by a key, so that its IR need not be generated when it is cached."""
    target = targets.host()
    return _symbol(_digest(f"{key}\0{generator_version()}", target), symbol, build, target)


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
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _symbol(digest: str, symbol: str, build: Callable[[], str], target: Target) -> int:
    module = _modules.get(digest)
    if module is None:
        module = _modules[digest] = _load(digest, build, target)
    return core.find_symbol(module, symbol)


def _load(digest: str, build: Callable[[], str], target: Target) -> object:
    path = folder() / target.name / f"{digest}.o"
    try:
        return core.load_object(path.read_bytes())
    except FileNotFoundError:
        pass
    except ValueError:  # damaged: compile afresh and replace it
        path.unlink(missing_ok=True)
    code = compile_object(build(), target)
    _write(path, code)
    return core.load_object(code)


def _write(path: Path, code: bytes) -> None:
    """Write atomically; a cache that can't be written is no reason to fail."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(code)
        os.replace(temporary, path)
    except OSError as error:
        show("cache", f"could not write {path}: {error}")


@cache
def _machine(target: Target, optimise: int = 2):
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    # loop strength reduction costs a third of the compile time and gains nothing on explicit vectors
    llvm.set_option("flambeau", "-disable-lsr")
    machine = llvm.Target.from_triple(target.triple)
    return machine.create_target_machine(
        cpu=target.cpu, features=target.features, opt=optimise, reloc="pic", codemodel="small", jit=False
    )


def compile_object(ir: str, target: Target | None = None) -> bytes:
    """Object code of a module (ELF on every system)."""
    global compiled
    import llvmlite.binding as llvm

    machine = _machine(target or targets.host())
    try:
        module = llvm.parse_assembly(ir)
    except RuntimeError as error:
        raise RuntimeError(f"generated IR is not valid: {error}\n{ir}") from None
    compiled += 1
    if _shown("asm"):
        show("asm", machine.emit_assembly(module))
    return machine.emit_object(module)


def assembly(ir: str, target: Target | None = None) -> str:
    """The machine code of a module, readable."""
    import llvmlite.binding as llvm

    machine = _machine(target or targets.host())
    return machine.emit_assembly(llvm.parse_assembly(ir))


def _shown(stage: str) -> bool:
    return stage in os.environ.get("FLAMBEAU_SHOW", "").split(",")


def show(stage: str, text: str) -> None:
    """Print a stage of compilation if FLAMBEAU_SHOW lists it: graph, ir, asm, cache."""
    if _shown(stage):
        print(f"--- {stage}\n{text}", file=sys.stderr)


# ---- the `flambeau cache` command ------------------------------------------------------------------


def summary() -> dict[str, object]:
    """Folder, number of objects and bytes of the disk cache."""
    files = [p for p in folder().glob("*/*.o")]
    return {
        "folder": str(folder()),
        "objects": len(files),
        "bytes": sum(p.stat().st_size for p in files),
    }


def clear() -> int:
    """Delete the cached objects; how many there were."""
    files = list(folder().glob("*/*.o")) + list(folder().glob("*/*.tmp"))
    for path in files:
        path.unlink(missing_ok=True)
    return len(files)
