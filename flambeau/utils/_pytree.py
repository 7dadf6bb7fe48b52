"""Nested containers as a flat list of leaves and a description of the nesting.

Lists, tuples, named tuples, dictionaries (in insertion order), `OrderedDict`, `defaultdict` and
`deque` are nodes, and so are classes given to `register_pytree_node`; anything else is a leaf.

>>> from flambeau.utils._pytree import tree_flatten, tree_map, tree_unflatten
>>> leaves, spec = tree_flatten({"a": 1, "b": (2, [3])})
>>> leaves
[1, 2, 3]
>>> tree_unflatten([10, 20, 30], spec)
{'a': 10, 'b': (20, [30])}
>>> tree_map(lambda x, y: x + y, [1, 2], [3, 4])
[4, 6]
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = [
    *("Context", "MappingKey", "PyTree", "SequenceKey", "TreeSpec", "register_pytree_node"),
    *("tree_all", "tree_any", "tree_flatten", "tree_iter", "tree_leaves", "tree_map"),
    *("tree_map_", "tree_map_only", "tree_structure", "tree_unflatten"),
]

Context = Any
PyTree = Any
IsLeaf = Callable[[Any], bool] | None


@dataclass(frozen=True)
class SequenceKey:
    """Where a child stands in a sequence."""

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx!r}]"

    def get(self, sequence: Any) -> Any:
        """The child."""
        return sequence[self.idx]


@dataclass(frozen=True)
class MappingKey:
    """Where a child stands in a mapping."""

    key: Any

    def __str__(self) -> str:
        return f"[{self.key!r}]"

    def get(self, mapping: Any) -> Any:
        """The child."""
        return mapping[self.key]


class NodeDef(NamedTuple):
    """How a container comes apart, and together again."""

    flatten_fn: Callable[[Any], tuple[list[Any], Context]]
    unflatten_fn: Callable[[Iterable[Any], Context], Any]


@dataclass(frozen=True)
class TreeSpec:
    """A container without its leaves; a leaf itself has the type None."""

    type: Any
    context: Context
    children_specs: tuple[TreeSpec, ...]

    @property
    def num_leaves(self) -> int:
        """How many leaves a tree of this form has."""
        return 1 if self.is_leaf() else sum(child.num_leaves for child in self.children_specs)

    @property
    def num_children(self) -> int:
        """How many children the outermost container has."""
        return len(self.children_specs)

    def is_leaf(self) -> bool:
        """Is it no container?"""
        return self.type is None

    def unflatten(self, leaves: Iterable[Any]) -> Any:
        """The tree of this form with those leaves."""
        return tree_unflatten(leaves, self)


LEAF = TreeSpec(None, None, ())


def _dict_flatten(d: dict) -> tuple[list[Any], Context]:
    return list(d.values()), list(d)


def _dict_flatten_with_keys(d: dict) -> tuple[list[tuple[MappingKey, Any]], Context]:
    return [(MappingKey(key), value) for key, value in d.items()], list(d)


def _dict_unflatten(values: Iterable[Any], context: Context) -> dict[Any, Any]:
    return dict(zip(context, values, strict=True))


SUPPORTED_NODES: dict[type, NodeDef] = {
    dict: NodeDef(_dict_flatten, _dict_unflatten),
    list: NodeDef(lambda x: (list(x), None), lambda values, context: list(values)),
    tuple: NodeDef(lambda x: (list(x), None), lambda values, context: tuple(values)),
    OrderedDict: NodeDef(
        _dict_flatten, lambda values, context: OrderedDict(zip(context, values, strict=True))
    ),
    defaultdict: NodeDef(
        lambda d: (list(d.values()), (d.default_factory, list(d))),
        lambda values, context: defaultdict(context[0], zip(context[1], values, strict=True)),
    ),
    deque: NodeDef(
        lambda d: (list(d), d.maxlen), lambda values, context: deque(values, maxlen=context)
    ),
}
_NAMED_TUPLE = NodeDef(lambda x: (list(x), type(x)), lambda values, context: context(*values))


def register_pytree_node(
    cls: type,
    flatten_fn: Callable[[Any], tuple[list[Any], Context]],
    unflatten_fn: Callable[[Iterable[Any], Context], Any],
    **options: Any,
) -> None:
    """Make a class a node: `flatten_fn(x)` gives its children and a context, from which
    `unflatten_fn(children, context)` makes it again. PyTorch's options for naming and for exported
    programs are accepted and not used. ValueError if the class is a node already.
    """
    if cls in SUPPORTED_NODES:
        raise ValueError(f"{cls} is already registered as pytree node.")
    SUPPORTED_NODES[cls] = NodeDef(flatten_fn, unflatten_fn)


def _node_of(tree: Any, is_leaf: IsLeaf) -> NodeDef | None:
    if is_leaf is not None and is_leaf(tree):
        return None
    kind = type(tree)
    found = SUPPORTED_NODES.get(kind)
    if found is None and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _NAMED_TUPLE
    return found


def tree_flatten(tree: PyTree, is_leaf: IsLeaf = None) -> tuple[list[Any], TreeSpec]:
    """The leaves, from left to right, and what makes the tree from them."""
    leaves: list[Any] = []
    return leaves, _flatten_into(leaves, tree, is_leaf)


def _flatten_into(leaves: list[Any], tree: Any, is_leaf: IsLeaf) -> TreeSpec:
    node = _node_of(tree, is_leaf)
    if node is None:
        leaves.append(tree)
        return LEAF
    children, context = node.flatten_fn(tree)
    return TreeSpec(
        type(tree), context, tuple(_flatten_into(leaves, child, is_leaf) for child in children)
    )


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> PyTree:
    """The tree of that form with those leaves; ValueError if their number does not fit."""
    leaves = list(leaves)
    if len(leaves) != treespec.num_leaves:
        raise ValueError(
            f"tree_unflatten: {len(leaves)} leaves for a tree of {treespec.num_leaves}"
        )
    return _build(iter(leaves), treespec)


def _build(leaves: Iterator[Any], spec: TreeSpec) -> Any:
    if spec.is_leaf():
        return next(leaves)
    node = SUPPORTED_NODES.get(spec.type, _NAMED_TUPLE)
    return node.unflatten_fn([_build(leaves, child) for child in spec.children_specs], spec.context)


def tree_iter(tree: PyTree, is_leaf: IsLeaf = None) -> Iterator[Any]:
    """The leaves, one by one."""
    yield from tree_leaves(tree, is_leaf)


def tree_leaves(tree: PyTree, is_leaf: IsLeaf = None) -> list[Any]:
    """The leaves, from left to right."""
    return tree_flatten(tree, is_leaf)[0]


def tree_structure(tree: PyTree, is_leaf: IsLeaf = None) -> TreeSpec:
    """The form of a tree."""
    return tree_flatten(tree, is_leaf)[1]


def tree_map(
    func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: IsLeaf = None
) -> PyTree:
    """The tree of `func(leaf, *leaves of the other trees)`; ValueError if the forms differ."""
    leaves, spec = tree_flatten(tree, is_leaf)
    others = []
    for rest in rests:
        other, form = tree_flatten(rest, is_leaf)
        if form != spec:
            raise ValueError(f"tree_map: trees of different forms: {spec} and {form}")
        others.append(other)
    return tree_unflatten(map(func, leaves, *others), spec)


def tree_map_(
    func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: IsLeaf = None
) -> PyTree:
    """Call the function on each leaf for its effect; give the tree back."""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def tree_map_only(
    kind: type | tuple[type, ...], func: Callable[[Any], Any], tree: PyTree, is_leaf: IsLeaf = None
) -> PyTree:
    """`tree_map` over the leaves of those classes; the others stay."""
    return tree_map(lambda x: func(x) if isinstance(x, kind) else x, tree, is_leaf=is_leaf)


def tree_all(pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Does it hold for every leaf?"""
    return all(pred(leaf) for leaf in tree_leaves(tree, is_leaf))


def tree_any(pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Does it hold for some leaf?"""
    return any(pred(leaf) for leaf in tree_leaves(tree, is_leaf))
