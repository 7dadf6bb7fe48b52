"""The kernels that most programs need, as a program that uses them.

`warm` runs each step; what it calls is compiled and kept on disk. Sizes matter only where they
choose a kernel, layouts where they choose a loop form. A list of programs, unlike one of kernels,
stays right when ops or generators change.
"""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

Step = tuple[str, Callable[[], Any]]
Progress = Callable[[int, int, str], Any]

_UNARY = (
    "neg",
    "abs",
    "exp",
    "log",
    "sqrt",
    "rsqrt",
    "tanh",
    "sigmoid",
    "relu",
    "square",
    "reciprocal",
    "sin",
    "cos",
    "erf",
    "log1p",
    "expm1",
    "floor",
    "round",
    "sign",
    "isnan",
    "isfinite",
)
_BINARY = (
    "add",
    "sub",
    "mul",
    "div",
    "pow",
    "maximum",
    "minimum",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
)
_TENSORS_ONLY = ("maximum", "minimum")
_WHOLE = ("add", "sub", "mul", "floor_divide", "remainder", "eq", "ne", "lt", "le", "gt", "ge")
_REDUCTIONS = (
    "sum",
    "mean",
    "amax",
    "amin",
    "argmax",
    "std",
    "norm",
    "logsumexp",
    "softmax",
    "log_softmax",
)


def warm(
    progress: Progress | None = None,
    scripts: Sequence[str] = (),
    jobs: int | None = None,
    folder: str | os.PathLike | None = None,
) -> int:
    """Compile the common kernels into the kernel cache; how many were not there yet.

    The steps are shared out to `jobs` processes (by default one a processor, at most 8). `scripts`
    are programs that run afterwards, one after another, for what they need; their output is not
    shown. `folder` is used in place of the user's cache.
    `progress(done, total, name)` is called as steps finish.

    Raises RuntimeError with its output where a process or script fails.
    """
    from flambeau.kernels import cache

    base = Path(folder) if folder is not None else cache.folder()
    environment = {**os.environ, "FLAMBEAU_CACHE": str(base), "FLAMBEAU_PACKAGED": "0"}
    before = cache.count_objects(base)
    names = [name for name, _ in _program()]
    total = len(names) + len(scripts)
    jobs = min(jobs or min(os.cpu_count() or 1, 8), len(names))
    if progress is not None:
        progress(0, total, "")
    done = 0
    for name in _run_shares(jobs, environment):
        done += 1
        if progress is not None:
            progress(done, total, name)
    for script in scripts:
        _run([sys.executable, "-m", "flambeau.cli", "run", script], environment)
        done += 1
        if progress is not None:
            progress(done, total, script)
    return cache.count_objects(base) - before


def warm_package(
    progress: Progress | None = None, scripts: Sequence[str] = (), jobs: int | None = None
) -> Path:
    """Compile the common kernels into the folder beside the package, in place of what it held.

    Every process on this machine then finds them, whoever runs it; they are left out by a program
    of another version, or for another processor. Raises OSError where the folder can't be written.
    """
    from flambeau.kernels import cache

    place = Path(cache.PACKAGED)
    new = Path(tempfile.mkdtemp(dir=place.parent, prefix="_kernels."))
    try:
        warm(progress, scripts, jobs, new)
        new.chmod(0o755)
        for path in new.rglob("*"):  # temporary files are private: these are for everybody
            path.chmod(0o755 if path.is_dir() else 0o644)
        if place.exists():
            place.rename(new / "replaced")
        new.rename(place)
        shutil.rmtree(place / "replaced", ignore_errors=True)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return place


def _run_shares(jobs: int, environment: dict[str, str]) -> Iterator[str]:
    """Names of the steps as the processes finish them."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", __name__, str(share), str(jobs)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for share in range(jobs)
    ]
    names: queue.SimpleQueue = queue.SimpleQueue()

    def follow(process: subprocess.Popen) -> None:
        for line in process.stdout or ():
            names.put(line.strip())
        names.put(None)

    try:
        for process in running:
            threading.Thread(target=follow, args=(process,), daemon=True).start()
        ended = 0
        while ended < jobs:
            name = names.get()
            if name is None:
                ended += 1
            else:
                yield name
        for process in running:
            _, errors = process.communicate()
            if process.returncode:
                raise RuntimeError(f"warming the kernel cache failed:\n{errors}")
    finally:
        for process in running:
            process.kill()
            process.wait()


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[-1]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def run_share(share: int, jobs: int) -> None:
    """Run every `jobs`-th step from `share` on, and print their names."""
    warnings.simplefilter("ignore")  # values do not matter here, nor what is said of them
    for name, run in _program()[share::jobs]:
        run()
        print(name, flush=True)


def _program() -> list[Step]:
    import flambeau

    return steps(flambeau)


def steps(torch: Any) -> list[Step]:
    """Named calls, given the public package."""
    result: list[Step] = []
    for dtype in (torch.float32, torch.float64):
        name = str(dtype).removeprefix("torch.").removeprefix("flambeau.")
        result += [(f"{op} {name}", _pointwise(torch, op, dtype)) for op in (*_UNARY, *_BINARY)]
        result += [(f"{op} {name}", _reduction(torch, op, dtype)) for op in _REDUCTIONS]
        result.append((f"matmul {name}", partial(_products, torch, dtype)))
        result.append((f"linear algebra {name}", partial(_linear_algebra, torch, dtype)))
    result += [(f"{op} int64", _pointwise(torch, op, torch.int64)) for op in _WHOLE]
    result += [
        (f"convert {d}", partial(_convert, torch, d))
        for d in (torch.bool, torch.uint8, torch.int64)
    ]
    result += [
        ("convolution", lambda: _convolution(torch)),
        ("linear layers", lambda: _perceptron(torch)),
        ("residual network", lambda: _residual(torch)),
        ("transformer", lambda: _transformer(torch)),
        ("recurrent layers", lambda: _recurrent(torch)),
        ("normalisation", lambda: _normalisation(torch)),
        ("indexing", lambda: _indexing(torch)),
        ("random", lambda: _random(torch)),
    ]
    return result


def _is_binary(op: str) -> bool:
    return op in _BINARY or op in _WHOLE


def _pointwise(torch: Any, op: str, dtype: Any) -> Callable[[], Any]:
    def run() -> None:
        function = getattr(torch, op)
        x = torch.ones(4, 20, dtype=dtype)
        if not _is_binary(op):
            _forward_and_back(torch, lambda v: function(v), x)
            return
        others = [torch.ones(shape, dtype=dtype) for shape in ((4, 20), (20,), (4, 1))]
        for other in others if op in _TENSORS_ONLY else [*others, 2]:
            _forward_and_back(torch, lambda v, other=other: function(v, other), x)

    return run


def _reduction(torch: Any, op: str, dtype: Any) -> Callable[[], Any]:
    def run() -> None:
        function = getattr(torch, op)
        x = torch.ones(20, 20, dtype=dtype)
        for dim in (0, 1):
            _forward_and_back(torch, lambda v, dim=dim: function(v, dim=dim), x)
        if op in ("sum", "mean", "amax", "argmax", "std", "norm"):
            _forward_and_back(torch, function, x)

    return run


def _forward_and_back(torch: Any, function: Callable, x: Any) -> None:
    if not x.is_floating_point():
        function(x)
        return
    x = x.detach().clone().requires_grad_()
    y = function(x)
    if y.requires_grad:
        y.sum().backward()


def _products(torch: Any, dtype: Any) -> None:
    for m, k, n in ((32, 50, 10), (1, 50, 10), (300, 300, 300)):
        a = torch.ones(m, k, dtype=dtype, requires_grad=True)
        b = torch.ones(k, n, dtype=dtype, requires_grad=True)
        (a @ b).sum().backward()
    a = torch.ones(2, 8, 8, dtype=dtype, requires_grad=True)
    (a @ a).sum().backward()


def _linear_algebra(torch: Any, dtype: Any) -> None:
    """Factors and solvers of a small, a medium and a larger matrix, and their gradients."""
    linalg = torch.linalg
    for n in (4, 40, 200):
        a = torch.eye(n, dtype=dtype, requires_grad=True)
        for columns in (1, 5):
            linalg.solve(a, torch.ones(n, columns, dtype=dtype)).sum().backward()
        for function in (linalg.inv, linalg.det, linalg.cholesky, lambda a: linalg.qr(a).Q):
            function(a).sum().backward()
    with torch.no_grad():
        linalg.eigh(a[:4, :4])
        linalg.svd(a[:4, :4])


def _convert(torch: Any, dtype: Any) -> None:
    torch.ones(20).to(dtype).to(torch.float32)


def _convolution(torch: Any) -> None:
    nn, functional = torch.nn, torch.nn.functional
    network = nn.Sequential(
        nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 3, padding=1),
        nn.BatchNorm2d(16), nn.ReLU(), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1),
    )  # fmt: skip
    out = network(torch.ones(4, 3, 32, 32)).flatten(1)
    functional.cross_entropy(out, torch.zeros(4, dtype=torch.int64)).backward()


def _perceptron(torch: Any) -> None:
    nn, optim = torch.nn, torch.optim
    network = nn.Sequential(nn.Linear(10, 50), nn.ReLU(), nn.Linear(50, 1))
    x, y = torch.ones(32, 10), torch.ones(32, 1)
    for make in (
        lambda p: optim.SGD(p, 0.1),
        lambda p: optim.SGD(p, 0.1, momentum=0.9),
        lambda p: optim.Adam(p),
        lambda p: optim.AdamW(p),
    ):
        optimizer = make(network.parameters())
        for loss in (nn.MSELoss(), nn.L1Loss(), nn.BCEWithLogitsLoss()):
            optimizer.zero_grad()
            loss(network(x), y).backward()
            optimizer.step()


def _normalisation(torch: Any) -> None:
    network = torch.nn.Sequential(torch.nn.LayerNorm(20), torch.nn.GELU(), torch.nn.Dropout(0.1))
    network(torch.ones(4, 20, requires_grad=True)).sum().backward()


def _indexing(torch: Any) -> None:
    x = torch.ones(20, 20, requires_grad=True)
    index = torch.arange(4)
    (x[index].sum() + x[:, index].sum() + torch.cat([x, x.t()]).sum()).backward()
    torch.nn.functional.embedding(index, x).sum().backward()
    torch.where(x > 0, x, -x).sum().backward()
    x.detach().sort(), x.detach().topk(3), x.detach().cumsum(0)


def _random(torch: Any) -> None:
    state = torch.get_rng_state()
    torch.rand(20), torch.randn(20), torch.randint(0, 9, (20,)), torch.randperm(20)
    torch.set_rng_state(state)


def _residual(torch: Any) -> None:
    """Blocks of convolutions as in ResNet-18, on images of 32 by 32."""
    nn = torch.nn
    x = torch.ones(4, 3, 32, 32)
    for before, after, stride in ((3, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1)):
        layers = [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)]
        y = nn.Sequential(*layers)(x)
        if before == after:
            y = y + x
        elif stride > 1:
            y = y + nn.Conv2d(before, after, 1, stride, bias=False)(x)
        x = y.relu()
    x.mean((2, 3)).sum().backward()


def _transformer(torch: Any) -> None:
    """A training step of a small language model."""
    nn, functional = torch.nn, torch.nn.functional
    tokens = torch.zeros(2, 32, dtype=torch.int64)
    embed, head = nn.Embedding(65, 64), nn.Linear(64, 65)
    layer = nn.TransformerEncoderLayer(64, 2, 256, batch_first=True, norm_first=True)
    parts = nn.ModuleList([embed, layer, head])
    optimizer = torch.optim.AdamW(parts.parameters())
    x = layer(embed(tokens) + embed.weight[: tokens.shape[1]])
    q = x.view(2, 32, 2, 32).transpose(1, 2)
    x = x + functional.scaled_dot_product_attention(q, q, q, is_causal=True).transpose(
        1, 2
    ).reshape(2, 32, 64)
    functional.cross_entropy(head(x).view(-1, 65), tokens.view(-1)).backward()
    nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
    optimizer.step()
    parts.eval()
    with torch.no_grad():
        head(layer(embed(tokens)))


def _recurrent(torch: Any) -> None:
    x = torch.ones(4, 8, 16)
    for kind in ("LSTM", "GRU", "RNN"):
        out, _ = getattr(torch.nn, kind)(16, 32, num_layers=2, batch_first=True)(x)
        out.sum().backward()


if __name__ == "__main__":
    run_share(*map(int, sys.argv[1:]))
