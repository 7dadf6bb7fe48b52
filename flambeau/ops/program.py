"""The record of a loop program: from body and types to kernels."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .. import core
from ..core import LoopOp
from ..kernels import dtypes as dt
from ..kernels import scalar
from ..kernels.dtypes import BY_CODE, INFO
from ..kernels.lazy import cache, loops, target
from ..kernels.scalar import Expr
from . import promotion
from .identity import identify
from .promotion import Promote

if TYPE_CHECKING:
    from ..kernels.loops import LoopSpec

POINTWISE, REDUCTION, ROWS = 0, 1, 2
FORMS = ("flat", "nest", "reduce", "columns", "tile", "stream")
_TOTAL = 203  # stands in for the value of a reduction
MOST_OPERANDS = 6  # tensors a loop op may have: MAX_IN of the core

core.set_row_form(lambda: target.host().masked)


class LoopRecord:
    """One loop op: body, promotion, accepted types; compiles kernels and derives gradients on
    demand.
    """

    def __init__(
        self,
        form: int,
        body: Callable,
        *,
        name: str,
        promote: Promote = Promote.DEFAULT,
        accepts: str = "buifc",
        over: Sequence[str] | None = None,
        fixed: dict[str, str] | None = None,
        integers: Sequence[str] = (),
        operands: int | None = None,
        dim: Any = NotImplemented,
        dtype: bool = False,
        empty: bool = True,
        operator: str | None = None,
        samples: Any = None,
        count: bool = False,
        tensors: Sequence[str] = (),
        uniform: Sequence[str] = (),
        names: Sequence[str] | None = None,
        doc: str | None = None,
    ) -> None:
        if names is None:
            names, positional, defaults = _read_signature(body)
        else:
            positional, defaults = operands, ()  # type: ignore[assignment]
        self.form = form
        self.body = body
        self.name = name
        self.promote = promote
        self.accepts = accepts
        self.names = tuple(names)
        self.operands = positional if operands is None else operands
        self.defaults = defaults
        self.over = tuple(over) if over is not None else self.names[: self.operands]
        self.fixed = fixed or {}
        self.integers = frozenset(integers)
        self.dim = dim
        self.takes_dtype = dtype
        self.allows_empty = empty
        self.operator = operator
        self.samples = samples
        self.wants_count = count
        self.uniform = frozenset(uniform)
        self.tensors = frozenset(tensors)  # operands that may not be Python numbers
        self.doc = doc if doc is not None else body.__doc__
        self.linear = False  # in operand 0: derivatives are, in the cotangent
        self.op: LoopOp | None = None
        self.identity: str | None = None  # worked out on first use; "" if it has none

    def make_op(self) -> LoopOp:
        """The callable op."""
        op = LoopOp(
            self.name, self, self.form, self.names, self.operands, self.defaults, self.wants_count
        )
        op.keyword_dim = self.dim
        op.takes_dtype = self.takes_dtype
        op.tensor_mask = sum(
            1 << i for i, n in enumerate(self.names[: self.operands]) if n in self.tensors
        )
        op.chunkable = self.form == REDUCTION and self.promote is not Promote.LONG
        op.source = self.source
        self.op = op
        return op

    # ---- types -----------------------------------------------------------------------------------

    def types(
        self, ranks: Sequence[tuple[int, int]], request: str | None = None
    ) -> tuple[list[str], str | None]:
        """Compute type of each operand (halves in float32 by the caller), and the result's stored
        type.
        """
        taking_part = [
            r for n, r in zip(self.names, ranks[: self.operands], strict=False) if n in self.over
        ]
        common = promotion.result_type(taking_part)
        if self.form != POINTWISE and request is not None:
            common = request
        elif self.promote is Promote.SUM and dt.kind(common) in "bui":
            common = "i64"
        if self.promote in (Promote.FLOAT, Promote.FLOAT_REAL):
            common = promotion.to_float(common)
        if dt.kind(common) not in self.accepts:
            raise self._not_implemented(common)
        if self.promote is Promote.EACH:
            return self._each(ranks, common), None
        compute = [self.fixed.get(n, common) for n in self.names[: self.operands]]
        result = {
            Promote.BOOL: "bool",
            Promote.LONG: "i64",
            Promote.COMPLEX: dt.COMPLEX_OF.get(common, common),
            Promote.REAL: promotion.real_part(common),
            Promote.FLOAT_REAL: promotion.real_part(common),
        }.get(self.promote, common)
        return compute, result

    def _each(self, ranks: Sequence[tuple[int, int]], common: str) -> list[str]:
        """Operands keep their category, at the precision of the common type.

        Those in `uniform` were promoted together in the forward op: here too they share a category.
        """
        names = self.names[: self.operands]
        own = [
            promotion.number_type(code) if rank == 2 else BY_CODE[code].name
            for code, rank in ranks[: self.operands]
        ]
        if dt.kind(common) not in "fc":
            return [self.fixed.get(n, o) for n, o in zip(names, own, strict=True)]
        part = promotion.real_part(common)
        mixed = any(dt.is_complex(o) for n, o in zip(names, own, strict=True) if n in self.uniform)
        result = []
        for name, type_ in zip(names, own, strict=True):
            if name in self.fixed:
                result.append(self.fixed[name])
            elif dt.is_complex(type_) or (mixed and name in self.uniform):
                result.append(common)
            else:
                result.append(part if dt.is_float(type_) or name in self.uniform else type_)
        return result

    def _not_implemented(self, name: str) -> Exception:
        kinds = {
            "b": "bool",
            "u": "unsigned integers",
            "i": "integers",
            "f": "floating point",
            "c": "complex",
        }
        takes = ", ".join(kinds[k] for k in "buifc" if k in self.accepts)
        full = core.dtypes[INFO[name].code].name
        return RuntimeError(
            f"{self.name}: \"{self.name}\" not implemented for '{full}': it takes {takes}"
        )

    def check_inplace(self, op: LoopOp, ranks: Sequence[tuple[int, int]], code: int) -> None:
        """Raise unless the result of these operands may be stored in type `code`."""
        _, result = self.types(ranks)
        if result is not None and promotion.category(INFO[result].code) > promotion.category(code):
            raise RuntimeError(
                f"{self.name}_: result type {core.dtypes[INFO[result].code].name} can't be cast "
                f"to the desired "
                f"output type {core.dtypes[code].name}"
            )

    def check_empty(self, op: LoopOp) -> None:
        """Raise if reducing nothing has no answer."""
        if not self.allows_empty:
            raise (RuntimeError if self.promote is Promote.DEFAULT else IndexError)(
                f"{self.name}(): Expected reduction dim to be specified for input.numel() == 0 "
                f"and to have non-zero size"
            )

    # ---- kernels ---------------------------------------------------------------------------------

    def trace(
        self, ranks: Sequence[tuple[int, int]], request: str | None
    ) -> tuple[Expr, list[str], str]:
        """The body's graph over stored inputs; the inputs' stored types; the result's."""
        compute, result = self.types(ranks, request)
        stored = []
        for (code, rank), type_ in zip(ranks[: self.operands], compute, strict=False):
            stored.append(BY_CODE[code].name if rank != 2 else dt.opmath(type_))
        part = dt.opmath(promotion.real_part(_widest(compute)))
        for name, (code, _) in zip(
            self.names[self.operands :], ranks[self.operands :], strict=True
        ):
            stored.append(self._scalar_type(name, BY_CODE[code].name, compute, part))
        wanted = [dt.opmath(c) for c in compute] + stored[self.operands :]
        handles = [
            scalar.cast(scalar.input(i, s), w)
            for i, (s, w) in enumerate(zip(stored, wanted, strict=True))
        ]
        n = self.operands
        root = self.body(*handles[:n], **dict(zip(self.names[n:], handles[n:], strict=True)))
        if result is None:
            result = _stored_like(root.dtype, [BY_CODE[c].name for c, _ in ranks[: self.operands]])
        return root, stored, result

    def _scalar_type(self, name: str, given: str, compute: list[str], part: str) -> str:
        if name in self.integers:
            return "i64"
        widest = _widest(compute)
        if dt.kind(widest) in "bui":
            return widest if dt.kind(widest) != "b" else given
        return dt.opmath(widest) if given == "c128" else part

    def compile(
        self, op: LoopOp, form: int, ranks: list[tuple[int, int]], accesses: list[str], request: int
    ) -> tuple:
        """(address, result code, scalar codes, grain) for a signature."""
        key = self._key(form, ranks, accesses, request)
        found = cache.recall(key) if key is not None else None
        if found is None:
            text, facts = self._generate(form, ranks, accesses, request)
            found = cache.remember(key, [text], facts), facts
        (address,), (result, grain, *codes) = found
        return address, result, tuple(codes), grain

    def is_at_hand(
        self, form: int, ranks: list[tuple[int, int]], accesses: list[str], request: int
    ) -> bool:
        """Whether a signature's kernel is in the cache, or the compiler loaded already."""
        if "llvmlite" in sys.modules:
            return True
        key = self._key(form, ranks, accesses, request)
        return key is not None and cache.recall(key) is not None

    def compile_chunks(
        self, op: LoopOp, form: int, ranks: list[tuple[int, int]], accesses: list[str], request: int
    ) -> tuple:
        """(partial, final, accumulator code): kernels that reduce chunks of a row, then what
        came of them; () where the program is not one such reduction.
        """
        key = self._key(form, ranks, accesses, request)
        key = None if key is None else f"{key} chunks"
        found = cache.recall(key) if key is not None else None
        if found is None:
            texts, facts = self._generate_chunks(form, ranks, accesses, request)
            found = cache.remember(key, texts, facts), facts
        return tuple(found[0] + found[1])

    def _key(
        self, form: int, ranks: list[tuple[int, int]], accesses: list[str], request: int
    ) -> str | None:
        """The signature's name in the kernel cache, where the record has an identity."""
        if self.identity is None:
            self.identity = identify(self) or ""
        if not self.identity:
            return None
        return f"{self.identity} {form} {ranks} {accesses} {request} {promotion.default_float()}"

    def _generate(
        self, form: int, ranks: list[tuple[int, int]], accesses: list[str], request: int
    ) -> tuple[str, list[int]]:
        """IR of the signature's kernel; result code, grain, scalar codes."""
        wanted = BY_CODE[request].name if request >= 0 else None
        host = target.host()
        with scalar.tracing():
            root, stored, result = self.trace(ranks, wanted if form in (2, 3) else None)
            if wanted is not None and form not in (2, 3):
                result = wanted
            cache.show("graph", f"{self.name} {stored} -> {result}: {root!r}")
            spec = self._spec(form, [scalar.cast(root, result)], stored, accesses, result)
            if spec.form == "stream" and not loops.can_stream(spec, host):
                spec = spec._replace(form="flat")
            text = loops.build(spec, host)
            grain = loops.grain(len(scalar.topological([root])))
        return text, [INFO[result].code, grain, *(INFO[s].code for s in stored)]

    def _generate_chunks(
        self, form: int, ranks: list[tuple[int, int]], accesses: list[str], request: int
    ) -> tuple[list[str], list[int]]:
        """IR of the kernels for chunks of a row and for their results; the code of these."""
        host = target.host()
        with scalar.tracing():
            root, stored, result = self.trace(
                ranks, BY_CODE[request].name if request >= 0 else None
            )
            specs, accumulator = self._chunked(form, root, stored, accesses, result)
            texts = [loops.build(spec, host) for spec in specs]
        return texts, [INFO[accumulator].code] if accumulator else []

    def _spec(
        self, form: int, roots: list[Expr], stored: list[str], accesses: list[str], result: str
    ) -> LoopSpec:
        ins = [loops.Operand(s, a) for s, a in zip(stored, accesses[1:], strict=False)]
        ins += [loops.Operand(s, "s") for s in stored[len(ins) :]]
        outs = (loops.Operand(result, accesses[0]),)
        return loops.LoopSpec(FORMS[form], outs, tuple(ins), tuple(roots), self.form == REDUCTION)

    def _chunked(
        self, form: int, root: Expr, stored: list[str], accesses: list[str], result: str
    ) -> tuple[list[LoopSpec], str]:
        """Kernels that reduce chunks of a row and then the chunks, where the program is one
        reduction of its operands, and the type of what they carry."""
        nodes = scalar.topological([root])
        reductions = [n for n in nodes if n.op == "reduce"]
        if len(reductions) != 1 or reductions[0].value.startswith("arg"):
            return [], ""
        one = reductions[0]
        if (
            one.dtype == "bool"
            or dt.is_complex(one.dtype)
            or any(n.op == "position" for n in nodes)
        ):
            return [], ""
        total = scalar.input(_TOTAL, one.dtype)
        (outside,) = scalar.rebuild(
            [scalar.cast(root, result)],
            lambda n, args: total if n is one else scalar.with_args(n, args),
        )
        leaves = [n for n in scalar.topological([outside]) if n.op == "input" and n is not total]
        if any(n.value < self.operands for n in leaves):
            return [], ""
        again = scalar.node("reduce", (scalar.input(0, one.dtype),), one.dtype, one.value)

        def visit(n: Expr, args: tuple) -> Expr:
            if n is total:
                return again
            if n.op == "input":  # a number: one total stands where all the operands stood
                return scalar.input(n.value - self.operands + 1, n.dtype)
            return scalar.with_args(n, args)

        (final_root,) = scalar.rebuild([outside], visit)
        numbers = stored[self.operands :]
        return [
            self._spec(form, [one], stored, accesses, one.dtype),
            self._spec(form, [final_root], [one.dtype, *numbers], ["c", "c"], result),
        ], one.dtype

    def source(self, device: str = "cpu", *types: str, stage: str = "ir") -> str:
        """The text of the kernel for contiguous operands of these types (float32 unless given).

        `device` is "cpu" (LLVM IR, or machine code with stage="asm"), "cuda" or "opencl" (C).

        >>> import flambeau as torch
        >>> "fmul" in torch.mul.source("cpu", "float32", "float32")
        True
        >>> print(torch.neg.source("cuda").splitlines()[-5].strip())
        const f32 x4 = -x3;
        """
        if device not in ("cpu", "cuda", "opencl"):
            raise ValueError(
                f"{self.name}.source: expected a device of cpu, cuda, opencl, got {device!r}"
            )
        if stage not in ("ir", "asm"):
            raise ValueError(f"{self.name}.source: expected a stage of ir, asm, got {stage!r}")
        with scalar.tracing():
            spec = self._plain_spec(types or ("float32",) * self.operands)
            if device != "cpu":
                from ..kernels.lazy import cdialect

                numbers = len(self.names) - self.operands
                return cdialect.build(spec, device, f"{self.name}_kernel", scalars=numbers)
            text = loops.build(spec, target.host())
        return cache.assembly(text) if stage == "asm" else text

    def _plain_spec(self, types: Sequence[str]) -> LoopSpec:
        """The program over contiguous operands of these types."""
        by_name = {d.name: d.code for d in core.dtypes}
        unknown = [t for t in types if t not in by_name]
        if unknown or len(types) != self.operands:
            raise ValueError(
                f"{self.name}.source: expected {self.operands} of the types {', '.join(by_name)}, "
                f"got {', '.join(types)}"
            )
        ranks = [(by_name[t], 0) for t in types]
        ranks += [(INFO["f64"].code, 2)] * (len(self.names) - self.operands)
        root, stored, result = self.trace(ranks, None)
        form = 0 if self.form == POINTWISE else 2
        return self._spec(
            form, [scalar.cast(root, result)], stored, ["c"] * (1 + self.operands), result
        )

    # ---- derivative ------------------------------------------------------------------------------

    def derive(self, op: LoopOp) -> tuple[list, list[int]]:
        """Per operand: its derivative op (None: zero, True: the cotangent) and what it reads."""
        from .derivatives import derive

        return derive(self, op)

    def joint(self, op: LoopOp) -> Callable | None:
        """One kernel for the derivatives of all operands of a row program, if it may have one."""
        custom = getattr(op, "vjp", None)
        if self.form != ROWS or self.operands < 2 or custom is None:
            return None
        if "out" in custom.__code__.co_varnames[: custom.__code__.co_argcount]:
            return None
        from .joint import JointDerivative

        return JointDerivative(self, custom, f"{self.name}_vjp")


def _read_signature(body: Callable) -> tuple[tuple[str, ...], int, tuple]:
    """A body's parameter names, how many are operands (positional), the scalars' defaults."""
    code = body.__code__
    total = code.co_argcount + code.co_kwonlyargcount
    keyword = code.co_varnames[code.co_argcount : total]
    given = body.__kwdefaults__ or {}
    defaults = (body.__defaults__ or ()) + tuple(given[k] for k in keyword if k in given)
    return code.co_varnames[:total], code.co_argcount, defaults


def _widest(names: Sequence[str]) -> str:
    """The operand type that sets the precision."""
    best = names[0]
    for n in names[1:]:
        best = n if _weight(n) > _weight(best) else best
    return best


def _weight(name: str) -> tuple[int, int]:
    return ("buifc".index(dt.kind(name)), INFO[name].size)


def _stored_like(name: str, stored: Sequence[str]) -> str:
    """Narrow a float32 result back to the half type all floating operands are stored in."""
    floats = {s for s in stored if dt.kind(s) in "fc"}
    if name == "f32" and len(floats) == 1:
        only = next(iter(floats))
        return only if only in ("f16", "bf16") else name
    return name
