"""Python's multiprocessing, taught to hand tensors over in shared memory.

A tensor put in a queue or a pipe moves to shared memory (see `Tensor.share_memory_`): sender and
receiver then see each other's writes. Everything else is the standard library's.

>>> import flambeau as torch
>>> torch.multiprocessing.get_start_method() in ("fork", "spawn", "forkserver")
True
"""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing import *  # noqa: F403
from multiprocessing import reduction
from typing import Any

from flambeau import Tensor, nn
from flambeau.core import make_subclass
from flambeau.ops.storage import SharedBlock, find_block

__all__ = list(multiprocessing.__all__)


def _reduce(tensor: Tensor) -> tuple:
    """A tensor as the descriptor of its shared block and its place in it."""
    if tensor.requires_grad and not tensor.is_leaf:
        raise RuntimeError(
            "multiprocessing: a tensor with history cannot cross to another process: send .detach()"
        )
    if sys.platform == "win32" or tensor.numel() == 0:
        return tensor.__reduce_ex__(5)  # type: ignore[return-value]
    plain = tensor.detach()
    if find_block(plain.untyped_storage()) is None:
        tensor.data = plain = plain.share_memory_()
    block = find_block(plain.untyped_storage())
    assert block is not None
    place = (tensor.dtype, tuple(plain.shape), plain.stride(), plain.storage_offset())
    handle = reduction.DupFd(block.descriptor)
    return _rebuild, (type(tensor), handle, block.nbytes, place, tensor.requires_grad)


def _rebuild(kind: type, handle: Any, nbytes: int, place: tuple, requires_grad: bool) -> Tensor:
    """The receiver's tensor over the same block."""
    made = SharedBlock(nbytes, handle.detach()).view(*place)
    if kind is not Tensor:
        return make_subclass(kind, made, requires_grad)
    return made.requires_grad_() if requires_grad else made


for _kind in (Tensor, nn.Parameter):
    reduction.ForkingPickler.register(_kind, _reduce)
