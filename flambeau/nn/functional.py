"""`flambeau.nn.functional`: layers and losses as functions, under PyTorch's names and signatures.

Primitives come from `flambeau.ops`; what is composed of them lives in `nn/_functional/`, a file
per subject. An op that `flambeau.ops` registers for `nn.functional` replaces a composite here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flambeau.ops import NAMESPACES

from ._functional.activation import (
    celu_,
    elu_,
    gumbel_softmax,
    hardtanh_,
    leaky_relu_,
    selu_,
    threshold_,
)
from ._functional.attention import (
    multi_head_attention_forward,
    scaled_dot_product_attention,
)
from ._functional.ctc import (
    ctc_loss,
)
from ._functional.distance import (
    cosine_similarity,
    pairwise_distance,
)
from ._functional.embedding import (
    bilinear,
    embedding,
    embedding_bag,
    one_hot,
)
from ._functional.fractional import (
    fractional_max_pool2d,
    fractional_max_pool2d_with_indices,
    fractional_max_pool3d,
    fractional_max_pool3d_with_indices,
)
from ._functional.linear_losses import (
    linear_cross_entropy,
)
from ._functional.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    gaussian_nll_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    poisson_nll_loss,
    smooth_l1_loss,
)
from ._functional.margin_losses import (
    cosine_embedding_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    soft_margin_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from ._functional.normalization import (
    instance_norm,
    local_response_norm,
    normalize,
)
from ._functional.other_layouts import (
    conv_tbc,
    grouped_mm,
)
from ._functional.pooling import (
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
)
from ._functional.shuffle import (
    affine_grid,
    channel_shuffle,
    native_channel_shuffle,
    pixel_shuffle,
    pixel_unshuffle,
    upsample,
    upsample_bilinear,
    upsample_nearest,
)

# What `flambeau.ops` has, some of it in one form for `flambeau` and for `flambeau.nn.functional`.
_OPS = (
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d",
    "adaptive_max_pool3d_with_indices",
    "alpha_dropout",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "celu",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "elu",
    "feature_alpha_dropout",
    "fold",
    "gelu",
    "glu",
    "grid_sample",
    "group_norm",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "interpolate",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "max_pool1d",
    "max_pool1d_with_indices",
    "max_pool2d",
    "max_pool2d_with_indices",
    "max_pool3d",
    "max_pool3d_with_indices",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "mish",
    "pad",
    "pdist",
    "prelu",
    "relu",
    "relu6",
    "relu_",
    "rms_norm",
    "rrelu",
    "rrelu_",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "unfold",
)

globals().update({name: NAMESPACES[""][name] for name in _OPS if name in NAMESPACES[""]})
# The composite `embedding` adds the limit on norms to the op of that name.
globals().update({n: op for n, op in NAMESPACES["nn.functional"].items() if n != "embedding"})

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


__all__ = [
    "affine_grid",
    "bilinear",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "celu_",
    "channel_shuffle",
    "conv_tbc",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "ctc_loss",
    "elu_",
    "embedding",
    "embedding_bag",
    "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
    "gaussian_nll_loss",
    "grouped_mm",
    "gumbel_softmax",
    "hardtanh_",
    "hinge_embedding_loss",
    "huber_loss",
    "instance_norm",
    "kl_div",
    "l1_loss",
    "leaky_relu_",
    "linear_cross_entropy",
    "local_response_norm",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "margin_ranking_loss",
    "mse_loss",
    "multi_head_attention_forward",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "native_channel_shuffle",
    "nll_loss",
    "normalize",
    "one_hot",
    "pairwise_distance",
    "pixel_shuffle",
    "pixel_unshuffle",
    "poisson_nll_loss",
    "scaled_dot_product_attention",
    "selu_",
    "smooth_l1_loss",
    "soft_margin_loss",
    "threshold_",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
]
__all__ += _OPS
