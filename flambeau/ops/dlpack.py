"""DLPack: tensors handed to other libraries and taken from them without copying."""

from __future__ import annotations

from typing import Any

from .. import core
from ..core import Tensor
from .factory import check_device
from .record import METHODS, function

_CPU = (1, 0)  # DLPack's device type and number


def export_dlpack(
    self: Tensor,
    *,
    stream: Any = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """A DLPack capsule over the tensor's memory; of version 1 if the consumer can read that.

    BufferError for tensors that need a gradient, and for devices other than the CPU.
    """
    if self.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if stream is not None and stream != -1:
        raise BufferError(f"__dlpack__: stream must be None on the CPU, got {stream!r}")
    if dl_device is not None and tuple(int(part) for part in dl_device) != _CPU:
        raise BufferError(
            f"__dlpack__: cannot export to DLPack device {tuple(dl_device)}: the tensor is on the "
            "CPU (1, 0)"
        )
    source = core.clone_plain(self) if copy else self
    versioned = max_version is not None and max_version[0] >= 1
    return core.to_dlpack(source, versioned, bool(copy))


METHODS["__dlpack__"] = export_dlpack
METHODS["__dlpack_device__"] = lambda self: _CPU


@function("from_dlpack")
def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor over the memory of another library's tensor (or of a DLPack capsule).

    >>> import flambeau as torch
    >>> import numpy as np
    >>> torch.from_dlpack(np.arange(3))
    tensor([0, 1, 2])
    """
    if device is not None:
        check_device("from_dlpack", device)
    if not hasattr(ext_tensor, "__dlpack__"):
        made = core.from_dlpack_capsule(ext_tensor)
        return core.clone_plain(made) if copy else made
    kind = int(ext_tensor.__dlpack_device__()[0])
    if kind != _CPU[0]:
        raise BufferError(
            f"from_dlpack: the tensor is on DLPack device type {kind}: expected the CPU (1)"
        )
    return core.from_dlpack_capsule(_request(ext_tensor, copy))


def _request(ext_tensor: Any, copy: bool | None) -> Any:
    """Ask for a capsule of version 1; producers from before that version take no such argument."""
    wishes = {"max_version": (1, 0)} if copy is None else {"max_version": (1, 0), "copy": copy}
    try:
        return ext_tensor.__dlpack__(**wishes)
    except TypeError:
        if copy is not None:
            raise
        return ext_tensor.__dlpack__()


@function("to_dlpack")
def to_dlpack(tensor: Tensor) -> Any:
    """A DLPack capsule over a tensor's memory."""
    return export_dlpack(tensor)
