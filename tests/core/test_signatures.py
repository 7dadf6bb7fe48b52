"""What `inspect` says of ops is how they are called."""

import inspect

import pytest

import flambeau as torch
from flambeau.core._core import LoopOp

OPS = sorted(name for name in dir(torch) if isinstance(getattr(torch, name), LoopOp))


def test_signatures_of_loop_ops():
    signatures = {name: str(inspect.signature(getattr(torch, name))) for name in OPS}
    assert signatures["add"] == "(input, other, alpha=1, *, out=None)"
    assert signatures["sum"] == "(input, dim=None, keepdim=False, *, dtype=None, out=None)"
    assert signatures["exp"] == "(input, *, out=None)"


@pytest.mark.parametrize("name", OPS)
def test_parameters_are_accepted_by_their_names(name):
    op = getattr(torch, name)
    parameters = inspect.signature(op).parameters.values()
    operand = torch.ones(2, dtype=torch.float32 if "f" in op.record.accepts else torch.int64)
    missing = {p.name: operand for p in parameters if p.default is p.empty}
    given = {p.name: p.default for p in parameters if p.default is not p.empty}
    if "dim" in missing:
        missing["dim"] = 0
    assert isinstance(op(**missing, **given), torch.Tensor)


def test_public_names_can_be_had():
    assert [name for name in dir(torch) if not hasattr(torch, name)] == []
