"""Spectral normalisation by a hook: the older form of `parametrizations.spectral_norm`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flambeau
import flambeau.nn.functional as F

if TYPE_CHECKING:
    from flambeau import Tensor

    from ..modules.module import Module

__all__ = ["SpectralNorm", "remove_spectral_norm", "spectral_norm"]

VERSION = 1


class SpectralNorm:
    """Divides a weight by its largest singular value before each call of its module."""

    def __init__(
        self, name: str = "weight", n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but got"
                f" n_power_iterations={n_power_iterations}"
            )
        self.name, self.dim = name, dim
        self.n_power_iterations, self.eps = n_power_iterations, eps

    def reshape_weight_to_matrix(self, weight: Tensor) -> Tensor:
        """One row a slice along `dim`."""
        rest = [d for d in range(weight.dim()) if d != self.dim]
        return weight.permute(self.dim, *rest).flatten(1)

    def compute_weight(self, module: Module, do_power_iteration: bool) -> Tensor:
        """The weight with largest singular value 1; u and v take a step first where asked."""
        weight, u, v = (getattr(module, self.name + part) for part in ("_orig", "_u", "_v"))
        matrix = self.reshape_weight_to_matrix(weight)
        if do_power_iteration:
            with flambeau.no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(F.normalize(flambeau.mv(matrix.t(), u), dim=0, eps=self.eps))
                    u.copy_(F.normalize(flambeau.mv(matrix, v), dim=0, eps=self.eps))
                # Copies: a later step must not change what this graph has saved.
                u, v = u.clone(), v.clone()
        return weight / flambeau.dot(u, flambeau.mv(matrix, v))

    def remove(self, module: Module) -> None:
        """Make the weight, as it is now, an ordinary parameter."""
        from ..parameter import Parameter

        with flambeau.no_grad():
            weight = self.compute_weight(module, do_power_iteration=False)
        delattr(module, self.name)
        for suffix in ("_u", "_v", "_orig"):
            delattr(module, self.name + suffix)
        module.register_parameter(self.name, Parameter(weight.detach()))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, do_power_iteration=module.training))

    @staticmethod
    def apply(
        module: Module, name: str, n_power_iterations: int, dim: int, eps: float
    ) -> SpectralNorm:
        """Replace the parameter by the original one with u and v, and hook the module."""
        for other in module._forward_pre_hooks.values():
            if isinstance(other, SpectralNorm) and other.name == name:
                raise RuntimeError(
                    f"Cannot register two spectral_norm hooks on the same parameter {name}"
                )
        hook = SpectralNorm(name, n_power_iterations, dim, eps)
        weight = module._parameters[name]
        if weight is None:
            raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
        with flambeau.no_grad():
            matrix = hook.reshape_weight_to_matrix(weight)
            u, v = (
                F.normalize(weight.new_empty(size).normal_(0, 1), dim=0, eps=eps)
                for size in matrix.size()
            )
        delattr(module, name)
        module.register_parameter(name + "_orig", weight)
        # A plain attribute, so that code that looks at the weight's sizes still works.
        setattr(module, name, weight.data)
        module.register_buffer(name + "_u", u)
        module.register_buffer(name + "_v", v)
        module.register_forward_pre_hook(hook)
        module._register_state_dict_hook(_NoteVersion(hook))
        return hook


class _NoteVersion:
    """Puts the version of the format into a state_dict's metadata, as PyTorch does."""

    def __init__(self, hook: SpectralNorm) -> None:
        self.hook = hook

    def __call__(self, module: Any, state_dict: Any, prefix: str, local_metadata: dict) -> None:
        noted = local_metadata.setdefault("spectral_norm", {})
        key = self.hook.name + ".version"
        if key in noted:
            raise RuntimeError(f"Unexpected key in metadata['spectral_norm']: {key}")
        noted[key] = VERSION


def spectral_norm(
    module: Any,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Any:
    """Divide a weight by its largest singular value (Miyato et al., 2018).

    The parameter is `NAME_orig`, the buffers of the power iteration are `NAME_u` and `NAME_v`.
    `parametrizations.spectral_norm` does without a hook.

    Args:
        module: the module that has the weight.
        name: the parameter's name.
        n_power_iterations: steps of the power iteration at each call in training.
        eps: smallest length to divide by.
        dim: the dimension of the outputs; 0, or 1 for transposed convolutions.

    >>> import flambeau as torch
    >>> layer = torch.nn.utils.spectral_norm(torch.nn.Linear(3, 2))
    >>> layer(torch.ones(1, 3)).shape, layer.weight_u.shape, layer.weight_v.shape
    (torch.Size([1, 2]), torch.Size([2]), torch.Size([3]))
    """
    if dim is None:
        dim = 1 if type(module).__name__.startswith("ConvTranspose") else 0
    SpectralNorm.apply(module, name, n_power_iterations, dim, eps)
    return module


def remove_spectral_norm(module: Any, name: str = "weight") -> Any:
    """Undo `spectral_norm`, keeping the weight's present value; ValueError if there is none.

    >>> import flambeau as torch
    >>> layer = torch.nn.utils.spectral_norm(torch.nn.Linear(2, 1))
    >>> list(torch.nn.utils.remove_spectral_norm(layer).state_dict())
    ['bias', 'weight']
    """
    found = [
        number
        for number, hook in module._forward_pre_hooks.items()
        if isinstance(hook, SpectralNorm) and hook.name == name
    ]
    if not found:
        raise ValueError(f"spectral_norm of '{name}' not found in {module}")
    module._forward_pre_hooks.pop(found[0]).remove(module)
    for number, note in list(module._state_dict_hooks.items()):
        if isinstance(note, _NoteVersion) and note.hook.name == name:
            del module._state_dict_hooks[number]
    return module
