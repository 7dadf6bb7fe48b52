"""Op records: one page per op, from which kernels, gradients, methods and errors follow.

`pointwise`, `reduction` and `rows` make loop programs from scalar bodies; `primitive` wraps a
Python
function that launches kernels, with a hand-written derivative; `composite` is plain Python in
terms of
other ops. Each registers the public function and what follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import core
from ..core import LoopOp, Op
from .primitive import Primitive
from .program import LoopRecord
from .promotion import Promote

REGISTRY: dict[str, Any] = {}  # qualified name -> op
METHODS: dict[str, Any] = {}  # Tensor attribute -> function or op
NAMESPACES: dict[str, dict[str, Any]] = {
    "": {},
    "nn.functional": {},
    "linalg": {},
    "fft": {},
    "special": {},
}

POINTWISE, REDUCTION, ROWS = 0, 1, 2


def _publish(
    op: Any,
    name: str,
    namespaces: Sequence[str],
    aliases: Sequence[str],
    method: bool,
    inplace: bool,
) -> None:
    REGISTRY[name] = op
    for public in (name, *aliases):
        for space in namespaces:
            NAMESPACES[space][public] = op
        if method:
            METHODS[public] = op
        if inplace:
            written = make_inplace(op, public)
            METHODS[public + "_"] = written
            NAMESPACES[""].setdefault(public + "_", written)


def make_inplace(op: Any, public: str) -> Op:
    """The in-place variant `name_` of an op."""
    if isinstance(op, LoopOp):
        names, apply = op.names, core.apply_inplace

        def inplace(self, *args, **kwargs):
            if kwargs:
                args = _positional(op, names, (self, *args), kwargs)[1:]
            return apply(op, self, *args)

    else:
        name = public + "_"

        def inplace(self, *args, **kwargs):
            core.check_inplace(self, name)
            return core.store_result(self, op(self, *args, **kwargs), name)

    inplace.__name__ = public + "_"
    inplace.__doc__ = (
        f"In-place {public}: writes the result over the first argument and returns it."
    )
    written = Op(public + "_", None, inplace, writes=op if isinstance(op, LoopOp) else None)
    if not isinstance(op, LoopOp):
        core.remember_calls(written)
    written.source = op.source
    REGISTRY.setdefault(public + "_", written)
    return written


def _positional(op: LoopOp, names: tuple, args: tuple, kwargs: dict) -> tuple:
    """Arguments in order, defaults filled in up to the last one given."""
    values = dict(zip(names, args, strict=False))
    for key, value in kwargs.items():
        key = names[0] if key == "self" else key
        if key not in names:
            raise TypeError(
                f"{op.name}_() got an unexpected keyword argument '{key}'; it takes "
                f"{', '.join(names)}"
            )
        if key in values:
            raise TypeError(f"{op.name}_() got multiple values for argument '{key}'")
        values[key] = value
    first_default = len(names) - len(op.defaults)
    result = []
    for i, name in enumerate(names):
        if name in values:
            result.append(values[name])
        elif i >= first_default:
            result.append(op.defaults[i - first_default])
        else:
            raise TypeError(f"{op.name}_() missing required argument: '{name}'")
    return tuple(result)


# ---- loop programs
# ---------------------------------------------------------------------------------


def loop_op(form: int, body: Callable, **options: Any) -> LoopOp:
    """A loop op from its body; the body's positional parameters are operands, keyword-only ones
    scalars.
    """
    record = LoopRecord(form, body, **options)
    return record.make_op()


def _loop_decorator(form: int, defaults: dict[str, Any]):
    def decorator(
        body: Callable | None = None,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        namespaces: Sequence[str] = ("",),
        method: bool = True,
        inplace: bool = False,
        register: bool = True,
        **options: Any,
    ):
        def make(body: Callable) -> LoopOp:
            public = name or body.__name__.removesuffix("_body")
            if register and "tensors" not in options:
                options["tensors"] = ("input",)
            op = loop_op(form, body, name=public, **{**defaults, **options})
            if register:
                _publish(op, public, namespaces, aliases, method, inplace)
            return op

        return make if body is None else make(body)

    return decorator


pointwise = _loop_decorator(POINTWISE, {"promote": Promote.DEFAULT})
pointwise.__doc__ = (
    """Register a pointwise op: `@pointwise(promote=Promote.FLOAT) def exp(input): ...`."""
)
reduction = _loop_decorator(REDUCTION, {"promote": Promote.DEFAULT})
rows = _loop_decorator(ROWS, {"promote": Promote.FLOAT})


# ---- Python ops
# --------------------------------------------------------------------------------------


def primitive(
    function: Callable | None = None,
    *,
    name: str | None = None,
    aliases: Sequence[str] = (),
    namespaces: Sequence[str] = ("",),
    method: bool = False,
    inplace: bool = False,
    out: bool = False,
    register: bool = True,
    shortcut: str | None = None,
    replay: bool = True,
):
    """Register an op that launches kernels itself; give its derivative with `@op.vjp`.

    The vjp takes the cotangent(s) first, then, by name, whatever it needs: any parameter of the op
    (the
    tensor is saved), `out` (the result), `NAME_like` (shape, dtype and strides only), `needs`
    (which
    tensors need a gradient). It returns one gradient per tensor parameter, in order; None is zero.
    """

    def make(function: Callable) -> Op:
        public = name or function.__name__
        record = Primitive(public, function)
        body = _with_out(function, public) if out else function
        op = Op(public, record, body, record.history, function)
        if shortcut is not None:
            core.use_shortcut(op, shortcut)
        if replay:
            core.remember_calls(op)
        op.vjp = record.set_vjp
        op.source = _source_of(op)
        if register:
            _publish(op, public, namespaces, aliases, method, inplace)
        return op

    return make if function is None else make(function)


def composite(
    function: Callable | None = None,
    *,
    name: str | None = None,
    aliases: Sequence[str] = (),
    namespaces: Sequence[str] = ("",),
    method: bool = True,
    inplace: bool = False,
    out: bool = False,
    register: bool = True,
    shortcut: str | None = None,
    replay: bool = True,
):
    """Register an op written in terms of other ops; it differentiates through them."""

    def make(function: Callable) -> Op:
        public = name or function.__name__.removesuffix("_")
        body = _with_out(function, public) if out else function
        op = Op(public, None, body, None, function)
        if shortcut is not None:
            core.use_shortcut(op, shortcut)
        if replay:
            core.remember_calls(op)
        op.source = _source_of(op)
        if register:
            _publish(op, public, namespaces, aliases, method, inplace)
        return op

    return make if function is None else make(function)


def function(
    public: str,
    *,
    namespaces: Sequence[str] = ("",),
    method: bool = False,
    shortcut: str | bool = False,
    replay: bool = True,
):
    """Register under an exact name (in-place ops whose name ends in an underscore, dunder
    helpers).

    shortcut: the core answers the common calls (core/shortcuts.pxi).
    """

    def make(fn: Callable) -> Op:
        op = Op(public, None, fn)
        op.source = _source_of(op)
        if shortcut:
            core.use_shortcut(op, public if shortcut is True else shortcut)
        if replay:
            core.remember_calls(op)
        _publish(op, public, namespaces, (), method, False)
        return op

    return make


def _source_of(op: Op) -> Callable[..., str]:
    """`op.source(device, *types, stage=...)`, as loop ops have it."""

    def source(device: str = "cpu", *types: str, stage: str = "ir") -> str:
        from .source import explain

        return explain(op, device, types, stage)

    return source


def _with_out(function: Callable, public: str) -> Callable:
    """Add PyTorch's out= argument to a function that returns a tensor or a tuple of tensors."""

    def with_out(*args, out=None, **kwargs):
        result = function(*args, **kwargs)
        return result if out is None else deliver(public, out, result)

    with_out.__doc__ = function.__doc__
    with_out.__name__ = function.__name__
    with_out.__wrapped__ = function  # type: ignore[attr-defined]
    with_out.__module__ = function.__module__
    return with_out


def deliver(public: str, out: Any, result: Any) -> Any:
    """Put a result (or several) into out= tensors; returns them."""
    if isinstance(result, tuple):
        if not isinstance(out, tuple | list) or len(out) != len(result):
            raise TypeError(f"{public}(): argument 'out' must be a tuple of {len(result)} tensors")
        for target, value in zip(out, result, strict=True):
            core.deliver_out(public, target, value)
        return type(result)(out) if type(result) is tuple else type(result)(*out)
    if isinstance(out, tuple | list) and len(out) == 1:
        out = out[0]
    if not isinstance(out, core.Tensor):
        raise TypeError(f"{public}(): argument 'out' must be Tensor, not {type(out).__name__}")
    if core.needs_history(result, out):
        raise RuntimeError(
            f"{public}(): functions with out=... arguments don't support automatic "
            f"differentiation, "
            "but one of the arguments requires grad."
        )
    return core.deliver_out(public, out, result.detach())


def alias(public: str, op: Any, *, namespaces: Sequence[str] = ("",), method: bool = False) -> None:
    """Another public name for an op."""
    for space in namespaces:
        NAMESPACES[space][public] = op
    if method:
        METHODS[public] = op


def lookup(name: str) -> Any:
    """The registered op of that name (for pickling)."""
    return REGISTRY[name]


def install() -> None:
    """Give Tensor its methods; called once when the ops floor has been imported."""
    core.set_op_lookup(lookup)
    core.install_all(METHODS)
