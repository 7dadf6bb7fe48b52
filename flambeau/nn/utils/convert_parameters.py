"""All parameters as one vector, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flambeau

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flambeau import Tensor

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Join the values of all parameters into one vector, in their order.

    Errors:
        TypeError: the parameters are on different devices.

    >>> import flambeau as torch
    >>> torch.nn.utils.parameters_to_vector(torch.nn.Linear(10, 3).parameters()).shape
    torch.Size([33])
    """
    parameters = list(parameters)
    _check_one_device(parameters)
    return flambeau.cat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Give every parameter its part of `vec` as values, sharing memory with it.

    Errors:
        TypeError: `vec` is no tensor, or the parameters are on different devices.
    """
    if not isinstance(vec, flambeau.Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {flambeau.typename(vec)}")
    parameters = list(parameters)
    _check_one_device(parameters)
    start = 0
    for parameter in parameters:
        stop = start + parameter.numel()
        parameter.data = vec[start:stop].view_as(parameter).data
        start = stop


def _check_one_device(parameters: list[Tensor]) -> None:
    if len({parameter.device for parameter in parameters}) > 1:
        raise TypeError(
            "Found two parameters on different devices, this is currently not supported."
        )
