"""Optimisers beside their formulas in plain Python."""

import flambeau as torch
from flambeau import nn


def make_parameter(value=1.0, shape=(2, 3), dtype=torch.float64):
    return nn.Parameter(torch.full(shape, value, dtype=dtype))


def assert_follows(kind, formula, options, gradients, maximize, rtol):
    """Step tensors of several shapes and `formula(p, g, state, t, **options)` side by side."""
    parameters = [make_parameter(1.0, shape) for shape in ((2, 3), (), (0, 2), (33,))]
    optimizer = kind(parameters, maximize=maximize, **options)
    expected, state = 1.0, {}
    for t, gradient in enumerate(gradients, 1):
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, -gradient if maximize else gradient)
        optimizer.step()
        expected = formula(expected, gradient, state, t, **options)
        for parameter in parameters:
            assert torch.allclose(parameter, torch.full_like(parameter, expected), rtol=rtol)
