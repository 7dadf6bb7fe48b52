# In-place writes through views.

cdef class CopySlices(Node):
    """History of a base after one of its views was written by the node `inner`."""

    cdef Node inner
    cdef Tensor geometry   # the view, as shape and strides over the base's storage
    cdef Tensor base_like  # the base's own

    cdef str title(self):
        return "torch::autograd::CopySlices"

    cdef object vjp(self, object grad):
        result = _copy_slices_backward(grad, self.base_like, self.geometry)
        whole, part = result
        inner = self.inner.vjp(part if self.inner.outputs == 1 else [part] + [None] * (self.inner.outputs - 1))
        if inner is None or isinstance(inner, Tensor):
            inner = (inner,)
        whole = _copy_slices_merge(whole, inner[0], self.base_like, self.geometry)
        if self.edges == 1:
            return whole
        return (whole,) + tuple(inner[1:])

    cdef int release(self) except -1:
        self.released = True
        return self.inner.release()


cdef object _copy_slices_backward = None
cdef object _copy_slices_merge = None


def set_copy_slices(split, merge):
    """Functions of the ops floor that take a view's part out of a gradient and put it back."""
    global _copy_slices_backward, _copy_slices_merge
    _copy_slices_backward, _copy_slices_merge = split, merge


cdef Tensor shape_only(Tensor t, int64_t offset):
    """Shape and strides of t over no memory; the offset (elements) is kept in view_version."""
    cdef Tensor r = Tensor.__new__(Tensor)
    r.code = t.code
    reserve_dims(r, t.ndim_)
    memcpy(r.shape_, t.shape_, t.ndim_ * sizeof(int64_t))
    memcpy(r.strides_, t.strides_, t.ndim_ * sizeof(int64_t))
    r.count = t.count
    r.dense = t.dense
    r.storage = storage_new(0)
    r.data_ptr_ = r.storage.data
    r.view_version = offset
    return r


def geometry_of(Tensor t):
    """(shape, strides, offset) of a tensor made by shape_only."""
    return tuple(t.shape), t.stride(), t.view_version


cdef int move_retained(Tensor t, Node n, int nr) except -1:
    """After an in-place write, .grad is retained where the tensor's newest value came from."""
    cdef dict kept
    if t.hooks is None or "retain" not in t.hooks or t.grad_fn_ is None:
        return 0
    kept = t.grad_fn_.hooks.get("retain") if t.grad_fn_.hooks is not None else None
    if kept is not None:
        kept.pop(t.output_nr, None)
    node_hooks(n, "retain")[nr] = weakref_ref(t)
    return 0


cdef int rebase_history(Tensor self, Node n, int nr) except -1:
    """After an in-place write recorded as node n (edge 0: self's old history)."""
    cdef CopySlices c
    cdef Tensor base = self.base
    cdef Node source
    cdef int i
    if self.untracked_view and base is not None:
        raise RuntimeError("a view that history does not follow (made in no_grad mode, or of another dtype) was written with "
                           "a value that requires grad: write to the tensor it views, or to a clone().")
    if base is None or not self.tracked_view:
        move_retained(self, n, nr)
        adopt(self, n, nr)
        return 0
    c = CopySlices.__new__(CopySlices)
    c.inner = n
    c.geometry = shape_only(self, (self.data_ptr_ - base.data_ptr_) // ITEM[self.code])
    c.base_like = shape_only(base, 0)
    c.edges = n.edges
    c.n0 = source_of(base)
    c.nr[0] = <int16_t>base.output_nr
    c.n1, c.n2, c.n3, c.more = n.n1, n.n2, n.n3, n.more
    for i in range(1, 4):
        c.nr[i] = n.nr[i]
    number_node(c)
    move_retained(base, c, 0)
    base.needs_grad = True
    base.grad_fn_ = c
    base.output_nr = 0
    self.needs_grad = True
    self.view_version = -1  # stale: the next look rebuilds it from the base
    refresh_view(self)
    return 0
