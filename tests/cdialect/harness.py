"""Compiles C-dialect kernels with the host compiler, many in one unit, and calls them on NumPy
arrays."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flambeau.kernels import cdialect, cdialect_prelude
from flambeau.kernels import dtypes as dt
from flambeau.kernels.loops import LoopSpec

COMPILER = (
    os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")
)
SHIM = Path(__file__).with_name("shim.hpp")
# (blocks, threads a block, last thread first): one thread, odd counts, more threads than elements
SCHEDULES = ((1, 1, 0), (3, 7, 1), (2, 32, 0), (5, 64, 1))
SANITIZE = (
    "-g",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)

MEMORY = {"f16": np.float16, "bf16": np.uint16, "bool": np.bool_}
MEMORY |= {"f32": np.float32, "f64": np.float64, "c64": np.complex64, "c128": np.complex128}
MEMORY |= {
    f"{k}{n}": np.dtype(f"{name}{n}").type
    for k, name in (("u", "uint"), ("i", "int"))
    for n in (8, 16, 32, 64)
}
NUMBER = {
    "f32": ctypes.c_float,
    "f64": ctypes.c_double,
    "i64": ctypes.c_int64,
    "u64": ctypes.c_uint64,
}
NUMBER |= {
    "i32": ctypes.c_int32,
    "u32": ctypes.c_uint32,
    "i16": ctypes.c_int16,
    "u16": ctypes.c_uint16,
}
NUMBER |= {"i8": ctypes.c_int8, "u8": ctypes.c_uint8, "bool": ctypes.c_bool}


def compile_kernels(texts: Sequence[str], folder: Path, extra: Sequence[str] = ()) -> Path:
    """A shared library of kernels (texts without prelude), each with its launcher."""
    source = folder / "kernels.cpp"
    body = "\n".join([f'#include "{SHIM}"', cdialect_prelude.prelude("cuda"), *texts])
    source.write_text(body, encoding="utf-8")
    library = source.with_suffix(".so")
    # no contraction: results are then those of the CPU's kernels, bit for bit
    flags = ["-std=c++17", "-O0", "-shared", "-fPIC", "-ffp-contract=off", "-w", *extra]
    if platform.machine() in ("x86_64", "AMD64"):
        flags.append("-msse4.1")  # rounding by instructions
    run = subprocess.run(
        [str(COMPILER), *flags, "-o", str(library), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, f"the host compiler rejects the C dialect:\n{run.stderr[:4000]}"
    return library


class Launcher:
    """Calls the kernels of a library under any schedule."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))

    def __call__(
        self,
        name: str,
        values: Sequence[object],
        *,
        blocks: int,
        threads: int,
        meets: bool,
        backwards: bool,
    ) -> None:
        launch = getattr(self.library, f"launch_{name}")
        launch.restype = ctypes.c_char_p
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))  # type: ignore
        error = launch(blocks, threads, int(meets), int(backwards), pointers)
        assert error is None, f"{name}: {error.decode()}"


def arguments(
    spec: LoopSpec,
    arrays: Sequence[object],
    sizes: dict[str, int],
    strides: Sequence[Sequence[int]],
    *,
    scalars: int,
    rank: int,
) -> list[object]:
    """The launch's values: arrays (numbers for scalars) by operand, sizes and element strides by
    name."""
    values: list[object] = []
    steps = {f"s{k}_{d}": s for k, row in enumerate(strides) for d, s in enumerate(row)}
    for p in cdialect.parameters(spec, scalars=scalars, rank=rank):
        kind, number = p.name[0], p.name[1:]
        if kind == "p" and number.isdigit():
            values.append(ctypes.c_void_p(base_of(arrays[int(number)]).ctypes.data))
        elif kind == "o" and number.isdigit():
            values.append(ctypes.c_int64(offset_of(arrays[int(number)])))
        elif kind == "v":
            values.append(NUMBER[p.type if p.type != "bool" else "bool"](arrays[int(number)]))
        else:
            values.append(ctypes.c_int64(steps[p.name] if p.name in steps else sizes[p.name]))
    return values


def base_of(array: np.ndarray) -> np.ndarray:
    """The array that owns the memory."""
    while isinstance(array.base, np.ndarray | memoryview):
        array = np.asarray(array.base)
    return array


def offset_of(array: np.ndarray) -> int:
    """Elements from the beginning of the memory to the array's first."""
    return (array.ctypes.data - base_of(array).ctypes.data) // array.itemsize if array.size else 0


def element_strides(array: np.ndarray) -> list[int]:
    """Strides in elements."""
    return [s // array.itemsize for s in array.strides]


def to_bf16(x: np.ndarray) -> np.ndarray:
    """float32 to the bits of bfloat16, to nearest even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(x), 0x7FC0, rounded).astype(np.uint16)


def from_bf16(bits: np.ndarray) -> np.ndarray:
    """The bits of bfloat16 as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def is_complex(name: str) -> bool:
    """Complex numbers are stored as pairs."""
    return dt.is_complex(name)
