# The tensor: metadata over a storage, and what makes new ones.

cdef enum:
    INLINE_DIMS = 6

@cython.freelist(1024)
cdef class Tensor:
    """The extension type behind flambeau.Tensor."""

    cdef char* data_ptr_          # the first element, offset included
    cdef Storage* storage
    cdef int64_t* shape_          # into `metadata`, or a block of its own past INLINE_DIMS dimensions
    cdef int64_t* strides_        # in elements
    cdef int64_t metadata[2 * INLINE_DIMS]
    cdef int64_t count            # number of elements
    cdef int ndim_
    cdef int code                 # dtype
    cdef bint dense               # contiguous in row-major order
    cdef bint needs_grad
    cdef bint tracked_view        # history follows the base's
    cdef bint untracked_view      # a view made while nothing was recorded
    cdef bint inference
    cdef bint conj_               # reserved for lazily conjugated views; always false today
    cdef int output_nr
    cdef int64_t view_version     # storage version at which grad_fn was right
    cdef Node grad_fn_
    cdef void* accumulator        # the AccumulateGrad of this leaf, if there is one
    cdef PyObject* owned_accumulator  # the same, unless it is the one that holds this tensor
    cdef object grad_
    cdef object hooks
    cdef Tensor base
    cdef object __weakref__
    cdef PyObject* attributes     # the user's; see enable_attributes

    def __cinit__(self):
        self.shape_ = &self.metadata[0]
        self.strides_ = &self.metadata[INLINE_DIMS]

    def __init__(self, *args, **kwargs):
        if self.storage == NULL:
            _fill_legacy(self, args, kwargs)

    def __dealloc__(self):
        if self.owned_accumulator != NULL:
            leave_accumulator(self)
        if self.shape_ != &self.metadata[0]:
            free(self.shape_)
        storage_drop(self.storage)
        drop_attributes(&self.attributes)

    # ---- what a tensor is ------------------------------------------------------------------------

    @property
    def shape(self):
        """Sizes of the dimensions."""
        return make_size(self.shape_, self.ndim_)

    @property
    def ndim(self):
        """Number of dimensions."""
        return self.ndim_

    @property
    def dtype(self):
        """Element type."""
        return <object>DTYPES[self.code]

    @property
    def device(self):
        """Where the data is."""
        return CPU

    @property
    def layout(self):
        """flambeau.strided."""
        return _LAYOUTS["strided"]

    @property
    def itemsize(self):
        """Bytes of one element."""
        return ITEM[self.code]

    @property
    def nbytes(self):
        """Bytes of all elements."""
        return self.count * ITEM[self.code]

    @property
    def is_leaf(self):
        """True for tensors no recorded operation made."""
        return node_made(self) is None

    @property
    def requires_grad(self):
        """Does autograd follow this tensor?"""
        if self.tracked_view:
            refresh_view(self)
        return self.needs_grad

    @requires_grad.setter
    def requires_grad(self, value):
        set_requires_grad(self, value)

    @property
    def grad_fn(self):
        """The node that made this tensor, or None for a leaf."""
        return node_made(self)

    @property
    def output_nr(self):
        """Which of its node's outputs this tensor is."""
        return self.output_nr

    @property
    def grad(self):
        """The accumulated gradient, or None."""
        if self.grad_ is None and self.grad_fn_ is not None and self.needs_grad:
            warn_about_grad(self)
        return self.grad_

    @grad.setter
    def grad(self, value):
        if value is not None:
            check_assigned_grad(self, value)
        self.grad_ = value

    @grad.deleter
    def grad(self):
        self.grad_ = None

    @property
    def _version(self):
        """How often the storage was written in place."""
        return self.storage.version

    @property
    def _base(self):
        """The tensor this one is a view of, or None."""
        return self.base

    @property
    def data(self):
        """The same memory without history; writes through it are not seen by autograd."""
        cdef Tensor r = alias_of(self)
        cdef _Keeper keeper_ = storage_keeper(self)
        cdef Storage* other = storage_borrow(self.storage.data, self.storage.bytes, <PyObject*>keeper_)
        if other == NULL:
            raise MemoryError("data: out of memory")
        storage_drop(r.storage)
        r.storage = other
        return r

    @data.setter
    def data(self, value):
        set_data(self, value)

    def __len__(self):
        if self.ndim_ == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.shape_[0]

    def __bool__(self):
        if self.count != 1:
            if self.count == 0:
                raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous: use .any() or .all()")
        return bool(read_element(self.data_ptr_, self.code))

    def __hash__(self):
        return <Py_hash_t>(<uintptr_t><PyObject*>self >> 4)

    def dim(self):
        """Number of dimensions."""
        return self.ndim_

    def numel(self):
        """Number of elements."""
        return self.count

    def nelement(self):
        """Number of elements."""
        return self.count

    def element_size(self):
        """Bytes of one element."""
        return ITEM[self.code]

    def ndimension(self):
        """Number of dimensions."""
        return self.ndim_

    def data_ptr(self):
        """Address of the first element."""
        return <uintptr_t>self.data_ptr_ if self.count else 0

    def storage_offset(self):
        """Elements between the storage's start and the first element."""
        return (self.data_ptr_ - self.storage.data) // ITEM[self.code]

    def size(self, dim=None):
        """Sizes, or the size of one dimension."""
        if dim is None:
            return make_size(self.shape_, self.ndim_)
        return self.shape_[wrap_dim(dim, self.ndim_)]

    def stride(self, dim=None):
        """Strides in elements, or the stride of one dimension."""
        if dim is None:
            return tuple([self.strides_[i] for i in range(self.ndim_)])
        return self.strides_[wrap_dim(dim, self.ndim_)]

    def is_contiguous(self, memory_format=None):
        """Are the elements in row-major order without gaps (or in the given format's order)?"""
        if memory_format is not None and memory_format._name.startswith("channels_last"):
            return is_channels_last(self, 5 if memory_format._name.endswith("3d") else 4)
        return self.dense

    def is_floating_point(self):
        """Is the element type a real floating-point type?"""
        return CATEGORY[self.code] == 2

    def is_complex(self):
        """Is the element type complex?"""
        return CATEGORY[self.code] == 3

    def is_signed(self):
        """Can elements be negative?"""
        return self.dtype.is_signed

    def is_inference(self):
        """Was it made in inference mode?"""
        return bool(self.inference)

    def _is_view(self):
        """Is it a view of another tensor?"""
        return self.base is not None

    def requires_grad_(self, requires_grad=True):
        """Set requires_grad in place; returns self."""
        set_requires_grad(self, requires_grad)
        return self

    def item(self):
        """The only element, as a Python number."""
        if self.count != 1:
            raise RuntimeError(f"a Tensor with {self.count} elements cannot be converted to Scalar")
        return read_element(self.data_ptr_, self.code)

    def tolist(self):
        """Nested lists of Python numbers; a number for a 0-d tensor."""
        return list_of(self, 0, self.data_ptr_)

    def detach(self):
        """The same memory without history."""
        cdef Tensor r
        if type(self) is not Tensor and overrides(type(self)):
            return _override_hook(Tensor.detach, (self,), {})
        r = alias_of(self)
        r.base = self.base if self.base is not None else self
        return r

    def detach_(self):
        """Forget this tensor's history, in place; returns self."""
        if self.tracked_view and (self.needs_grad or self.base.needs_grad):
            raise RuntimeError("detach_: Can't detach views in-place. Use detach() instead.")
        self.grad_fn_ = None
        self.output_nr = 0
        self.needs_grad = False
        return self

    def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None):
        """Add the gradients of this tensor with respect to the graph's leaves to their .grad.

        gradient: the gradient of this tensor; may be left out for a scalar. See autograd.backward.
        """
        if gradient is None and inputs is None and (type(self) is Tensor or not overrides(type(self))):
            backward_scalar(self, retain_graph, create_graph)
        else:
            _backward_hook(self, gradient, retain_graph, create_graph, inputs)

    def untyped_storage(self):
        """The memory itself, as bytes."""
        return UntypedStorage._of(self)

    def retain_grad(self):
        """Keep .grad of a non-leaf tensor."""
        keep_grad(self)

    @property
    def retains_grad(self):
        """Will .grad be kept although this is not a leaf?"""
        return node_made(self) is not None and self.hooks is not None and "retain" in self.hooks

    def register_hook(self, hook):
        """Call hook(grad) when the gradient of this tensor is computed; it may return another gradient."""
        return add_tensor_hook(self, hook)

    def register_post_accumulate_grad_hook(self, hook):
        """Call hook(tensor) after .grad of a leaf was accumulated."""
        return add_accumulate_hook(self, hook)

    # ---- operators -------------------------------------------------------------------------------

    def __add__(self, other):
        return loop_binary(_op_add, self, other)

    def __radd__(self, other):
        return loop_binary(_op_add, self, other)

    def __sub__(self, other):
        return loop_binary(_op_sub, self, other)

    def __rsub__(self, other):
        return operator_call("rsub", self, other)

    def __mul__(self, other):
        return loop_binary(_op_mul, self, other)

    def __rmul__(self, other):
        return loop_binary(_op_mul, self, other)

    def __truediv__(self, other):
        return loop_binary(_op_div, self, other)

    def __rtruediv__(self, other):
        return operator_call("rtruediv", self, other)

    def __floordiv__(self, other):
        return operator_call("floordiv", self, other)

    def __rfloordiv__(self, other):
        return operator_call("rfloordiv", self, other)

    def __mod__(self, other):
        return operator_call("mod", self, other)

    def __rmod__(self, other):
        return operator_call("rmod", self, other)

    def __pow__(self, other, modulo=None):
        return operator_call("pow", self, other)

    def __rpow__(self, other, modulo=None):
        return operator_call("rpow", self, other)

    def __lshift__(self, other):
        return operator_call("lshift", self, other)

    def __rlshift__(self, other):
        return operator_call("rlshift", self, other)

    def __rshift__(self, other):
        return operator_call("rshift", self, other)

    def __rrshift__(self, other):
        return operator_call("rrshift", self, other)

    def __and__(self, other):
        return operator_call("and", self, other)

    def __rand__(self, other):
        return operator_call("rand", self, other)

    def __or__(self, other):
        return operator_call("or", self, other)

    def __ror__(self, other):
        return operator_call("ror", self, other)

    def __xor__(self, other):
        return operator_call("xor", self, other)

    def __rxor__(self, other):
        return operator_call("rxor", self, other)

    def __matmul__(self, other):
        return operator_call("matmul", self, other)

    def __rmatmul__(self, other):
        return operator_call("rmatmul", self, other)

    def __iadd__(self, other):
        return operator_inplace("iadd", self, other)

    def __isub__(self, other):
        return operator_inplace("isub", self, other)

    def __imul__(self, other):
        return operator_inplace("imul", self, other)

    def __itruediv__(self, other):
        return operator_inplace("itruediv", self, other)

    def __ifloordiv__(self, other):
        return operator_inplace("ifloordiv", self, other)

    def __imod__(self, other):
        return operator_inplace("imod", self, other)

    def __ipow__(self, other):
        return operator_inplace("ipow", self, other)

    def __ilshift__(self, other):
        return operator_inplace("ilshift", self, other)

    def __irshift__(self, other):
        return operator_inplace("irshift", self, other)

    def __iand__(self, other):
        return operator_inplace("iand", self, other)

    def __ior__(self, other):
        return operator_inplace("ior", self, other)

    def __ixor__(self, other):
        return operator_inplace("ixor", self, other)

    def __lt__(self, other):
        return compare_operator("lt", self, other)

    def __le__(self, other):
        return compare_operator("le", self, other)

    def __gt__(self, other):
        return compare_operator("gt", self, other)

    def __ge__(self, other):
        return compare_operator("ge", self, other)

    def __eq__(self, other):
        return compare_operator("eq", self, other)

    def __ne__(self, other):
        return compare_operator("ne", self, other)

    def __neg__(self):
        return _operators["neg"](self)

    def __pos__(self):
        return _operators["pos"](self)

    def __abs__(self):
        return _operators["abs"](self)

    def __invert__(self):
        return _operators["invert"](self)

    def __int__(self):
        return int(self.item())

    def __float__(self):
        return float(self.item())

    def __complex__(self):
        return complex(self.item())

    def __index__(self):
        if CATEGORY[self.code] > 1 or self.count != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __getitem__(self, key):
        return get_index(self, key)

    def __setitem__(self, key, value):
        _operators["setitem"](self, key, value)

    def __iter__(self):
        return _operators["iter"](self)

    def __contains__(self, value):
        return _operators["contains"](self, value)

    def __repr__(self):
        return _operators["repr"](self)

    def __str__(self):
        return _operators["repr"](self)


# ---- Python numbers <-> memory ---------------------------------------------------------------------

cdef object read_element(char* p, int code):
    if code == F32:
        return <double>(<float*>p)[0]
    if code == F64:
        return (<double*>p)[0]
    if code == I64:
        return (<int64_t*>p)[0]
    if code == BOOL:
        return (<uint8_t*>p)[0] != 0
    if code == I32:
        return (<int32_t*>p)[0]
    if code == U8:
        return (<uint8_t*>p)[0]
    if code == I8:
        return (<int8_t*>p)[0]
    if code == I16:
        return (<int16_t*>p)[0]
    if code == U16:
        return (<uint16_t*>p)[0]
    if code == U32:
        return (<uint32_t*>p)[0]
    if code == U64:
        return (<uint64_t*>p)[0]
    if code == F16:
        return half_to_double((<uint16_t*>p)[0])
    if code == BF16:
        return bfloat_to_double((<uint16_t*>p)[0])
    if code == C64:
        return complex((<float*>p)[0], (<float*>p)[1])
    return complex((<double*>p)[0], (<double*>p)[1])


cdef object out_of_range(object value, int code):
    return RuntimeError(f"value cannot be converted to type {(<dtype>DTYPES[code]).name} without overflow: {value!r}")


cdef object whole_number(object value, int code):
    """A number as an int, its fraction cut off; infinities and NaN are errors."""
    try:
        return int(value)
    except (ValueError, OverflowError):
        raise out_of_range(value, code) from None


cdef int write_element(char* p, int code, object value) except -1:
    """Store a Python number; an integer that does not fit is an error."""
    cdef long long i
    cdef double d
    if code == F32:
        d = value
        if isinf_(<float>d) and not isinf_(d) and not isinstance(value, float):
            raise out_of_range(value, code)
        (<float*>p)[0] = <float>d
    elif code == F64:
        (<double*>p)[0] = value
    elif code == BOOL:
        (<uint8_t*>p)[0] = 1 if value else 0
    elif code == C64:
        c = complex(value)
        (<float*>p)[0] = c.real
        (<float*>p)[1] = c.imag
    elif code == C128:
        c = complex(value)
        (<double*>p)[0] = c.real
        (<double*>p)[1] = c.imag
    elif code == F16:
        (<uint16_t*>p)[0] = double_to_half(<double>value)
    elif code == BF16:
        (<uint16_t*>p)[0] = double_to_bfloat(<double>value)
    elif code == U64:
        v = whole_number(value, code)
        if not -(1 << 63) <= v < (1 << 64):
            raise out_of_range(value, code)
        (<uint64_t*>p)[0] = <uint64_t>(v & 0xFFFFFFFFFFFFFFFF)
    else:
        v = value if type(value) is int else whole_number(value, code)
        if not -(1 << 63) <= v < (1 << 63):
            raise out_of_range(value, code)
        i = v
        if code == I64:
            (<int64_t*>p)[0] = i
        elif code == I32:
            if i != <int32_t>i:
                raise out_of_range(value, code)
            (<int32_t*>p)[0] = <int32_t>i
        elif code == I16:
            if i != <int16_t>i:
                raise out_of_range(value, code)
            (<int16_t*>p)[0] = <int16_t>i
        elif code == I8:
            if i != <int8_t>i:
                raise out_of_range(value, code)
            (<int8_t*>p)[0] = <int8_t>i
        elif code == U8:
            if i < -255 or i > 255:
                raise out_of_range(value, code)
            (<uint8_t*>p)[0] = <uint8_t>i
        elif code == U16:
            if i < -65535 or i > 65535:
                raise out_of_range(value, code)
            (<uint16_t*>p)[0] = <uint16_t>i
        else:
            if i < -4294967295 or i > 4294967295:
                raise out_of_range(value, code)
            (<uint32_t*>p)[0] = <uint32_t>i
    return 0


cdef object list_of(Tensor t, int d, char* p):
    cdef int64_t i
    cdef int64_t step
    if d == t.ndim_:
        return read_element(p, t.code)
    step = t.strides_[d] * ITEM[t.code]
    return [list_of(t, d + 1, p + i * step) for i in range(t.shape_[d])]


# ---- metadata --------------------------------------------------------------------------------------

cdef object make_size(int64_t* shape, int ndim):
    cdef tuple t = PyTuple_New(ndim)
    cdef object n  # one object for both calls below: inferred as a C integer it would be boxed twice
    cdef int i
    for i in range(ndim):
        n = shape[i]
        Py_INCREF(n)
        PyTuple_SET_ITEM(t, i, n)
    return tuple_new(Size, t)


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


# ---- making tensors from Python --------------------------------------------------------------------

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


cdef int find_types(object data, uint32_t* seen) except -1:
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
        seen[0] |= 1 << (<Tensor>data).code
    else:
        find_other_types(data, seen)
    return 0


cdef int find_other_types(object data, uint32_t* seen) except -1:
    """The rare cases: sequences of other kinds, NumPy's scalars, subclasses of numbers."""
    if isinstance(data, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    if isinstance(data, (list, tuple)) or is_sequence(data):
        for x in data:
            find_types(x, seen)
        return 0
    name = getattr(getattr(data, "dtype", None), "name", None)
    for d in DTYPES:
        if (<dtype>d).name == name:
            seen[0] |= 1 << (<dtype>d).code
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
    cdef uint32_t seen = 0
    cdef int code
    find_types(data, &seen)
    if seen == 0:
        return default_dtype_code
    if seen & (seen - 1):
        return _promote_types([code for code in range(DTYPE_COUNT) if seen & (1 << code)])
    for code in range(DTYPE_COUNT):
        if seen & (1 << code):
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


# ---- storages and foreign memory -------------------------------------------------------------------

cdef class _Keeper:
    """Holds one reference to a storage for Python objects that need it alive."""

    cdef Storage* storage

    def __dealloc__(self):
        storage_drop(self.storage)


cdef _Keeper storage_keeper(Tensor t):
    cdef _Keeper k = _Keeper.__new__(_Keeper)
    k.storage = t.storage
    k.storage.references += 1
    return k


cdef class UntypedStorage:
    """A block of bytes that tensors view."""

    cdef Tensor tensor

    def __init__(self, size=0):
        self.tensor = empty((size,), DTYPES[U8])

    @staticmethod
    def _of(Tensor t):
        cdef UntypedStorage s = UntypedStorage.__new__(UntypedStorage)
        s.tensor = t
        return s

    def nbytes(self):
        """Size in bytes."""
        return self.tensor.storage.bytes

    def size(self):
        """Size in bytes."""
        return self.tensor.storage.bytes

    def __len__(self):
        return self.tensor.storage.bytes

    def data_ptr(self):
        """Address of the first byte."""
        return <uintptr_t>self.tensor.storage.data

    def _cdata_key(self):
        """An int that is the same for every tensor over this storage."""
        return <uintptr_t>self.tensor.storage

    @property
    def device(self):
        """Where the bytes are."""
        return CPU

    def tobytes(self):
        """A copy of the bytes."""
        return PyBytes_FromStringAndSize(self.tensor.storage.data, self.tensor.storage.bytes)

    def tolist(self):
        """The bytes as ints."""
        return list(self.tobytes())

    def resize_(self, size_t size):
        """Change the size, keeping what fits."""
        if not storage_resize(self.tensor.storage, size):
            raise OutOfMemoryError(f"not enough memory for a storage of {size} bytes")
        return self

    def __getitem__(self, i):
        return self.tobytes()[i]

    def __eq__(self, other):
        return isinstance(other, UntypedStorage) and self.tensor.storage == (<UntypedStorage>other).tensor.storage

    def __hash__(self):
        return hash(<uintptr_t>self.tensor.storage)


def from_buffer(obj, d, size, strides, int64_t offset=0, writable=True):
    """A tensor over the memory of an object with the buffer protocol; strides in elements.

    The object stays referenced while tensors use its memory. Bounds are checked.
    """
    cdef _Buffer holder = _Buffer(obj, writable)
    cdef Storage* s = storage_borrow(holder.view.buf, <size_t>holder.view.len, <PyObject*>holder)
    if s == NULL:
        raise MemoryError("out of memory for a storage header")
    try:
        return view_storage(s, (<dtype?>d).code, offset, size, strides)
    finally:
        storage_drop(s)


def from_address(uintptr_t address, d, size, strides, owner):
    """A tensor over foreign memory at an address that `owner` keeps alive; strides in elements, not negative."""
    cdef int64_t last = 0
    for n, s in zip(size, strides):
        if n == 0:
            last = -1
            break
        last += (n - 1) * s
    cdef Storage* st = storage_borrow(<void*>address, <size_t>((last + 1) * (<dtype?>d).itemsize), <PyObject*>owner)
    if st == NULL:
        raise MemoryError("out of memory for a storage header")
    try:
        return view_storage(st, (<dtype>d).code, 0, size, strides)
    finally:
        storage_drop(st)


cdef class _Buffer:
    """Keeps an exported buffer open."""

    cdef Py_buffer view
    cdef bint open

    def __init__(self, obj, writable):
        flags = PyBUF_STRIDES | PyBUF_WRITABLE if writable else PyBUF_STRIDES
        PyObject_GetBuffer(obj, &self.view, PyBUF_SIMPLE | (PyBUF_WRITABLE if writable else 0))
        self.open = True

    def __dealloc__(self):
        if self.open:
            PyBuffer_Release(&self.view)


def write_bytes(Tensor self, bytes data):
    """Copy bytes into a contiguous tensor of exactly that many bytes."""
    if not self.dense or len(data) != self.count * ITEM[self.code]:
        raise ValueError(f"write_bytes: {len(data)} bytes for a tensor of {self.count * ITEM[self.code]}")
    memcpy(self.data_ptr_, <char*>data, len(data))


def read_bytes(Tensor self):
    """The bytes of a contiguous tensor."""
    if not self.dense:
        raise ValueError("read_bytes: the tensor is not contiguous")
    return PyBytes_FromStringAndSize(self.data_ptr_, self.count * ITEM[self.code])


def keeper(Tensor t):
    """An object that keeps t's memory alive."""
    return storage_keeper(t)
