"""Names of PyTorch that resolve to Flambeau: what `flambeau run` stands on.

After `install()`, `import torch` gives the module `flambeau`, `import torch.nn.functional` the
module `flambeau.nn.functional`, `import torchvision` the module `flambeau.vision` and `import
safetensors.torch` the module `flambeau.safetensors.torch`: the very same module objects, never a
second copy. PyTorch, if it is installed, is not touched.

Processes started by `multiprocessing` need the finder before they import the script. A forked child
inherits it. A spawned child, or one from a fork server, first unpickles the "preparation data" of
its parent; `install` adds an entry to that dictionary that calls `install` when it is unpickled.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

ALIASES = {
    "torch": "flambeau",
    "torchvision": "flambeau.vision",
    "safetensors": "flambeau.safetensors",  # that package imports PyTorch
}


def resolve_alias(name: str) -> str | None:
    """Give Flambeau's name of a PyTorch module, or None for a module that is not PyTorch's.

    >>> resolve_alias("torch.nn.functional")
    'flambeau.nn.functional'
    >>> resolve_alias("torchvision")
    'flambeau.vision'
    >>> resolve_alias("numpy") is None
    True
    """
    root, dot, rest = name.partition(".")
    target = ALIASES.get(root)
    return None if target is None else target + dot + rest


class AliasLoader(importlib.abc.Loader):
    """Puts an existing Flambeau module into `sys.modules` under its PyTorch name."""

    def __init__(self, target: str) -> None:
        self.target = target

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Let the import system make the placeholder that `exec_module` replaces."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Replace the placeholder by the real module.

        The import system reads the entry back from `sys.modules`. Returning the real module from
        `create_module` instead would overwrite its `__spec__`, and with it its relative imports.
        """
        sys.modules[module.__name__] = importlib.import_module(self.target)


class AliasFinder(importlib.abc.MetaPathFinder):
    """Meta path finder for the names in `ALIASES` and everything below them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find Flambeau's module of that PyTorch name.

        Raises ModuleNotFoundError, with Flambeau's name, where Flambeau has no such module: another
        finder must not answer, or half of PyTorch would be mixed with half of Flambeau.
        """
        alias = resolve_alias(fullname)
        if alias is None:
            return None
        if not module_exists(alias):
            message = f"No module named {fullname!r}: Flambeau does not have {alias} yet"
            raise ModuleNotFoundError(message, name=fullname)
        return importlib.machinery.ModuleSpec(fullname, AliasLoader(alias))

    def find_distributions(self, context: Any = None) -> Iterator[Any]:
        """Tell `importlib.metadata` which PyTorch this is: libraries ask for its version there."""
        if context is not None and context.name == "torch":
            yield describe_distribution()


def describe_distribution() -> Any:
    """PyTorch's entry among the installed distributions, with the version whose API this is."""
    from importlib.metadata import Distribution

    from .version import pytorch

    class AliasDistribution(Distribution):
        def read_text(self, filename: str) -> str | None:
            text = f"Metadata-Version: 2.1\nName: torch\nVersion: {pytorch}\n"
            return text if filename == "METADATA" else None

        def locate_file(self, path: Any) -> Any:
            raise FileNotFoundError(f"torch stands for Flambeau: it has no file {path} of its own")

    return AliasDistribution()


def module_exists(name: str) -> bool:
    """Say whether a module can be imported; imports the packages above it, not the module."""
    if name in sys.modules:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as error:
        # A package above it is missing. Any other missing module is a fault to show as it is.
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            return False
        raise


class InstallOnUnpickle:
    """An entry of the preparation data: unpickling it installs the finder in the child."""

    def __reduce__(self) -> tuple[Callable[[], bool], tuple[()]]:
        return install, ()


def install() -> bool:
    """Make `import torch` and `import torchvision` give Flambeau, here and in child processes.

    Returns False when it was installed already. Raises RuntimeError when PyTorch itself has been
    imported before: its modules and Flambeau's must not be mixed in one process.

    >>> install() or not install()
    True
    """
    if any(isinstance(finder, AliasFinder) for finder in sys.meta_path):
        return False
    for name in ("torch", "torchvision"):
        if name in sys.modules:
            raise RuntimeError(
                f"flambeau run: {name} was imported before Flambeau could take its name; "
                "call flambeau._compat.install() first"
            )
    sys.meta_path.insert(0, AliasFinder())
    prepare_children()
    return True


def prepare_children() -> None:
    """Make processes that `multiprocessing` spawns install the finder before the script runs."""
    from multiprocessing import set_forkserver_preload, spawn

    original = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        return {**original(name), "flambeau": InstallOnUnpickle()}

    spawn.get_preparation_data = get_preparation_data
    # The fork server would import the script before any preparation data reaches it.
    set_forkserver_preload([])
    expose_package_to_children()


def expose_package_to_children() -> None:
    """Let children import Flambeau before they receive the parent's `sys.path`."""
    import site

    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if root in {os.path.abspath(folder) for folder in site.getsitepackages()}:
        return
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if root not in folders:
        os.environ["PYTHONPATH"] = os.pathsep.join([root, *filter(None, folders)])
