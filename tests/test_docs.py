"""What the documentation shows is what the code says."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_example_of_an_op_is_the_op():
    page = (ROOT / "docs" / "adding-an-op.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n.*?(@pointwise.*?)\n```", page, re.DOTALL)
    assert block is not None
    assert block[1] in (ROOT / "flambeau" / "ops" / "pointwise.py").read_text(encoding="utf-8")


def test_files_named_in_the_design_exist():
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    for name in re.findall(r"`((?:core|kernels|ops|autograd)/[\w*]+\.(?:py|pxi|hpp))`", page):
        assert list((ROOT / "flambeau").glob(name)), name
