"""Linear algebra: batches of small matrices, single medium ones, and what is made of them."""

from collections.abc import Iterator
from typing import Any

from .common import Body, Build, Maker, Workload, forward, function_of, normal

GROUP = "linalg"
SMALL = (1000, 4, 4)


def regular(*shape: int) -> Maker:
    """Return a maker of matrices that are far from singular."""
    return lambda torch: torch.randn(*shape) + 4 * torch.eye(shape[-1])


def positive(*shape: int) -> Maker:
    """Return a maker of symmetric positive-definite matrices."""

    def make(torch: Any) -> Any:
        a = torch.randn(*shape)
        return a @ a.transpose(-1, -2) / shape[-1] + torch.eye(shape[-1])

    return make


def lower(*shape: int) -> Maker:
    """Return a maker of lower triangles that are far from singular."""
    n = shape[-1]
    return lambda torch: torch.randn(*shape).tril() / n + 2 * torch.eye(n)


def small_rows() -> Iterator[Workload]:
    """Yield the decompositions of a thousand 4x4 matrices."""
    texts = {
        "inv": "torch.linalg.inv(a)",
        "det": "torch.linalg.det(a)",
        "solve": "torch.linalg.solve(a, b)",
        "cholesky": "torch.linalg.cholesky(s)",
        "qr": "torch.linalg.qr(a)",
        "eigh": "torch.linalg.eigh(s)",
    }
    makers = {"a": regular(*SMALL), "b": normal(1000, 4, 2), "s": positive(*SMALL)}
    for name, text in texts.items():
        used = {key: make for key, make in makers.items() if f"({key}" in text or f" {key}" in text}
        yield Workload(GROUP, f"{name}, 1000x4x4", function_of(text, **used))
    text = "torch.linalg.solve(a, b)"
    build = function_of(text, True, a=makers["a"], b=makers["b"])
    yield Workload(GROUP, "solve, 1000x4x4, with backward", build)
    build = function_of("torch.linalg.inv(a)", a=regular(10000, 2, 2))
    yield Workload(GROUP, "inv, 10000x2x2", build)
    build = function_of("torch.linalg.inv(a)", a=regular(3, 3))
    yield Workload(GROUP, "inv, one 3x3", build)


def medium_rows() -> Iterator[Workload]:
    """Yield solvers and factors of single matrices, forward and with backward."""
    for n in (256, 512):
        makers = {"a": regular(n, n), "b": normal(n, 1)}
        for backward in (False, True):
            more = ", with backward" if backward else ""
            text = "torch.linalg.solve(a, b)"
            yield Workload(GROUP, f"solve, {n}{more}", function_of(text, backward, **makers))
            build = function_of("torch.linalg.cholesky(s)", backward, s=positive(n, n))
            yield Workload(GROUP, f"cholesky, {n}{more}", build)
        build = function_of("torch.linalg.qr(a)[0]", True, a=regular(n, n))
        yield Workload(GROUP, f"qr, {n}, with backward", build)
    for columns in (1, 64):
        text = "torch.linalg.solve_triangular(a, b, upper=False)"
        build = function_of(text, a=lower(512, 512), b=normal(512, columns))
        yield Workload(GROUP, f"solve_triangular, 512, {columns} right-hand sides", build)
    build = function_of("torch.linalg.lstsq(a, b).solution", a=normal(500, 20), b=normal(500, 1))
    yield Workload(GROUP, "lstsq, 500x20", build)
    build = function_of("torch.linalg.svdvals(a)", a=normal(128, 128))
    yield Workload(GROUP, "svdvals, 128", build)


def eigen_rows() -> Iterator[Workload]:
    """Yield eigen-problems, singular vectors and what else LAPACK is mostly asked for."""
    yield Workload(
        GROUP, "eigvalsh, 128", function_of("torch.linalg.eigvalsh(s)", s=positive(128, 128))
    )
    for shape in ((20, 32, 32), (128, 128)):
        name = "x".join(map(str, shape))
        yield Workload(
            GROUP, f"eigh, {name}", function_of("torch.linalg.eigh(s)", s=positive(*shape))
        )
    build = function_of("torch.linalg.eigh(s)[1]", True, s=positive(64, 64))
    yield Workload(GROUP, "eigh, 64, with backward", build)
    build = function_of("torch.linalg.svd(a, full_matrices=False)[1]", True, a=normal(64, 32))
    yield Workload(GROUP, "svd, 64x32, with backward of the values", build)
    texts = {
        "svd": "torch.linalg.svd(a)",
        "pinv": "torch.linalg.pinv(a)",
        "matrix_rank": "torch.linalg.matrix_rank(a)",
        "eigvals": "torch.linalg.eigvals(a)",
    }
    for name, text in texts.items():
        yield Workload(GROUP, f"{name}, 64", function_of(text, a=normal(64, 64)))
    text = "torch.linalg.ldl_solve(*torch.linalg.ldl_factor(s), b)"
    build = function_of(text, s=positive(128, 128), b=normal(128, 8))
    yield Workload(GROUP, "ldl_factor and ldl_solve, 128", build)
    text = "torch.ormqr(*torch.geqrf(a), b)"
    build = function_of(text, a=normal(128, 64), b=normal(128, 64))
    yield Workload(GROUP, "geqrf and ormqr, 128x64", build)


def gaussian_process(points: int) -> Build:
    """Return a log-likelihood of a Gaussian process and its gradient by the kernel's parameters."""

    def build(torch: Any) -> Body:
        x, y = torch.rand(points, 2), torch.randn(points, 1)
        parameters = [torch.zeros(1).requires_grad_(), torch.full((1,), -1.0).requires_grad_()]
        squares, eye = torch.cdist(x, x).square(), torch.eye(points)

        def step() -> Any:
            length, noise = (p.exp() for p in parameters)
            factor = torch.linalg.cholesky(torch.exp(squares / (-2 * length)) + noise * eye)
            weights = torch.cholesky_solve(y, factor)
            loss = (y * weights).sum() / 2 + factor.diagonal().log().sum()
            return torch.autograd.grad(loss, parameters)

        return "step()", {"step": step}

    return build


def kalman(filters: int) -> Build:
    """Return a step of Kalman filters with four states and two measurements."""

    def build(torch: Any) -> Body:
        move, see = torch.eye(4), torch.eye(4)[:2]
        noise, error, eye = torch.eye(4) / 10, torch.eye(2) / 5, torch.eye(4)

        def f(x: Any, p: Any, z: Any) -> Any:
            x, p = x @ move.mT, move @ p @ move.mT + noise
            seen = see @ p
            gain = torch.linalg.solve(seen @ see.mT + error, seen).mT
            x = x + (gain @ (z - x @ see.mT).unsqueeze(-1)).squeeze(-1)
            return x, (eye - gain @ see) @ p

        p = torch.eye(4).repeat(filters, 1, 1)
        return forward(f, torch.randn(filters, 4), p, torch.randn(filters, 2))

    return build


WORKLOADS = (
    *small_rows(),
    *medium_rows(),
    *eigen_rows(),
    Workload(GROUP, "Gaussian process, 300 points", gaussian_process(300)),
    Workload(GROUP, "Kalman filters, 500", kalman(500)),
)
