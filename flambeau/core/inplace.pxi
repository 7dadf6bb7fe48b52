# Pointwise ops in place and with out=.

cdef bint same_elements(Tensor a, Tensor b) noexcept:
    """Are a and b the same memory, read alike?"""
    cdef int d
    if a.data_ptr_ != b.data_ptr_ or a.ndim_ != b.ndim_ or a.code != b.code:
        return False
    for d in range(a.ndim_):
        if a.shape_[d] != b.shape_[d] or (a.strides_[d] != b.strides_[d] and a.shape_[d] != 1):
            return False
    return True


cdef bint overlaps(Tensor a, Tensor b) noexcept:
    """May a and b share memory without being the same elements in the same order?"""
    cdef char* a_end
    cdef char* b_end
    if a.storage.data != b.storage.data or a.count == 0 or b.count == 0:
        return False
    if same_elements(a, b):
        return False
    a_end = a.data_ptr_ + reach(a)
    b_end = b.data_ptr_ + reach(b)
    return a.data_ptr_ < b_end and b.data_ptr_ < a_end


cdef int64_t reach(Tensor t) noexcept:
    """Bytes from the first element to past the last."""
    cdef int d
    cdef int64_t n = 1
    for d in range(t.ndim_):
        n += (t.shape_[d] - 1) * t.strides_[d]
    return n * ITEM[t.code]


cdef Tensor pointwise_into(LoopOp op, PyObject** slots, uint64_t types, Tensor into):
    """Write the result over `into`; operands that overlap it are copied first."""
    cdef PyObject* own[20]
    cdef list copies = None
    cdef int i
    for i in range(op.operands + op.scalars):
        own[i] = slots[i]
        if i < op.operands and isinstance(<object>slots[i], Tensor) and overlaps(<Tensor>slots[i], into):
            if copies is None:
                copies = []
            copies.append(clone_of(<Tensor>slots[i]))
            own[i] = <PyObject*>copies[len(copies) - 1]
    if not into_flat(op, own, types, into):
        pointwise_nest(op, own, types, into, None)
    into.storage.version += 1
    return into


cdef Tensor call_overwriting(LoopOp op, PyObject** slots, Tensor spare):
    """Run a pointwise op without history, with the result in the memory of the dense operand `spare` where it fits there."""
    cdef uint64_t types = 0
    cdef int i
    cdef Tensor t
    cdef object x
    for i in range(op.operands + op.scalars):
        x = <object>slots[i]
        if i < op.operands and isinstance(x, Tensor):
            t = <Tensor>x
            if t.tracked_view or (t.ndim_ != 0 and (not same_shape(t, spare) or (not t.dense and not is_uniform(t)))):
                return call_pointwise(op, slots, None, None)
            types |= (<uint64_t>(t.code | ((RANK_SCALAR if t.ndim_ == 0 else RANK_TENSOR) << 4))) << (6 * i)
        elif type(x) is float or type(x) is int or type(x) is bool:
            types |= (<uint64_t>(number_code(x) | (RANK_NUMBER << 4))) << (6 * i)
        else:
            return call_pointwise(op, slots, None, None)
    return pointwise_flat(op, slots, types, spare, spare)


cdef bint into_flat(LoopOp op, PyObject** slots, uint64_t types, Tensor into) except -1:
    """Run where everything is dense and of one shape and a kernel is there; False otherwise.

    The key is the one under which run_nest puts such a kernel.
    """
    cdef uint64_t layout = FORM_FLAT | (<uint64_t>ACCESS_C << 60)
    cdef int i, access
    cdef Entry* e
    cdef Tensor t
    cdef void* args[16]
    cdef char scratch[256]
    if not into.dense or into.count == 0:
        return False
    args[0] = into.data_ptr_
    for i in range(op.operands):
        access = ACCESS_C if into.count == 1 else ACCESS_S
        if isinstance(<object>slots[i], Tensor):
            t = <Tensor>slots[i]
            args[1 + i] = t.data_ptr_
            if t.ndim_ != 0 or into.ndim_ == 0:
                if not same_shape(t, into):
                    return False
                if t.dense:
                    access = ACCESS_C
                elif not is_uniform(t):
                    return False
        layout |= <uint64_t>access << (4 + 4 * i)
    e = op.find(types | <uint64_t>(into.code + 1) << 60, layout)
    if e == NULL:
        return False
    fill_scalars(op, slots, e, args, scratch, 1)
    if into.count <= e.grain:
        e.kernel(args, NULL, 0, into.count, 0)
    else:
        with nogil:
            parallel_for(e.kernel, args, NULL, into.count, launch_grain(e.grain, into.count))
    return True


cdef Tensor pointwise_out(LoopOp op, PyObject** slots, uint64_t types, object out, bint record, Tensor first):
    """Write into `out`, directly where it is what the result would be; `first` as for pointwise_flat, if that applies."""
    cdef Tensor r
    cdef Tensor target
    cdef int i
    if isinstance(out, tuple) and len(out) == 1:
        out = out[0]
    if not isinstance(out, Tensor):
        raise TypeError(f"{op.name}(): argument 'out' must be Tensor, not {type(out).__name__}")
    if record or (<Tensor>out).needs_grad and grad_mode_on():
        raise RuntimeError(f"{op.name}(): functions with out=... arguments don't support automatic differentiation, but one of the arguments requires grad.")
    target = <Tensor>out
    for i in range(op.operands):
        if isinstance(<object>slots[i], Tensor) and overlaps(<Tensor>slots[i], <Tensor>out):
            target = None
    if target is not None:
        check_writable(target, op.name)
    if target is not None and first is not None and target.dense and same_shape(target, first):
        r = pointwise_flat(op, slots, types, first, target)
    else:
        r = pointwise_nest(op, slots, types, None, target)
    if r is not target:
        return deliver(op.name, <Tensor>out, r)
    r.storage.version += 1
    return r


cdef Tensor deliver(object name, Tensor out, Tensor result):
    """Put a result into an out= tensor: resize it, check that the type fits, copy."""
    if not can_cast(result.code, out.code):
        raise RuntimeError(f"result type {(<dtype>DTYPES[result.code]).name} can't be cast to the desired output type {(<dtype>DTYPES[out.code]).name}")
    if not same_shape(out, result):
        if out.count != 0:
            import warnings
            warnings.warn(f"An output with one or more elements was resized since it had shape {list(out.shape)}, which does not match the required "
                          f"output shape {list(result.shape)}. This behavior is deprecated, and in a future release outputs will not be resized unless they have zero elements. "
                          "You can explicitly reuse an out tensor t by resizing it, inplace, to zero elements with t.resize_(0).", stacklevel=3)
        resize_(out, result.shape)
    check_writable(out, name)
    copy_into(out, result)
    return out


def deliver_out(name, Tensor out, Tensor result):
    """Put a result into an out= tensor."""
    return deliver(name, out, result)


cdef inline bint can_cast(int source, int target) noexcept:
    if CATEGORY[source] > CATEGORY[target]:
        return False
    return True


def apply_inplace(LoopOp op, *args):
    """Run a pointwise op with the result written over the first argument."""
    cdef PyObject* given[20]
    cdef Py_ssize_t i
    if len(args) > op.operands + op.scalars:
        raise_too_many(op, len(args))
    for i in range(len(args)):
        given[i] = PyTuple_GET_ITEM(args, i)
    return call_inplace(op, given, len(args))


def store_result(Tensor self, Tensor result, str name):
    """Write what an op computed over self, as the op's in-place form does; returns self."""
    if result is self:
        return self
    if not same_shape(result, self):
        raise RuntimeError(f"{name}: output with shape {list(self.shape)} doesn't match the broadcast shape {list(result.shape)}")
    if not can_cast(result.code, self.code):
        raise RuntimeError(f"result type {(<dtype>DTYPES[result.code]).name} can't be cast to the desired output type {(<dtype>DTYPES[self.code]).name}")
    return copy_(self, result)


cdef Tensor call_inplace(LoopOp op, PyObject** args, Py_ssize_t given):
    cdef PyObject* slots[20]
    cdef int i, total = op.operands + op.scalars, k
    cdef Tensor self
    if given == 0 or not isinstance(<object>args[0], Tensor):
        raise TypeError(f"{op.name}_(): expected a Tensor" + (f", got {type(<object>args[0]).__name__}" if given else ""))
    self = <Tensor>args[0]
    if given > total:
        raise_too_many(op, given)
    for i in range(total):
        if i < given:
            slots[i] = args[i]
        else:
            k = i - (total - <int>len(op.defaults))
            if k < 0:
                raise TypeError(f"{op.name}_() missing required argument: '{op.names[i]}'")
            slots[i] = PyTuple_GET_ITEM(op.defaults, k)
    check_writable(self, op.inplace_name)
    check_inplace_type(op, slots, self)
    return call_pointwise(op, slots, None, self)


cdef bint are_names(LoopOp op, PyObject* kwnames) except -1:
    """Are the keywords all of the op's own arguments?"""
    cdef Py_ssize_t k
    for k in range(PyTuple_GET_SIZE(<object>kwnames)):
        if find_name(op.names, <object>PyTuple_GET_ITEM(<object>kwnames, k)) <= 0:
            return False
    return True


cdef Tensor call_inplace_named(LoopOp op, PyObject** args, Py_ssize_t n, PyObject* kwnames):
    """The same with arguments by name."""
    cdef PyObject* given[20]
    cdef int i, k, total = op.operands + op.scalars, last = <int>n
    if kwnames == NULL or n > total:
        return call_inplace(op, args, n)
    for i in range(total):
        k = i - (total - <int>len(op.defaults))
        given[i] = NULL
        if i < n:
            given[i] = args[i]
        elif k >= 0:
            given[i] = PyTuple_GET_ITEM(op.defaults, k)
    for k in range(<int>PyTuple_GET_SIZE(<object>kwnames)):
        i = find_name(op.names, <object>PyTuple_GET_ITEM(<object>kwnames, k))
        if i < n:
            raise TypeError(f"{op.name}_() got multiple values for argument '{op.names[i]}'")
        given[i] = args[n + k]
        last = max(last, i + 1)
    for i in range(last):
        if given[i] == NULL:
            raise TypeError(f"{op.name}_() missing required argument: '{op.names[i]}'")
    return call_inplace(op, given, last)


cdef int check_inplace_type(LoopOp op, PyObject** slots, Tensor self) except -1:
    """The result's own type must be one that may be stored in self; the record is asked once per signature."""
    cdef uint64_t key = self.code
    cdef bint plain = CATEGORY[self.code] >= 2
    cdef int i, code, rank
    cdef object x
    for i in range(op.operands):
        x = <object>slots[i]
        if isinstance(x, Tensor):
            code, rank = (<Tensor>x).code, RANK_SCALAR if (<Tensor>x).ndim_ == 0 else RANK_TENSOR
            plain = plain and code == self.code
        else:
            code, rank = number_code(x), RANK_NUMBER
            plain = plain and code >= 0 and CATEGORY[code] <= CATEGORY[self.code]
        key = key << 7 | <uint64_t>((code + 1) << 2 | rank)
    if plain or key in op.stored:
        return 0
    op.record.check_inplace(op, [
        ((<Tensor>slots[i]).code, RANK_SCALAR if (<Tensor>slots[i]).ndim_ == 0 else RANK_TENSOR)
        if isinstance(<object>slots[i], Tensor) else (number_code(<object>slots[i]), RANK_NUMBER)
        for i in range(op.operands)], self.code)
    op.stored.add(key)
    return 0
