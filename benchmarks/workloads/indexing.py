"""Lookups, scatters and copies that rearrange."""

from collections.abc import Iterator
from typing import Any

from .common import (
    Body,
    Build,
    Makers,
    Work,
    Workload,
    forward,
    function_of,
    integers,
    normal,
    normals,
    with_backward,
)

M = 1 << 20
FLOAT = 4


def embedding(rows: int, width: int, tokens: int, backward: bool) -> Build:
    """Return a lookup of random rows."""

    def build(torch: Any) -> Body:
        weight, index = torch.randn(rows, width), torch.randint(0, rows, (tokens,))
        f = torch.nn.functional.embedding
        return with_backward(torch, f, index, weight) if backward else forward(f, index, weight)

    return build


def indexed(
    text: str, source: tuple[int, ...], index: tuple[int, ...], bound: int, backward: bool = False
) -> Build:
    """Return an expression in x (normal) and i (indices below the bound)."""
    return function_of(text, backward, x=normal(*source), i=integers(0, bound, *index))


def plain(text: str, *shapes: tuple[int, ...], backward: bool = False) -> Build:
    """Return an expression in x and y."""
    return function_of(text, backward, **normals("xy", shapes))


def scatter_add(torch: Any) -> Body:
    """Return 2^20 additions into 2^16 places."""
    index, x = torch.randint(0, 1 << 16, (M,)), torch.randn(M)
    total = torch.zeros(1 << 16)
    return "total.scatter_add_(0, i, x)", {"total": total, "i": index, "x": x}


def index_add(torch: Any) -> Body:
    """Return the sum of messages of 80k edges into 10k nodes."""
    index, x = torch.randint(0, 10000, (80000,)), torch.randn(80000, 32)
    total = torch.zeros(10000, 32)
    return "total.index_add_(0, i, x)", {"total": total, "i": index, "x": x}


def index_put(torch: Any) -> Body:
    """Return an accumulating write at pairs of indices."""
    total, values = torch.zeros(1024, 1024), torch.randn(M)
    pair = (torch.randint(0, 1024, (M,)), torch.randint(0, 1024, (M,)))
    return "x.index_put_(i, v, accumulate=True)", {"x": total, "i": pair, "v": values}


GRID: Makers = {
    "x": normal(4, 16, 64, 64),
    "grid": lambda torch: torch.rand(4, 64, 64, 2) * 2.2 - 1.1,
}
PHOTOS: Makers = {
    "x": normal(2, 3, 224, 224),
    "grid": lambda torch: torch.rand(2, 224, 224, 2) * 2.2 - 1.1,
}
BAGS: Makers = {"x": normal(5000, 64), "i": integers(0, 5000, 512, 16)}
WEIGHTED = BAGS | {"w": normal(512, 16)}
POINTS = {"x": normal(512, 64), "y": normal(512, 64)}
COUNTS = {"x": integers(0, 1000, M), "w": normal(M)}
# Text, makers, and whether the gradients are timed too.
LOOKUPS: dict[str, tuple[str, Makers, bool]] = {
    "grid_sample, 16 channels": ("F.grid_sample(x, grid, align_corners=False)", GRID, True),
    "grid_sample, photos": ("F.grid_sample(x, grid, align_corners=False)", PHOTOS, True),
    "grid_sample, bicubic": (
        "F.grid_sample(x, grid, 'bicubic', 'border', align_corners=False)",
        GRID,
        False,
    ),
    "embedding_bag, sum": ("F.embedding_bag(i, x, mode='sum')", BAGS, True),
    "embedding_bag, max": ("F.embedding_bag(i, x, mode='max')", BAGS, False),
    "embedding_bag, weighted": (
        "F.embedding_bag(i, x, per_sample_weights=w, mode='sum')",
        WEIGHTED,
        False,
    ),
    "cdist, p=1": ("torch.cdist(x, y, p=1.0)", POINTS, True),
    "pdist": ("F.pdist(x)", {"x": normal(512, 64)}, True),
    "bincount with weights, 2^20": ("torch.bincount(x, w)", COUNTS, False),
    "histc, 2^20": ("torch.histc(x, 100)", {"x": normal(M)}, False),
    "isin, 2^18 among 1000": (
        "torch.isin(x, i)",
        {"x": integers(0, 10**6, 1 << 18), "i": integers(0, 10**6, 1000)},
        False,
    ),
    "repeat_interleave by counts": (
        "x.repeat_interleave(i, 0)",
        {"x": normal(4096, 64), "i": integers(0, 8, 4096)},
        False,
    ),
    "index_add columns": (
        "x.index_add(1, i, y)",
        {"x": normal(512, 512), "i": integers(0, 512, 512), "y": normal(512, 512)},
        False,
    ),
    "index_fill rows": (
        "x.index_fill(0, i, 0.5)",
        {"x": normal(512, 512), "i": integers(0, 512, 512)},
        False,
    ),
    "cross, (2^16,3)": (
        "torch.linalg.cross(x, y)",
        {"x": normal(1 << 16, 3), "y": normal(1 << 16, 3)},
        True,
    ),
    "tril of a transposed matrix": ("x.t().tril()", {"x": normal(1024, 1024)}, False),
}


def make_lookups(group: str) -> Iterator[Workload]:
    """Yield what reads, counts or compares at places that are found as it goes."""
    for name, (text, makers, differentiable) in LOOKUPS.items():
        yield Workload(group, name, function_of(text, **makers))
        if differentiable:
            yield Workload(group, f"{name}, with backward", function_of(text, True, **makers))


def make_rows() -> Iterator[Workload]:
    """Yield the group's workloads."""
    group = "indexing"
    yield from make_lookups(group)
    lookup = Work(bytes=2 * FLOAT * 8192 * 256)
    for suffix, back in (("", False), (", with backward", True)):
        yield Workload(
            group,
            f"embedding (50000,256) of 8192{suffix}",
            embedding(50000, 256, 8192, back),
            lookup,
        )
        yield Workload(
            group, f"embedding (256,128) of 1024{suffix}", embedding(256, 128, 1024, back)
        )
    for suffix, back in (("", False), (", with backward", True)):
        for name, text, source, index, bound in (
            ("index_select rows", "x.index_select(0, i)", (4096, 256), (4096,), 4096),
            ("index_select columns", "x.index_select(1, i)", (4096, 256), (256,), 256),
            ("x[i]", "x[i]", (4096, 256), (4096,), 4096),
            ("x[:, i]", "x[:, i]", (4096, 256), (256,), 256),
            ("gather, last dimension", "x.gather(1, i)", (1024, 1024), (1024, 1024), 1024),
            ("gather, first dimension", "x.gather(0, i)", (1024, 1024), (1024, 1024), 1024),
            ("gather one of rows", "x.gather(1, i)", (65536, 16), (65536, 1), 16),
        ):
            yield Workload(group, name + suffix, indexed(text, source, index, bound, back))
    yield Workload(group, "scatter_add_, 2^20 into 2^16", scatter_add, Work(bytes=12 * M))
    yield Workload(group, "index_add_, (80000,32) into 10000", index_add)
    yield Workload(group, "index_put_ accumulate, 2^20", index_put)
    scatter = "torch.zeros_like(x).scatter_(1, i, x)"
    yield Workload(group, "scatter_, rows", indexed(scatter, (1024, 1024), (1024, 1024), 1024))
    half = "x.to(torch.float16).scatter_add(1, i, x.to(torch.float16))"
    name = "scatter_add, float16, last dimension"
    yield Workload(group, name, indexed(half, (1024, 1024), (1024, 1024), 1024))
    one_hot = "torch.nn.functional.one_hot(i, 128)"
    yield Workload(group, "one_hot, 8192 of 128", indexed(one_hot, (1,), (8192,), 128))
    for name, text in (
        ("x[mask], 2^20", "x[mask]"),
        ("masked_fill, 2^20", "x.masked_fill(mask, 0.0)"),
        ("nonzero, 2^20", "mask.nonzero()"),
    ):
        build = function_of(text, x=normal(M), mask=lambda torch: torch.rand(M) > 0.5)
        yield Workload(group, name, build, Work(bytes=5 * M))
    moved = Work(bytes=2 * FLOAT * M)
    square = ((1024, 1024),)
    image = ((32, 32, 32, 32),)
    for name, text, shapes in (
        ("cat rows", "torch.cat((x, y))", square * 2),
        ("cat columns", "torch.cat((x, y), 1)", square * 2),
        ("stack last", "torch.stack((x, y), -1)", square * 2),
        ("transpose copy", "x.t().contiguous()", square),
        ("NCHW to NHWC", "x.permute(0, 2, 3, 1).contiguous()", image),
        ("NHWC to NCHW", "x.permute(0, 3, 1, 2).contiguous()", image),
        ("split heads", "x.view(8, 128, 8, 128).transpose(1, 2).contiguous()", square),
        ("reverse dimensions", "x.permute(3, 2, 1, 0).contiguous()", image),
        ("roll rows", "x.roll(3, 0)", square),
        ("roll columns", "x.roll(3, 1)", square),
        ("flip columns", "x.flip(1)", square),
        ("flip rows", "x.flip(0)", square),
        ("repeat", "x.repeat(2, 2)", ((512, 512),)),
        ("repeat_interleave", "x.repeat_interleave(4, 0)", ((512, 512),)),
        ("pad", "F.pad(x, (1, 1, 1, 1))", image),
        ("pad reflect", "F.pad(x, (1, 1, 1, 1), mode='reflect')", image),
        ("tril", "x.tril()", square),
        ("x[::2] copy", "x[::2].clone()", square),
    ):
        yield Workload(group, name, plain(text, *shapes), moved)
    for name, text, shapes in (
        ("cat columns, with backward", "torch.cat((x, y), 1)", square * 2),
        ("NCHW to NHWC, with backward", "x.permute(0, 2, 3, 1).contiguous()", image),
        ("pad, with backward", "F.pad(x, (1, 1, 1, 1))", image),
        ("roll rows, with backward", "x.roll(3, 0)", square),
    ):
        yield Workload(group, name, plain(text, *shapes, backward=True), moved)


WORKLOADS = tuple(make_rows())
