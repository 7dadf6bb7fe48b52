"""Orthogonal matrices as a parametrization."""

from __future__ import annotations

import enum

import flambeau
from flambeau import Tensor

from ..modules.module import Module
from .parametrize import register_parametrization

__all__ = ["orthogonal"]


class _Map(enum.Enum):
    matrix_exp = "matrix_exp"
    cayley = "cayley"
    householder = "householder"


class _Orthogonal(Module):
    """A matrix with orthonormal columns (rows, if it is wide), as a function of any matrix.

    With `base`, the function gives base times what stands near the identity, so that every
    orthogonal matrix can be reached from a value given first.
    """

    base: Tensor | None

    def __init__(self, weight: Tensor, orthogonal_map: _Map, *, use_trivialization: bool = True):
        super().__init__()
        if weight.is_complex() and orthogonal_map is _Map.householder:
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        self.is_wide = weight.shape[-2] < weight.shape[-1]
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        """The orthogonal matrix."""
        tall = X.mT if self.is_wide else X
        if self.orthogonal_map is _Map.householder:
            made = _multiply_reflections(tall)
        else:
            made = _map_skew(tall, self.orthogonal_map)
        if hasattr(self, "base"):
            made = self.base @ made
        return made.mT if self.is_wide else made

    @flambeau.no_grad()
    def right_inverse(self, Q: Tensor) -> Tensor:
        """What gives Q, or the orthogonal matrix nearest in direction if it is none."""
        if Q.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of"
                f" shape {Q.shape}."
            )
        tall = Q.mT if self.is_wide else Q
        if hasattr(self, "base"):
            self.base = _complete(tall)
            start = flambeau.zeros_like(Q)
            # -1 is the sign that makes a product of no reflections the identity.
            start.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
            return start
        if self.orthogonal_map is not _Map.householder:
            raise NotImplementedError(
                "It is not possible to assign to the matrix exponential or the Cayley"
                " parametrizations when use_trivialization=False."
            )
        reflections, tau = flambeau.geqrf(tall)
        diagonal = reflections.diagonal(dim1=-2, dim2=-1)
        signs = diagonal.sign()
        diagonal.copy_(flambeau.where(tau == 0, -signs, signs))
        return reflections.mT if self.is_wide else reflections


def _map_skew(tall: Tensor, chosen: _Map) -> Tensor:
    """The first columns of a map of the skew matrix of the lower triangle."""
    rows, columns = tall.shape[-2:]
    lower = tall.tril()
    if rows != columns:
        rest = lower.new_zeros(*lower.shape[:-1], rows - columns)
        lower = flambeau.cat([lower, rest], -1)
    skew = lower - lower.mH
    if chosen is _Map.matrix_exp:
        made = flambeau.matrix_exp(skew)
    else:
        identity = flambeau.eye(rows, dtype=skew.dtype, device=skew.device)
        made = flambeau.linalg.solve(identity - skew / 2, identity + skew / 2)
    return made[..., :columns]


def _multiply_reflections(tall: Tensor) -> Tensor:
    """The product of the Householder reflections below the diagonal, with the diagonal's signs."""
    below = tall.tril(-1)
    tau = 2.0 / (1.0 + (below * below).sum(-2))
    signs = tall.detach().diagonal(dim1=-2, dim2=-1).int()
    return flambeau.linalg.householder_product(below, tau) * signs.unsqueeze(-2)


def _complete(tall: Tensor) -> Tensor:
    """A square orthogonal matrix whose first columns have the directions of those given."""
    rows, columns = tall.shape[-2:]
    if rows == columns and _is_orthogonal(tall):
        return tall.clone()
    if rows != columns:
        more = flambeau.randn(
            *tall.shape[:-2], rows, rows - columns, dtype=tall.dtype, device=tall.device
        )
        tall = flambeau.cat([tall, more], -1)
    q, r = flambeau.linalg.qr(tall)
    return q * r.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


def _is_orthogonal(matrix: Tensor) -> bool:
    size = matrix.shape[-1]
    identity = flambeau.eye(size, dtype=matrix.dtype, device=matrix.device)
    tolerance = 10 * size * flambeau.finfo(matrix.dtype).eps
    return bool(flambeau.allclose(matrix.mH @ matrix, identity.expand_as(matrix), atol=tolerance))


def orthogonal(
    module: Module,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> Module:
    """Keep a weight orthogonal: W^T W = 1, or W W^T = 1 where it is wide.

    Args:
        module: the module that has the weight.
        name: the parameter's name; a matrix or a batch of them.
        orthogonal_map: "matrix_exp" exp(A) or "cayley" (1 + A/2) (1 - A/2)^-1 of a skew A, or
            "householder", a product of reflections. By default the first for square and complex
            matrices, the last for others.
        use_trivialization: keep the value at registration and multiply by the map (Lezcano Casado,
            2019); makes assignment possible with all maps.

    Errors:
        ValueError: there is no such matrix or map.

    >>> import flambeau as torch
    >>> layer = torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(3, 5))
    >>> torch.allclose(layer.weight.T @ layer.weight, torch.eye(3), atol=1e-5)
    True
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.dim() < 2:
        raise ValueError(
            f"Expected a matrix or batch of matrices. Got a tensor of {weight.dim()} dimensions."
        )
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1]
        orthogonal_map = "matrix_exp" if square or weight.is_complex() else "householder"
    if orthogonal_map not in _Map.__members__:
        raise ValueError(
            'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got:'
            f" {orthogonal_map}"
        )
    made = _Orthogonal(weight, _Map[orthogonal_map], use_trivialization=use_trivialization)
    return register_parametrization(module, name, made, unsafe=True)
