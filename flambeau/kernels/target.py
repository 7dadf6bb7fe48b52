"""What the machine's vector units offer, and the description LLVM wants of it."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple


class Target(NamedTuple):
    """A machine kernels are emitted for."""

    name: str  # avx512, avx2, neon, sse
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    masked: bool  # masked loads and stores of 1- to 8-byte elements are single instructions
    gather: bool  # has instructions that gather words by index
    registers: int  # of vectors

    @property
    def has_streams(self) -> bool:
        """Whether it has stores past the caches, of aligned vectors of 16 bytes or more."""
        return self.name in ("avx512", "avx2", "sse")


# One object format everywhere, so that one small loader serves every system.
_ENVIRONMENT = {
    "linux": "unknown-linux-gnu",
    "win32": "pc-windows-msvc-elf",
    "darwin": "unknown-none-elf",
}

_AVX512 = "+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512cd"
_AVX2 = "+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+popcnt"


def _triple(arch: str) -> str:
    return f"{arch}-{_ENVIRONMENT.get(sys.platform, 'unknown-linux-gnu')}"


AVX512 = Target("avx512", _triple("x86_64"), "x86-64-v4", f"{_AVX2},{_AVX512}", 64, True, True, 32)
AVX2 = Target("avx2", _triple("x86_64"), "x86-64-v3", _AVX2, 32, False, False, 16)
SSE = Target("sse", _triple("x86_64"), "x86-64-v2", "", 16, False, False, 16)
NEON = Target("neon", _triple("aarch64"), "generic", "+neon,+fp-armv8", 16, False, False, 32)
BY_NAME = {t.name: t for t in (AVX512, AVX2, SSE, NEON)}

_host: Target | None = None


def host() -> Target:
    """The target of this machine; FLAMBEAU_TARGET=avx2 (and so on) asks for a lesser one."""
    global _host
    if _host is None:
        wanted = os.environ.get("FLAMBEAU_TARGET")
        if wanted and wanted not in BY_NAME:
            raise ValueError(f"FLAMBEAU_TARGET={wanted}: expected one of {', '.join(BY_NAME)}")
        _host = BY_NAME[wanted] if wanted else _detect()
    return _host


def _machine() -> str:
    import platform

    return platform.machine()


def _detect() -> Target:
    if _machine().lower() in ("arm64", "aarch64"):
        return NEON
    from ..core import cpu_features

    features = cpu_features()
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"} <= features:
        return AVX512
    if {"avx2", "fma", "f16c"} <= features:
        return AVX2
    return SSE
