"""Modules as functions of their parameters.

>>> import flambeau as torch
>>> layer = torch.nn.Linear(1, 1)
>>> values = {"weight": torch.full((1, 1), 3.0), "bias": torch.ones(1)}
>>> torch.func.functional_call(layer, values, torch.ones(1, 1)).item()
4.0
"""

from .functional_call import functional_call, stack_module_state

__all__ = ["functional_call", "stack_module_state"]
