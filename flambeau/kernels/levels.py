"""The pass planner of row programs: which reductions must be known before which values."""

from __future__ import annotations

from collections.abc import Callable

from .scalar import Expr, topological

LEAVES = ("input", "input_part", "position")
Levels = dict[Expr, tuple[int, bool]]


def find_levels(nodes: list[Expr], is_uniform: Callable[[Expr], bool]) -> Levels:
    """Per node: how many passes must come before it, and whether it varies along the row."""
    levels: Levels = {}
    for n in nodes:
        depth = max((levels[a][0] for a in n.args), default=0)
        varies = any(levels[a][1] for a in n.args)
        if n.op == "reduce":
            depth, varies = depth + 1, False
        elif n.op == "at":
            varies = False
        elif n.op in LEAVES:
            varies = not is_uniform(n)
        levels[n] = (depth, varies)
    return levels


def passes(nodes: list[Expr], levels: Levels) -> list[list[Expr]]:
    """Reductions by the pass that computes them."""
    reductions = [n for n in nodes if n.op == "reduce"]
    depth = max((levels[n][0] for n in reductions), default=0)
    return [[n for n in reductions if levels[n][0] == d + 1] for d in range(depth)]


def find_company(nodes: list[Expr], levels: Levels) -> dict[Expr, list[Expr]]:
    """Of each `rarely`, those of the same condition that one branch can compute: none of them
    needs another."""
    groups: dict[tuple, list[Expr]] = {}
    company: dict[Expr, list[Expr]] = {}
    for n in nodes:
        if n.op != "rarely":
            continue
        group = groups.setdefault((n.args[0], levels[n]), [])
        if group and not set(group).isdisjoint(topological(n.args[1:])):
            group = []
        group.append(n)
        company[n] = group
    return company
