"""What reading a file that is damaged, or made to do harm, raises."""

from __future__ import annotations

import pickle


class CheckpointError(pickle.UnpicklingError, RuntimeError):
    """A file that cannot be loaded: damaged, inconsistent, or with something that is not allowed.

    Both kinds of error that PyTorch raises here: an `UnpicklingError` and a `RuntimeError`.

    >>> import io, flambeau as torch
    >>> torch.load(io.BytesIO(b"no checkpoint"))
    Traceback (most recent call last):
    flambeau._checkpoint.errors.CheckpointError: Unsupported operand 110 (b'n') at byte 0
    """


class EmptyFileError(CheckpointError, EOFError):
    """A file, or a pickle, without a single byte."""
