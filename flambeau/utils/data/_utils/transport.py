"""Batches from a worker to its consumer: a pipe for small things, shared memory for tensors.

A worker owns a few shared blocks. It copies the tensors of a batch into a free block and sends a
message that says where they lie; the consumer maps the block once and builds tensors that alias it.
When the last of them dies, the block's number goes back to the worker with the next task and the
block is used again. Memory is thus bounded by the batches alive at one time.
"""

from __future__ import annotations

import collections
import ctypes
import io
import itertools
import operator
import pickle
import sys
import weakref
from multiprocessing import reduction
from typing import Any

import flambeau
from flambeau.core import from_address  # type: ignore[attr-defined]

from .errors import ExceptionWrapper
from .shared_block import SharedBlock

_ALIGNMENT = 64
_INLINE_LIMIT = 4096  # bytes; a smaller tensor is cheaper inside the message
# A longer pickle travels in the block: a pipe holds little before it blocks.
_MESSAGE_LIMIT = 1 << 15
_WINDOWS = sys.platform == "win32"
_NON_LEAF = (
    "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not"
    " support crossing process boundaries. If you just want to transfer the data, call detach()"
    " on the tensor before returning it from the dataset or collate_fn."
)


def _round_up(nbytes: int, multiple: int) -> int:
    return -(-nbytes // multiple) * multiple


class BlockPool:
    """The worker's blocks: `take` finds or makes a free one, `give_back` frees used ones."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._free: list[SharedBlock] = []
        self._used: dict[int, SharedBlock] = {}
        self._made = 0

    def take(self, nbytes: int) -> tuple[SharedBlock, bool, list[int]]:
        """A block of at least `nbytes`: (block, whether it is new, numbers of blocks given up)."""
        fitting = [block for block in self._free if block.nbytes >= nbytes]
        if fitting:
            block = min(fitting, key=lambda block: block.nbytes)
            self._free.remove(block)
            dropped = self._drop(self._free[self._keep :])
        else:
            dropped = self._drop(list(self._free))  # all too small: sizes have grown
            block = SharedBlock(self._made, _round_up(nbytes, 1 << 16))
            self._made += 1
        self._used[block.number] = block
        return block, not fitting, dropped

    def _drop(self, blocks: list[SharedBlock]) -> list[int]:
        for block in blocks:
            self._free.remove(block)
        return [block.number for block in blocks]

    def give_back(self, numbers: list[int]) -> None:
        self._free += [self._used.pop(number) for number in numbers]


class BatchSender:
    """The worker's end: pickles batches, and places their tensors in shared blocks."""

    def __init__(self, connection, consumer_pid: int, keep: int) -> None:
        self._connection = connection
        self._consumer_pid = consumer_pid
        self._pool = BlockPool(keep)

    def send(self, head: tuple, value: Any) -> None:
        """Send `head`, (kind, epoch), and `value`."""
        stream = io.BytesIO()
        pickler = _BatchPickler(stream)
        pickler.dump(value)
        text, parts = stream.getvalue(), pickler.parts
        if len(text) > _MESSAGE_LIMIT:
            parts.append(memoryview(text))
            text = b""
        if not parts:
            self._connection.send_bytes(pickle.dumps((head, text, None)))
            return
        offsets, total = _lay_out([part.nbytes for part in parts])
        block, new, dropped = self._pool.take(total)
        places = [(offset, part.nbytes) for part, offset in zip(parts, offsets, strict=True)]
        for part, (offset, size) in zip(parts, places, strict=True):
            memoryview(block.view(offset, size)).cast("B")[:] = part
        place = (block.number, block.nbytes, block.handle if new else None, dropped, places)
        self._connection.send_bytes(pickle.dumps((head, text, place)))
        if new:
            self._hand_over(block)

    def _hand_over(self, block: SharedBlock) -> None:
        if not _WINDOWS:
            reduction.send_handle(self._connection, block.handle, self._consumer_pid)
            block.close_handle()

    def give_back(self, numbers: list[int]) -> None:
        """The consumer has let go of these blocks."""
        self._pool.give_back(numbers)


def _lay_out(sizes: list[int]) -> tuple[list[int], int]:
    """Aligned offsets of parts of the given sizes, and the total."""
    offsets, end = [], 0
    for size in sizes:
        offsets.append(end)
        end = _round_up(end + size, _ALIGNMENT)
    return offsets, end


class _BatchPickler(pickle.Pickler):
    """Leaves larger buffers out of the pickle; `parts` holds them in order, as flat memoryviews."""

    def __init__(self, stream: io.BytesIO) -> None:
        parts: list[memoryview] = []
        # Not a method: a pickler that holds a method of its own is a cycle, which would keep the
        # memory of a batch from the next one until cycles are collected.
        super().__init__(stream, protocol=5, buffer_callback=lambda b: _leave_out(b, parts))
        self.parts = parts
        self._sources: list = []  # tensors whose memory `parts` points at

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not flambeau.Tensor or value.device.type != "cpu":
            return NotImplemented
        if value.requires_grad and not value.is_leaf:
            raise RuntimeError(_NON_LEAF)
        dense = value.detach().resolve_conj().resolve_neg().contiguous()
        self._sources.append(dense)
        name = str(dense.dtype).rpartition(".")[2]
        content = pickle.PickleBuffer(_view_bytes(dense))
        return _restore_tensor, (content, name, tuple(dense.shape), value.requires_grad)


def _leave_out(buffer: pickle.PickleBuffer, parts: list[memoryview]) -> bool:
    """Put a larger buffer into `parts`; whether it stays in the pickle instead."""
    raw = buffer.raw()
    if raw.nbytes < _INLINE_LIMIT:
        return True
    parts.append(raw)
    return False


def _view_bytes(dense):
    """The memory of a contiguous tensor as a writable buffer."""
    nbytes = dense.numel() * dense.element_size()
    kind = ctypes.c_ubyte * nbytes
    return kind.from_address(dense.data_ptr()) if nbytes else kind()


def _restore_tensor(content, dtype_name: str, shape: tuple, requires_grad: bool):
    dtype = getattr(flambeau, dtype_name)
    if 0 in shape:
        return flambeau.empty(shape, dtype=dtype, requires_grad=requires_grad)
    owner = ctypes.c_ubyte.from_buffer(content)
    tensor = from_address(ctypes.addressof(owner), dtype, shape, _get_strides(shape), owner)
    return tensor.requires_grad_() if requires_grad else tensor


def _get_strides(shape: tuple) -> tuple:
    """Strides of a contiguous tensor: `(2, 3, 4) -> (12, 4, 1)`."""
    sizes = (*shape[1:], 1) if shape else ()
    return tuple(itertools.accumulate(reversed(sizes), operator.mul))[::-1]


class BatchReceiver:
    """The consumer's end: maps the worker's blocks and rebuilds its batches over them."""

    def __init__(self, connection) -> None:
        self._connection = connection
        self._blocks: dict[int, SharedBlock] = {}
        # A deque: finalizers append to it from any thread, even in the middle of a send.
        self._released: collections.deque[int] = collections.deque()

    def receive(self) -> tuple[tuple, Any]:
        """The next `(head, value)`; EOFError or OSError when the worker is gone."""
        head, text, place = pickle.loads(self._connection.recv_bytes())
        views = [] if place is None else self._map_parts(*place)
        if not text:
            text = bytes(views.pop())
        try:
            return head, pickle.loads(text, buffers=views)
        except Exception:
            # The message is read in full: the next one can follow, whatever is wrong with this.
            _, epoch = head
            return ("error", epoch), ExceptionWrapper(where="unpickling a batch from a worker")

    def _map_parts(self, number: int, nbytes: int, handle, dropped: list, places: list) -> list:
        for old in dropped:
            del self._blocks[old]
        if handle is not None:
            self._blocks[number] = self._map_block(number, nbytes, handle)
        lease = _Lease()
        release = weakref.finalize(lease, self._released.append, number)
        release.atexit = False
        views = [self._blocks[number].view(*place) for place in places]
        for view in views:
            view.lease = lease
        return views

    def _map_block(self, number: int, nbytes: int, handle: int) -> SharedBlock:
        if not _WINDOWS:
            handle = reduction.recv_handle(self._connection)
        block = SharedBlock(number, nbytes, handle)
        block.close_handle()
        return block

    def take_released(self) -> list[int]:
        """Numbers of the blocks that no batch uses any more, for the worker."""
        numbers = []
        while self._released:
            numbers.append(self._released.popleft())
        return numbers


class _Lease:
    """Alive while any view of a block is: its finalizer releases the block."""
