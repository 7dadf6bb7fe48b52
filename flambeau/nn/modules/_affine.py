"""The factor and the summand that normalizations learn."""

from __future__ import annotations

from typing import Any

import flambeau

from .. import init
from ..parameter import Parameter
from .module import Module


class AffineModule(Module):
    """A module with a weight and a bias, both or either None."""

    weight: Any
    bias: Any

    def _add_parameters(self, shape: Any, weight: bool, bias: bool, **options: Any) -> None:
        for name, is_used in (("weight", weight), ("bias", bias)):
            parameter = Parameter(flambeau.empty(shape, **options)) if is_used else None
            self.register_parameter(name, parameter)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)
