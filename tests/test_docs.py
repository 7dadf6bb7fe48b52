"""What the documentation shows is what the code says."""

import importlib.util
import re
from pathlib import Path

import flambeau

ROOT = Path(__file__).parent.parent


def test_the_example_of_an_op_is_the_op():
    page = (ROOT / "docs" / "adding-an-op.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n.*?(@pointwise.*?)\n```", page, re.DOTALL)
    assert block is not None
    assert block[1] in (ROOT / "flambeau" / "ops" / "elementary.py").read_text(encoding="utf-8")


def test_files_named_in_the_design_exist():
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    for name in re.findall(r"`((?:core|kernels|ops|autograd)/[\w*]+\.(?:py|pxi|hpp))`", page):
        assert list((ROOT / "flambeau").glob(name)), name


def load_api_reference():
    """The extension that writes the reference; the site's folder is no package."""
    path = ROOT / "docs" / "api_reference.py"
    spec = importlib.util.spec_from_file_location("api_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_docstrings_keep_their_characters():
    escape = load_api_reference().escape
    lines = ["With `weight_decay` * p and x_1 | y:", "", ">>> a_ * `b`", "c_ *", "", "a*b"]
    assert escape(lines) == [
        *("With ``weight_decay`` \\* p and x\\_1 \\| y:", "", ">>> a_ * `b`", "c_ *", "", "a\\*b"),
    ]


def test_reference_has_the_public_names():
    reference = load_api_reference()
    pages = {name: list(reference.make_page(name, {})) for name in ("flambeau", "flambeau.nn")}
    assert ".. autofunction:: flambeau.softmax" in pages["flambeau"]
    for name in flambeau.nn.modules.__all__:
        assert f".. autoclass:: flambeau.nn.{name}" in pages["flambeau.nn"]
    assert ".. autoclass:: flambeau.Tensor" not in pages["flambeau"]  # has a page of its own
    assert ".. automethod:: flambeau.Tensor.add_" in reference.make_page("flambeau.Tensor", {})
