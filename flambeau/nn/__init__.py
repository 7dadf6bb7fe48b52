"""Neural networks: modules, losses, initial values, and layers as functions."""

from typing import Any

from . import attention, functional, init, modules, parallel, utils
from .modules import *
from .modules import __all__ as _module_names
from .parallel import DataParallel
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

__all__ = [
    "Buffer",
    "DataParallel",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "attention",
    "factory_kwargs",
    "functional",
    "init",
    "modules",
    "parallel",
    "utils",
    *_module_names,
]

_FACTORY_NAMES = ("device", "dtype", "memory_format")


def factory_kwargs(kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """The options that new tensors take, out of a module's keywords.

    `kwargs` may hold device, dtype and memory_format, directly or as a dict "factory_kwargs".
    Raises TypeError for other names and for those given twice.

    >>> import flambeau as torch
    >>> torch.nn.factory_kwargs({"factory_kwargs": {"dtype": torch.float64}})
    {'dtype': torch.float64}
    """
    if kwargs is None:
        return {}
    unknown = set(kwargs) - {*_FACTORY_NAMES, "factory_kwargs"}
    if unknown:
        raise TypeError(f"unexpected kwargs {unknown}")
    made = dict(kwargs.get("factory_kwargs", {}))
    for name in _FACTORY_NAMES:
        if name in kwargs:
            if name in made:
                raise TypeError(f"{name} specified twice, in **kwargs and in factory_kwargs")
            made[name] = kwargs[name]
    return made
