"""Nested containers as leaves and a form."""

from collections import OrderedDict, defaultdict, deque, namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.utils import _pytree as pytree

Point = namedtuple("Point", "x y")
trees = st.recursive(
    st.integers(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
        st.tuples(inner, inner),
        st.builds(Point, inner, inner),
        st.lists(inner, max_size=3).map(lambda x: deque(x, maxlen=5)),
        st.dictionaries(st.integers(), inner, max_size=3).map(OrderedDict),
    ),
    max_leaves=12,
)


@given(trees)
def test_leaves_and_form_make_the_tree_again(tree):
    leaves, spec = pytree.tree_flatten(tree)
    assert all(isinstance(leaf, int) for leaf in leaves)
    assert spec.num_leaves == len(leaves)
    assert spec.unflatten(leaves) == tree
    assert pytree.tree_structure(tree) == spec
    assert pytree.tree_map(lambda x: x, tree) == tree
    assert type(pytree.tree_map(lambda x: x, tree)) is type(tree)


def test_containers_keep_what_they_are():
    tree = {"d": defaultdict(list, a=1), "q": deque([2], maxlen=3), "p": Point(3, None)}
    doubled = pytree.tree_map_only(int, lambda x: x * 2, tree)
    assert doubled == {"d": {"a": 2}, "q": deque([4]), "p": Point(6, None)}
    assert doubled["d"].default_factory is list
    assert doubled["q"].maxlen == 3
    assert isinstance(doubled["p"], Point)


def test_a_leaf_is_what_one_says():
    leaves, spec = pytree.tree_flatten([(1, 2), 3], is_leaf=lambda x: isinstance(x, tuple))
    assert leaves == [(1, 2), 3]
    assert spec.num_children == 2
    assert pytree.tree_all(bool, [1, [2]])
    assert not pytree.tree_any(bool, [0, [0]])


def test_forms_must_fit():
    with pytest.raises(ValueError, match="2 leaves for a tree of 1"):
        pytree.tree_unflatten([1, 2], pytree.LEAF)
    with pytest.raises(ValueError, match="different forms"):
        pytree.tree_map(lambda x, y: x, [1, 2], [1])


def test_classes_become_nodes(monkeypatch):
    monkeypatch.setattr(pytree, "SUPPORTED_NODES", dict(pytree.SUPPORTED_NODES))

    class Box:
        def __init__(self, content):
            self.content = content

    assert len(pytree.tree_leaves(Box([1, 2]))) == 1
    pytree.register_pytree_node(Box, lambda b: ([b.content], None), lambda c, _: Box(*c))
    assert pytree.tree_leaves([Box([1, 2]), 3]) == [1, 2, 3]
    assert pytree.tree_map(lambda x: -x, Box([1, 2])).content == [-1, -2]
    with pytest.raises(ValueError, match="already registered"):
        pytree.register_pytree_node(Box, lambda b: ([], None), lambda c, _: Box(None))


def test_keys_find_their_children():
    assert pytree.SequenceKey(1).get([4, 5]) == 5
    keyed, names = pytree._dict_flatten_with_keys({"a": 1})
    assert (keyed, names) == ([(pytree.MappingKey("a"), 1)], ["a"])
    assert keyed[0][0].get({"a": 7}) == 7
    assert str(keyed[0][0]) + str(pytree.SequenceKey(0)) == "['a'][0]"
