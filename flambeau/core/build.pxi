# Making tensors from Python data.

cdef int read_sizes(object size, int64_t* out) except -1:
    """Sizes of a shape given as a sequence of ints (or 0-d integer tensors); how many."""
    cdef int i = 0
    if len(size) > kMaxDims:
        raise RuntimeError(f"tensors have at most {kMaxDims} dimensions, got {len(size)}")
    for s in size:
        out[i] = s if type(s) is int else index_of(s)
        i += 1
    return i


cdef object index_of(object s):
    """An int from an int, or from a 0-d integer tensor; anything else is a TypeError."""
    if isinstance(s, Tensor):
        if (<Tensor>s).count != 1 or CATEGORY[(<Tensor>s).code] > 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int((<Tensor>s).item())
    if isinstance(s, bool):
        return int(s)
    return operator_index(s)


def empty(size, d, requires_grad=False):
    """An uninitialised contiguous tensor of a shape (a sequence) and dtype."""
    cdef int64_t shape[64]
    cdef int n = read_sizes(size, shape)
    cdef Tensor r = new_dense((<dtype?>d).code, n, shape)
    if requires_grad:
        set_requires_grad(r, True)
    return r


def empty_strided(size, strides, d):
    """An uninitialised tensor of a shape and strides (in elements); storage just large enough."""
    cdef int64_t shape[64]
    cdef int64_t steps[64]
    cdef int n = read_sizes(size, shape)
    cdef int i
    if read_sizes(strides, steps) != n:
        raise RuntimeError(f"empty_strided: {len(size)} sizes but {len(strides)} strides")
    cdef Tensor r = Tensor.__new__(Tensor)
    r.code = (<dtype?>d).code
    reserve_dims(r, n)
    cdef int64_t last = 0
    for i in range(n):
        if shape[i] < 0 or steps[i] < 0:
            raise RuntimeError(f"empty_strided: sizes and strides must not be negative: {tuple(size)}, {tuple(strides)}")
        r.shape_[i] = shape[i]
        r.strides_[i] = steps[i]
        last += (shape[i] - 1) * steps[i] if shape[i] > 0 else 0
    find_dense(r)
    allocate_storage(r, last + 1 if r.count else 0)
    r.inference = inference_mode_on()
    return r


cdef int find_shape(object data, int64_t* shape, int depth) except -1:
    """The shape of nested sequences by their first elements; number of dimensions."""
    while isinstance(data, (list, tuple)) or (not isinstance(data, (Tensor, str, bytes)) and is_sequence(data)):
        if depth >= kMaxDims:
            raise ValueError("too many dimensions: sequences are nested too deep")
        shape[depth] = len(data)
        depth += 1
        if shape[depth - 1] == 0:
            return depth
        data = data[0]
    return depth


cdef bint is_sequence(object x):
    rank = getattr(x, "ndim", None)
    if rank is not None:
        return rank > 0
    return hasattr(x, "__len__") and hasattr(x, "__getitem__") and not isinstance(x, dict) and not hasattr(x, "__index__")


cdef int find_types(object data, uint64_t* seen) except -1:
    """Note the dtype of every number in nested sequences: bit `code` of seen."""
    cdef type kind = type(data)
    if kind is float:
        seen[0] |= 1 << default_dtype_code
    elif kind is int:
        seen[0] |= 1 << I64
    elif kind is bool:
        seen[0] |= 1 << BOOL
    elif kind is list or kind is tuple:
        for x in data:
            find_types(x, seen)
    elif kind is complex:
        seen[0] |= 1 << (C128 if default_dtype_code == F64 else C64)
    elif isinstance(data, Tensor):
        seen[0] |= 1ULL << (<Tensor>data).code
    else:
        find_other_types(data, seen)
    return 0


cdef dict _scalar_codes = {}   # dtype codes of NumPy's numbers, by class: asking one for its dtype takes 2 us


cdef int find_other_types(object data, uint64_t* seen) except -1:
    """The rare cases: sequences of other kinds, NumPy's scalars, subclasses of numbers."""
    kind = type(data)
    known = _scalar_codes.get(kind)
    if known is not None:
        seen[0] |= 1ULL << <int>known
        return 0
    if isinstance(data, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    if isinstance(data, (list, tuple)) or is_sequence(data):
        for x in data:
            find_types(x, seen)
        return 0
    name = getattr(getattr(data, "dtype", None), "name", None)
    for d in dtypes:
        if (<dtype>d).name == name:
            seen[0] |= 1 << (<dtype>d).code
            if kind.__module__ == "numpy" and kind.__name__.rstrip("_") == name:  # no array, which may have any
                _scalar_codes[kind] = (<dtype>d).code
            return 0
    if isinstance(data, float) or (hasattr(data, "__float__") and not hasattr(data, "__index__")):
        seen[0] |= 1 << default_dtype_code
    elif isinstance(data, complex):
        seen[0] |= 1 << (C128 if default_dtype_code == F64 else C64)
    elif hasattr(data, "__index__"):
        seen[0] |= 1 << (BOOL if isinstance(data, bool) else I64)
    else:
        raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")
    return 0


cdef object _promote_types = None


def set_promotion(fn):
    """How dtypes combine: fn(codes) -> code, asked where the numbers of one tensor differ in dtype."""
    global _promote_types
    _promote_types = fn


cdef int infer_code(object data) except -1:
    """The dtype that holds all the numbers of nested sequences."""
    cdef uint64_t seen = 0
    cdef int code
    find_types(data, &seen)
    if seen == 0:
        return default_dtype_code
    if seen & (seen - 1):
        return _promote_types([code for code in range(CODE_END) if seen & (1ULL << code)])
    for code in range(CODE_END):
        if seen & (1ULL << code):
            return code
    return default_dtype_code


cdef char* fill_from(object data, Tensor r, int d, char* p) except NULL:
    cdef int64_t n
    cdef Tensor t
    if d == r.ndim_:
        if isinstance(data, Tensor):
            if (<Tensor>data).count != 1:
                raise ValueError(f"only one element tensors can be converted to Python scalars, got shape {tuple(data.shape)}")
            data = (<Tensor>data).item()
        elif isinstance(data, (list, tuple)):
            raise TypeError(f"expected a number at depth {d}, got a sequence: nested sequences differ in depth")
        try:
            write_element(p, r.code, data)
        except TypeError:
            if isinstance(data, complex):
                raise TypeError(f"can't convert complex to {(<dtype>DTYPES[r.code]).name}") from None
            raise
        return p + ITEM[r.code]
    if isinstance(data, Tensor):
        data = (<Tensor>data).tolist()
    n = len(data) if isinstance(data, (list, tuple)) or is_sequence(data) else -1
    if n != r.shape_[d]:
        raise ValueError(f"expected sequence of length {r.shape_[d]} at dim {d} (got {n})")
    for x in data:
        p = fill_from(x, r, d + 1, p)
    return p


def from_data(data, d=None):
    """A new tensor of nested sequences of numbers."""
    cdef int64_t shape[64]
    cdef int n = find_shape(data, shape, 0)
    cdef int code
    code = infer_code(data) if d is None else as_dtype(d).code
    cdef Tensor r = new_dense(code, n, shape)
    fill_from(data, r, 0, r.data_ptr_) if r.count else None
    if r.count == 0 and n > 1:
        check_empty(data, r, 0)
    return r


cdef int check_empty(object data, Tensor r, int d) except -1:
    if d == r.ndim_:
        return 0
    if len(data) != r.shape_[d]:
        raise ValueError(f"expected sequence of length {r.shape_[d]} at dim {d} (got {len(data)})")
    for x in data:
        check_empty(x, r, d + 1)
    return 0


cdef int _fill_legacy(Tensor self, tuple args, dict kwargs) except -1:
    """The old constructor: Tensor(2, 3) is uninitialised, Tensor([1, 2]) holds numbers."""
    cdef Tensor made
    cdef int i
    args = tuple(a for a in args)
    if len(args) == 1 and not isinstance(args[0], int):
        if isinstance(args[0], Tensor):
            made = alias_of(args[0])
        elif type(args[0]) is Size:
            made = empty(args[0], DTYPES[default_dtype_code])
        else:
            made = from_data(args[0], DTYPES[default_dtype_code])
    else:
        made = empty(args, DTYPES[default_dtype_code]) if args else empty((0,), DTYPES[default_dtype_code])
    become(self, made)
    return 0


cdef int become(Tensor self, Tensor other) except -1:
    """Give self the elements, shape and strides of other; not its history."""
    check_not_sparse(other, "taking the memory of")
    cdef Storage* old = self.storage
    if self.shape_ != &self.metadata[0]:
        free(self.shape_)
        self.shape_ = &self.metadata[0]
        self.strides_ = &self.metadata[INLINE_DIMS]
    reserve_dims(self, other.ndim_)
    memcpy(self.shape_, other.shape_, other.ndim_ * sizeof(int64_t))
    memcpy(self.strides_, other.strides_, other.ndim_ * sizeof(int64_t))
    other.storage.references += 1
    self.storage = other.storage
    self.data_ptr_ = other.data_ptr_
    self.count = other.count
    self.dense = other.dense
    self.code = other.code
    storage_drop(old)
    return 0


cdef int set_data(Tensor self, object value) except -1:
    if not isinstance(value, Tensor):
        raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
    if (type(value) is not Tensor or type(self) is not Tensor) and (<object>value).is_meta != (<object>self).is_meta:
        raise RuntimeError("data: a tensor with data cannot become one without (device='meta'), nor the other way round")
    become(self, value)
    return 0


def make_subclass(cls, Tensor data, requires_grad=False):
    """An instance of a subclass of Tensor over data's memory."""
    cdef Tensor r = Tensor.__new__(cls)
    become(r, data)
    r.inference = data.inference
    if requires_grad:
        set_requires_grad(r, True)
    return r


def as_subclass(Tensor self, cls):
    """self seen as an instance of a subclass, with its history."""
    cdef Tensor r = Tensor.__new__(cls)
    become(r, self)
    r.needs_grad = self.needs_grad
    r.grad_fn_ = node_made(self)
    r.output_nr = self.output_nr
    r.base = self.base
    r.tracked_view = self.tracked_view
    r.view_version = self.view_version
    r.inference = self.inference
    if r.needs_grad and r.grad_fn_ is None:
        history = make_node("AliasBackward0", _identity_backward, (self,))
        adopt(r, history, 0)
    return r


def _identity_backward(node, grad):
    return (grad,)


def swap_contents(Tensor a, Tensor b):
    """Make a hold what b holds (memory, shape, dtype); for Module.to on parameters."""
    become(a, b)


def resize_(Tensor self, size):
    """Resize in place to a contiguous shape, growing the storage if it must."""
    cdef int64_t shape[64]
    cdef int n = read_sizes(size, shape)
    cdef int i
    cdef Tensor fresh = Tensor.__new__(Tensor)
    fresh.code = self.code
    reserve_dims(fresh, n)
    for i in range(n):
        fresh.shape_[i] = shape[i]
    dense_strides(fresh)
    cdef int64_t offset = self.data_ptr_ - self.storage.data
    cdef int64_t need = offset + fresh.count * ITEM[self.code]
    if need > <int64_t>self.storage.bytes:
        if not storage_resize(self.storage, <size_t>need):
            raise_out_of_memory(fresh, fresh.count)
    fresh.storage = self.storage
    fresh.storage.references += 1
    fresh.data_ptr_ = self.storage.data + offset
    become(self, fresh)
    return self


def set_(Tensor self, source, int64_t offset, size, strides):
    """Make self a view of a storage (an UntypedStorage), bounds checked."""
    cdef UntypedStorage s = source
    cdef Tensor r = view_storage(s.tensor.storage, self.code, offset, size, strides)
    become(self, r)
    return self


def from_storage(UntypedStorage source, d, int64_t offset, size, strides):
    """A tensor over a storage; offset and strides in elements, bounds checked."""
    return view_storage(source.tensor.storage, (<dtype?>d).code, offset, size, strides)


cdef Tensor view_storage(Storage* s, int code, int64_t offset, object size, object strides):
    cdef int64_t shape[64]
    cdef int64_t steps[64]
    cdef int n = read_sizes(size, shape)
    cdef int i
    cdef int64_t last = offset, span
    if read_sizes(strides, steps) != n:
        raise RuntimeError(f"mismatch in length of strides and shape: {tuple(strides)} and {tuple(size)}")
    cdef Tensor r = Tensor.__new__(Tensor)
    r.code = code
    reserve_dims(r, n)
    if offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {offset}")
    for i in range(n):
        if shape[i] < 0 or steps[i] < 0:
            raise RuntimeError(f"as_strided: sizes and strides must not be negative: {tuple(size)}, {tuple(strides)}")
        r.shape_[i] = shape[i]
        r.strides_[i] = steps[i]
        if shape[i] > 0 and (mul_overflow(shape[i] - 1, steps[i], &span) or add_overflow(last, span, &last)):
            raise RuntimeError("sizes and strides reach past what can be addressed")
    find_dense(r)
    if r.count and (mul_overflow(last + 1, ITEM[code], &span) or span > <int64_t>s.bytes):
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(strides)}, storage offset {offset}, and itemsize "
            f"{int(ITEM[code])} requiring a storage size of {(last + 1) * int(ITEM[code])} are out of bounds for storage of size {s.bytes}")
    s.references += 1
    r.storage = s
    r.data_ptr_ = s.data + offset * ITEM[code] if r.count else s.data
    return r
