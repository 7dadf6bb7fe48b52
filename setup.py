"""Build the one extension module, `flambeau.core._core`; everything else is in pyproject.toml."""

import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

CORE = Path("flambeau/core")
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
}
# No -march=native: wheels must run on any machine of the architecture; kernels are what is fast.
UNIX_COMPILE = ["-std=c++17", "-O2", "-g0", "-ffp-contract=off", "-fvisibility=hidden", "-pthread"]
WINDOWS_COMPILE = ["/std:c++17", "/O2", "/EHsc"]


def core_extension() -> Extension:
    """Describe `_core`; any change of an included file or header beside it rebuilds it."""
    windows = sys.platform == "win32"
    depends = sorted(p.as_posix() for p in [*CORE.glob("*.pxi"), *CORE.glob("*.hpp")])
    return Extension(
        "flambeau.core._core",
        [(CORE / "_core.pyx").as_posix()],
        language="c++",
        include_dirs=[CORE.as_posix()],
        depends=depends,
        extra_compile_args=WINDOWS_COMPILE if windows else UNIX_COMPILE,
        extra_link_args=[] if windows else ["-pthread"],
    )


setup(ext_modules=cythonize([core_extension()], compiler_directives=DIRECTIVES))
