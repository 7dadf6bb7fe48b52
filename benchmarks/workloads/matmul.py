"""Matrix products and what is made of them."""

from collections.abc import Iterator
from typing import Any

from .common import Body, Build, Work, Workload, forward, function_of, normals, with_backward

FLOAT = 4


def product(
    text: str, *shapes: tuple[int, ...], dtype: str = "float32", backward: bool = False
) -> Build:
    """Return an expression in a, b, c of normal variates."""
    return function_of(text, backward, **normals("abc", shapes, dtype))


def flops(m: int, n: int, k: int, batch: int = 1) -> Work:
    """Return the work of a product of (m, k) by (k, n) in fp32."""
    return Work(FLOAT * batch * (m * n + m * k + k * n), 2.0 * batch * m * n * k)


def square_rows() -> Iterator[Workload]:
    """Yield products of square matrices."""
    targets = {64: 0.8}
    for n in (64, 128, 256, 512, 1024, 2048):
        build = product("a @ b", (n, n), (n, n))
        target = targets.get(n, 1.0)
        yield Workload("matmul", f"square {n}", build, flops(n, n, n), target, large=n >= 512)
    for name, text in (("a.t() @ b", "a.t() @ b"), ("a @ b.t()", "a @ b.t()")):
        yield Workload(
            "matmul", f"{name}, 512", product(text, (512,) * 2, (512,) * 2), flops(512, 512, 512)
        )
    build = product("a @ b", (512, 512), (512, 512), backward=True)
    yield Workload(
        "matmul", "square 512, with backward", build, Work(flops=6.0 * 512**3), large=True
    )
    for n in (256, 1024):
        build = product("a @ b", (n, n), (n, n), dtype="float64")
        work = Work(8.0 * 3 * n * n, 4.0 * n**3)  # a double counts as two singles
        yield Workload("matmul", f"square {n}, float64", build, work)
        build = product("a @ b", (n, n), (n, n), dtype="bfloat16")
        yield Workload("matmul", f"square {n}, bfloat16", build)


def shaped_rows() -> Iterator[Workload]:
    """Yield skinny, batched and vector products."""
    group = "matmul"
    for m, n, k in ((4096, 16, 256), (16, 4096, 256), (32, 32, 8192), (1000, 777, 333)):
        build = product("a @ b", (m, k), (k, n))
        yield Workload(group, f"({m},{k}) @ ({k},{n})", build, flops(m, n, k))
    yield Workload(
        group,
        "batched (64,128,64) @ (64,64,128)",
        product("a @ b", (64, 128, 64), (64, 64, 128)),
        flops(128, 128, 64, 64),
        large=True,
    )
    yield Workload(
        group,
        "batched with transpose (64,128,64)",
        product("a @ b.transpose(1, 2)", (64, 128, 64), (64, 128, 64)),
        flops(128, 128, 64, 64),
    )
    yield Workload(group, "batched small (512,8,8)", product("a @ b", (512, 8, 8), (512, 8, 8)))
    yield Workload(
        group, "matrix-vector 2048", product("a @ b", (2048, 2048), (2048,)), flops(2048, 1, 2048)
    )
    yield Workload(
        group, "vector-matrix 2048", product("a @ b", (2048,), (2048, 2048)), flops(1, 2048, 2048)
    )
    half = product("a @ b", (2048,), (2048, 2048), dtype="bfloat16")
    yield Workload(group, "vector-matrix 2048, bfloat16", half)
    yield Workload(
        group, "dot, 2^20", product("a @ b", (1 << 20,), (1 << 20,)), Work(bytes=8 << 20)
    )
    yield Workload(
        group, "outer 1024", product("torch.outer(a, b)", (1024,), (1024,)), Work(bytes=4 << 20)
    )


def batch_rows() -> Iterator[Workload]:
    """Yield batches of products: attention's, from memory, and small ones."""
    heads, scores, keys = (32, 8, 128, 64), (32, 8, 128, 128), (32, 8, 64, 128)
    work = flops(128, 128, 64, 256)
    for name, text, shapes in (
        ("scores, (32,8,128,64) @ (32,8,64,128)", "a @ b", (heads, keys)),
        ("scores of transposed keys", "a @ b.mT", (heads, heads)),
        ("values, (32,8,128,128) @ (32,8,128,64)", "a @ b", (scores, heads)),
    ):
        yield Workload("matmul", f"batched {name}", product(text, *shapes), work)
    pair = ((64, 128, 64), (64, 64, 128))
    both = Work(flops=3 * flops(128, 128, 64, 64).flops)
    name = "batched (64,128,64) @ (64,64,128)"
    yield Workload("matmul", f"{name}, with backward", product("a @ b", *pair, backward=True), both)
    yield Workload("matmul", f"{name}, bfloat16", product("a @ b", *pair, dtype="bfloat16"))
    for count, n in ((1000, 4), (64, 32)):
        small = product("a @ b.mT", (count, n, n), (count, n, n))
        yield Workload("matmul", f"batched ({count},{n},{n}), transposed", small)


def odd_rows() -> Iterator[Workload]:
    """Yield sizes that are no multiple of a vector, and products of other types."""
    for n in (65, 1000):
        yield Workload("matmul", f"square {n}", product("a @ b", (n, n), (n, n)), flops(n, n, n))
    pair = ((256, 256), (256, 256))
    yield Workload("matmul", "square 256, int64", product("(a * 9).long() @ b.long()", *pair))
    row = product("torch.addmm(c, a, b)", *pair, (256,), backward=True)
    work = Work(flops=3 * flops(256, 256, 256).flops)
    yield Workload("matmul", "addmm of a row, 256, with backward", row, work)
    update = product("torch.addr(c, a, b)", (512,), (512,), (512, 512))
    yield Workload("matmul", "addr 512", update, Work(bytes=2 << 20))


def layer_rows() -> Iterator[Workload]:
    """Yield linear layers and contractions of attention."""
    group = "matmul"
    layer = ((1024, 256), (1024, 256), (1024,))
    linear, gelu = "F.linear(a, b, c)", "F.gelu(F.linear(a, b, c))"
    work = flops(1024, 1024, 256)
    both = Work(flops=3 * work.flops)
    yield Workload(group, "linear with bias", product(linear, *layer), work)
    yield Workload(
        group, "linear with bias, with backward", product(linear, *layer, backward=True), both
    )
    yield Workload(group, "linear and gelu", product(gelu, *layer), work)
    yield Workload(
        group, "linear and gelu, with backward", product(gelu, *layer, backward=True), both
    )
    shapes = ((16, 1024), (1024, 1024), (1024,))
    name, work = "linear (16,1024) to 1024", flops(16, 1024, 1024)
    yield Workload(group, name, product(linear, *shapes), work)
    both = Work(flops=3 * work.flops)
    yield Workload(group, f"{name}, with backward", product(linear, *shapes, backward=True), both)
    shapes = ((64, 1024), (1024, 1024), (1024,))
    work = Work(flops=3 * flops(64, 1024, 1024).flops)
    build = product(linear, *shapes, backward=True)
    yield Workload(group, "linear (64,1024) to 1024, with backward", build, work)
    build = product(linear, *layer, dtype="bfloat16", backward=True)
    yield Workload(group, "linear with bias, bfloat16, with backward", build)
    small = product(linear, (32, 64), (64, 64), (64,))
    yield Workload(group, "linear (32,64) to 64", small, flops(32, 64, 64))
    heads = (8, 4, 128, 32)
    scores = "torch.einsum('bhid,bhjd->bhij', a, b)"
    mix = "torch.einsum('bhij,bhjd->bhid', a, b)"
    work = flops(128, 128, 32, 32)
    yield Workload(group, "einsum of scores (8,4,128,32)", product(scores, heads, heads), work)
    yield Workload(
        group, "einsum of values (8,4,128,128)", product(mix, (8, 4, 128, 128), heads), work
    )
    logits = "torch.einsum('bld,vd->blv', a, b)"
    yield Workload(
        group,
        "einsum of logits",
        product(logits, (8, 128, 128), (1000, 128)),
        flops(1024, 1000, 128),
    )


def attention(shape: tuple[int, ...], backward: bool, causal: bool = True) -> Build:
    """Return scaled dot-product attention."""

    def build(torch: Any) -> Body:
        function = torch.nn.functional.scaled_dot_product_attention

        def f(q: Any, k: Any, v: Any) -> Any:
            return function(q, k, v, is_causal=causal)

        inputs = [torch.randn(*shape) for _ in range(3)]
        return with_backward(torch, f, *inputs) if backward else forward(f, *inputs)

    return build


def attention_rows() -> Iterator[Workload]:
    """Yield attention, causal and full."""
    for shape in ((4, 8, 256, 32), (2, 12, 1024, 64)):
        batch, heads, length, width = shape
        once = Work(flops=2.0 * batch * heads * length * length * width)  # half of the square
        thrice = Work(flops=3.5 * once.flops)
        name = f"attention causal {shape}".replace(", ", ",")
        yield Workload("matmul", name, attention(shape, False), once, large=True)
        yield Workload("matmul", f"{name}, with backward", attention(shape, True), thrice)
    yield Workload(
        "matmul", "attention full (4,8,256,32)", attention((4, 8, 256, 32), False, False)
    )


def step_of_generation(
    heads: int, shared: int, queries: int, keys: int, masked: bool = False, dtype: str = "float32"
) -> Build:
    """Return attention of a few queries to many keys; `shared` heads of keys serve all heads."""

    def build(torch: Any) -> Body:
        attend = torch.nn.functional.scaled_dot_product_attention
        shapes = ((4, heads, queries, 64), (4, shared, keys, 64), (4, shared, keys, 64))
        inputs = [torch.randn(*shape).to(getattr(torch, dtype)) for shape in shapes]
        mask = torch.rand(4, 1, queries, keys) > 0.1 if masked else None
        grouped = {"enable_gqa": True} if shared < heads else {}
        return forward(lambda q, k, v: attend(q, k, v, mask, **grouped), *inputs)

    return build


def generation_rows() -> Iterator[Workload]:
    """Yield steps of generation: one query a head, or some, and keys of all positions so far."""
    name = "attention of"
    work = Work(bytes=2 * 4 * 8 * 512 * 64 * FLOAT)
    yield Workload("matmul", f"{name} 1 query to 512", step_of_generation(8, 8, 1, 512), work)
    build = step_of_generation(8, 8, 1, 512, masked=True)
    yield Workload("matmul", f"{name} 1 query to 512, masked", build, work)
    build = step_of_generation(8, 8, 1, 512, dtype="bfloat16")
    yield Workload("matmul", f"{name} 1 query to 512, bfloat16", build)
    build = step_of_generation(32, 8, 1, 512)
    yield Workload("matmul", f"{name} 1 query to 512, 32 heads share 8", build, work)
    yield Workload("matmul", f"{name} 8 queries to 512", step_of_generation(8, 8, 8, 512), work)


WORKLOADS = (
    *square_rows(),
    *shaped_rows(),
    *batch_rows(),
    *odd_rows(),
    *layer_rows(),
    *attention_rows(),
    *generation_rows(),
)
