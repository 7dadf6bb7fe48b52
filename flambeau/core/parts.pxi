# A tensor cut into views along a dimension: one node for all of them, which puts their gradients side by side.

cdef class PartsNode(Node):
    """History of consecutive parts of a dimension, or of its single positions."""

    cdef int dim
    cdef bint rows             # parts are single positions, without the dimension
    cdef tuple in_shape
    cdef int code
    cdef list sizes            # positions in each part

    cdef str title(self):
        return "UnbindBackward0" if self.rows else "SplitBackward0"

    cdef object vjp(self, object grad):
        cdef list grads = [grad] if self.outputs == 1 else grad
        if grad_mode_on():
            return _parts_hook(grads, self.in_shape, self.dim, self.rows, self.sizes)
        return join_gradients(self, grads)


cdef object _parts_hook = None


def set_parts_gradient(fn):
    """fn(grads, shape, dim, rows, sizes): the gradient of parts in recorded ops; None stands for zeros."""
    global _parts_hook
    _parts_hook = fn


cdef Tensor join_gradients(PartsNode n, list grads):
    """The gradients, zeros where there is none, side by side."""
    cdef int64_t shape[64]
    cdef int ndim = read_sizes(n.in_shape, shape), i
    cdef int64_t outer = 1, inner, row, start = 0, o
    cdef Tensor whole = new_dense(n.code, ndim, shape)
    cdef Tensor g
    for i in range(n.dim):
        outer *= shape[i]
    if whole.count == 0:
        return whole
    inner = whole.count // (outer * shape[n.dim]) * ITEM[n.code]
    for i in range(n.outputs):
        row = <int64_t>n.sizes[i] * inner
        if grads[i] is None:
            for o in range(outer):
                memset(whole.data_ptr_ + o * inner * shape[n.dim] + start, 0, row)
        else:
            g = <Tensor>grads[i]
            if g.dense and g.count * ITEM[g.code] < 1 << 18:
                for o in range(outer):
                    memcpy(whole.data_ptr_ + o * inner * shape[n.dim] + start, g.data_ptr_ + o * row, row)
            else:
                copy_into(block_of(whole, g, n, start), g)
        start += row
    whole.storage.version = 0
    return whole


cdef Tensor block_of(Tensor whole, Tensor g, PartsNode n, int64_t start):
    """The part of `whole` from byte `start` of a row on that g is the gradient of."""
    cdef Tensor r = alias_shape(whole, g.ndim_)
    cdef int d
    for d in range(g.ndim_):
        r.shape_[d] = g.shape_[d]
        r.strides_[d] = whole.strides_[d + 1 if n.rows and d >= n.dim else d]
    find_dense(r)
    r.data_ptr_ += start
    return r


cdef tuple record_parts(Tensor t, int dim, bint rows, list parts, list sizes):
    """The parts, of one node where history is kept."""
    cdef PartsNode n
    cdef int i
    for part in parts:
        note_base(<Tensor>part, t)
    if parts and wants_history(t):
        n = PartsNode.__new__(PartsNode)
        number_node(n)
        n.dim, n.rows, n.code, n.sizes = dim, rows, t.code, sizes
        n.in_shape = int_tuple(t.shape_, t.ndim_)
        n.outputs, n.edges = len(parts), 1
        set_edge(n, 0, t)
        for i in range(n.outputs):
            adopt(<Tensor>parts[i], n, i)
    return tuple(parts)


cdef Tensor bare_part(Tensor t, int dim, int64_t start, int64_t length):
    """`length` positions of a dimension from `start`, a view that does not know its base yet."""
    cdef Tensor r = alias_of(t)
    r.shape_[dim] = length
    find_dense(r)
    r.data_ptr_ += start * t.strides_[dim] * ITEM[t.code]
    return r


cdef Tensor bare_row(Tensor t, int dim, int64_t index):
    """One position of a dimension, without it, likewise."""
    cdef Tensor r = alias_shape(t, t.ndim_ - 1)
    cdef int d
    for d in range(t.ndim_ - 1):
        r.shape_[d] = t.shape_[d + (d >= dim)]
        r.strides_[d] = t.strides_[d + (d >= dim)]
    find_dense(r)
    r.data_ptr_ += index * t.strides_[dim] * ITEM[t.code]
    return r


cdef tuple equal_parts(Tensor t, int dim, int64_t size):
    """Consecutive parts of `size` positions, the last perhaps smaller; size > 0."""
    cdef list sizes = []
    cdef int64_t start = 0
    while start < t.shape_[dim]:
        sizes.append(min(size, t.shape_[dim] - start))
        start += size
    return cut_views(t, dim, sizes)


def cut_views(Tensor t, int dim, list sizes):
    """Consecutive parts of these sizes, which lie within the dimension."""
    cdef list parts = []
    cdef int64_t start = 0
    for size in sizes:
        parts.append(bare_part(t, dim, start, size))
        start += size
    if start != t.shape_[dim] and wants_history(t):  # what is left has a gradient of zero
        rest = bare_part(t, dim, start, t.shape_[dim] - start)
        return record_parts(t, dim, False, parts + [rest], sizes + [t.shape_[dim] - start])[:len(sizes)]
    return record_parts(t, dim, False, parts, sizes)


def unbind_views(Tensor t, int dim):
    """The parts at every position of a dimension."""
    cdef int64_t i
    return record_parts(t, dim, True, [bare_row(t, dim, i) for i in range(t.shape_[dim])], [1] * t.shape_[dim])
