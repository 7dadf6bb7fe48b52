"""Operators of vision models."""

import flambeau as torch
from flambeau.vision.ops import FrozenBatchNorm2d


def test_frozen_batch_norm_is_a_batch_norm_in_evaluation():
    trained = torch.nn.BatchNorm2d(3)
    trained(torch.randn(8, 3, 4, 4) * 3 + 1)
    torch.nn.init.uniform_(trained.weight)
    frozen = FrozenBatchNorm2d(3)
    assert frozen.load_state_dict(trained.state_dict()).missing_keys == []
    x = torch.randn(2, 3, 4, 4)
    assert torch.allclose(frozen(x), trained.eval()(x), atol=1e-6)
    assert list(frozen.parameters()) == []
    assert repr(frozen) == "FrozenBatchNorm2d(3, eps=1e-05)"
