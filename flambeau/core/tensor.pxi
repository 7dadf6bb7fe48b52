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
        spoil_tape()
        return node_made(self) is None

    @property
    def requires_grad(self):
        """Does autograd follow this tensor?"""
        if self.tracked_view:
            refresh_view(self)
        return self.needs_grad

    @requires_grad.setter
    def requires_grad(self, value):
        spoil_tape()
        set_requires_grad(self, value)

    @property
    def grad_fn(self):
        """The node that made this tensor, or None for a leaf."""
        spoil_tape()
        return node_made(self)

    @property
    def output_nr(self):
        """Which of its node's outputs this tensor is."""
        return self.output_nr

    @property
    def grad(self):
        """The accumulated gradient, or None."""
        spoil_tape()
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
        spoil_tape()
        return self.storage.version

    @property
    def _base(self):
        """The tensor this one is a view of, or None."""
        spoil_tape()
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
            spoil_tape()
            if self.count == 0:
                raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous: use .any() or .all()")
        return bool(only_element(self))

    def __hash__(self):
        return <Py_hash_t>(<uintptr_t><PyObject*>self)  # id(self), as in PyTorch

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
        spoil_tape()
        return <uintptr_t>self.data_ptr_ if self.count else 0

    def storage_offset(self):
        """Elements between the storage's start and the first element."""
        spoil_tape()
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
        spoil_tape()
        return self.base is not None

    def requires_grad_(self, requires_grad=True):
        """Set requires_grad in place; returns self."""
        spoil_tape()
        set_requires_grad(self, requires_grad)
        return self

    def item(self):
        """The only element, as a Python number."""
        if self.count != 1:
            spoil_tape()
            raise RuntimeError(f"a Tensor with {self.count} elements cannot be converted to Scalar")
        return only_element(self)

    def tolist(self):
        """Nested lists of Python numbers; a number for a 0-d tensor."""
        cdef object made = list_of(self, 0, self.data_ptr_)
        if mode_stack_depth() >= TAPE_DEPTH:
            note_reading(self, Tensor.tolist, made)
        return made

    def detach(self):
        """The same memory without history."""
        cdef Tensor r
        if mode_stack_depth() >= TAPE_DEPTH:
            return call_taped_tuple(Tensor.detach, (self,))
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
        if inputs is None and (type(self) is Tensor or not overrides(type(self))) and (
                gradient is None or (type(gradient) is Tensor and same_shape(<Tensor>gradient, self)
                                     and (<Tensor>gradient).code == self.code)):
            backward_plain(self, gradient, retain_graph, create_graph)
        else:
            _backward_hook(self, gradient, retain_graph, create_graph, inputs)

    def untyped_storage(self):
        """The memory itself, as bytes."""
        spoil_tape()
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
        return int(only_element(self))

    def __float__(self):
        return float(only_element(self))

    def __complex__(self):
        return complex(only_element(self))

    def __index__(self):
        if CATEGORY[self.code] > 1 or self.count != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __getitem__(self, key):
        return get_index(self, key)

    def __setitem__(self, key, value):
        set_index(self, key, value)

    def __iter__(self):
        if self.ndim_ > 0 and mode_stack_depth() >= TAPE_DEPTH:
            return iter(call_taped_tuple(_unbind_views, (self, 0)))
        if self.ndim_ > 0 and plain_access(self):
            return iter(unbind_views(self, 0))
        return _operators["iter"](self)

    def __contains__(self, value):
        return _operators["contains"](self, value)

    def __repr__(self):
        return _operators["repr"](self)

    def __str__(self):
        return _operators["repr"](self)


cdef object only_element(Tensor t):
    """The only element, for item(), bool(), int(), float() and complex()."""
    cdef object value
    if t.count != 1:
        spoil_tape()
        raise ValueError(f"only one element tensors can be converted to Python scalars, got shape {tuple(t.shape)}")
    value = read_element(t.data_ptr_, t.code)
    if mode_stack_depth() >= TAPE_DEPTH:
        note_reading(t, _read_flag, value)
    return value
