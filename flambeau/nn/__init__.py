"""Neural networks: modules, losses, initial values, and layers as functions.

Still to come: lazy modules, `SyncBatchNorm`, `DataParallel`, `FractionalMaxPool2d/3d`,
    `AdaptiveLogSoftmaxWithLoss`,
`LinearCrossEntropyLoss`, quantized and attention submodules.
"""

from . import functional, init, modules, utils
from .modules import *
from .modules import __all__ as _module_names
from .parameter import Buffer, Parameter

__all__ = ["Buffer", "Parameter", "functional", "init", "modules", "utils", *_module_names]
