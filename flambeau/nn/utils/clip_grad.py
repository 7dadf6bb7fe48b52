"""Clipping gradients by norm or by value."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import flambeau
from flambeau import Tensor, core
from flambeau.ops.clamping import clamp_both
from flambeau.ops.norms import norm2_body

__all__ = [
    "clip_grad_norm",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "get_total_norm",
]


def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all tensors' values together, as if joined into one vector; a 0-d tensor.

    Args:
        norm_type: p of the p-norm, `inf` included.
        error_if_nonfinite: raise RuntimeError when the norm is not finite.
        foreach: accepted for compatibility; it changes nothing.
    """
    tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if not tensors:
        return flambeau.tensor(0.0)
    norm_type = float(norm_type)
    with flambeau.no_grad():
        norms = [_norm(tensor, norm_type) for tensor in tensors]
        total = _norm(flambeau.stack(_on_one_device(norms)), norm_type)
    if error_if_nonfinite and not bool(total.isfinite()):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, "
            "so it cannot be "
            "clipped. To disable this error and scale the gradients by the non-finite norm anyway, "
            "set "
            "`error_if_nonfinite=False`"
        )
    return total


def _norm(tensor: Tensor, norm_type: float) -> Tensor:
    if norm_type == 2.0 and tensor.is_floating_point():
        return norm2_body(tensor)
    return flambeau.linalg.vector_norm(tensor, norm_type)


def _on_one_device(tensors: list[Tensor]) -> list[Tensor]:
    device = tensors[0].device
    return [t if t.device is device else t.to(device) for t in tensors]


def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    total_norm: Tensor,
    foreach: bool | None = None,
) -> None:
    """Scale the gradients, in place, by max_norm / (total_norm + 1e-6) where that is below 1."""
    grads = _list_grads(parameters)
    if not grads:
        return
    with flambeau.no_grad():
        # Clamped instead of tested: no value has to be read back from the device.
        factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(factor if grad.device is factor.device else factor.to(grad.device))


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients of `parameters`, in place, so that their common norm is at most
    `max_norm`.

    Returns:
        The norm before clipping, as a 0-d tensor.

    >>> import flambeau as torch
    >>> w = torch.tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> torch.nn.utils.clip_grad_norm_([w], max_norm=1.0)
    tensor(10.)
    >>> w.grad
    tensor([0.6000, 0.8000])
    """
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    else:
        parameters = list(parameters)
        if not parameters:
            warnings.warn(
                "`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=2
            )
    total_norm = get_total_norm(_list_grads(parameters), norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(parameters, max_norm, total_norm, foreach)
    return total_norm


def clip_grad_norm(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Deprecated name of `clip_grad_norm_`."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of "
        "`torch.nn.utils.clip_grad_norm_`.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Limit every gradient value of `parameters`, in place, to [-clip_value, clip_value]."""
    clip_value = float(clip_value)
    with flambeau.no_grad():
        for grad in _list_grads(parameters):
            core.apply_inplace(clamp_both, grad, -clip_value, clip_value)


def _list_grads(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [grad for parameter in parameters if (grad := parameter.grad) is not None]
