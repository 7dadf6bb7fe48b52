"""Plans for attention: sizes, blocks of keys, and how heads are shared out over threads."""

from __future__ import annotations

import struct
from typing import NamedTuple

from . import attention_backward, attention_few, attention_forward
from .element import Element
from .plan import Phase, Plan, ceil_div, round_up
from .target import Target, host
from .tile import tile_shape

FORWARD_KEYS = 480  # keys whose scores, for one strip of queries, stay in the first-level cache
BACKWARD_KEYS, BACKWARD_QUERIES = 96, 48  # a block of weights and one of their gradients
QUERIES = 64  # of one task of the forward pass
TASK_WORK = 1 << 18


class Attention(NamedTuple):
    """softmax(scale q k^T + mask) v for batches of heads; strides in elements.

    q is (batch, heads, length, depth), k and v have heads / group heads, `source` positions and
    rows of `depth` and `width` numbers that lie side by side. Strides are those of batch, head and
    row; the mask's last dimension lies side by side.
    """

    dtype: str
    batch: int
    heads: int
    group: int
    length: int
    source: int
    depth: int
    width: int
    q: tuple[int, int, int]
    k: tuple[int, int, int]
    v: tuple[int, int, int]
    out: tuple[int, int, int]
    mask: tuple[int, int, int] | None
    causal: bool
    scale: float

    def fields(self, element: Element) -> dict[str, int]:
        """What all passes' desc have in common; strides in bytes."""
        found = {
            "heads": self.heads, "group": self.group, "length": self.length,
            "source": self.source, "depth": self.depth, "width": self.width,
            "causal": int(self.causal), "scale": _bits(self.scale),
        }  # fmt: skip
        strides = {"q": self.q, "k": self.k, "v": self.v, "out": self.out}
        strides["mask"] = self.mask or (0, 0, 0)
        for name, steps in strides.items():
            size = element.size if name in "qkv" else element.compute.size
            for part, step in zip(("batch", "head", "row"), steps, strict=True):
                found[f"{name}_{part}"] = step * size
        return found


def _bits(value: float) -> int:
    return struct.unpack("q", struct.pack("d", value))[0]


def _panel(columns: int, lanes: int, vectors: int) -> int:
    used = ceil_div(columns, lanes)
    return ceil_div(used, ceil_div(used, vectors)) * lanes


def plan_forward(p: Attention, threads: int, target: Target | None = None) -> Plan:
    """args: out (batch, heads, length, width), log-sum-exp in base 2 (batch, heads, length), q, k,
    v, mask, workspace.
    """
    target = target or host()
    element = Element(p.dtype, target)
    lanes, size = element.lanes, element.size
    rows, vectors = tile_shape(target, element)
    panel = _panel(p.source, lanes, vectors)
    keys = panel * max(1, min(FORWARD_KEYS // panel, ceil_div(p.source, panel)))
    wide = round_up(p.width, lanes)
    v_at = round_up(p.depth * round_up(p.source, lanes) * size, 64)
    scores_at = round_up(v_at + p.source * wide * size, 64)
    score_row = (keys + lanes) * size
    scratch = round_up(scores_at + rows * score_row, 64) + 64
    blocks = ceil_div(p.length, round_up(QUERIES, rows))
    desc = attention_forward.FIELDS.pack(
        **p.fields(element), panel=panel, keys=keys, wide=wide,
        value_panel=_panel(p.width, lanes, vectors), v_at=v_at, scores_at=scores_at,
        score_row=score_row, scratch=scratch, blocks=blocks,
        block=round_up(QUERIES, rows),
    )  # fmt: skip
    tasks = p.batch * p.heads * blocks
    kernel = attention_forward.source(p.dtype, target, p.mask is not None)
    grain = _grain(p, blocks, tasks, threads)
    return Plan((Phase(kernel, desc, tasks, grain),), scratch * threads)


def plan_few(p: Attention, threads: int, target: Target | None = None) -> Plan:
    """For a few queries; args as `plan_forward`'s, q, k and v of p's type, all else of the type it
    is computed in.
    """
    target = target or host()
    element = Element(p.dtype, target)
    inner = element.compute
    rows, vectors = attention_few.tile_shape(target)
    keys = round_up(min(FORWARD_KEYS, p.source), inner.lanes)
    score_row = (keys + inner.lanes) * inner.size
    scratch = round_up(rows * score_row, 64) + 64
    desc = attention_forward.FIELDS.pack(
        **p.fields(element), panel=0, keys=keys, wide=0,
        value_panel=_panel(p.width, inner.lanes, vectors), v_at=0, scores_at=0,
        score_row=score_row, scratch=scratch, blocks=1, block=p.length,
    )  # fmt: skip
    tasks = p.batch * p.heads
    kernel = attention_few.source(p.dtype, target, p.mask is not None)
    grain = _grain(p, 1, tasks, threads)
    return Plan((Phase(kernel, desc, tasks, grain),), scratch * threads)


def _grain(p: Attention, blocks: int, tasks: int, threads: int) -> int:
    """Whole heads, whose keys are packed once, where there are enough of them."""
    heads = p.batch * p.heads
    work = heads * p.length * p.source * (p.depth + p.width)
    if threads == 1 or work < 2 * TASK_WORK:
        return tasks
    if heads >= 2 * threads:
        return blocks * max(1, min(heads // (4 * threads), TASK_WORK * heads // work))
    return max(1, ceil_div(tasks, 8 * threads))


def plan_backward(
    p: Attention,
    grad: tuple[int, int, int],
    dq: tuple[int, int, int],
    dk: tuple[int, int, int],
    dv: tuple[int, int, int],
    threads: int,
    target: Target | None = None,
) -> Plan:
    """args: dq, dk, dv, gradient of out, out, log-sum-exp, q, k, v, mask, workspace.

    dk and dv have a head for each of q's. Strides are those of batch, head and row.
    """
    target = target or host()
    element = Element(p.dtype, target)
    lanes, size = element.lanes, element.size
    rows, vectors = tile_shape(target, element)
    heads = p.batch * p.heads
    work = heads * p.length * p.source * (p.depth + p.width)
    shared = threads > 1 and work >= 2 * TASK_WORK and heads < 2 * threads and heads % threads
    panel = _panel(min(p.source, BACKWARD_KEYS), lanes, vectors)
    keys = panel * max(1, min(BACKWARD_KEYS, p.source) // panel)
    queries = round_up(min(BACKWARD_QUERIES, p.length), rows)
    parts = min(ceil_div(2 * threads, heads), ceil_div(p.source, keys)) if shared else 1
    part_keys = round_up(ceil_div(p.source, parts), keys)
    parts = ceil_div(p.source, part_keys)
    depth_wide, width_wide = round_up(p.depth, lanes), round_up(p.width, lanes)
    block_row = (keys + lanes) * size
    wide = round_up(part_keys, lanes)
    sizes = {
        "values": p.depth * wide, "rows_k": p.width * wide, "rows_q": part_keys * depth_wide,
        "rows_g": p.length * depth_wide, "delta": p.length * width_wide,
        "dq": round_up(p.length, lanes), "dk": p.length * depth_wide if parts == 1 else 0,
        "dv": keys * depth_wide, "weights": keys * width_wide,
        "grads": queries * (keys + lanes), "scratch": queries * (keys + lanes),
    }  # fmt: skip
    places, at = {}, 0
    for name, count in sizes.items():  # each place is named with the size of what lies before it
        at = round_up(at + count * size, 64) + 64
        places[name if name == "scratch" else f"{name}_at"] = at
    share = round_up(p.length * depth_wide * size, 64) if parts > 1 else 0
    fields = p.fields(element)
    for name, steps in (("grad", grad), ("dq", dq), ("dk", dk), ("dv", dv)):
        for part, step in zip(("batch", "head", "row"), steps, strict=True):
            fields[f"{name}_{part}"] = step * size
    desc = attention_backward.FIELDS.pack(
        **fields, **places, parts=parts, part_keys=part_keys, panel=panel, keys=keys,
        queries=queries, depth_wide=depth_wide, width_wide=width_wide,
        depth_panel=_panel(p.depth, lanes, vectors), width_panel=_panel(p.width, lanes, vectors),
        block_row=block_row, shares_at=places["scratch"] * threads, share=share,
    )  # fmt: skip
    kernels = attention_backward.sources(p.dtype, target, p.mask is not None)
    tasks = heads * parts
    grain = 1 if threads > 1 and work >= 2 * TASK_WORK else tasks
    phases = [Phase(kernels[0], desc, tasks, grain)]
    if parts > 1:
        phases.append(Phase(kernels[1], desc, heads, 1))
    return Plan(tuple(phases), places["scratch"] * threads + share * tasks)
