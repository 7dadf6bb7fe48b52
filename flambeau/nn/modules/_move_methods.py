"""Changing device and dtype of all parameters and buffers of a module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flambeau
from flambeau import Tensor

from ..parameter import Parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from .module import Module


class MoveMethods:
    """Part of `Module`: converts its tensors in place, so that optimizers keep seeing the same
    parameters.
    """

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    children: Callable[[], Iterator[Module]]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replace the values of every parameter, gradient and buffer by `fn` of them; returns
        self.
        """
        if recurse:
            for module in self.children():
                module._apply(fn)
        for name, parameter in self._parameters.items():
            if parameter is not None:
                self._apply_to_parameter(name, parameter, fn)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def _apply_to_parameter(
        self, name: str, parameter: Parameter, fn: Callable[[Tensor], Tensor]
    ) -> None:
        grad = parameter.grad
        with flambeau.no_grad():
            values = fn(parameter)
            new_grad = None if grad is None else fn(grad)
        changed = parameter
        if values.device.type != parameter.device.type and "meta" in (
            values.device.type,
            parameter.device.type,
        ):
            # A tensor with storage and one without cannot trade places behind one object.
            changed = self._parameters[name] = Parameter(values, parameter.requires_grad)
        elif values is not parameter:
            parameter.data = values
        if new_grad is not None and (new_grad is not grad or changed is not parameter):
            changed.grad = new_grad.requires_grad_(grad.requires_grad)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move to a device and/or convert floating and complex tensors to a dtype, in place;
        returns self.

        Call as `to(device)`, `to(dtype)`, `to(device, dtype)` or `to(tensor)`; keywords `device`,
        `dtype`, `non_blocking`, `memory_format`. Integer tensors keep their dtype.

        Errors:
            TypeError: `dtype` is neither floating nor complex.

        >>> import flambeau as torch
        >>> torch.nn.Linear(2, 1).to(torch.float64).weight.dtype
        torch.float64
        """
        device, dtype, non_blocking, memory_format = _parse_to(args, kwargs)
        if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
            raise TypeError(
                "nn.Module.to only accepts floating point or complex dtypes, but got desired "
                f"dtype={dtype}"
            )

        def convert(tensor: Tensor) -> Tensor:
            keeps_dtype = not (tensor.is_floating_point() or tensor.is_complex())
            options = {}
            if memory_format is not None and tensor.dim() in (4, 5):
                options["memory_format"] = memory_format
            if tensor.is_meta and device is not None and device.type != "meta":
                raise NotImplementedError(
                    "Cannot copy out of meta tensor; no data! Please use"
                    " torch.nn.Module.to_empty() instead of torch.nn.Module.to() when moving"
                    " module from meta to a different device."
                )
            return tensor.to(device, None if keeps_dtype else dtype, non_blocking, **options)

        return self._apply(convert)

    def to_empty(self, *, device: Any, recurse: bool = True) -> Self:
        """Move to `device` without copying values: the tensors are left uninitialized."""
        return self._apply(
            lambda tensor: flambeau.empty_like(tensor, device=device), recurse=recurse
        )

    def type(self, dst_type: Any) -> Self:
        """Convert every parameter and buffer to `dst_type`."""
        return self._apply(lambda tensor: tensor.type(dst_type))

    def float(self) -> Self:
        """Convert floating parameters and buffers to float32."""
        return self._convert_floating(flambeau.float32)

    def double(self) -> Self:
        """Convert floating parameters and buffers to float64."""
        return self._convert_floating(flambeau.float64)

    def half(self) -> Self:
        """Convert floating parameters and buffers to float16."""
        return self._convert_floating(flambeau.float16)

    def bfloat16(self) -> Self:
        """Convert floating parameters and buffers to bfloat16."""
        return self._convert_floating(flambeau.bfloat16)

    def _convert_floating(self, dtype: Any) -> Self:
        return self._apply(
            lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor
        )

    def cpu(self) -> Self:
        """Move to the CPU."""
        return self._apply(lambda tensor: tensor.cpu())

    def cuda(self, device: Any = None) -> Self:
        """Move to a CUDA device, the current one by default."""
        return self._apply(lambda tensor: tensor.cuda(device))

    def share_memory(self) -> Self:
        """Move every tensor to shared memory, so that other processes see changes."""
        return self._apply(lambda tensor: tensor.share_memory_())


def _parse_to(args: tuple, kwargs: dict[str, Any]) -> tuple[Any, Any, bool, Any]:
    """Sort the arguments of `Module.to` into (device, dtype, non_blocking, memory_format)."""
    options = dict(kwargs)
    memory_format = options.pop("memory_format", None)
    names = ["device", "dtype", "non_blocking"]
    tensor = args[0] if args and isinstance(args[0], Tensor) else options.pop("tensor", None)
    if tensor is not None:
        options.update(device=tensor.device, dtype=tensor.dtype)
        args, names = args[1:], names[2:]
    elif args and isinstance(args[0], flambeau.dtype):
        names = names[1:]
    if len(args) > len(names) or set(options) - {"device", "dtype", "non_blocking"}:
        raise TypeError(
            "to: expected (device), (dtype), (device, dtype) or (tensor), then non_blocking and "
            f"memory_format; got {args} {kwargs}"
        )
    options.update(zip(names, args, strict=False))
    device, dtype = options.get("device"), options.get("dtype")
    device = flambeau.device(device) if isinstance(device, (str, int)) else device
    return device, dtype, bool(options.get("non_blocking", False)), memory_format
