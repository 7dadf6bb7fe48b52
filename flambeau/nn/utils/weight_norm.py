"""Weight normalisation by a hook: the older form of `parametrizations.weight_norm`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .parametrizations import _norm_except

if TYPE_CHECKING:
    from flambeau import Tensor

    from ..modules.module import Module

__all__ = ["WeightNorm", "remove_weight_norm", "weight_norm"]


class WeightNorm:
    """Sets a weight to g * v / |v| before each call of its module."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name = name
        self.dim = -1 if dim is None else dim

    def compute_weight(self, module: Module) -> Tensor:
        """The weight of length g and direction v."""
        g, v = getattr(module, self.name + "_g"), getattr(module, self.name + "_v")
        return v * (g / _norm_except(v, self.dim))

    @staticmethod
    def apply(module: Module, name: str, dim: int | None) -> WeightNorm:
        """Replace the parameter by its length and direction, and hook the module."""
        from ..parameter import Parameter, is_lazy

        if any(isinstance(h, WeightNorm) and h.name == name for h in _list_hooks(module)):
            raise RuntimeError(
                f"Cannot register two weight_norm hooks on the same parameter {name}"
            )
        hook = WeightNorm(name, dim)
        weight = getattr(module, name)
        if is_lazy(weight):
            raise ValueError(
                "The module passed to `WeightNorm` can't have uninitialized parameters. Make sure"
                " to run the dummy forward before applying weight normalization"
            )
        del module._parameters[name]
        length = Parameter(_norm_except(weight, hook.dim).data)
        module.register_parameter(name + "_g", length)
        module.register_parameter(name + "_v", Parameter(weight.data))
        setattr(module, name, hook.compute_weight(module))
        module.register_forward_pre_hook(hook)
        return hook

    def remove(self, module: Module) -> None:
        """Make the weight, as it is now, an ordinary parameter."""
        from ..parameter import Parameter

        weight = self.compute_weight(module)
        delattr(module, self.name)
        for suffix in ("_g", "_v"):
            del module._parameters[self.name + suffix]
        setattr(module, self.name, Parameter(weight.data))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def _list_hooks(module: Module) -> list[Any]:
    return list(module._forward_pre_hooks.values())


def weight_norm(module: Any, name: str = "weight", dim: int | None = 0) -> Any:
    """Train length g and direction v of a weight: w = g * v / |v| (Salimans and Kingma, 2016).

    The parameters are `NAME_g` and `NAME_v`. `parametrizations.weight_norm` does without a hook.

    Args:
        module: the module that has the weight.
        name: the parameter's name.
        dim: the dimension that keeps a length per slice; None for one length in all.

    >>> import flambeau as torch
    >>> layer = torch.nn.utils.weight_norm(torch.nn.Linear(20, 40))
    >>> layer.weight_g.shape, layer.weight_v.shape
    (torch.Size([40, 1]), torch.Size([40, 20]))
    """
    WeightNorm.apply(module, name, dim)
    return module


def remove_weight_norm(module: Any, name: str = "weight") -> Any:
    """Undo `weight_norm`, keeping the weight's present value; ValueError if there is none.

    >>> import flambeau as torch
    >>> layer = torch.nn.utils.weight_norm(torch.nn.Linear(2, 1))
    >>> [n for n, _ in torch.nn.utils.remove_weight_norm(layer).named_parameters()]
    ['bias', 'weight']
    """
    for number, hook in module._forward_pre_hooks.items():
        if isinstance(hook, WeightNorm) and hook.name == name:
            hook.remove(module)
            del module._forward_pre_hooks[number]
            return module
    raise ValueError(f"weight_norm of '{name}' not found in {module}")
