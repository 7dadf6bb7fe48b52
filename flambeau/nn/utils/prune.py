"""Pruning: parameters multiplied by masks of zeros and ones."""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import flambeau
from flambeau import Tensor

__all__ = [
    "BasePruningMethod",
    "CustomFromMask",
    "Identity",
    "L1Unstructured",
    "LnStructured",
    "PruningContainer",
    "RandomStructured",
    "RandomUnstructured",
    "custom_from_mask",
    "global_unstructured",
    "identity",
    "is_pruned",
    "l1_unstructured",
    "ln_structured",
    "random_structured",
    "random_unstructured",
    "remove",
]


class BasePruningMethod(ABC):
    """A way to choose what to prune, and the hook that applies the mask before each call.

    Subclasses define `compute_mask` and PRUNING_TYPE: "unstructured" (elements), "structured"
    (slices) or "global" (elements of several tensors). The parameter becomes `NAME_orig`, the mask
    the buffer `NAME_mask`, and NAME their product.

    >>> import flambeau as torch
    >>> from flambeau.nn.utils import prune
    >>> class Negative(prune.BasePruningMethod):
    ...     PRUNING_TYPE = "unstructured"
    ...
    ...     def compute_mask(self, t, default_mask):
    ...         return default_mask * (t >= 0)
    >>> Negative().prune(torch.tensor([1.0, -3.0, 2.0, 0.5]))
    tensor([1.0000, -0.0000, 2.0000, 0.5000])
    """

    PRUNING_TYPE: str
    _tensor_name: str

    def __call__(self, module: Any, inputs: Any) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask for importances `t`, where `default_mask` has ones; zeros there stay."""

    def apply_mask(self, module: Any) -> Tensor:
        """The product of parameter and mask."""
        original = getattr(module, self._tensor_name + "_orig")
        return getattr(module, self._tensor_name + "_mask").to(original.dtype) * original

    @classmethod
    def apply(
        cls, module: Any, name: str, *args: Any, importance_scores: Any = None, **kwargs: Any
    ) -> Any:
        """Prune `module.NAME`, on top of what is pruned already, and hook the module.

        Args:
            importance_scores: what the choice goes by, shaped like the parameter; itself if None.
        """
        method: Any = cls(*args, **kwargs)
        method._tensor_name = name
        earlier = [(k, h) for k, h in _list_hooks(module) if h._tensor_name == name]
        if earlier:
            # The hook is replaced by one for all methods together.
            number, hook = earlier[0]
            del module._forward_pre_hooks[number]
            container = hook if isinstance(hook, PruningContainer) else PruningContainer(hook)
            container.add_pruning_method(method)
            method = container
        original, mask = _take_original(module, name)
        scores = original if importance_scores is None else importance_scores
        if scores.shape != original.shape:
            raise AssertionError(
                f"importance_scores should have the same shape as parameter {name} of {module}"
            )
        try:
            mask = method.compute_mask(scores, default_mask=mask)
        except Exception:
            if not earlier:
                _put_back(module, name)
            raise
        module.register_buffer(name + "_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(
        self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Any = None
    ) -> Tensor:
        """A pruned copy of `t`, without any module."""
        scores = t if importance_scores is None else importance_scores
        if scores.shape != t.shape:
            raise AssertionError("importance_scores should have the same shape as tensor t")
        mask = flambeau.ones_like(t) if default_mask is None else default_mask
        return t * self.compute_mask(scores, default_mask=mask)

    def remove(self, module: Any) -> None:
        """Make the pruned value an ordinary parameter; the zeros stay."""
        name = self._tensor_name
        weight = self.apply_mask(module)
        if hasattr(module, name):
            delattr(module, name)
        original = module._parameters[name + "_orig"]
        original.data = weight.data
        for holder, suffix in ((module._parameters, "_orig"), (module._buffers, "_mask")):
            del holder[name + suffix]
        setattr(module, name, original)


def _list_hooks(module: Any) -> list[tuple[int, Any]]:
    hooks = module._forward_pre_hooks.items()
    return [(number, hook) for number, hook in hooks if isinstance(hook, BasePruningMethod)]


def _take_original(module: Any, name: str) -> tuple[Tensor, Tensor]:
    """The parameter, under its new name, and the mask so far."""
    if name + "_orig" in module._parameters:
        return module._parameters[name + "_orig"], getattr(module, name + "_mask").detach().clone()
    original = getattr(module, name)
    module.register_parameter(name + "_orig", original)
    del module._parameters[name]
    ones = flambeau.ones_like(original, memory_format=flambeau.contiguous_format)
    return original, ones.detach()


def _put_back(module: Any, name: str) -> None:
    module.register_parameter(name, module._parameters.pop(name + "_orig"))


class PruningContainer(BasePruningMethod):
    """Several methods in a row on one parameter: each prunes what those before have left.

    >>> import flambeau as torch
    >>> from flambeau.nn.utils import prune
    >>> layer = torch.nn.Linear(4, 2)
    >>> for amount in (2, 3):
    ...     _ = prune.l1_unstructured(layer, "weight", amount)
    >>> (hook,) = layer._forward_pre_hooks.values()
    >>> type(hook).__name__, len(hook), int((layer.weight == 0).sum())
    ('PruningContainer', 2, 5)
    """

    def __init__(self, *args: BasePruningMethod) -> None:
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        if args:
            self._tensor_name = args[0]._tensor_name
        for method in args:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: Any) -> None:
        """Add a method for the same parameter; TypeError or ValueError for anything else."""
        if not isinstance(method, BasePruningMethod):
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if self._tensor_name != method._tensor_name:
            raise ValueError(
                "Can only add pruning methods acting on the parameter named"
                f" '{self._tensor_name}' to PruningContainer {self}. Found"
                f" '{method._tensor_name}'"
            )
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Iterator[BasePruningMethod]:
        return iter(self._pruning_methods)

    def __getitem__(self, idx: Any) -> Any:
        return self._pruning_methods[idx]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask of the last method on the part that is not pruned yet."""
        method = self._pruning_methods[-1]
        mask = default_mask.to(t.dtype)
        kept = _find_kept(method, mask)
        mask = mask.clone()
        mask[kept] = method.compute_mask(t[kept], default_mask=mask[kept])
        return mask


def _find_kept(method: BasePruningMethod, mask: Tensor) -> Any:
    """An index of what is not pruned: elements, or slices with an element left."""
    if method.PRUNING_TYPE == "unstructured":
        return mask == 1
    if method.PRUNING_TYPE == "global":
        return (slice(None),) * mask.dim()
    if method.PRUNING_TYPE != "structured":
        raise ValueError(f"Unrecognized PRUNING_TYPE {method.PRUNING_TYPE}")
    dim = method.dim % mask.dim()  # type: ignore[attr-defined]
    left = mask.sum([d for d in range(mask.dim()) if d != dim]) != 0
    return (*(slice(None),) * dim, left)


class Identity(BasePruningMethod):
    """Prunes nothing; the parameter gets a mask of ones.

    >>> import flambeau as torch
    >>> from flambeau.nn.utils import prune
    >>> prune.Identity().prune(torch.tensor([1.0, -3.0, 2.0, 0.5]))
    tensor([ 1.0000, -3.0000,  2.0000,  0.5000])
    """

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask so far."""
        return default_mask


class _Unstructured(BasePruningMethod):
    """Prunes `amount` elements, a number or a part in [0, 1]."""

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount: float) -> None:
        _check_amount(amount)
        self.amount = amount


class RandomUnstructured(_Unstructured):
    """Prunes elements at random: `amount` of them, a number or a part in [0, 1].

    >>> import flambeau as torch
    >>> from flambeau.nn.utils import prune
    >>> int((prune.RandomUnstructured(0.5).prune(torch.tensor([1.0, -3.0, 2.0, 0.5])) == 0).sum())
    2
    """

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask so far with zeros at random places."""
        count = _count(self.amount, t.nelement())
        chosen = flambeau.rand_like(t).view(-1).topk(count).indices if count else None
        return _clear(default_mask, chosen)


class L1Unstructured(_Unstructured):
    """Prunes the elements smallest in size: `amount` of them, a number or a part in [0, 1].

    >>> import flambeau as torch
    >>> from flambeau.nn.utils import prune
    >>> prune.L1Unstructured(2).prune(torch.tensor([1.0, -3.0, 2.0, 0.5]))
    tensor([ 0., -3.,  2.,  0.])
    """

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask so far with zeros at the smallest elements."""
        count = _count(self.amount, t.nelement())
        smallest = t.abs().reshape(-1).topk(count, largest=False).indices if count else None
        return _clear(default_mask, smallest)

    @classmethod
    def apply(  # type: ignore[override]
        cls, module: Any, name: str, amount: float, importance_scores: Any = None
    ) -> Any:
        """Prune `module.NAME` and hook the module."""
        return super().apply(module, name, amount=amount, importance_scores=importance_scores)


class RandomStructured(BasePruningMethod):
    """Prunes slices along `dim` at random: `amount` of them, a number or a part in [0, 1].

    >>> import flambeau as torch
    >>> from flambeau.nn.utils import prune
    >>> pruned = prune.RandomStructured(1, dim=0).prune(torch.ones(3, 2))
    >>> int((pruned == 0).sum())
    2
    """

    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, dim: int = -1) -> None:
        _check_amount(amount)
        self.amount, self.dim = amount, dim

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask so far with slices of zeros."""
        _check_structured(t, self.dim)
        count = _count(self.amount, t.shape[self.dim])
        if not count:
            return default_mask
        draws = flambeau.rand(t.shape[self.dim])
        return _mask_slices(default_mask, self.dim, draws > draws.kthvalue(count).values)

    @classmethod
    def apply(  # type: ignore[override]
        cls, module: Any, name: str, amount: float, dim: int = -1
    ) -> Any:
        """Prune `module.NAME` and hook the module."""
        return super().apply(module, name, amount=amount, dim=dim)


class LnStructured(BasePruningMethod):
    """Prunes the slices along `dim` with the smallest n-norm: `amount` of them, or that part.

    >>> import flambeau as torch
    >>> from flambeau.nn.utils import prune
    >>> prune.LnStructured(1, n=2, dim=0).prune(torch.tensor([[1.0, 5.0], [2.0, 3.0]]))
    tensor([[1., 5.],
            [0., 0.]])
    """

    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, n: Any, dim: int = -1) -> None:
        _check_amount(amount)
        self.amount, self.n, self.dim = amount, n, dim

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask so far with slices of zeros."""
        _check_structured(t, self.dim)
        size = t.shape[self.dim]
        count = _count(self.amount, size)
        if not count:
            return default_mask
        others = [d for d in range(t.dim()) if d != self.dim % t.dim()]
        largest = flambeau.norm(t, p=self.n, dim=others).topk(size - count).indices
        kept = flambeau.zeros(size, dtype=flambeau.bool, device=t.device)
        kept[largest] = True
        return _mask_slices(default_mask, self.dim, kept)

    @classmethod
    def apply(  # type: ignore[override]
        cls,
        module: Any,
        name: str,
        amount: float,
        n: Any,
        dim: int,
        importance_scores: Any = None,
    ) -> Any:
        """Prune `module.NAME` and hook the module."""
        return super().apply(
            module, name, amount=amount, n=n, dim=dim, importance_scores=importance_scores
        )


class CustomFromMask(BasePruningMethod):
    """Prunes where a given mask has zeros.

    >>> import flambeau as torch
    >>> from flambeau.nn.utils import prune
    >>> prune.CustomFromMask(torch.tensor([1, 0, 1, 0])).prune(torch.tensor([1.0, -3.0, 2.0, 0.5]))
    tensor([1., -0., 2., 0.])
    """

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The product of both masks."""
        if default_mask.shape != self.mask.shape:
            raise AssertionError(
                f"default_mask shape {default_mask.shape} must match self.mask shape"
                f" {self.mask.shape}"
            )
        return default_mask * self.mask.to(default_mask.dtype)

    @classmethod
    def apply(cls, module: Any, name: str, mask: Tensor) -> Any:  # type: ignore[override]
        """Prune `module.NAME` and hook the module."""
        return super().apply(module, name, mask=mask)


def _clear(mask: Tensor, places: Tensor | None) -> Tensor:
    """A copy of the mask with zeros at flat places."""
    made = mask.clone(memory_format=flambeau.contiguous_format)
    if places is not None:
        made.view(-1)[places] = 0
    return made


def _mask_slices(mask: Tensor, dim: int, kept: Tensor) -> Tensor:
    shape = [1] * mask.dim()
    shape[dim] = -1
    return mask * kept.to(mask.dtype).reshape(shape)


def _check_amount(amount: Any) -> None:
    if not isinstance(amount, numbers.Real):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    whole = isinstance(amount, numbers.Integral)
    if amount < 0 or (not whole and float(amount) > 1.0):
        raise ValueError(
            f"amount={amount} should either be a float in the range [0, 1] or a non-negative"
            " integer"
        )


def _count(amount: Any, size: int) -> int:
    """How many of `size` an amount is."""
    if not isinstance(amount, numbers.Integral):
        return round(amount * size)
    if int(amount) > size:
        raise ValueError(
            f"amount={amount} should be smaller than the number of parameters to prune={size}"
        )
    return int(amount)


def _check_structured(t: Tensor, dim: int) -> None:
    if t.dim() <= 1:
        raise ValueError(
            "Structured pruning can only be applied to multidimensional tensors. Found tensor of"
            f" shape {t.shape} with {t.dim()} dims"
        )
    if not -t.dim() <= dim < t.dim():
        raise IndexError(f"Invalid index {dim} for tensor of size {t.shape}")


def identity(module: Any, name: str) -> Any:
    """Give `module.NAME` a mask of ones.

    >>> import flambeau as torch
    >>> from flambeau.nn.utils import prune
    >>> prune.identity(torch.nn.Linear(2, 1), "bias").bias_mask
    tensor([1.])
    """
    Identity.apply(module, name)
    return module


def random_unstructured(module: Any, name: str, amount: float) -> Any:
    """Prune elements of `module.NAME` at random, `amount` of them or that part.

    >>> import flambeau as torch
    >>> from flambeau.nn.utils import prune
    >>> layer = prune.random_unstructured(torch.nn.Linear(2, 3), "weight", amount=4)
    >>> int((layer.weight == 0).sum())
    4
    """
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Any, name: str, amount: float, importance_scores: Any = None) -> Any:
    """Prune the elements of `module.NAME` smallest in size, `amount` of them or that part.

    >>> import flambeau as torch
    >>> from flambeau.nn.utils import prune
    >>> layer = prune.l1_unstructured(torch.nn.Linear(2, 3), "weight", amount=0.5)
    >>> int((layer.weight == 0).sum())
    3
    """
    L1Unstructured.apply(module, name, amount=amount, importance_scores=importance_scores)
    return module


def random_structured(module: Any, name: str, amount: float, dim: int) -> Any:
    """Prune slices of `module.NAME` along `dim` at random, `amount` of them or that part.

    >>> import flambeau as torch
    >>> from flambeau.nn.utils import prune
    >>> layer = prune.random_structured(torch.nn.Linear(2, 3), "weight", amount=1, dim=0)
    >>> int((layer.weight == 0).all(1).sum())
    1
    """
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Any, name: str, amount: float, n: Any, dim: int, importance_scores: Any = None
) -> Any:
    """Prune the slices of `module.NAME` along `dim` with the smallest n-norm.

    >>> import flambeau as torch
    >>> from flambeau.nn.utils import prune
    >>> layer = prune.ln_structured(torch.nn.Linear(2, 3), "weight", amount=2, n=2, dim=0)
    >>> int((layer.weight == 0).all(1).sum())
    2
    """
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Any, name: str, mask: Tensor) -> Any:
    """Prune `module.NAME` where `mask` has zeros.

    >>> import flambeau as torch
    >>> from flambeau.nn.utils import prune
    >>> layer = torch.nn.Linear(1, 2)
    >>> _ = prune.custom_from_mask(layer, "bias", torch.tensor([1, 0]))
    >>> layer.bias[1].item() == 0
    True
    """
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable, pruning_method: Any, importance_scores: Any = None, **kwargs: Any
) -> None:
    """Prune elements of several parameters, chosen as if these were one.

    Args:
        parameters: (module, name) pairs.
        pruning_method: an unstructured method; `kwargs` are its arguments.
        importance_scores: by (module, name); the parameters themselves where it has none.

    >>> import flambeau as torch
    >>> from flambeau.nn.utils import prune
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    >>> pairs = [(net[0], "weight"), (net[1], "weight")]
    >>> prune.global_unstructured(pairs, prune.L1Unstructured, amount=5)
    >>> sum(int((layer.weight == 0).sum()) for layer in net)
    5
    """
    if not isinstance(parameters, Iterable):
        raise TypeError("global_unstructured(): parameters is not an Iterable")
    pairs = list(parameters)
    given = {} if importance_scores is None else importance_scores
    if not isinstance(given, dict):
        raise TypeError("global_unstructured(): importance_scores should be of type dict")
    scores = [given.get(pair, getattr(*pair)).reshape(-1) for pair in pairs]
    masks = [
        getattr(module, name + "_mask", flambeau.ones_like(getattr(module, name)))
        for module, name in pairs
    ]
    container = PruningContainer()
    container._tensor_name = "temp"
    method = pruning_method(**kwargs)
    method._tensor_name = "temp"
    container.add_pruning_method(method)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found method'
            f" {pruning_method} of type {method.PRUNING_TYPE}"
        )
    mask = container.compute_mask(flambeau.cat(scores), flambeau.cat([m.view(-1) for m in masks]))
    start = 0
    for module, name in pairs:
        size = getattr(module, name).numel()
        custom_from_mask(module, name, mask[start : start + size].view_as(getattr(module, name)))
        start += size


def is_pruned(module: Any) -> bool:
    """Whether `module` or a module in it has a pruning hook."""
    return any(_list_hooks(child) for child in module.modules())


def remove(module: Any, name: str) -> Any:
    """Make pruning of `module.NAME` final: an ordinary parameter with zeros; ValueError if none.

    >>> import flambeau as torch
    >>> from flambeau.nn.utils import prune
    >>> layer = prune.l1_unstructured(torch.nn.Linear(2, 3), "weight", amount=0.5)
    >>> [n for n, _ in prune.remove(layer, "weight").named_parameters()]
    ['bias', 'weight']
    """
    for number, hook in _list_hooks(module):
        if hook._tensor_name == name:
            hook.remove(module)
            del module._forward_pre_hooks[number]
            return module
    raise ValueError(
        f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed"
    )
