"""Instance normalization."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from .. import functional as F
from .batchnorm import _NormBase

if TYPE_CHECKING:
    from flambeau import Tensor

__all__ = ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"]


class _InstanceNorm(_NormBase):
    _batched_dims: int

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )

    def _check_input_dim(self, input: Tensor) -> None:
        batched = self._batched_dims
        if input.dim() not in (batched - 1, batched):
            raise ValueError(
                f"expected {batched - 1}D or {batched}D input (got {input.dim()}D input)"
            )
        channels = input.size(1 - batched)
        if channels == self.num_features:
            return
        if self.affine:
            raise ValueError(
                f"expected input's size at dim={input.dim() + 1 - batched} to match num_features "
                f"({self.num_features}), but got: {channels}."
            )
        warnings.warn(
            f"input's size at dim={input.dim() + 1 - batched} does not match num_features. You can "
            "silence this "
            "warning by not passing in num_features, which is not used because affine=False",
            stacklevel=4,
        )

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        if input.dim() == self._batched_dims:
            return self._normalize(input)
        return self._normalize(input.unsqueeze(0)).squeeze(0)

    def _normalize(self, input: Tensor) -> Tensor:
        return F.instance_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.momentum if self.momentum is not None else 0.0,
            self.eps,
        )

    def _load_from_state_dict(
        self,
        state_dict: dict,
        prefix: str,
        local_metadata: dict,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        version = local_metadata.get("version")
        if version is None and not self.track_running_stats:
            self._reject_old_statistics(state_dict, prefix, error_msgs)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def _reject_old_statistics(self, state_dict: dict, prefix: str, errors: list[str]) -> None:
        found = [
            prefix + name for name in ("running_mean", "running_var") if prefix + name in state_dict
        ]
        if found:
            names = " and ".join(f'"{key}"' for key in found)
            name = type(self).__name__
            errors.append(
                f"Unexpected running stats buffer(s) {names} for {name} with "
                "track_running_stats=False. If state_dict "
                "is a checkpoint saved before 0.4.0, this may be expected because it does not "
                "track running stats by "
                "default since 0.4.0. Please remove these keys from state_dict, or pass "
                f"track_running_stats=True to {name}."
            )
            for key in found:
                state_dict.pop(key)


class InstanceNorm1d(_InstanceNorm):
    """Normalizes each channel of each sample over its values: (N, C, L) or (C, L).

    Args as in `BatchNorm1d`; without affine parameters and running statistics by default.

    Reference: Ulyanov et al., Instance Normalization (2016).

    >>> import flambeau as torch
    >>> torch.nn.InstanceNorm1d(3)(torch.randn(2, 3, 8)).shape
    torch.Size([2, 3, 8])
    """

    _batched_dims = 3


class InstanceNorm2d(_InstanceNorm):
    """`InstanceNorm1d` for (N, C, H, W) or (C, H, W).

    >>> import flambeau as torch
    >>> torch.nn.InstanceNorm2d(3)(torch.randn(2, 3, 8, 6)).shape
    torch.Size([2, 3, 8, 6])
    """

    _batched_dims = 4


class InstanceNorm3d(_InstanceNorm):
    """`InstanceNorm1d` for (N, C, D, H, W) or (C, D, H, W).

    >>> import flambeau as torch
    >>> torch.nn.InstanceNorm3d(3)(torch.randn(2, 3, 8, 6, 4)).shape
    torch.Size([2, 3, 8, 6, 4])
    """

    _batched_dims = 5
