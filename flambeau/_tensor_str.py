"""How tensors print: `repr(tensor)` and `set_printoptions`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from . import core
from .core import Tensor

__all__ = ["get_printoptions", "printoptions", "set_printoptions"]


@dataclass(frozen=True)
class PrintOptions:
    """What `set_printoptions` sets."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES = {
    "default": PrintOptions(),
    "short": PrintOptions(precision=2, edgeitems=2),
    "full": PrintOptions(threshold=math.inf),
}
_options = PrintOptions()


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors print.

    Args:
        precision: digits after the point (4).
        threshold: more elements than this are summarised (1000).
        edgeitems: elements shown at each end of a summarised dimension (3).
        linewidth: characters a line (80).
        profile: "default", "short" or "full": starts from these settings.
        sci_mode: scientific notation always (True), never (False) or as the numbers need it (None).

    >>> import flambeau as torch
    >>> torch.set_printoptions(precision=2)
    >>> torch.tensor([1.12345])
    tensor([1.12])
    >>> torch.set_printoptions(profile="default")
    """
    global _options
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(
                f"set_printoptions: profile {profile!r}: expected one of {', '.join(_PROFILES)}"
            )
        _options = _PROFILES[profile]
    given = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    _options = replace(_options, **changes, sci_mode=sci_mode)


def get_printoptions() -> dict[str, Any]:
    """The settings, by name."""
    return dict(vars(_options))


class printoptions:
    """Settings for the time of a `with` block: `with printoptions(precision=2): ...`."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings

    def __enter__(self) -> None:
        self._before = _options
        set_printoptions(**self._settings)

    def __exit__(self, *exc: object) -> None:
        global _options
        _options = self._before


# ---- one number ----------------------------------------------------------------------------------


class NumberFormat:
    """How the numbers of one tensor are written: all in one style, padded to one width."""

    def __init__(self, values: list, is_float: bool, options: PrintOptions) -> None:
        self.is_float = is_float
        self.integral = True
        self.scientific = False
        self.precision = options.precision
        if is_float:  # zeros, infinities and NaN fit themselves to the others
            values = [value for value in values if value != 0 and math.isfinite(value)]
            self._choose_style([abs(value) for value in values], options.sci_mode)
        self.width = max((len(self._write(value)) for value in values), default=1)

    def _choose_style(self, sizes: list[float], sci_mode: bool | None) -> None:
        if not sizes:
            return
        smallest, largest = min(sizes), max(sizes)
        self.integral = all(size == math.ceil(size) for size in sizes)
        tiny = smallest < 1e-4 and not self.integral
        wanted = largest / smallest > 1000.0 or largest > 1e8 or tiny
        self.scientific = wanted if sci_mode is None else sci_mode

    def _write(self, value: Any) -> str:
        if not self.is_float:
            return f"{value}"
        if self.scientific:
            return f"{value:.{self.precision}e}"
        if not self.integral:
            return f"{value:.{self.precision}f}"
        return f"{value:.0f}." if math.isfinite(value) else f"{value:.0f}"

    def format(self, value: Any) -> str:
        """The value, padded on the left."""
        return self._write(value).rjust(self.width)


class ComplexFormat:
    """Real and imaginary parts, each in a style of its own."""

    def __init__(self, values: list[complex], options: PrintOptions) -> None:
        self.real = NumberFormat([value.real for value in values], True, options)
        self.imag = NumberFormat([value.imag for value in values], True, options)
        self.width = self.real.width + self.imag.width + 1

    def format(self, value: complex) -> str:
        """`a+bj`, the real part padded on the left."""
        imag = self.imag.format(value.imag).lstrip() + "j"
        return self.real.format(value.real) + ("" if imag[0] in "+-" else "+") + imag


# ---- all numbers ---------------------------------------------------------------------------------


def _take_elements(t: Tensor, edge: int | None) -> Any:
    """Nested lists of the elements to show; an Ellipsis stands for those left out."""
    if edge is None or t.dim() == 0:
        return t.tolist()
    n = t.shape[0]
    if n <= 2 * edge:
        shown: list = list(range(n))
    else:
        shown = [*range(edge), ..., *range(n - edge, n)]
    return [i if i is ... else _take_elements(core.basic_index(t, i), edge) for i in shown]


def _flatten(nested: Any) -> Iterator[Any]:
    if isinstance(nested, list):
        for part in nested:
            yield from _flatten(part)
    elif nested is not ...:
        yield nested


def _write_nested(nested: Any, dims: int, indent: int, style: Any, options: PrintOptions) -> str:
    if dims == 0:
        return style.format(nested)
    if dims == 1:
        return _write_row(nested, indent, style, options)
    parts = [
        "..." if part is ... else _write_nested(part, dims - 1, indent + 1, style, options)
        for part in nested
    ]
    return "[" + ("," + "\n" * (dims - 1) + " " * (indent + 1)).join(parts) + "]"


def _write_row(row: list, indent: int, style: Any, options: PrintOptions) -> str:
    """Elements in lines of at most `linewidth` characters."""
    per_line = max(1, math.floor((options.linewidth - indent) / (style.width + 2)))
    texts = [" ..." if value is ... else style.format(value) for value in row]
    lines = [", ".join(texts[i : i + per_line]) for i in range(0, len(texts), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _add_notes(text: str, notes: list[str], indent: int, options: PrintOptions) -> str:
    """Append `, note` for each note, on a new line where the old one is full; close the
    parenthesis.
    """
    column = len(text) - text.rfind("\n") + 1
    for note in notes:
        if column + len(note) + 2 > options.linewidth:
            text += ",\n" + " " * indent + note
            column = indent + len(note)
        else:
            text += ", " + note
            column += len(note) + 2
    return text + ")"


def _list_notes(t: Tensor) -> list[str]:
    """dtype, size and history, where they do not show in the numbers."""
    default = core.get_default_dtype()
    notes = []
    if t.numel() == 0:
        if t.dim() != 1:
            notes.append(f"size={tuple(t.shape)}")
        if t.dtype is not default:
            notes.append(f"dtype={t.dtype}")
    elif t.dtype not in (default, default.to_complex()) and t.dtype.name not in ("int64", "bool"):
        notes.append(f"dtype={t.dtype}")
    return notes + _list_history(t)


def _list_history(t: Tensor) -> list[str]:
    if t.grad_fn is not None:
        return [f"grad_fn=<{t.grad_fn.name()}>"]
    return ["requires_grad=True"] if t.requires_grad else []


def _choose_format(t: Tensor, shown: Any, options: PrintOptions) -> Any:
    values = list(_flatten(shown))
    if t.is_complex():
        return ComplexFormat(values, options)
    if t.dtype.name == "float8_e8m0fnu":  # has no zero: the smallest number stands in for it
        values = [value for value in values if value != 2.0**-127]
    return NumberFormat(values, t.is_floating_point(), options)


def tensor_to_str(t: Tensor, contents: str | None = None) -> str:
    """The text of `repr(t)`; `contents` replaces the numbers."""
    options = _options
    kind = type(t)
    sparse = core.any_sparse([t])
    plain = kind is Tensor or sparse or getattr(t, "_is_param", False)
    prefix = "tensor(" if plain else f"{kind.__name__}("
    indent = len(prefix)
    if sparse:
        text = _write_parts(t, indent, options) if contents is None else contents
        notes = _list_sparse_notes(t)
        if t.is_sparse_csr:
            return _add_notes(prefix + text, notes, indent, options)
        return _add_notes(f"{prefix}{text},\n{' ' * indent}{notes[0]}", notes[1:], indent, options)
    text = _write_elements(t, indent, options) if contents is None else contents
    return _add_notes(prefix + text, _list_notes(t), indent, options)


def _write_elements(t: Tensor, indent: int, options: PrintOptions) -> str:
    if t.numel() == 0:
        return "[]"
    edge = options.edgeitems if t.numel() > options.threshold else None
    shown = _take_elements(t.detach(), edge)
    return _write_nested(shown, t.dim(), indent, _choose_format(t, shown, options), options)


# ---- sparse --------------------------------------------------------------------------------------


def _write_parts(t: Any, indent: int, options: PrintOptions) -> str:
    """Where the elements of a sparse tensor are, and their values, below each other."""
    parts = []
    places = ("crow_indices", "col_indices") if t.is_sparse_csr else ("_indices",)
    for name in (*places, "_values"):
        part, name = getattr(t, name)().detach(), name.lstrip("_")
        prefix = f"{name}=tensor("
        text = _write_elements(part, indent + len(prefix), options)
        size = f", size={tuple(part.shape)}" if part.numel() == 0 else ""
        parts.append(f"{prefix}{text}{size})")
    return (",\n" + " " * indent).join(parts)


def _list_sparse_notes(t: Any) -> list[str]:
    notes = [f"size={tuple(t.shape)}", f"nnz={t._nnz()}"]
    if t.dtype not in (core.get_default_dtype(), core.get_default_dtype().to_complex()) and (
        t.dtype.name not in ("int64", "bool")
    ):
        notes.append(f"dtype={t.dtype}")
    return [*notes, f"layout={t.layout}", *_list_history(t)]
