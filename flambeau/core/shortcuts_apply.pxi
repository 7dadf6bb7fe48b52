# Short cuts for ops that compute: products, look-ups, extremes, and wrappers of one loop op.

cdef dict _apply_ops = {}   # ops that short cuts call, by name


def set_shortcut_op(str name, op):
    """The op that a short cut calls by that name."""
    _apply_ops[name] = op


# ---- matrix products -------------------------------------------------------------------------------

cdef object short_mm(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef Tensor r
    if kwnames != NULL or n != 2 or not is_tensor(args[0]) or not is_tensor(args[1]):
        return NotImplemented
    if (<Tensor>args[0]).ndim_ != 2 or (<Tensor>args[1]).ndim_ != 2:
        return NotImplemented
    r = matrix_product(<Tensor>args[0], <Tensor>args[1], False, None, "mm", "MmBackward0")
    return NotImplemented if r is None else r


cdef Tensor as_row(Tensor t):
    """A vector as a matrix of one row."""
    cdef Tensor r = alias_shape(t, 2)
    r.shape_[0], r.shape_[1] = 1, t.shape_[0]
    r.strides_[0], r.strides_[1] = t.shape_[0], t.strides_[0]
    find_dense(r)
    return r


cdef object vector_product(PyObject** args, Py_ssize_t n, PyObject* kwnames, int rank_a, int rank_b):
    """A product of tensors of these ranks, one or both of which are vectors, without history."""
    cdef Tensor a
    cdef Tensor b
    cdef Tensor r
    if kwnames != NULL or n != 2 or not is_tensor(args[0]) or not is_tensor(args[1]):
        return NotImplemented
    a, b = <Tensor>args[0], <Tensor>args[1]
    if a.ndim_ != rank_a or b.ndim_ != rank_b or a.code != b.code or wants_history(a) or wants_history(b):
        return NotImplemented
    if a.shape_[a.ndim_ - 1] != b.shape_[0]:
        return NotImplemented
    if rank_a == 2:
        r = product(a, as_row(b), False, True)
    else:
        r = product(as_row(a), as_row(b) if rank_b == 1 else b, False, rank_b == 1)
    if rank_a + rank_b == 2:
        r.ndim_ = 0
    else:
        r.ndim_ = 1
        r.shape_[0], r.strides_[0] = r.count, 1
    return r


cdef object short_dot(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return vector_product(args, n, kwnames, 1, 1)


cdef object short_mv(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return vector_product(args, n, kwnames, 2, 1)


cdef object short_matmul(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef int rank_a, rank_b
    if kwnames != NULL or n != 2 or not is_tensor(args[0]) or not is_tensor(args[1]):
        return NotImplemented
    rank_a, rank_b = (<Tensor>args[0]).ndim_, (<Tensor>args[1]).ndim_
    if rank_a == 2 and rank_b == 2:
        return short_mm(args, n, kwnames)
    if rank_a == 0 or rank_b == 0 or rank_a + rank_b > 3:
        return NotImplemented
    return vector_product(args, n, kwnames, rank_a, rank_b)


cdef object short_linear(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef Tensor bias = None
    cdef Tensor r
    if kwnames != NULL or n < 2 or n > 3 or not is_tensor(args[0]) or not is_tensor(args[1]):
        return NotImplemented
    if n == 3 and args[2] != <PyObject*>None:
        if not is_tensor(args[2]):
            return NotImplemented
        bias = <Tensor>args[2]
    if (<Tensor>args[1]).ndim_ != 2 or (<Tensor>args[0]).ndim_ < 2:
        return NotImplemented
    r = matrix_product(<Tensor>args[0], <Tensor>args[1], True, bias, "linear", "AddmmBackward0")
    return NotImplemented if r is None else r


add_shortcut("mm", short_mm)
add_shortcut("mv", short_mv)
add_shortcut("dot", short_dot)
add_shortcut("matmul", short_matmul)
add_shortcut("linear", short_linear)


# ---- look-ups --------------------------------------------------------------------------------------

cdef object short_select_rows(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    """The primitive (input, dim, index, wraps, name), which has checked its arguments."""
    cdef Tensor r
    if kwnames != NULL or n != 5:
        return NotImplemented
    r = take_dense(<Tensor?><object>args[0], <object>args[1], <Tensor?><object>args[2], <object>args[3])
    return NotImplemented if r is None else r


cdef object short_embedding_rows(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    """The primitive (weight, index, padding_idx, scale_grad_by_freq)."""
    cdef Tensor r
    if kwnames != NULL or n != 4:
        return NotImplemented
    r = take_dense(<Tensor?><object>args[0], 0, <Tensor?><object>args[1], False)
    return NotImplemented if r is None else r


cdef object short_embedding(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    """nn.functional's embedding(input, weight)."""
    if kwnames != NULL or n != 2 or not is_tensor(args[0]) or not is_tensor(args[1]):
        return NotImplemented
    if (<Tensor>args[0]).code != I64 or not (<Tensor>args[0]).dense or (<Tensor>args[1]).ndim_ != 2:
        return NotImplemented
    return _apply_ops["embedding_rows"](<object>args[1], <object>args[0], -1, False)


cdef object short_index_select(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef int dim
    if kwnames != NULL or n != 3 or not is_tensor(args[0]) or not is_tensor(args[2]):
        return NotImplemented
    dim = read_dim(args[1], (<Tensor>args[0]).ndim_)
    if dim < 0 or (<Tensor>args[2]).code != I64 or (<Tensor>args[2]).ndim_ != 1 or not (<Tensor>args[2]).dense:
        return NotImplemented
    return _apply_ops["select_rows"](<object>args[0], dim, <object>args[2], False, "index_select")


cdef uintptr_t _gather_kernels[17]  # by element size


def set_gather_kernel(int size, uintptr_t address):
    """The kernel that gathers elements of a size along a dimension."""
    _gather_kernels[size] = address


cdef object short_gather_along(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    """The primitive (input, dim, index, name), which has checked its arguments."""
    cdef Tensor t
    cdef Tensor index
    cdef Tensor r
    if kwnames != NULL or n != 4:
        return NotImplemented
    t, index = <Tensor?><object>args[0], <Tensor?><object>args[2]
    if _gather_kernels[ITEM[t.code]] == 0 or t.ndim_ == 0:
        return NotImplemented
    r = new_dense(t.code, index.ndim_, index.shape_)
    return r if run_along(_gather_kernels[ITEM[t.code]], 0, r, t, index, <object>args[1], False, False) else NotImplemented


cdef object short_gather(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef Tensor t
    cdef Tensor index
    cdef int dim, d
    if kwnames != NULL or n != 3 or not is_tensor(args[0]) or not is_tensor(args[2]):
        return NotImplemented
    t, index = <Tensor>args[0], <Tensor>args[2]
    dim = read_dim(args[1], t.ndim_)
    if dim < 0 or index.code != I64 or not index.dense or index.count == 0 or index.ndim_ != t.ndim_:
        return NotImplemented
    for d in range(t.ndim_):
        if d != dim and index.shape_[d] > t.shape_[d]:
            return NotImplemented
    return _apply_ops["gather_along"](t, dim, index, "gather")


add_shortcut("select_rows", short_select_rows)
add_shortcut("embedding_rows", short_embedding_rows)
add_shortcut("embedding", short_embedding)
add_shortcut("index_select", short_index_select)
add_shortcut("gather_along", short_gather_along)
add_shortcut("gather", short_gather)


# ---- extremes --------------------------------------------------------------------------------------

cdef object call_loop(str name, PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return PyObject_Vectorcall(_apply_ops[name], args, n, kwnames)


cdef object extreme(str whole, str position, PyObject** args, Py_ssize_t n, PyObject* kwnames):
    """max(x), or max(x, dim[, keepdim]): the named tuple of values and indices."""
    cdef PyObject* given[3]
    cdef Tensor t
    cdef Tensor values
    cdef Tensor indices
    cdef int dim
    if not read_named(("input", "dim", "keepdim"), args, n, kwnames, given) or given[0] == NULL or not is_tensor(given[0]):
        return NotImplemented
    t = <Tensor>given[0]
    if given[1] == NULL:
        return call_loop(whole, given, 1, NULL) if given[2] == NULL and t.count and CATEGORY[t.code] < 3 else NotImplemented
    dim = read_dim(given[1], t.ndim_)
    if dim < 0 or t.shape_[dim] == 0 or CATEGORY[t.code] == 3 or (given[2] != NULL and type(<object>given[2]) is not bool):
        return NotImplemented
    indices = _apply_ops[position](alias_of(t), dim, True)
    if indices.count == 0:
        return NotImplemented
    values = _apply_ops["gather_along"](t, dim, indices, "gather")
    if given[2] == NULL or not <object>given[2]:
        values, indices = without_dim(values, dim), without_dim(indices, dim)
    return tuple_new(_apply_ops[whole + "_result"], (values, indices))


cdef object short_max(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return extreme("amax", "argmax", args, n, kwnames)


cdef object short_min(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return extreme("amin", "argmin", args, n, kwnames)


cdef object place_of(str position, PyObject** args, Py_ssize_t n, PyObject* kwnames):
    """argmax(x), of the flattened tensor, or argmax(x, dim[, keepdim])."""
    cdef Tensor t
    cdef int64_t count
    if n < 1 or not is_tensor(args[0]) or (<Tensor>args[0]).code == BOOL or (<Tensor>args[0]).count == 0:
        return NotImplemented
    t = <Tensor>args[0]
    if n == 1 and kwnames == NULL:
        if not t.dense:
            return NotImplemented
        count = t.count
        return _apply_ops[position](sized_view(alias_of(t), 1, &count), 0, False)
    if n > 3 or (n > 1 and read_dim(args[1], t.ndim_) < 0) or not only_dims(kwnames, n):
        return NotImplemented
    return call_loop(position, args, n, kwnames)


cdef bint only_dims(PyObject* kwnames, Py_ssize_t n) except -1:
    """Are the keywords, if any, of dim and keepdim, and is dim given at all?"""
    cdef Py_ssize_t k
    cdef bint dim = n > 1
    if kwnames != NULL:
        for k in range(PyTuple_GET_SIZE(<object>kwnames)):
            name = <object>PyTuple_GET_ITEM(<object>kwnames, k)
            if name == "dim":
                dim = True
            elif name != "keepdim":
                return False
    return dim


cdef object short_argmax(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return place_of("argmax", args, n, kwnames)


cdef object short_argmin(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return place_of("argmin", args, n, kwnames)


cdef object short_mean(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    if n < 1 or n > 3 or not is_tensor(args[0]) or CATEGORY[(<Tensor>args[0]).code] < 2:
        return NotImplemented
    if not only_dims(kwnames, 2):
        return NotImplemented
    return call_loop("mean", args, n, kwnames)


add_shortcut("max", short_max)
add_shortcut("min", short_min)
add_shortcut("argmax", short_argmax)
add_shortcut("argmin", short_argmin)
add_shortcut("mean", short_mean)
