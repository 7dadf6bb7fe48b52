"""The passes of LLVM's that a kernel is compiled with: fewer for one loop of vector operations."""

import ctypes

import numpy as np
import pytest

import flambeau as torch
from flambeau.kernels import cache, scalar, target
from flambeau.kernels.levels import find_company, find_levels
from tests.kernels.harness import SIGNATURE


@pytest.mark.parametrize("name", ["sqrt", "exp", "sin", "add", "eq", "bitwise_and"])
def test_pointwise_kernels_are_plain(name: str) -> None:
    types = {"add": ("float32",) * 2, "eq": ("float16",) * 2, "bitwise_and": ("int64",) * 2}
    assert getattr(torch, name).source("cpu", *types.get(name, ())).endswith(cache.PLAIN)


@pytest.mark.parametrize("name", ["sum", "lgamma"])
def test_loops_within_loops_and_large_bodies_get_every_pass(name: str) -> None:
    assert not getattr(torch, name).source().endswith(cache.PLAIN)


@pytest.mark.parametrize("name", ["exp", "log", "sin", "tanh", "erf", "tan"])
def test_fewer_passes_give_the_same_bits(name: str) -> None:
    text = getattr(torch, name).source().removesuffix(cache.PLAIN)
    x = np.concatenate([np.linspace(-90, 90, 1003), [0, np.inf, -np.inf, np.nan, 1e30]])
    x = x.astype(np.float32)
    results = []
    for ir in (text, text + cache.PLAIN):
        kernel, out = SIGNATURE(cache.function(ir)), np.full_like(x, 7)
        pointers = (ctypes.c_void_p * 2)(out.ctypes.data, x.ctypes.data)
        kernel(pointers, None, 0, x.size, 0)
        results.append(out.view(np.int32))
    assert np.array_equal(*results)


def test_a_plain_kernel_does_not_change_the_next_one() -> None:
    """The choice is LLVM's own state: it has to be made anew for every module."""
    other = torch.sum.source()
    before = cache.compile_object(other)
    cache.compile_object(torch.exp.source())
    assert cache.compile_object(other) == before


@pytest.mark.parametrize("name", sorted(target.BY_NAME))
def test_every_target_is_known_to_the_compiler(name: str) -> None:
    text = "define void @k() {\n  ret void\n}\n"
    assert cache.compile_object(text, target.BY_NAME[name]).startswith(b"\x7fELF")


def test_a_plain_loop_is_tested_at_its_end_and_knows_its_constants() -> None:
    """Level 0 moves nothing out of a loop and turns none."""
    before, body = torch.exp.source().split("\nbody", 1)
    assert " = private unnamed_addr constant <" in before
    assert ", ptr @c" in before
    assert ", ptr @c" not in body
    assert "\nhead" not in body


def test_constants_without_room_are_loaded_where_they_are_used() -> None:
    text = torch.erf.source("cpu", "float64")
    before, body = text.split("\nbody", 1)
    room = target.host().registers * 3 // 4
    assert before.count(", ptr @c") <= room
    assert ", ptr @c" in body
    assert not text.endswith(cache.PLAIN)  # which would not make the loads parts of instructions


def test_what_is_rarely_computed_takes_no_registers() -> None:
    before, body = torch.sin.source().split("\nbody", 1)
    rare = body.split("\nthen", 1)[1].split("\nelse", 1)[0]
    assert ", ptr @c" in rare
    assert "x double>" not in before.split("entry:")[1]  # only huge angles are reduced in float64


def test_what_is_rare_on_one_condition_is_one_branch() -> None:
    assert torch.sin.source().count("\nthen") == 1  # quarter turns and the rest of huge angles


def test_what_is_rare_and_needs_another_is_a_branch_of_its_own() -> None:
    with scalar.tracing():
        x = scalar.input(0, "f32")
        first = scalar.rarely(x > 1.0, x * 2.0, x)
        second = scalar.rarely(x > 1.0, first * 3.0, first)
        beside = scalar.rarely(x > 1.0, x * 5.0, x)
        nodes = scalar.topological([second, beside])
        company = find_company(nodes, find_levels(nodes, lambda _: False))
    assert company[second] == [second]
    assert company[first] == company[beside] == [first, beside]
