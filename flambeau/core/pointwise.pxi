# Calling a pointwise op: operands, layouts, launch.

cdef enum:
    STREAM_STEP = 1024        # kernels/loops.py: a stream kernel takes as many elements or a multiple
    HANDED_BYTES = 2 << 20    # of a result that another core may have read lately

# From so many bytes on, read and written, nothing is left in the caches for the next op: measured, at 1.25 of the last level.
cdef int64_t STREAM_BYTES = last_cache_bytes() * 5 // 4

cdef object loop_vectorcall(PyObject* callable, PyObject** args, size_t nargsf, PyObject* kwnames):
    cdef LoopOp op = <LoopOp>callable
    cdef Py_ssize_t nargs = PyVectorcall_NARGS(nargsf)
    cdef PyObject* slots[20]
    cdef int total = op.operands + op.scalars
    cdef int i
    cdef object out = None
    cdef object dim = NotImplemented
    cdef object keepdim = False
    cdef object wanted = None
    if mode_stack_depth() > 0:
        return dispatch_modes(op, args, nargs, kwnames)
    for i in range(total):
        slots[i] = NULL
    cdef int extra = 0
    cdef Py_ssize_t k
    if op.form == POINTWISE:
        if nargs > total:
            raise_too_many(op, nargs)
        for i in range(<int>nargs):
            slots[i] = args[i]
    else:
        # operands, then dim, keepdim (reductions only); scalars by keyword
        if nargs > op.operands + (2 if op.form == REDUCTION else 1):
            raise_too_many(op, nargs)
        for i in range(<int>nargs):
            if i < op.operands:
                slots[i] = args[i]
            elif i == op.operands:
                dim = <object>args[i]
            else:
                keepdim = <object>args[i]
    if kwnames != NULL:
        for k in range(PyTuple_GET_SIZE(<object>kwnames)):
            name = <object>PyTuple_GET_ITEM(<object>kwnames, k)
            value = args[nargs + k]
            i = find_name(op.names, name)
            if i >= 0:
                if slots[i] != NULL:
                    raise TypeError(f"{op.name}() got multiple values for argument '{name}'")
                slots[i] = value
            elif name == "out":
                out = <object>value
            elif op.form != POINTWISE and (name == "dim" or name == "axis"):
                dim = <object>value
            elif op.form == REDUCTION and (name == "keepdim" or name == "keepdims"):
                keepdim = <object>value
            elif name == "dtype" and op.takes_dtype:
                wanted = <object>value
            elif (name == "_stacklevel") or (name == "inplace" and not <object>value):
                pass
            else:
                raise TypeError(f"{op.name}() got an unexpected keyword argument '{name}'; it takes {', '.join(op.names)}")
    for i in range(total):
        if slots[i] == NULL:
            k = i - (total - len(op.defaults))
            if k < 0:
                raise TypeError(f"{op.name}() missing required argument: '{op.names[i]}'")
            slots[i] = <PyObject*>op.defaults[k]
    if has_override(slots, op.operands, out):
        return dispatch_override(op, args, nargs, kwnames)
    if op.form == POINTWISE:
        return call_pointwise(op, slots, out, None)
    return call_reduction(op, slots, dim, keepdim, wanted, out)


cdef int find_name(tuple names, object name) except -2:
    cdef int i
    for i in range(<int>PyTuple_GET_SIZE(names)):
        if <object>PyTuple_GET_ITEM(names, i) is name:
            return i
    for i in range(<int>PyTuple_GET_SIZE(names)):
        if <object>PyTuple_GET_ITEM(names, i) == name:
            return i
    if name == "self":
        return 0
    return -1


cdef int raise_too_many(LoopOp op, Py_ssize_t given) except -1:
    raise TypeError(f"{op.name}() takes {len(op.names)} arguments ({', '.join(op.names)}) but {given} were given")


cdef inline int number_code(object x) except -2:
    """Code standing for a Python number's category: BOOL, I64, F64 or C128; -1 for something else."""
    if type(x) is float:
        return F64
    if type(x) is int:
        return I64
    if type(x) is bool:
        return BOOL
    if type(x) is complex:
        return C128
    if isinstance(x, bool):
        return BOOL
    if isinstance(x, int):
        return I64
    if isinstance(x, float):
        return F64
    if isinstance(x, complex):
        return C128
    if hasattr(x, "__index__") and getattr(x, "ndim", 0) == 0:
        return BOOL if type(x).__name__ == "bool_" else I64
    if type(x).__module__ == "numpy":
        if type(x).__name__ in ("bool", "bool_"):
            return BOOL
        if hasattr(x, "dtype") and getattr(x, "ndim", 1) == 0:
            return C128 if x.dtype.kind == "c" else F64
    return -1


cdef int raise_operand(LoopOp op, int i, object x) except -1:
    raise TypeError(f"{op.name}(): argument '{op.names[i]}' (position {i + 1}) must be Tensor, not {type(x).__name__}")


cdef Tensor call_pointwise(LoopOp op, PyObject** slots, object out, Tensor into):
    """Run a pointwise op. `into`: write there (in place); `out`: PyTorch's out= argument."""
    cdef uint64_t types = 0
    cdef int i, code, rank, n = op.operands
    cdef Tensor t
    cdef Tensor first = None
    cdef bint plain = True        # every tensor of one shape (or 0-d), and dense or one element repeated
    cdef bint record = False
    cdef object x
    for i in range(n):
        x = <object>slots[i]
        if isinstance(x, Tensor):
            t = <Tensor>x
            code = t.code
            if t.ndim_ == 0:
                rank = RANK_SCALAR
            else:
                rank = RANK_TENSOR
                if first is None:
                    first = t
                    if not t.dense and not is_uniform(t):
                        plain = False
                elif plain and ((not t.dense and not is_uniform(t)) or not same_shape(t, first)):
                    plain = False
            if t.tracked_view:
                refresh_view(t)
            if t.needs_grad:
                record = True
        else:
            code = number_code(x)
            if code < 0 or op.tensor_mask & (1 << i):
                raise_operand(op, i, x)
            rank = RANK_NUMBER
        types |= (<uint64_t>(code | (rank << 4))) << (6 * i)
    for i in range(n, n + op.scalars):
        x = <object>slots[i]
        if isinstance(x, Tensor):
            code = (<Tensor>x).code
        else:
            code = number_code(x)
            if code < 0:
                raise TypeError(f"{op.name}(): argument '{op.names[i]}' must be Number, not {type(x).__name__}")
        types |= (<uint64_t>(code | (RANK_NUMBER << 4))) << (6 * i)
    record = record and grad_mode_on()
    cdef Tensor r
    if first is None and not has_tensor(slots, n):
        raise_operand(op, 0, <object>slots[0])
    cdef Tensor held = None
    if into is not None:
        if record and op.form == POINTWISE:
            held = save_overwritten(op, slots, into)
        r = pointwise_into(op, slots, types, into)
        if held is not None:
            for i in range(n):
                if slots[i] == <PyObject*>into:
                    slots[i] = <PyObject*>held
            record_loop(op, slots, r, into)
            return r
    elif out is not None:
        return pointwise_out(op, slots, types, out, record, first if plain else None)
    elif plain:
        r = pointwise_flat(op, slots, types, first, None)
    else:
        r = pointwise_nest(op, slots, types, None, None)
    if record and CATEGORY[r.code] >= 2:
        record_loop(op, slots, r, into)
    return r


cdef bint has_tensor(PyObject** slots, int n) noexcept:
    cdef int i
    for i in range(n):
        if isinstance(<object>slots[i], Tensor):
            return True
    return False


cdef inline int fill_scalars(LoopOp op, PyObject** slots, Entry* e, void** args, char* scratch, int first) except -1:
    """Point args[first + i] at the value of each number operand and scalar parameter."""
    cdef int i
    cdef object x
    for i in range(op.operands + op.scalars):
        x = <object>slots[i]
        if i < op.operands:
            if isinstance(x, Tensor):
                continue
        elif isinstance(x, Tensor):
            x = (<Tensor>x).item()
        if e.scalar_code[i] == F32 and type(x) is float:
            (<float*>(scratch + 16 * i))[0] = <float><double>x
        elif type(x) is not int or not write_int(scratch + 16 * i, e.scalar_code[i], x):
            write_scalar(op, scratch + 16 * i, e.scalar_code[i], x)
        args[first + i] = scratch + 16 * i
    return 0


cdef inline bint write_int(char* p, int code, object x) noexcept:
    """Store an int where that needs no checks; False where it does."""
    cdef int overflow = 0
    cdef long v
    if code != F32 and code != F64 and code != I64:
        return False
    v = PyLong_AsLongAndOverflow(x, &overflow)
    if overflow:
        return False
    if code == F32:
        (<float*>p)[0] = <float>v
    elif code == F64:
        (<double*>p)[0] = <double>v
    else:
        (<int64_t*>p)[0] = v
    return True


cdef int write_scalar(LoopOp op, char* p, int code, object x) except -1:
    if CATEGORY[code] < 2 and isinstance(x, float):
        x = int(x) if code != BOOL else x != 0
    if CATEGORY[code] == 2 and isinstance(x, int) and not -(1 << 1000) < x < (1 << 1000):
        x = float("inf") if x > 0 else float("-inf")
    try:
        write_element(p, code, x)
    except RuntimeError as error:
        raise RuntimeError(f"{op.name}: {error}") from None
    except OverflowError:
        raise RuntimeError(f"{op.name}: value cannot be converted to type {(<dtype>DTYPES[code]).name} without overflow: {x!r}") from None
    return 0


cdef inline int64_t launch_grain(int64_t grain, int64_t n) noexcept nogil:
    """Chunk of a parallel run: a few chunks a thread, multiples of 1024 elements."""
    cdef int64_t chunk = n // (get_num_threads() * 4)
    chunk = (chunk + 1023) // 1024 * 1024
    if chunk < grain // 2:
        chunk = grain // 2
    return chunk


cdef inline bint is_uniform(Tensor t) noexcept:
    """Is t one element repeated (as gradients of full sums are)?"""
    cdef int i
    for i in range(t.ndim_):
        if t.strides_[i] != 0 and t.shape_[i] != 1:
            return False
    return True


cdef Tensor pointwise_flat(LoopOp op, PyObject** slots, uint64_t types, Tensor first, Tensor target):
    """All tensors dense and of one shape; numbers, 0-d tensors and repeated elements are single elements.

    The result is put into the dense `target` if that is given and has the result's type.
    """
    cdef uint64_t layout = FORM_FLAT
    cdef int i, access
    cdef Entry* e
    cdef Tensor r
    cdef void* args[16]
    cdef char scratch[256]
    cdef int64_t n
    cdef bint numbers = op.scalars > 0
    cdef bint streams = False
    cdef PyObject* x
    cdef bint single = first is None or first.count == 1
    for i in range(op.operands):
        x = slots[i]
        if isinstance(<object>x, Tensor):
            access = ACCESS_S if first is not None and ((<Tensor>x).ndim_ == 0 or not (<Tensor>x).dense) else ACCESS_C
            args[1 + i] = (<Tensor>x).data_ptr_
        else:
            access = ACCESS_S
            numbers = True
        layout |= <uint64_t>access << (4 + 4 * i)
    e = op.find(types, layout)
    if e == NULL:
        e = op.compile(types, layout, FORM_FLAT, accesses_of(layout, op.operands), -1)
    if first is None:
        r = new_dense(e.out_code, 0, NULL)
    elif target is not None and target.code == e.out_code:
        r = target
    else:
        r = new_dense(e.out_code, first.ndim_, first.shape_)
        streams = r.count > e.grain and passes_caches(op, e, slots, layout, r)
    args[0] = r.data_ptr_
    if numbers:
        fill_scalars(op, slots, e, args, scratch, 1)
    n = r.count
    if n <= e.grain:
        e.kernel(args, NULL, 0, n, 0)
    elif streams:
        run_stream(op, e, types, layout, args, n)
    else:
        with nogil:
            parallel_for(e.kernel, args, NULL, n, launch_grain(e.grain, n))
    return r


cdef bint passes_caches(LoopOp op, Entry* e, PyObject** slots, uint64_t layout, Tensor r) noexcept:
    """Should a flat program's results go past the caches?

    Yes, where what it reads and writes pushes itself out of them. What is only written stays there to be read, so
    something must be read that takes its place. And yes where the threads' cores are far apart and the result is small:
    its memory is likely to be what another core has read, which is slow to write (see distance.hpp). Larger ones have
    mostly left the other core's cache.
    """
    cdef int64_t read = 0, written = ITEM[r.code] * r.count
    cdef int i
    for i in range(op.operands):
        if (layout >> (4 + 4 * i)) & 15 == ACCESS_C:
            read += ITEM[(<Tensor>slots[i]).code] * r.count
    if read == 0 or <uintptr_t>r.data_ptr_ % 64 != 0:
        return False
    if read + written > STREAM_BYTES:
        return True
    return written <= HANDED_BYTES and not e.never_streams and cores_far_apart()[0] != 0


cdef int run_stream(LoopOp op, Entry* e, uint64_t types, uint64_t layout, void** args, int64_t n) except -1:
    """A flat program whose results go past the caches; `e`, its plain kernel, computes what is left at the end."""
    cdef int64_t whole = n - n % STREAM_STEP
    cdef Entry* s = op.find(types, layout | FORM_STREAM)
    cdef list accesses
    if s == NULL:
        accesses = accesses_of(layout, op.operands)
        if n * ITEM[e.out_code] <= HANDED_BYTES and not op.record.is_at_hand(FORM_STREAM, op.unpack_ranks(types), accesses, -1):
            e.never_streams = True  # which cores a process meets must not decide whether it needs the compiler
            s = e
        else:
            s = op.compile(types, layout | FORM_STREAM, FORM_STREAM, accesses, -1)
    with nogil:
        parallel_for(s.kernel, args, NULL, whole, launch_grain(e.grain, whole))
    if whole < n:
        e.kernel(args, NULL, whole, n, 0)
    return 0


cdef list accesses_of(uint64_t layout, int operands):
    """[output access, operand accesses...] as the record wants them; the output's is in bits 60-63."""
    cdef list names = ["c", "c", "s", "0", "g", "t", "b"]
    cdef int out = <int>(layout >> 60)
    cdef list result = [names[out]]
    cdef int i
    for i in range(operands):
        result.append(names[(layout >> (4 + 4 * i)) & 15])
    return result
