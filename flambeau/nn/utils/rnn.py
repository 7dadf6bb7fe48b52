"""Batches of sequences of different lengths: padding and packing."""

from __future__ import annotations

import itertools
from collections import namedtuple
from collections.abc import Iterable
from typing import Any

import flambeau
from flambeau import Tensor

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]

_PackedFields = namedtuple(  # type: ignore[name-match]
    "PackedSequence", ["data", "batch_sizes", "sorted_indices", "unsorted_indices"]
)


class PackedSequence(_PackedFields):
    """The rows of a batch of sequences, time by time and without padding; made by
    `pack_padded_sequence`.

    Fields:
        data: (sum of lengths, *).
        batch_sizes: int64 on the CPU, the number of sequences that reach each time.
        sorted_indices, unsorted_indices: the order by decreasing length and back, or None when
            sorted already.

    >>> import flambeau as torch
    >>> sequences = [torch.ones(3), torch.zeros(1)]
    >>> torch.nn.utils.rnn.pack_sequence(sequences).batch_sizes
    tensor([2, 1, 1])
    """

    __slots__ = ()

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:
            # The older form: PackedSequence((data, batch_sizes)).
            data, batch_sizes = data
        if batch_sizes.device.type != "cpu":
            raise ValueError(
                "batch_sizes should always be on CPU. Instances of PackedSequence should never be "
                "created manually. "
                "They should be instantiated by functions like pack_sequence and "
                "pack_padded_sequence."
            )
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def __getnewargs__(self) -> tuple:
        return tuple(self)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Convert `data` like `Tensor.to`; the index tensors follow to its device."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        indices = (None if x is None else x.to(data.device) for x in self[2:])
        return type(self)(data, self.batch_sizes, *indices)

    def cpu(self) -> PackedSequence:
        """Move to the CPU."""
        return self.to("cpu")

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Move to a CUDA device."""
        return self.to(*(args or ("cuda",)), **kwargs)

    def double(self) -> PackedSequence:
        """Convert `data` to float64."""
        return self.to(dtype=flambeau.float64)

    def float(self) -> PackedSequence:
        """Convert `data` to float32."""
        return self.to(dtype=flambeau.float32)

    def half(self) -> PackedSequence:
        """Convert `data` to float16."""
        return self.to(dtype=flambeau.float16)

    def long(self) -> PackedSequence:
        """Convert `data` to int64."""
        return self.to(dtype=flambeau.int64)

    def int(self) -> PackedSequence:
        """Convert `data` to int32."""
        return self.to(dtype=flambeau.int32)

    def short(self) -> PackedSequence:
        """Convert `data` to int16."""
        return self.to(dtype=flambeau.int16)

    def char(self) -> PackedSequence:
        """Convert `data` to int8."""
        return self.to(dtype=flambeau.int8)

    def byte(self) -> PackedSequence:
        """Convert `data` to uint8."""
        return self.to(dtype=flambeau.uint8)

    def pin_memory(self) -> PackedSequence:
        """Copy `data` to page-locked memory."""
        return type(self)(self.data.pin_memory(), *self[1:])

    @property
    def is_cuda(self) -> bool:
        """Whether `data` is on a CUDA device."""
        return self.data.is_cuda

    def is_pinned(self) -> bool:
        """Whether `data` is in page-locked memory."""
        return self.data.is_pinned()


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes `permutation` (N); None for None."""
    if permutation is None:
        return None
    positions = flambeau.arange(permutation.numel(), device=permutation.device)
    return flambeau.empty_like(permutation).scatter_(
        0, permutation, positions.to(permutation.dtype)
    )


def pack_padded_sequence(
    input: Tensor,
    lengths: Tensor | list[int],
    batch_first: bool = False,
    enforce_sorted: bool = True,
) -> PackedSequence:
    """Pack a padded batch (T, N, *), or (N, T, *) with `batch_first`, leaving the padding out.

    Args:
        lengths: (N), each between 1 and T.
        enforce_sorted: the lengths must not increase; otherwise the sequences are sorted.

    Errors:
        ValueError: a length of 0 or beyond T, or lengths that increase.

    >>> import flambeau as torch
    >>> from flambeau.nn.utils.rnn import pack_padded_sequence
    >>> packed = pack_padded_sequence(torch.tensor([[1, 4], [2, 5], [3, 0]]), [3, 2])
    >>> packed.data, packed.batch_sizes
    (tensor([1, 4, 2, 5, 3]), tensor([2, 2, 1]))
    """
    lengths = flambeau.as_tensor(lengths, dtype=flambeau.int64, device="cpu")
    sorted_indices = None
    if not enforce_sorted:
        lengths, sorted_indices = flambeau.sort(lengths, descending=True)
        sorted_indices = sorted_indices.to(input.device)
        input = input.index_select(0 if batch_first else 1, sorted_indices)
    if batch_first:
        input = input.transpose(0, 1)
    values = lengths.tolist()  # type: ignore[union-attr]
    _check_lengths(values, input)
    sizes = _count_alive(values)
    rows = [input[time, :size] for time, size in enumerate(sizes)]
    return PackedSequence(
        flambeau.cat(rows), flambeau.tensor(sizes, dtype=flambeau.int64), sorted_indices
    )


def _check_lengths(lengths: list[int], input: Tensor) -> None:
    if input.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    if len(lengths) != input.shape[1]:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(lengths)} "
            f"(batch_size={input.shape[1]})"
        )
    if any(later > earlier for earlier, later in itertools.pairwise(lengths)):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You "
            "can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this "
            "requirement if "
            "you do not need ONNX exportability."
        )
    if lengths[-1] <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' "
            "that is <= 0"
        )
    if lengths[0] > input.shape[0]:
        raise RuntimeError(
            f"Expected the longest length ({lengths[0]}) to be at most the padded length "
            f"({input.shape[0]})"
        )


def _count_alive(lengths: list[int]) -> list[int]:
    """For each time, how many of the sequences (longest first) reach it."""
    sizes = []
    alive = len(lengths)
    for time in range(lengths[0]):
        while lengths[alive - 1] <= time:
            alive -= 1
        sizes.append(alive)
    return sizes


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Undo `pack_padded_sequence`: the padded batch (T, N, *) and the lengths (N).

    Args:
        total_length: pad to this length instead of the longest.

    Errors:
        ValueError: `total_length` is shorter than the longest sequence.
    """
    sizes = sequence.batch_sizes.tolist()
    longest = len(sizes)
    if total_length is not None and total_length < longest:
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, but "
            "got "
            f"total_length={total_length} and max sequence length being {longest}"
        )
    data = sequence.data
    width = longest if total_length is None else total_length
    parts = list(data.split(sizes)) + [data[:0]] * (width - longest)
    padded = flambeau.stack([_fill_rows(part, sizes[0], padding_value) for part in parts])
    lengths = [sum(size > row for size in sizes) for row in range(sizes[0])]
    lengths = flambeau.tensor(lengths, dtype=flambeau.int64)
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices.cpu()]
    return (padded.transpose(0, 1) if batch_first else padded), lengths


def _fill_rows(part: Tensor, count: int, value: float) -> Tensor:
    missing = count - part.shape[0]
    if missing == 0:
        return part
    return flambeau.cat([part, part.new_full((missing, *part.shape[1:]), value)])


def pad_sequence(
    sequences: Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stack tensors (L_i, *) into (T, N, *), or (N, T, *) with `batch_first`, padded to the
    longest.

    >>> import flambeau as torch
    >>> torch.nn.utils.rnn.pad_sequence([torch.ones(2), torch.ones(1)], batch_first=True)
    tensor([[1., 1.],
            [1., 0.]])
    """
    if isinstance(sequences, Tensor):
        sequences = sequences.unbind(0)
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            "pad_sequence: Expected iterable for input sequences, but got arg of type: "
            f"{type(sequences)}"
        )
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("pad_sequence: received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(
            f"Expected padding_side to be one of left or right, but got {padding_side}."
        )
    longest = max(sequence.shape[0] for sequence in sequences)
    rows = []
    for sequence in sequences:
        missing = sequence.new_full(
            (longest - sequence.shape[0], *sequence.shape[1:]), padding_value
        )
        rows.append(
            flambeau.cat([sequence, missing] if padding_side == "right" else [missing, sequence])
        )
    return flambeau.stack(rows, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False
) -> list[Tensor]:
    """Undo `pad_sequence`: the list of tensors (L_i, *)."""
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]


def pack_sequence(sequences: list[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack tensors (L_i, *) of decreasing length, or any length without `enforce_sorted`."""
    lengths = [sequence.size(0) for sequence in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """Undo `pack_sequence`: the list of tensors (L_i, *)."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
