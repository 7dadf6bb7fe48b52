"""Run every benchmark workload once, for its kernels: `flambeau warm tools/run_workloads.py`.

An argument is a regular expression of workloads (`group: name`). The last line says how many
kernels were compiled and whether the compiler was loaded: after warming, none and not.
"""

import gc
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import flambeau
from benchmarks.workloads import WORKLOADS
from flambeau.kernels import cache


def main(pattern: str = "") -> None:
    """Run the workloads that match."""
    for workload in WORKLOADS:
        if re.search(pattern, workload.key):
            try:
                code, names = workload.build(flambeau)
                exec(code, dict(names))
            except Exception as error:  # the others still want their kernels
                print(f"{workload.key}: {error}", file=sys.stderr)
            gc.collect()
    loaded = "loaded" if "llvmlite" in sys.modules else "not loaded"
    print(f"{cache.compiled} kernels compiled, compiler {loaded}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
