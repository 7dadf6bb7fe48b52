"""Run a sample of the C dialect's kernels under sanitizers; the test starts this with their
runtime loaded."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.cdialect import harness
from tests.cdialect.programs import shapes
from tests.cdialect.test_cdialect import all_programs, check, compile_group


def main(folder: Path) -> None:
    """Compile and check every third kernel."""
    programs = all_programs()[::3]
    launcher = compile_group(programs, folder, harness.SANITIZE)
    for program in programs:
        check(program, launcher, shapes(program))
    print(f"{len(programs)} kernels")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
