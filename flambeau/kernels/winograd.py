"""Winograd's minimal filtering F(4, 3): four outputs of a filter of three taps by six products.

After Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016). An output is
A^T [(G g) * (B^T d)], and in two dimensions the same along rows and columns: 36 products for 16
outputs instead of 144. The points are 0, +-1/sqrt(2), +-sqrt(2) and infinity: their powers stay
nearest to one, which leaves about a third of the rounding error of the usual 0, +-1, +-2
(Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution", 2020).

The functions write one dimension for vectors; `along_both` applies one to rows and columns. The
gradient of the filter uses the transposes: dg = G^T [(A dy) * (B^T d)].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

from .element import Element
from .ir import Builder, float_bits

OUTPUTS, TAPS, PRODUCTS = 4, 3, 6
_NEAR, _FAR = sqrt(0.5), sqrt(2.0)

Transform = Callable[["Arithmetic", Sequence[str]], list[str]]


class Arithmetic:
    """Sums of vectors with constant factors."""

    def __init__(self, b: Builder, element: Element) -> None:
        self.b, self.element = b, element

    def add(self, x: str, y: str) -> str:
        """x + y."""
        return self.element.add(self.b, x, y)

    def sub(self, x: str, y: str) -> str:
        """x - y."""
        return self.b.emit(f"fsub {self.element.vector} {x}, {y}")

    def scale(self, factor: float, x: str) -> str:
        """factor * x."""
        return self.b.emit(f"fmul {self.element.vector} {self._constant(factor)}, {x}")

    def fma(self, factor: float, x: str, y: str) -> str:
        """factor * x + y."""
        return self.element.multiply_add(self.b, [self._constant(factor)], x, [y])[0]

    def _constant(self, value: float) -> str:
        part = self.element.part
        return f"splat ({part} {float_bits(value, part)})"


def transform_input(m: Arithmetic, d: Sequence[str]) -> list[str]:
    """B^T d: six inputs to six factors."""
    near, far = m.fma(-2.0, d[2], d[4]), m.fma(-0.5, d[2], d[4])
    odd_near, odd_far = m.fma(-2.0, d[1], d[3]), m.fma(-0.5, d[1], d[3])
    return [
        m.fma(-2.5, d[2], m.add(d[0], d[4])),
        m.fma(_NEAR, odd_near, near),
        m.fma(-_NEAR, odd_near, near),
        m.fma(_FAR, odd_far, far),
        m.fma(-_FAR, odd_far, far),
        m.fma(-2.5, d[3], m.add(d[1], d[5])),
    ]


def transform_filter(m: Arithmetic, g: Sequence[str]) -> list[str]:
    """G g: three taps to six factors."""
    near = m.scale(-2 / 3, m.fma(0.5, g[2], g[0]))
    far = m.scale(1 / 6, m.fma(2.0, g[2], g[0]))
    return [
        g[0],
        m.fma(-2 / 3 * _NEAR, g[1], near),
        m.fma(2 / 3 * _NEAR, g[1], near),
        m.fma(1 / 6 * _FAR, g[1], far),
        m.fma(-1 / 6 * _FAR, g[1], far),
        g[2],
    ]


def transform_output(m: Arithmetic, p: Sequence[str]) -> list[str]:
    """A^T p: six products to four outputs."""
    near, far = m.add(p[1], p[2]), m.add(p[3], p[4])
    odd_near, odd_far = m.sub(p[1], p[2]), m.scale(_FAR, m.sub(p[3], p[4]))
    return [
        m.add(p[0], m.add(near, far)),
        m.fma(_NEAR, odd_near, odd_far),
        m.fma(0.5, near, m.scale(2.0, far)),
        m.add(m.fma(0.5 * _NEAR, odd_near, m.scale(2.0, odd_far)), p[5]),
    ]


def transform_gradient(m: Arithmetic, y: Sequence[str]) -> list[str]:
    """A y: the gradients of four outputs to six factors."""
    near, far = m.fma(0.5, y[2], y[0]), m.fma(2.0, y[2], y[0])
    odd_near, odd_far = m.fma(0.5, y[3], y[1]), m.fma(2.0, y[3], y[1])
    return [
        y[0],
        m.fma(_NEAR, odd_near, near),
        m.fma(-_NEAR, odd_near, near),
        m.fma(_FAR, odd_far, far),
        m.fma(-_FAR, odd_far, far),
        y[3],
    ]


def transform_taps(m: Arithmetic, p: Sequence[str]) -> list[str]:
    """G^T p: six products to the gradients of three taps."""
    near, far = m.add(p[1], p[2]), m.add(p[3], p[4])
    odd_near, odd_far = m.sub(p[1], p[2]), m.sub(p[3], p[4])
    return [
        m.fma(-2 / 3, near, m.fma(1 / 6, far, p[0])),
        m.fma(-2 / 3 * _NEAR, odd_near, m.scale(1 / 6 * _FAR, odd_far)),
        m.fma(-1 / 3, near, m.fma(1 / 3, far, p[5])),
    ]


def along_both(
    m: Arithmetic, transform: Transform, rows: int, columns: int, load: Callable[[int, int], str]
) -> list[str]:
    """The transform of the square load(row, column), row by row; of a line where rows is 1."""
    if rows == 1:
        return transform(m, [load(0, c) for c in range(columns)])
    down = [transform(m, [load(r, c) for r in range(rows)]) for c in range(columns)]
    across = [transform(m, [column[r] for column in down]) for r in range(len(down[0]))]
    return [value for row in across for value in row]
