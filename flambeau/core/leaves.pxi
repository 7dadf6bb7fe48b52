# Leaves: where gradients accumulate.

@cython.no_gc_clear  # the leaf points back here: __dealloc__ must still find it
@cython.trashcan(False)  # a delayed dealloc would leave the leaf's pointer to a dead object
cdef class AccumulateGrad(Node):
    """Where the graph ends: adds what arrives to a leaf's .grad.

    The leaf owns it, so that steps do not make it anew. When the leaf dies while a graph still holds the
    accumulator, a stand-in with the leaf's memory, gradient and hooks takes its place.
    """

    cdef PyObject* leaf_       # the leaf, or the stand-in
    cdef Tensor stand_in

    cdef inline Tensor leaf(self):
        return <Tensor>self.leaf_

    def __dealloc__(self):
        if self.stand_in is not None:
            self.stand_in.accumulator = NULL

    cdef str title(self):
        return "torch::autograd::AccumulateGrad"

    @property
    def variable(self):
        """The leaf."""
        return self.leaf()

    cdef object vjp(self, object grad):
        accumulate(self.leaf(), <Tensor>grad, False)
        return None


cdef Node accumulator_of(Tensor t):
    cdef AccumulateGrad n
    if t.accumulator != NULL:
        return <Node>t.accumulator
    n = AccumulateGrad.__new__(AccumulateGrad)
    if t.accumulator != NULL:  # making n ran the garbage collector, and that ran somebody's code
        return <Node>t.accumulator
    n.seq = sequence - 1
    n.outputs = 1
    n.leaf_ = <PyObject*>t
    t.accumulator = <void*>n
    t.owned_accumulator = <PyObject*>n
    Py_INCREF(n)
    return n


cdef int leave_accumulator(Tensor t) except -1:
    """t dies: drop its accumulator, or leave it a stand-in if a graph still holds it."""
    cdef AccumulateGrad n = <AccumulateGrad>t.owned_accumulator
    cdef Tensor stand_in
    t.owned_accumulator = NULL
    if Py_REFCNT(n) > 2:  # n here, and what t owned
        stand_in = alias_of(t)
        stand_in.needs_grad = t.needs_grad
        stand_in.grad_ = t.grad_
        stand_in.hooks = t.hooks
        stand_in.accumulator = <void*>n
        n.stand_in = stand_in
        n.leaf_ = <PyObject*>stand_in
    Py_DECREF(n)
    return 0


cdef int accumulate(Tensor leaf, Tensor grad, bint alone) except -1:
    """leaf.grad += grad; in place unless the gradient itself is being differentiated.

    alone: nobody else holds grad, so it may become leaf.grad without a copy.
    """
    cdef Tensor have
    if is_sparse(grad) or (leaf.grad_ is not None and is_sparse(leaf.grad_)):
        leaf.grad_ = _accumulate_sparse(leaf.grad_, grad)
    elif leaf.grad_ is None:
        if alone and grad.storage.references == 1 and grad.base is None and (
                not grad.needs_grad or grad_mode_on()) and laid_out_like(grad, leaf):
            leaf.grad_ = grad
        elif grad_mode_on():
            leaf.grad_ = copy_recorded(grad, leaf)
        else:
            leaf.grad_ = copy_like(grad, leaf)
    else:
        have = <Tensor>leaf.grad_
        if grad_mode_on() or not (have.dense or packed(have)):
            leaf.grad_ = add_tensors(have, grad)
        elif have.count <= UNLOCKED_ELEMENTS:
            add_into(have, grad)
        else:
            with _accumulate_lock:
                add_into(have, grad)
    if leaf.hooks is not None and "accumulated" in leaf.hooks:
        for hook in list(leaf.hooks["accumulated"].values()):
            if hook(leaf) is not None:
                raise RuntimeError("post accumulate grad hooks should return None.")
    return 0


# Up to here an addition keeps the GIL, so two threads cannot be adding to one leaf at a time.
cdef enum:
    UNLOCKED_ELEMENTS = 1024

cdef object _accumulate_lock = _allocate_lock()


def _renew_lock():
    """In a forked child: whoever held the lock is not there any more."""
    global _accumulate_lock
    _accumulate_lock = _allocate_lock()


if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(after_in_child=_renew_lock)


cdef bint laid_out_like(Tensor grad, Tensor leaf) noexcept:
    """Has grad the strides that leaf.grad should have: the leaf's if it is packed, row-major otherwise?"""
    cdef int i
    if grad.dense and leaf.dense:
        return True
    if not packed(leaf):
        return grad.dense
    for i in range(leaf.ndim_):
        if grad.strides_[i] != leaf.strides_[i] and leaf.shape_[i] != 1:
            return False
    return True


cdef Tensor copy_like(Tensor grad, Tensor leaf):
    """A copy of grad laid out as the leaf is when that is packed, row-major otherwise."""
    cdef Tensor r = new_dense(grad.code, grad.ndim_, grad.shape_)
    if not leaf.dense and packed(leaf):
        memcpy(r.strides_, leaf.strides_, leaf.ndim_ * sizeof(int64_t))
        find_dense(r)
    copy_into(r, grad)
    r.storage.version = 0
    return r


cdef Tensor copy_recorded(Tensor grad, Tensor leaf):
    """The same with history."""
    cdef PyObject* slots[1]
    slots[0] = <PyObject*>grad
    return call_pointwise(_copy_op, slots, None, None)
