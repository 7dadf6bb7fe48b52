# What the engine itself needs of the ops: adding, copying, cloning.

cdef LoopOp _add_op = None
cdef LoopOp _copy_op = None
cdef object _sum_op = None
cdef object _real_op = None
cdef object _to_dtype_op = None


def set_services(add, copy, sum, real, to_dtype):
    """The ops the engine itself uses."""
    global _add_op, _copy_op, _sum_op, _real_op, _to_dtype_op
    _add_op, _copy_op, _sum_op, _real_op, _to_dtype_op = add, copy, sum, real, to_dtype


cdef Tensor add_tensors(Tensor a, Tensor b):
    cdef PyObject* slots[3]
    cdef object one = 1
    slots[0], slots[1], slots[2] = <PyObject*>a, <PyObject*>b, <PyObject*>one
    return call_pointwise(_add_op, slots, None, None)


cdef int add_into(Tensor a, Tensor b) except -1:
    """a += b without history."""
    cdef PyObject* slots[3]
    cdef object one = 1
    slots[0], slots[1], slots[2] = <PyObject*>a, <PyObject*>b, <PyObject*>one
    call_pointwise(_add_op, slots, None, a)
    return 0


cdef int copy_into(Tensor target, Tensor source) except -1:
    """Copy elements without history, converting the type."""
    cdef PyObject* slots[1]
    cdef uint64_t types
    if same_elements(target, source):  # as when a module loads its own state
        target.storage.version += 1
        return 0
    if target.dense and source.dense and target.code == source.code and same_shape(target, source) and target.count < 16384:
        memmove(target.data_ptr_, source.data_ptr_, target.count * ITEM[target.code])
        target.storage.version += 1
        return 0
    if source.code != target.code and (is_float8(source.code) or is_float8(target.code)):
        return convert_float8(target, source)
    slots[0] = <PyObject*>source
    types = <uint64_t>(source.code | ((RANK_SCALAR if source.ndim_ == 0 else RANK_TENSOR) << 4))
    pointwise_copy(slots, types, target)
    return 0


cdef int pointwise_copy(PyObject** slots, uint64_t types, Tensor target) except -1:
    cdef Tensor source = <Tensor>slots[0]
    cdef Tensor held = None
    if overlaps(source, target):
        held = clone_of(source)
        slots[0] = <PyObject*>held
    broadcast_copy(slots, types, target)
    target.storage.version += 1
    return 0


cdef int broadcast_copy(PyObject** slots, uint64_t types, Tensor target) except -1:
    """The copy kernel with the target's shape as the iteration space."""
    cdef Nest nest
    cdef int d, ndim = target.ndim_
    cdef Tensor source = <Tensor>slots[0]
    cdef int j
    if source.ndim_ > ndim:
        for d in range(source.ndim_ - ndim):
            if source.shape_[d] != 1:
                raise_copy_shape(target, source)
        held = reshape_view(source, tuple([source.shape_[d] for d in range(source.ndim_ - ndim, source.ndim_)]))
        slots[0] = <PyObject*>held
        return broadcast_copy(slots, types, target)
    for d in range(source.ndim_):
        j = d + ndim - source.ndim_
        if source.shape_[d] != target.shape_[j] and source.shape_[d] != 1:
            raise_copy_shape(target, source)
    if target.count == 0:
        return 0
    nest.operands = 2
    nest.dims = ndim
    for d in range(ndim):
        nest.shape[d] = target.shape_[d]
    operand_strides(&nest, 1, source, ndim, target.shape_)
    operand_strides(&nest, 0, target, ndim, target.shape_)
    if source.code == target.code:
        return copy_strided(target.data_ptr_, source.data_ptr_, &nest, ITEM[target.code])
    nest_order(nest, 0)
    nest_permute(nest)
    run_nest(_copy_op, slots, types, &nest, target, False, target.code, None)
    return 0


cdef int raise_copy_shape(Tensor target, Tensor source) except -1:
    raise RuntimeError(f"copy_: a tensor of shape {tuple(source.shape)} does not broadcast to the shape {tuple(target.shape)} of the one written to: "
                       "The expanded size of the tensor must match the existing size")


cdef Tensor clone_of(Tensor t):
    """A copy without history; keeps the strides of a dense layout, row-major otherwise."""
    cdef Tensor r = Tensor.__new__(Tensor)
    cdef int i
    r.code = t.code
    reserve_dims(r, t.ndim_)
    memcpy(r.shape_, t.shape_, t.ndim_ * sizeof(int64_t))
    if t.dense or not packed(t):
        dense_strides(r)
    else:
        memcpy(r.strides_, t.strides_, t.ndim_ * sizeof(int64_t))
        find_dense(r)
    allocate_storage(r, r.count)
    r.inference = inference_mode_on()
    copy_into(r, t)
    r.storage.version = 0
    return r


cdef bint packed(Tensor t):
    """Do the elements fill their memory without gaps or repeats, in some order of dimensions?"""
    cdef int64_t expected = 1
    cdef int i, k, best
    cdef uint64_t seen = 0
    for k in range(t.ndim_):
        best = -1
        for i in range(t.ndim_):
            if seen & (1ULL << i):
                continue
            if t.shape_[i] == 1 or (best >= 0 and t.shape_[best] == 1):
                if t.shape_[i] == 1:
                    best = i
                continue
            if best < 0 or t.strides_[i] < t.strides_[best]:
                best = i
        seen |= 1ULL << best
        if t.shape_[best] == 1:
            continue
        if t.strides_[best] != expected:
            return False
        expected *= t.shape_[best]
    return True


def clone_plain(Tensor t):
    """A copy without history."""
    return clone_of(t)


def copy_plain(Tensor target, Tensor source):
    """Copy elements without history, broadcasting and converting."""
    copy_into(target, source)


def contiguous_plain(Tensor t):
    """t itself if row-major, else a row-major copy without history."""
    cdef Tensor r
    if t.dense:
        return t
    r = new_dense(t.code, t.ndim_, t.shape_)
    copy_into(r, t)
    r.storage.version = 0
    return r
