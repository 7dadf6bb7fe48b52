# Sizes, strides and new storage.

cdef type _size_type = Size  # found here faster than among the module's names


cdef object make_size(int64_t* shape, int ndim):
    cdef object t
    cdef object n  # one object for both calls below: inferred as a C integer it would be boxed twice
    cdef int i
    if ndim == 0:
        return tuple_new(_size_type)
    t = PyType_GenericAlloc(_size_type, ndim)  # as tuple.__new__ does it, without a tuple to copy from
    for i in range(ndim):
        n = shape[i]
        Py_INCREF(n)
        PyTuple_SET_ITEM(t, i, n)
    return t


cdef tuple int_tuple(int64_t* values, int n):
    """A plain tuple of ints."""
    cdef tuple t = PyTuple_New(n)
    cdef object v  # one object for both calls below: inferred as a C integer it would be boxed twice
    cdef int i
    for i in range(n):
        v = values[i]
        Py_INCREF(v)
        PyTuple_SET_ITEM(t, i, v)
    return t


cdef inline int wrap_dim(object dim, int ndim) except -1:
    """A dimension number in 0..ndim-1; counts from the end when negative."""
    cdef long long d = dim
    cdef int range_ = ndim if ndim > 0 else 1
    if d < -range_ or d >= range_:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-range_}, {range_ - 1}], but got {dim})")
    return <int>(d + range_ if d < 0 else d)


cdef inline int reserve_dims(Tensor r, int ndim) except -1:
    if ndim > INLINE_DIMS:
        if ndim > kMaxDims:
            raise RuntimeError(f"tensors have at most {kMaxDims} dimensions, got {ndim}")
        r.shape_ = <int64_t*>malloc(2 * ndim * sizeof(int64_t))
        if r.shape_ == NULL:
            r.shape_ = &r.metadata[0]
            raise MemoryError("out of memory for a tensor's sizes")
        r.strides_ = r.shape_ + ndim
    r.ndim_ = ndim
    return 0


cdef inline void find_dense(Tensor r) noexcept:
    """Work out count and dense from shape and strides."""
    cdef int i
    cdef int64_t n = 1
    cdef bint dense = True
    for i in range(r.ndim_ - 1, -1, -1):
        if r.shape_[i] != 1 and r.strides_[i] != n:
            dense = False
        n *= r.shape_[i]
    r.count = n
    r.dense = dense or n == 0


cdef inline int dense_strides(Tensor r) except -1:
    """Row-major strides for the shape already set; count, with overflow checked."""
    cdef int i
    cdef int64_t n = 1
    cdef int64_t stride = 1
    for i in range(r.ndim_ - 1, -1, -1):
        r.strides_[i] = stride
        if r.shape_[i] < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {r.shape_[i]}: "
                               f"{list(make_size(r.shape_, r.ndim_))}")
        if mul_overflow(n, r.shape_[i], &n) or mul_overflow(stride, r.shape_[i] if r.shape_[i] > 0 else 1, &stride):
            raise RuntimeError(f"tensor of shape {tuple(make_size(r.shape_, r.ndim_))} has more elements than can be counted")
    r.count = n
    r.dense = True
    return 0


cdef int allocate_storage(Tensor r, int64_t elements) except -1:
    cdef int64_t total
    if mul_overflow(elements, ITEM[r.code], &total):
        raise_out_of_memory(r, elements)
    r.storage = storage_new(<size_t>total)
    if r.storage == NULL:
        raise_out_of_memory(r, elements)
    r.data_ptr_ = r.storage.data
    return 0


cdef int raise_out_of_memory(Tensor r, int64_t elements) except -1:
    shape = tuple(make_size(r.shape_, r.ndim_))
    raise OutOfMemoryError(
        f"not enough memory: tried to allocate {elements * int(ITEM[r.code])} bytes "
        f"for a tensor of shape {shape} and dtype {DTYPES[r.code]!r}")


class OutOfMemoryError(RuntimeError):
    """The memory a tensor needs cannot be had."""


cdef Tensor new_dense(int code, int ndim, int64_t* shape):
    """An uninitialised contiguous tensor."""
    cdef Tensor r = Tensor.__new__(Tensor)
    cdef int i
    r.code = code
    reserve_dims(r, ndim)
    for i in range(ndim):
        r.shape_[i] = shape[i]
    dense_strides(r)
    allocate_storage(r, r.count)
    r.inference = inference_mode_on()
    return r


cdef Tensor new_like(Tensor a, int code):
    return new_dense(code, a.ndim_, a.shape_)


cdef Tensor alias_shape(Tensor a, int ndim):
    """A tensor over a's storage whose shape and strides are still to be set."""
    cdef Tensor r = Tensor.__new__(Tensor)
    r.code = a.code
    reserve_dims(r, ndim)
    r.storage = a.storage
    r.storage.references += 1
    r.data_ptr_ = a.data_ptr_
    r.inference = a.inference
    return r


cdef Tensor alias_of(Tensor a):
    """Another tensor object over the same elements, without history."""
    cdef Tensor r = alias_shape(a, a.ndim_)
    memcpy(r.shape_, a.shape_, a.ndim_ * sizeof(int64_t))
    memcpy(r.strides_, a.strides_, a.ndim_ * sizeof(int64_t))
    r.count = a.count
    r.dense = a.dense
    return r


cdef bint is_channels_last(Tensor t, int ndim) noexcept:
    """Strides ordered N, spatial, C with C innermost."""
    cdef int64_t n = 1
    cdef int k, d
    if t.ndim_ != ndim:
        return False
    for k in range(ndim):
        d = 1 if k == 0 else (0 if k == ndim - 1 else ndim - k)
        if t.shape_[d] != 1 and t.strides_[d] != n:
            return False
        n *= t.shape_[d]
    return True
