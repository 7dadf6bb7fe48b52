"""The kernel cache: shared by processes, mended when damaged, useful when read-only, kept by
target."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import flambeau as torch
from flambeau.kernels import cache, loops, scalar, target
from flambeau.kernels.loops import LoopSpec, Operand
from flambeau.ops.identity import identify
from tests.kernels.loop_ops import derivatives, label, loop_ops

ROOT = Path(__file__).resolve().parents[2]
ADD = """
import flambeau as torch
from flambeau.kernels import cache
x = torch.arange(20, dtype=torch.float32)
assert (x + x).tolist() == [2.0 * k for k in range(20)]
assert torch.sum(x * 3 - 1).item() == 550
assert abs(torch.softmax(x, 0).sum().item() - 1) < 1e-5
print(cache.compiled)
"""


def run(code: str, folder: Path, **environment: str) -> str:
    """Standard output of a process with its own kernel cache."""
    env = {**os.environ, "FLAMBEAU_CACHE": str(folder), **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def kernel_text(constant: float) -> str:
    """IR of a kernel that adds a constant to float32."""
    with scalar.tracing():
        root = scalar.input(0, "f32") + constant
        spec = LoopSpec("flat", (Operand("f32", "c"),), (Operand("f32", "c"),), (root,))
        return loops.build(spec, target.host())


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, on disk and in memory, for this test."""
    monkeypatch.setenv("FLAMBEAU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_modules", {})
    return tmp_path / "cache"


def test_second_process_compiles_nothing(tmp_path: Path) -> None:
    assert int(run(ADD, tmp_path)) > 3
    assert int(run(ADD, tmp_path)) == 0
    assert run(ADD + "import sys; print('llvmlite' in sys.modules)", tmp_path).endswith("False")


def test_many_processes_fill_one_cache(tmp_path: Path) -> None:
    env = {**os.environ, "FLAMBEAU_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", ADD]
    running = [
        subprocess.Popen(
            command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors[-3000:]
    assert not list(tmp_path.glob("*/*.tmp"))
    assert int(run(ADD, tmp_path)) == 0


@pytest.mark.parametrize("damage", [b"", b"\x7fELF", bytes(5000)])
def test_damaged_files_are_replaced(tmp_path: Path, damage: bytes) -> None:
    compiled = int(run(ADD, tmp_path))
    objects = sorted(tmp_path.glob("*/*.o"))
    for path in [*objects, *tmp_path.glob("*/*.sig")]:
        path.write_bytes(damage)
    assert int(run(ADD, tmp_path)) == compiled
    assert int(run(ADD, tmp_path)) == 0
    assert sorted(tmp_path.glob("*/*.o")) == objects


@pytest.mark.parametrize("keep", [3, 100, -1])
def test_truncated_objects_are_replaced(own_cache: Path, keep: int) -> None:
    text = kernel_text(3.5)
    cache.function(text)
    (path,) = own_cache.glob("*/*.o")
    whole = path.read_bytes()
    path.write_bytes(whole[:keep])
    cache._modules.clear()
    assert cache.function(text)
    assert path.read_bytes() == whole


def test_index_that_names_other_files_is_not_followed(own_cache: Path) -> None:
    cache.remember("key", [kernel_text(1.5)], [8, 100])
    (note,) = own_cache.glob("*/*.sig")
    assert cache.recall("key")[1] == [8, 100]
    whole = note.read_text(encoding="ascii")
    counts, _needs, facts, _ = whole.split("\n")
    damaged = [f"{counts}\n../../secret\n{facts}\n", f"{counts}\n\n{facts}\n", whole[:-1]]
    damaged += [whole.replace(" 100\n", "\n"), whole.replace(":k", ":other"), whole.upper()]
    for text in (*damaged, "\n\n\n", "zz\n8", "\xff\xfe", "a b c"):
        note.write_text(text, encoding="latin-1")
        assert cache.recall("key") is None


def test_missing_object_is_not_recalled(own_cache: Path) -> None:
    cache.remember("key", [kernel_text(1.5)], [8])
    next(own_cache.glob("*/*.o")).unlink()
    cache._modules.clear()
    assert cache.recall("key") is None
    assert cache.recall("never remembered") is None


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no write permission there")
def test_read_only_cache_is_used_and_not_needed(tmp_path: Path) -> None:
    filled, empty = tmp_path / "filled", tmp_path / "empty"
    run(ADD, filled)
    empty.mkdir()
    try:
        for folder in (filled, *filled.iterdir(), empty):
            folder.chmod(0o500)
        assert int(run(ADD, filled)) == 0
        assert int(run(ADD, empty)) > 3  # written or not (root may), the program runs
    finally:
        for folder in (filled, *filled.iterdir(), empty):
            folder.chmod(0o700)


def test_unusable_folder_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert int(run(ADD, tmp_path / "file" / "cache")) > 3


def test_targets_and_default_types_have_entries_of_their_own(tmp_path: Path) -> None:
    code = "import flambeau as t; print(t.exp(t.ones(3, dtype=t.int64)).dtype)"
    assert run(code, tmp_path) == "torch.float32"
    assert (
        run("import flambeau as t; t.set_default_dtype(t.float64);" + code, tmp_path)
        == "torch.float64"
    )
    assert run(code, tmp_path) == "torch.float32"
    other = "sse" if target.host().triple.startswith("x86") else None
    if other and target.host().name != other:
        run(code, tmp_path, FLAMBEAU_TARGET=other)
        assert {p.name for p in tmp_path.iterdir()} == {target.host().name, other}


def test_clear_and_summary(own_cache: Path) -> None:
    assert cache.summary() == {"folder": str(own_cache), "objects": 0, "bytes": 0}
    cache.remember("key", [kernel_text(1.5), kernel_text(2.5)], [1])
    assert cache.summary()["objects"] == 2
    assert cache.clear() == 2
    assert cache.summary()["objects"] == 0
    assert not list(own_cache.glob("*/*.*"))


def test_threads_compile_at_once(own_cache: Path) -> None:
    texts = [kernel_text(0.5 + k) for k in range(8)]
    found: list[list[int]] = [[] for _ in range(4)]

    def work(mine: list[int]) -> None:
        mine.extend(cache.function(text) for text in texts)

    workers = [threading.Thread(target=work, args=(mine,)) for mine in found]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(len(mine) == 8 and all(mine) for mine in found)


def test_signatures_are_found_without_tracing(own_cache: Path) -> None:
    """A hit takes well under a millisecond; this allows for a busy machine."""
    op = torch.expm1.record
    ranks, accesses = [(8, 0)], ["c", "c"]
    first = op.compile(torch.expm1, 0, ranks, accesses, -1)
    cache._modules.clear()
    times = []
    for _ in range(20):
        cache._modules.clear()
        start = time.perf_counter()
        again = op.compile(torch.expm1, 0, ranks, accesses, -1)
        times.append(time.perf_counter() - start)
    assert again[1:] == first[1:]
    assert min(times) < 0.001


def test_identities_tell_all_loop_ops_apart() -> None:
    ops = loop_ops()
    named: dict[str | None, str] = {}
    for op in [*ops, *(d for o in ops for d in derivatives(o))]:
        identity = identify(op.record)
        assert identity is not None, label(op)
        assert identity not in named, (label(op), named[identity])
        named[identity] = label(op)


def test_identities_are_the_same_in_every_process(tmp_path: Path) -> None:
    code = (
        "from flambeau.ops.identity import identify\n"
        "from tests.kernels.loop_ops import derivatives, loop_ops\n"
        "ops = loop_ops()\n"
        "print([identify(o.record) for o in [*ops, *(d for o in ops for d in derivatives(o))]])"
    )
    assert run(code, tmp_path, PYTHONHASHSEED="1") == run(code, tmp_path, PYTHONHASHSEED="2")


def test_ops_defined_elsewhere_are_found_by_their_ir(own_cache: Path) -> None:
    from flambeau.ops.record import loop_op

    for factor in (2.0, 3.0):  # two bodies that look the same but for what they hold on to
        op = loop_op(
            0,
            lambda input, factor=factor: input * factor,
            name="scaled",
            operands=1,
            names=("input",),
        )
        assert identify(op.record) is None
        assert op(torch.ones(3)).tolist() == [factor] * 3


@pytest.mark.slow
def test_warming_fills_the_cache(tmp_path: Path) -> None:
    code = (
        "from flambeau.utils.warming import warm\n"
        "seen = []\n"
        "compiled = warm(lambda done, total, name: seen.append((done, total)))\n"
        "assert seen[0][0] == 0 and seen[-1][0] == seen[-1][1] == len(seen) - 1, seen\n"
        "print(compiled)"
    )
    assert int(run(code, tmp_path)) > 200
    assert int(run(code, tmp_path)) == 0
    assert int(run(ADD, tmp_path)) == 0


def with_package(folder: Path, code: str) -> str:
    """The program, with `folder` for the kernels beside the package."""
    return f"from flambeau.kernels import cache\ncache.PACKAGED = {str(folder)!r}\n{code}"


def test_kernels_beside_the_package_are_found_and_left_alone(tmp_path: Path) -> None:
    user, package = tmp_path / "user", tmp_path / "package"
    assert int(run(ADD, package)) > 3
    held = {path: path.read_bytes() for path in package.rglob("*.*")}
    code = with_package(package, ADD)
    assert int(run(code, user)) == 0
    assert not user.exists()
    assert int(run(code, user, FLAMBEAU_PACKAGED="0")) > 3
    next(package.glob("*/*.o")).write_bytes(b"damaged")
    shutil.rmtree(user)
    assert int(run(code, user)) == 1  # compiled again, into the user's cache
    assert len(list(user.glob("*/*.o"))) == 1
    assert {path.name for path in package.rglob("*.*")} == {path.name for path in held}


@pytest.mark.slow
def test_warming_a_package_replaces_what_it_held(tmp_path: Path) -> None:
    package, script = tmp_path / "_kernels", tmp_path / "mine.py"
    script.write_text("import torch\nprint(torch.ones(3).lgamma().sum())\n")
    (package / "old").mkdir(parents=True)
    code = (
        "from flambeau.utils.warming import warm_package\n"
        f"print(warm_package(scripts=[{str(script)!r}]))"
    )
    assert run(with_package(package, code), tmp_path / "user") == str(package)
    assert [path.name for path in package.iterdir()] == [target.host().name]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["_kernels", "mine.py"]
    lgamma = "import flambeau as t; t.ones(3).lgamma(); print(cache.compiled)"
    assert run(with_package(package, lgamma), tmp_path / "user") == "0"


def test_warming_tells_of_a_script_that_fails(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("raise ValueError('not today')\n")
    code = (
        "from flambeau.utils import warming\n"
        "warming._program = lambda: [('nothing', lambda: None)]\n"
        "warming._run_shares = lambda jobs, environment: iter(['nothing'])\n"
        "try:\n"
        f"    warming.warm(scripts=[{str(tmp_path / 'bad.py')!r}])\n"
        "except RuntimeError as error:\n"
        "    print(error)"
    )
    assert "ValueError: not today" in run(code, tmp_path)


TRAIN = """
import sys
import flambeau as torch
from flambeau.kernels import cache
nn = torch.nn
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                    nn.Linear(128, 4), nn.Tanh())
optim = torch.optim.Adam(net.parameters(), lr=0.01)
x, y = torch.randn(4, 3, 8, 8), torch.randint(0, 4, (4,))
for _ in range(3):
    optim.zero_grad()
    loss = nn.functional.cross_entropy(net(x), y)
    loss.backward()
    optim.step()
print(loss.item().hex())
bad = x.clone()
bad[0, 0, 0, 0] = float("inf")
wide = torch.full((1, 32, 16, 16), float("inf"))  # a plan that another one stands in for
print(net[0](bad).isfinite().sum().item(),
      nn.functional.conv2d(wide, torch.ones(32, 32, 3, 3)).isinf().all().item())
"""
LOADED = """
names = "loops mathlib llvm derive gemm conv conv_weight_plan".split()
print([n for n in names if f"flambeau.kernels.{n}" in sys.modules], "llvmlite" in sys.modules)
print(cache.compiled)
"""


def test_second_process_needs_no_generators(tmp_path: Path) -> None:
    first = run(TRAIN, tmp_path).splitlines()
    *again, loaded, compiled = run(TRAIN + LOADED, tmp_path).splitlines()
    assert again == first
    assert loaded == "[] False"
    assert compiled == "0"


def test_plans_with_other_thread_counts_are_others(tmp_path: Path) -> None:
    results = {run(TRAIN, tmp_path, FLAMBEAU_NUM_THREADS=n) for n in ("1", "2", "1")}
    assert len({r.splitlines()[1] for r in results}) == 1
