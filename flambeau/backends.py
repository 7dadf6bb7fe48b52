"""Switches of PyTorch's libraries, so that programs that set them run.

Flambeau generates its own kernels: none of these libraries is there. A switch keeps the value that
a program gives it, and changes nothing; `is_available()` says False.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

__all__ = ["cpu", "cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp", "opt_einsum"]


class _Absent(ModuleType):
    """A library that is not there: its switches, and the answer False."""

    def __init__(self, name: str, **switches: Any) -> None:
        super().__init__(
            f"{__name__}.{name}", f"Switches of {name}, which Flambeau has no use for."
        )
        self._switches = frozenset(switches)
        self.__dict__.update(switches)
        # `import torch.backends.cudnn as cudnn` must find it as a module.
        sys.modules[self.__name__] = self

    def is_available(self) -> bool:
        """False: the library is not there."""
        return False

    def is_built(self) -> bool:
        """False: the library is not there."""
        return False

    @contextlib.contextmanager
    def flags(self, **values: Any) -> Iterator[None]:
        """Set switches for a block; TypeError for a switch that does not exist."""
        unknown = sorted(set(values) - self._switches)
        if unknown:
            raise TypeError(f"{self.__name__}.flags: no switch {unknown[0]!r}")
        before = {name: getattr(self, name) for name in values}
        self.__dict__.update(values)
        try:
            yield
        finally:
            self.__dict__.update(before)


class _Cudnn(_Absent):
    def version(self) -> None:
        """None: there is no cuDNN."""


class _Cuda(_Absent):
    """CUDA's switches, among them which attention kernels may be used."""

    def __init__(self) -> None:
        super().__init__("cuda")
        self.matmul = _Absent(
            "cuda.matmul",
            allow_tf32=False,
            fp32_precision="ieee",
            allow_fp16_reduced_precision_reduction=True,
            allow_bf16_reduced_precision_reduction=True,
        )
        self._kernels = {"flash": True, "mem_efficient": True, "math": True, "cudnn": True}

    def enable_flash_sdp(self, enabled: bool) -> None:
        """Keep the switch for flash attention."""
        self._kernels["flash"] = bool(enabled)

    def enable_mem_efficient_sdp(self, enabled: bool) -> None:
        """Keep the switch for memory-efficient attention."""
        self._kernels["mem_efficient"] = bool(enabled)

    def enable_math_sdp(self, enabled: bool) -> None:
        """Keep the switch for plain attention."""
        self._kernels["math"] = bool(enabled)

    def flash_sdp_enabled(self) -> bool:
        """The switch for flash attention."""
        return self._kernels["flash"]

    def mem_efficient_sdp_enabled(self) -> bool:
        """The switch for memory-efficient attention."""
        return self._kernels["mem_efficient"]

    def math_sdp_enabled(self) -> bool:
        """The switch for plain attention."""
        return self._kernels["math"]


class _Cpu(_Absent):
    def get_cpu_capability(self) -> str:
        """The widest vector instructions of this processor, in PyTorch's words."""
        from llvmlite import binding

        features = binding.get_host_cpu_features()
        for feature, name in (("avx512f", "AVX512"), ("avx2", "AVX2")):
            if features.get(feature):
                return name
        return "DEFAULT"


__path__: list[str] = []  # lets `import torch.backends.cudnn` look here
cudnn = _Cudnn(
    "cudnn",
    enabled=True,
    benchmark=False,
    benchmark_limit=10,
    deterministic=False,
    allow_tf32=True,
    fp32_precision="none",
)
cuda = _Cuda()
mkldnn = _Absent("mkldnn", enabled=True, deterministic=False, allow_tf32=True)
mkl = _Absent("mkl")
mps = _Absent("mps")
openmp = _Absent("openmp")
opt_einsum = _Absent("opt_einsum", enabled=False, strategy=None)
cpu = _Cpu("cpu")
