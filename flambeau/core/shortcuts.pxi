# Short cuts: common calls of ops written in Python, answered in the core.
#
# An op's Python function stays the whole truth: every argument form, every error. A short cut takes the calls
# whose arguments are plainly right and returns NotImplemented for the rest, before it has done anything.

cdef dict _shortcuts = {}


cdef int add_shortcut(str name, shortcut_fn fn) except -1:
    _shortcuts[name] = <uintptr_t><void*>fn
    return 0


def use_shortcut(Op op, str name):
    """Try the core's short cut of that name before the op's Python function."""
    op.shortcut = <shortcut_fn><void*><uintptr_t>_shortcuts[name]


# ---- reading arguments -----------------------------------------------------------------------------

cdef inline bint is_tensor(PyObject* x) noexcept:
    return isinstance(<object>x, Tensor)


cdef inline bint read_int(PyObject* x, int64_t* out) except -1:
    """Is x an int (and nothing else) that fits?"""
    cdef int overflow = 0
    if type(<object>x) is not int:
        return False
    out[0] = PyLong_AsLongAndOverflow(<object>x, &overflow)
    return overflow == 0


cdef inline int read_dim(PyObject* x, int ndim) except -2:
    """A dimension number in 0..ndim-1; -1 where x is none."""
    cdef int64_t d
    if not read_int(x, &d) or d < -ndim or d >= ndim:
        return -1
    return <int>(d + ndim if d < 0 else d)


cdef int read_shape(PyObject** args, Py_ssize_t n, int64_t* out) except -2:
    """The sizes of `f(2, 3)`, `f((2, 3))` or `f([2, 3])`; how many, or -1 where they are not plain ints."""
    cdef Py_ssize_t i
    cdef object one
    cdef PyObject* item
    if n == 1 and type(<object>args[0]) is not int:
        one = <object>args[0]
        if type(one) is list:
            one = tuple(one)
        elif not isinstance(one, tuple):
            return -1
        n = PyTuple_GET_SIZE(one)
        if n > kMaxDims:
            return -1
        for i in range(n):
            item = PyTuple_GET_ITEM(one, i)
            if not read_int(item, &out[i]):
                return -1
        return <int>n
    if n > kMaxDims:
        return -1
    for i in range(n):
        if not read_int(args[i], &out[i]):
            return -1
    return <int>n


cdef bint read_named(tuple names, PyObject** args, Py_ssize_t n, PyObject* kwnames, PyObject** values) except -1:
    """Arguments by name, NULL where not given; False where there are others."""
    cdef Py_ssize_t i, k
    if n > PyTuple_GET_SIZE(names):
        return False
    for i in range(PyTuple_GET_SIZE(names)):
        values[i] = args[i] if i < n else NULL
    if kwnames != NULL:
        for k in range(PyTuple_GET_SIZE(<object>kwnames)):
            i = find_name(names, <object>PyTuple_GET_ITEM(<object>kwnames, k))
            if i < 0 or values[i] != NULL:
                return False
            values[i] = args[n + k]
    return True


# ---- views -----------------------------------------------------------------------------------------

cdef object named(Tensor r, str label):
    if r.grad_fn_ is not None and type(r.grad_fn_) is ViewNode:
        (<ViewNode>r.grad_fn_).label = label
    return r


cdef object sized_view(Tensor t, int n, int64_t* shape):
    """t with sizes of which one may be -1; NotImplemented where they don't fit or only a copy would do."""
    cdef int64_t steps[64]
    cdef int64_t known = 1
    cdef int i, missing = -1
    for i in range(n):
        if shape[i] == -1 and missing < 0:
            missing = i
        elif shape[i] < 0 or mul_overflow(known, shape[i], &known):
            return NotImplemented
    if missing >= 0:
        if known == 0 or t.count % known:
            return NotImplemented
        shape[missing] = t.count // known
    elif known != t.count:
        return NotImplemented
    if not view_steps(t, n, shape, steps):
        return NotImplemented
    return strided(t, n, shape, steps, 0, VIEW_RESHAPE, None)


cdef object short_reshape(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef int64_t shape[64]
    cdef int dims
    if kwnames != NULL or n < 2 or not is_tensor(args[0]):
        return NotImplemented
    dims = read_shape(args + 1, n - 1, shape)
    return NotImplemented if dims < 0 else sized_view(<Tensor>args[0], dims, shape)


cdef object short_view_as(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef int64_t shape[64]
    if kwnames != NULL or n != 2 or not is_tensor(args[0]) or not is_tensor(args[1]):
        return NotImplemented
    memcpy(shape, (<Tensor>args[1]).shape_, (<Tensor>args[1]).ndim_ * sizeof(int64_t))
    return sized_view(<Tensor>args[0], (<Tensor>args[1]).ndim_, shape)


cdef object short_flatten(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef PyObject* given[3]
    cdef int64_t shape[64]
    cdef int first = 0, last, d, dims
    cdef Tensor t
    if not read_named(("input", "start_dim", "end_dim"), args, n, kwnames, given) or given[0] == NULL or not is_tensor(given[0]):
        return NotImplemented
    t = <Tensor>given[0]
    last = t.ndim_ - 1
    if given[1] != NULL:
        first = read_dim(given[1], t.ndim_)
    if given[2] != NULL:
        last = read_dim(given[2], t.ndim_)
    if t.ndim_ == 0 or first < 0 or last < first:
        return NotImplemented
    if first == last:
        return t
    for d in range(first):
        shape[d] = t.shape_[d]
    shape[first] = 1
    for d in range(first, last + 1):
        shape[first] *= t.shape_[d]
    dims = first + 1
    for d in range(last + 1, t.ndim_):
        shape[dims] = t.shape_[d]
        dims += 1
    return sized_view(t, dims, shape)


cdef object ordered_view(Tensor t, int* order, str label):
    cdef int64_t shape[64]
    cdef int64_t steps[64]
    cdef int d
    cdef Tensor r
    cdef object kept = None
    for d in range(t.ndim_):
        shape[d], steps[d] = t.shape_[order[d]], t.strides_[order[d]]
    if wants_history(t):
        kept = tuple([order[d] for d in range(t.ndim_)])
    r = strided(t, t.ndim_, shape, steps, 0, VIEW_PERMUTE, kept)
    return r if kept is None else named(r, label)


cdef object swapped_view(Tensor t, int a, int b, str label):
    cdef int order[64]
    cdef int d
    for d in range(t.ndim_):
        order[d] = d
    if t.ndim_:
        order[a], order[b] = b, a
    return ordered_view(t, order, label)


cdef object short_transpose(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef Tensor t
    cdef int a, b
    if kwnames != NULL or n != 3 or not is_tensor(args[0]):
        return NotImplemented
    t = <Tensor>args[0]
    a, b = read_dim(args[1], t.ndim_), read_dim(args[2], t.ndim_)
    return NotImplemented if a < 0 or b < 0 else swapped_view(t, a, b, "TransposeBackward0")


cdef object short_t(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    if kwnames != NULL or n != 1 or not is_tensor(args[0]) or (<Tensor>args[0]).ndim_ > 2:
        return NotImplemented
    return swapped_view(<Tensor>args[0], 0, (<Tensor>args[0]).ndim_ - 1, "TBackward0")


cdef object short_permute(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef int64_t given[64]
    cdef int order[64]
    cdef uint64_t seen = 0
    cdef Tensor t
    cdef int d
    if kwnames != NULL or n < 2 or not is_tensor(args[0]):
        return NotImplemented
    t = <Tensor>args[0]
    if t.ndim_ == 64 or read_shape(args + 1, n - 1, given) != t.ndim_:
        return NotImplemented
    for d in range(t.ndim_):
        order[d] = <int>(given[d] + t.ndim_ if given[d] < 0 else given[d])
        if given[d] < -t.ndim_ or given[d] >= t.ndim_ or seen >> order[d] & 1:
            return NotImplemented
        seen |= 1ULL << order[d]
    return ordered_view(t, order, None)


cdef object short_expand(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef int64_t shape[64]
    cdef int64_t steps[64]
    cdef Tensor t
    cdef int d, own, dims
    if kwnames != NULL or n < 2 or not is_tensor(args[0]):
        return NotImplemented
    t = <Tensor>args[0]
    dims = read_shape(args + 1, n - 1, shape)
    if dims < t.ndim_:
        return NotImplemented
    for d in range(dims):
        own = d - (dims - t.ndim_)
        steps[d] = 0
        if own < 0:
            if shape[d] < 0:
                return NotImplemented
        elif shape[d] == t.shape_[own] or shape[d] == -1:
            shape[d], steps[d] = t.shape_[own], t.strides_[own]
        elif t.shape_[own] != 1 or shape[d] < 0:
            return NotImplemented
    return strided(t, dims, shape, steps, 0, VIEW_EXPAND, None)


cdef object short_unsqueeze(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef PyObject* given[2]
    cdef int64_t shape[64]
    cdef int64_t steps[64]
    cdef Tensor t
    cdef int d, at
    if not read_named(("input", "dim"), args, n, kwnames, given) or given[0] == NULL or given[1] == NULL or not is_tensor(given[0]):
        return NotImplemented
    t = <Tensor>given[0]
    at = read_dim(given[1], t.ndim_ + 1)
    if at < 0 or t.ndim_ >= kMaxDims:
        return NotImplemented
    for d in range(t.ndim_):
        shape[d + (d >= at)], steps[d + (d >= at)] = t.shape_[d], t.strides_[d]
    shape[at] = 1
    steps[at] = 1 if at == t.ndim_ else t.shape_[at] * t.strides_[at]
    return named(strided(t, t.ndim_ + 1, shape, steps, 0, VIEW_RESHAPE, None), "UnsqueezeBackward0")


cdef object short_squeeze(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef PyObject* given[2]
    cdef int64_t shape[64]
    cdef int64_t steps[64]
    cdef Tensor t
    cdef int d, only = -1, dims = 0
    if not read_named(("input", "dim"), args, n, kwnames, given) or given[0] == NULL or not is_tensor(given[0]):
        return NotImplemented
    t = <Tensor>given[0]
    if given[1] != NULL:
        only = read_dim(given[1], t.ndim_)
        if only < 0:
            return NotImplemented
    for d in range(t.ndim_):
        if t.shape_[d] != 1 or (only >= 0 and d != only):
            shape[dims], steps[dims] = t.shape_[d], t.strides_[d]
            dims += 1
    return named(strided(t, dims, shape, steps, 0, VIEW_RESHAPE, None), "SqueezeBackward0")


cdef Tensor without_dim(Tensor t, int dim):
    """t without a dimension of size 1."""
    cdef int64_t shape[64]
    cdef int64_t steps[64]
    cdef int d, dims = 0
    for d in range(t.ndim_):
        if d != dim:
            shape[dims], steps[dims] = t.shape_[d], t.strides_[d]
            dims += 1
    return <Tensor>named(strided(t, dims, shape, steps, 0, VIEW_RESHAPE, None), "SqueezeBackward0")


# ---- parts -----------------------------------------------------------------------------------------

cdef Tensor part_of(Tensor t, int dim, int64_t start, int64_t length):
    """`length` positions of a dimension from `start`."""
    cdef int64_t shape[64]
    memcpy(shape, t.shape_, t.ndim_ * sizeof(int64_t))
    shape[dim] = length
    return strided(t, t.ndim_, shape, t.strides_, start * t.strides_[dim], VIEW_STRIDED, None)


cdef Tensor row_of(Tensor t, int dim, int64_t index):
    """One position of a dimension, without that dimension."""
    cdef int64_t shape[64]
    cdef int64_t steps[64]
    cdef int d, dims = 0
    for d in range(t.ndim_):
        if d != dim:
            shape[dims], steps[dims] = t.shape_[d], t.strides_[d]
            dims += 1
    return strided(t, t.ndim_ - 1, shape, steps, index * t.strides_[dim], VIEW_STRIDED, None)


cdef object short_select(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef Tensor t
    cdef int dim
    cdef int64_t index
    if kwnames != NULL or n != 3 or not is_tensor(args[0]):
        return NotImplemented
    t = <Tensor>args[0]
    dim = read_dim(args[1], t.ndim_)
    if dim < 0 or not read_int(args[2], &index) or index < -t.shape_[dim] or index >= t.shape_[dim]:
        return NotImplemented
    return named(row_of(t, dim, index + t.shape_[dim] if index < 0 else index), "SelectBackward0")


cdef object short_narrow(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef Tensor t
    cdef int dim
    cdef int64_t start, length
    if kwnames != NULL or n != 4 or not is_tensor(args[0]):
        return NotImplemented
    t = <Tensor>args[0]
    dim = read_dim(args[1], t.ndim_)
    if dim < 0 or not read_int(args[2], &start) or not read_int(args[3], &length):
        return NotImplemented
    if start < 0 or length < 0 or start >= t.shape_[dim] or length > t.shape_[dim] - start:
        return NotImplemented
    return named(part_of(t, dim, start, length), "SliceBackward0")


cdef object short_chunk(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef PyObject* given[3]
    cdef Tensor t
    cdef int dim = 0
    cdef int64_t chunks
    if not read_named(("input", "chunks", "dim"), args, n, kwnames, given) or given[0] == NULL or given[1] == NULL:
        return NotImplemented
    if not is_tensor(given[0]) or not read_int(given[1], &chunks) or chunks <= 0:
        return NotImplemented
    t = <Tensor>given[0]
    if given[2] != NULL:
        dim = read_dim(given[2], t.ndim_)
    if dim < 0 or t.ndim_ == 0 or t.shape_[dim] == 0:
        return NotImplemented
    return equal_parts(t, dim, (t.shape_[dim] + chunks - 1) // chunks)


cdef object short_split(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef PyObject* given[3]
    cdef Tensor t
    cdef int dim = 0
    cdef int64_t size
    if not read_named(("tensor", "split_size_or_sections", "dim"), args, n, kwnames, given) or given[0] == NULL or given[1] == NULL:
        return NotImplemented
    if not is_tensor(given[0]) or not read_int(given[1], &size) or size <= 0:
        return NotImplemented
    t = <Tensor>given[0]
    if given[2] != NULL:
        dim = read_dim(given[2], t.ndim_)
    if dim < 0 or t.ndim_ == 0 or t.shape_[dim] == 0:
        return NotImplemented
    return equal_parts(t, dim, size)


cdef object short_unbind(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef PyObject* given[2]
    cdef Tensor t
    cdef int dim = 0
    if not read_named(("input", "dim"), args, n, kwnames, given) or given[0] == NULL or not is_tensor(given[0]):
        return NotImplemented
    t = <Tensor>given[0]
    if given[1] != NULL:
        dim = read_dim(given[1], t.ndim_)
    if dim < 0 or t.ndim_ == 0:
        return NotImplemented
    return unbind_views(t, dim)


add_shortcut("view", short_reshape)
add_shortcut("reshape", short_reshape)
add_shortcut("view_as", short_view_as)
add_shortcut("flatten", short_flatten)
add_shortcut("transpose", short_transpose)
add_shortcut("t", short_t)
add_shortcut("permute", short_permute)
add_shortcut("expand", short_expand)
add_shortcut("unsqueeze", short_unsqueeze)
add_shortcut("squeeze", short_squeeze)
add_shortcut("select", short_select)
add_shortcut("narrow", short_narrow)
add_shortcut("chunk", short_chunk)
add_shortcut("split", short_split)
add_shortcut("unbind", short_unbind)
