# What the core knows of sparse tensors (ops/sparse): their type, and how gradients that are sparse add up.
#
# They are instances of a subclass of Tensor whose own elements (one NaN or 0, repeated) are never looked at: an op
# called on one goes the way of types that override ops, which plain tensors do not take. So sparse tensors cost
# dense ones nothing, and a dense kernel never gets one.

cdef object _sparse_types = ()      # every layout
cdef object _sparse_type = None     # the one that gradients have
cdef object _add_sparse = None
cdef object _accumulate_sparse = None
cdef object _densify = None


def set_sparse_types(types, gradient, add, accumulate, densify):
    """The types of sparse tensors; that of gradients, and what the engine does with those.

    add(a, b): the sum of two gradients; accumulate(have or None, grad): the new .grad of a leaf;
    densify(grad): the same gradient as a plain tensor.
    """
    global _sparse_types, _sparse_type, _add_sparse, _accumulate_sparse, _densify
    _sparse_types, _sparse_type = frozenset(types), gradient
    _add_sparse, _accumulate_sparse, _densify = add, accumulate, densify


cdef inline bint is_sparse(Tensor t) noexcept:
    return type(t) is _sparse_type


cdef int check_not_sparse(Tensor t, str doing) except -1:
    if type(t) is not Tensor and type(t) in _sparse_types:
        raise TypeError(f"{doing} a sparse tensor is not supported: convert it with to_dense() first")
    return 0


def any_sparse(list tensors):
    """Is one of these a sparse gradient?"""
    for t in tensors:
        if type(t) is _sparse_type:
            return True
    return False
