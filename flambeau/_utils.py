"""What pickles of tensors and parameters refer to under PyTorch's name `torch._utils`."""

from __future__ import annotations

from ._checkpoint.rebuild import (
    _rebuild_meta_tensor_no_storage,
    _rebuild_tensor_v2,
    _rebuild_tensor_v3,
)
from .nn.parameter import _rebuild_parameter, _rebuild_parameter_with_state

__all__ = [
    "_rebuild_meta_tensor_no_storage",
    "_rebuild_parameter",
    "_rebuild_parameter_with_state",
    "_rebuild_tensor_v2",
    "_rebuild_tensor_v3",
]
