# What the core knows of sparse tensors (ops/sparse): their type, and how gradients that are sparse add up.
#
# They are instances of a subclass of Tensor whose own elements (one NaN or 0, repeated) are never looked at: an op
# called on one goes the way of types that override ops, which plain tensors do not take. So sparse tensors cost
# dense ones nothing, and a dense kernel never gets one.

cdef object _sparse_types = ()  # one for every layout
cdef object _add_sparse = None
cdef object _accumulate_sparse = None
cdef object _densify = None


def set_sparse_types(types, add, accumulate, densify):
    """The types of sparse tensors, and what the engine does with gradients of theirs.

    add(a, b): the sum of two gradients; accumulate(have or None, grad): the new .grad of a leaf;
    densify(grad): the same gradient as a plain tensor.
    """
    global _sparse_types, _add_sparse, _accumulate_sparse, _densify
    _sparse_types = frozenset(types)
    _add_sparse, _accumulate_sparse, _densify = add, accumulate, densify


cdef inline bint is_sparse(object x) except -1:
    return type(x) is not Tensor and type(x) in _sparse_types


cdef int check_not_sparse(Tensor t, str doing) except -1:
    if is_sparse(t):
        raise TypeError(f"{doing} a sparse tensor is not supported: convert it with to_dense() first")
    return 0


def any_sparse(list things):
    """Is one of these a sparse tensor, of any layout?"""
    for x in things:
        if is_sparse(x):
            return True
    return False
