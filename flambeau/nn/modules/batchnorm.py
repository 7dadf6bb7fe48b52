"""Batch normalization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flambeau

from .. import functional as F
from ._affine import AffineModule
from .module import Module

if TYPE_CHECKING:
    from flambeau import Tensor

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"]


class _NormBase(AffineModule):
    """Parameters and running statistics of batch and instance normalization."""

    _version = 2  # since version 2 the state holds num_batches_tracked

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        used = affine, affine and bias
        self._add_parameters(num_features, *used, device=device, dtype=dtype)
        self._add_statistics(device, dtype)
        self.reset_parameters()

    def _add_statistics(self, device: Any, dtype: Any) -> None:
        if not self.track_running_stats:
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                self.register_buffer(name, None)
            return
        self.register_buffer(
            "running_mean", flambeau.zeros(self.num_features, device=device, dtype=dtype)
        )
        self.register_buffer(
            "running_var", flambeau.ones(self.num_features, device=device, dtype=dtype)
        )
        count = flambeau.tensor(0, dtype=flambeau.long, device=device)
        self.register_buffer("num_batches_tracked", count)

    def reset_running_stats(self) -> None:
        """Running mean 0, variance 1, no batches seen."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, running statistics as at the start."""
        self.reset_running_stats()
        super().reset_parameters()

    def _check_input_dim(self, input: Tensor) -> None:
        raise NotImplementedError

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, local_metadata: dict, *findings: Any
    ) -> None:
        version = local_metadata.get("version")
        key = prefix + "num_batches_tracked"
        if (version is None or version < 2) and self.track_running_stats and key not in state_dict:
            state_dict[key] = self._default_batch_count()
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *findings)

    def _default_batch_count(self) -> Tensor:
        count = self.num_batches_tracked
        if count is not None and count.device.type != "meta":
            return count
        return flambeau.tensor(0, dtype=flambeau.long)


class _BatchNorm(_NormBase):
    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        if self.eps <= 0 and self.training:
            raise ValueError(f"batch_norm eps must be positive during training, but got {self.eps}")
        momentum = 0.0 if self.momentum is None else self.momentum
        uses_batch = self.training or self.running_mean is None
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # cumulative mean over all batches
                momentum = 1.0 / float(self.num_batches_tracked)
        # No values: nothing to learn for the running statistics.
        updates = not self.training or (self.track_running_stats and input.numel() > 0)
        return F.batch_norm(
            input,
            self.running_mean if updates else None,
            self.running_var if updates else None,
            self.weight,
            self.bias,
            uses_batch,
            momentum,
            self.eps,
        )


class BatchNorm1d(_BatchNorm):
    """Normalizes each channel over the batch: (N, C) or (N, C, L), y = (x - mean) / sqrt(var + eps)
    * weight + bias.

    Training uses the batch's mean and variance and keeps running ones, which evaluation uses.

    Args:
        num_features: C.
        momentum: share of the new batch in the running statistics; None for the mean over all
            batches.
        affine: have weight and bias.
        track_running_stats: keep running statistics; without them evaluation uses the batch too.

    Reference: Ioffe and Szegedy, Batch Normalization (2015).

    Errors:
        ValueError: wrong number of dimensions, or training with one value per channel.

    >>> import flambeau as torch
    >>> torch.nn.BatchNorm1d(3)(torch.randn(2, 3, 8)).shape
    torch.Size([2, 3, 8])
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 3):
            raise ValueError(f"expected 2D or 3D input (got {input.dim()}D input)")


class BatchNorm2d(_BatchNorm):
    """Normalizes each channel over batch and places: (N, C, H, W) -> the same; see `BatchNorm1d`.

    >>> import flambeau as torch
    >>> torch.nn.BatchNorm2d(3)(torch.randn(2, 3, 4, 4)).shape
    torch.Size([2, 3, 4, 4])
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() != 4:
            raise ValueError(f"expected 4D input (got {input.dim()}D input)")


class BatchNorm3d(_BatchNorm):
    """Normalizes each channel over batch and places: (N, C, D, H, W) -> the same; see
    `BatchNorm1d`.

    >>> import flambeau as torch
    >>> torch.nn.BatchNorm3d(3)(torch.randn(2, 3, 8, 6, 4)).shape
    torch.Size([2, 3, 8, 6, 4])
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() != 5:
            raise ValueError(f"expected 5D input (got {input.dim()}D input)")


class SyncBatchNorm(_BatchNorm):
    """`BatchNorm1d` for (N, C, ...) whose statistics are those of all processes of a group.

    There is one process so far, so it is batch norm over any number of dimensions.

    Args:
        num_features, eps, momentum, affine, track_running_stats: as for `BatchNorm1d`.
        process_group: the processes that share statistics; kept, not used.

    >>> import flambeau as torch
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 1), torch.nn.BatchNorm2d(3))
    >>> torch.nn.SyncBatchNorm.convert_sync_batchnorm(net)[1]
    SyncBatchNorm(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )
        self.process_group = process_group

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {input.dim()}D input)")

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """Replace each batch norm in `module`, or itself, by one with the same parameters."""
        result = module
        if isinstance(module, _BatchNorm):
            result = cls(
                module.num_features,
                module.eps,
                module.momentum,
                module.affine,
                module.track_running_stats,
                process_group,
                bias=module.bias is not None,
            )
            for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                setattr(result, name, getattr(module, name))
            result.training = module.training
        for name, child in module.named_children():
            result.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return result
