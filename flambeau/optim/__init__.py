"""Optimisers and learning-rate schedules.

An optimiser with an elementwise rule is one file: the rule, a plain function of scalars, and a
`MultiTensorOptimizer` that says which state and which scalars the rule takes.
"""

from . import lr_scheduler
from .adagrad import Adagrad
from .adam import Adam
from .adamw import AdamW
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
