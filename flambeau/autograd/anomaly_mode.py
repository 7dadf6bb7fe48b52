"""Finding the forward call behind a backward error: `detect_anomaly`, `set_detect_anomaly`."""

from __future__ import annotations

import warnings

from .. import core

__all__ = [
    "detect_anomaly",
    "is_anomaly_check_nan_enabled",
    "is_anomaly_enabled",
    "set_detect_anomaly",
]


def is_anomaly_enabled() -> bool:
    """Is anomaly detection on?"""
    return core.anomaly_state()[0]


def is_anomaly_check_nan_enabled() -> bool:
    """Does anomaly detection look for NaN?"""
    return core.anomaly_state()[1]


class detect_anomaly:
    """Inside the block, an error or a NaN in backward comes with the traceback of its forward call.

    Args:
        check_nan: also raise when backward makes a NaN.

    Every operation records where it was called, so it is slow: use it to debug.

    >>> import flambeau as torch
    >>> import warnings
    >>> warnings.simplefilter("ignore")  # entering it warns that it is slow
    >>> with torch.autograd.detect_anomaly():
    ...     torch.ones(1, requires_grad=True).sum().backward()
    """

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should "
            "only be "
            "enabled for debugging.",
            stacklevel=2,
        )

    def __enter__(self) -> None:
        self._before = core.set_anomaly(True, self.check_nan)

    def __exit__(self, *exc: object) -> None:
        core.set_anomaly(*self._before)


class set_detect_anomaly:
    """Turn anomaly detection on or off, at once; as a context manager until the block ends.

    >>> import flambeau as torch
    >>> with torch.autograd.set_detect_anomaly(True):
    ...     torch.is_anomaly_enabled()
    True
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = core.set_anomaly(mode, check_nan)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        core.set_anomaly(*self._before)
