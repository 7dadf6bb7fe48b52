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


cdef int broadcast_shape(LoopOp op, PyObject** slots, int n, int64_t* shape) except -1:
    """The common shape of the tensor operands; number of dimensions."""
    cdef int i, d, ndim = 0, k
    cdef Tensor t
    cdef int64_t s
    for i in range(n):
        if isinstance(<object>slots[i], Tensor):
            t = <Tensor>slots[i]
            if t.ndim_ > ndim:
                ndim = t.ndim_
    for d in range(ndim):
        shape[d] = 1
    for i in range(n):
        if not isinstance(<object>slots[i], Tensor):
            continue
        t = <Tensor>slots[i]
        for k in range(t.ndim_):
            d = ndim - t.ndim_ + k
            s = t.shape_[k]
            if s == shape[d] or s == 1:
                continue
            if shape[d] != 1:
                raise_broadcast(op.name, slots, n, d, shape[d], s)
            shape[d] = s
    return ndim


cdef int raise_broadcast(str name, PyObject** slots, int n, int d, int64_t a, int64_t b) except -1:
    shapes = ", ".join([str(tuple((<Tensor>slots[i]).shape)) for i in range(n) if isinstance(<object>slots[i], Tensor)])
    raise RuntimeError(f"{name}: shapes {shapes} do not broadcast: The size of tensor a ({a}) must match the size of "
                       f"tensor b ({b}) at non-singleton dimension {d}")


cdef void operand_strides(Nest* nest, int k, Tensor t, int ndim, int64_t* shape) noexcept:
    """Byte strides of t broadcast to `shape`."""
    cdef int d, j
    for d in range(ndim):
        j = d - (ndim - t.ndim_)
        if j < 0 or (t.shape_[j] == 1 and shape[d] != 1) or t.shape_[j] == 1:
            nest.strides[k][d] = 0
        else:
            nest.strides[k][d] = t.strides_[j] * ITEM[t.code]


cdef Tensor pointwise_nest(LoopOp op, PyObject** slots, uint64_t types, Tensor into, Tensor target):
    """Any layouts: broadcast, order dimensions by stride, coalesce, then flat or rows.

    The result is written over `into`; else into a new tensor, or into `target` where that is just like it.
    """
    cdef Nest nest
    cdef int64_t shape[64]
    cdef int i, d, ndim, n = op.operands
    cdef Tensor t
    cdef Tensor r = into
    cdef Entry* e
    cdef int request = -1
    ndim = broadcast_shape(op, slots, n, shape)
    nest.operands = 1 + n
    nest.dims = ndim
    for d in range(ndim):
        nest.shape[d] = shape[d]
    for i in range(n):
        if isinstance(<object>slots[i], Tensor):
            operand_strides(&nest, 1 + i, <Tensor>slots[i], ndim, shape)
        else:
            for d in range(ndim):
                nest.strides[1 + i][d] = 0
    if into is not None:
        check_into_shape(op, into, ndim, shape)
        operand_strides(&nest, 0, into, ndim, shape)
        nest_order(nest, 0)
        nest_permute(nest)
        request = into.code
        if into.count == 0:
            return into
    else:
        nest_order(nest, 1)
        nest_permute(nest)
        # unit output strides for now: the element size is known only once the result type is
        r = Tensor.__new__(Tensor)
        r.inference = inference_mode_on()
        reserve_dims(r, ndim)
        fill_ordered(r, &nest, shape)
        for d in range(ndim):
            nest.strides[0][d] = r.strides_[nest.perm[d]]
    return run_nest(op, slots, types, &nest, r, into is None, request, target)


cdef Tensor claim(Tensor r, Tensor target, int code):
    """r with its type and memory; or target, if it has that type and r's shape and strides."""
    cdef int d
    r.code = code
    if target is not None and target.code == code and same_shape(target, r):
        for d in range(r.ndim_):
            if r.strides_[d] != target.strides_[d] and r.shape_[d] != 1:
                break
        else:
            return target
    allocate_storage(r, r.count)
    return r


cdef int check_into_shape(LoopOp op, Tensor into, int ndim, int64_t* shape) except -1:
    cdef int d
    cdef bint ok = into.ndim_ == ndim
    if ok:
        for d in range(ndim):
            if into.shape_[d] != shape[d]:
                ok = False
    if not ok:
        raise RuntimeError(f"{op.name}: output with shape {list(into.shape)} doesn't match the broadcast shape {[shape[d] for d in range(ndim)]}")
    return 0


cdef int fill_ordered(Tensor r, Nest* nest, int64_t* shape) except -1:
    """Dense strides for r in the nest's dimension order (innermost first)."""
    cdef int d
    cdef int64_t stride = 1
    for d in range(r.ndim_):
        r.shape_[d] = shape[d]
    for d in range(r.ndim_):
        r.strides_[nest.perm[d]] = stride
        if shape[nest.perm[d]] > 0 and mul_overflow(stride, shape[nest.perm[d]], &stride):
            raise RuntimeError(f"tensor of shape {tuple(make_size(r.shape_, r.ndim_))} has more elements than can be counted")
    find_dense(r)
    if r.count == 0:
        dense_strides(r)
    return 0


cdef inline int classify(int64_t stride, int item) noexcept:
    if stride == 0:
        return ACCESS_0
    return ACCESS_C if stride == item else ACCESS_G


cdef Tensor run_nest(LoopOp op, PyObject** slots, uint64_t types, Nest* nest, Tensor r, bint fresh, int request,
                     Tensor target):
    """Coalesce and run; for a fresh result, nest.strides[0] is in elements and its storage is still missing."""
    cdef int n = op.operands, i, d, dims
    cdef uint64_t layout
    cdef Entry* e
    cdef int out_item
    cdef int item[16]
    cdef NestRun run
    cdef char scratch[256]
    cdef int64_t desc[40]
    cdef int64_t total
    cdef bint flat
    out_item = 1 if fresh else ITEM[r.code]
    item[0] = out_item
    for i in range(n):
        item[1 + i] = ITEM[(<Tensor>slots[i]).code] if isinstance(<object>slots[i], Tensor) else 1
    dims = nest_coalesce(nest[0], 0, nest.dims)
    flat = dims <= 1
    if flat and dims == 1:
        for i in range(1 + n):
            if nest.strides[i][0] != item[i] and not (nest.strides[i][0] == 0 and i > 0):
                flat = False
    if request >= 0:
        types |= <uint64_t>(request + 1) << 60
    if dims == 2 and not flat and tile_pays(op, slots, nest, item):
        return run_tiles(op, slots, types, nest, r, fresh, request, target)
    layout = FORM_FLAT if flat else FORM_NEST
    for i in range(n):
        d = ACCESS_C if dims == 0 else classify(nest.strides[1 + i][0], item[1 + i])
        if d == ACCESS_0 and (flat or all_zero(nest, 1 + i, dims)):
            d = ACCESS_S
        layout |= <uint64_t>d << (4 + 4 * i)
    d = ACCESS_C if dims == 0 else classify(nest.strides[0][0], item[0])
    layout |= <uint64_t>d << 60
    e = op.find(types, layout)
    if e == NULL:
        e = op.compile(types, layout, FORM_FLAT if flat else FORM_NEST, accesses_of(layout, n), request)
    if fresh:
        r = claim(r, target, e.out_code)
        for i in range(dims):
            nest.strides[0][i] *= ITEM[r.code]
    if r.count == 0:
        return r
    run.pointers[0] = r.data_ptr_
    for i in range(n):
        if isinstance(<object>slots[i], Tensor):
            run.pointers[1 + i] = (<Tensor>slots[i]).data_ptr_
    fill_scalars(op, slots, e, &run.pointers[1], scratch, 0)
    if flat:
        total = r.count
        if total <= e.grain:
            e.kernel(run.pointers, NULL, 0, total, 0)
        else:
            with nogil:
                parallel_for(e.kernel, run.pointers, NULL, total, launch_grain(e.grain, total))
        return r
    run.kernel = e.kernel
    run.desc = desc
    run.operands = 1 + n + op.scalars
    desc[0] = nest.shape[0]
    for i in range(1 + n + op.scalars):
        desc[1 + 2 * i] = nest.strides[i][1] if i <= n and dims > 1 else 0
        desc[2 + 2 * i] = nest.strides[i][0] if i <= n else 0
    run.rows = nest.shape[1] if dims > 1 else 1
    run.outer = dims - 2 if dims > 2 else 0
    for d in range(run.outer):
        run.shape[d] = nest.shape[2 + d]
        for i in range(1 + n + op.scalars):
            run.strides[i][d] = nest.strides[i][2 + d] if i <= n else 0
    if r.count <= e.grain:
        nest_run_elements(run, e.grain)
    else:
        with nogil:
            nest_run_elements(run, e.grain)
    return r


cdef inline bint all_zero(Nest* nest, int k, int dims) noexcept:
    cdef int d
    for d in range(dims):
        if nest.strides[k][d] != 0:
            return False
    return True


cdef bint tile_pays(LoopOp op, PyObject** slots, Nest* nest, int* item) noexcept:
    """Is there an operand whose rows are columns, of a size that a register transpose handles?"""
    cdef int i
    cdef bint found = False
    if nest.shape[0] < 16 or nest.shape[1] < 16 or op.scalars + op.operands > 4:
        return False
    for i in range(op.operands):
        if not isinstance(<object>slots[i], Tensor):
            continue
        if all_zero(nest, 1 + i, 2):
            continue
        if item[1 + i] != 4 or CATEGORY[(<Tensor>slots[i]).code] == 3:
            return False
        if nest.strides[1 + i][1] == 4 and nest.strides[1 + i][0] != 4 and nest.strides[1 + i][0] != 0:
            found = True
        elif nest.strides[1 + i][0] != 4 and nest.strides[1 + i][0] != 0:
            return False
    return found


cdef Tensor run_tiles(LoopOp op, PyObject** slots, uint64_t types, Nest* nest, Tensor r, bint fresh, int request,
                      Tensor target):
    """Two dimensions where some operands run down columns: square tiles, transposed in registers."""
    cdef int n = op.operands, i, d
    cdef uint64_t layout = FORM_TILE
    cdef void* args[16]
    cdef char scratch[256]
    cdef int64_t desc[40]
    cdef int64_t rows = nest.shape[1], grain
    cdef Entry* e
    for i in range(n):
        if all_zero(nest, 1 + i, 2):
            d = ACCESS_S
        elif nest.strides[1 + i][0] == 0:
            d = ACCESS_0
        elif nest.strides[1 + i][0] == 4:
            d = ACCESS_C
        else:
            d = ACCESS_T
        layout |= <uint64_t>d << (4 + 4 * i)
    d = ACCESS_C if nest.strides[0][0] == (1 if fresh else ITEM[r.code]) else ACCESS_G
    layout |= <uint64_t>d << 60
    e = op.find(types, layout)
    if e == NULL:
        e = op.compile(types, layout, FORM_TILE, accesses_of(layout, n), request)
    if fresh:
        r = claim(r, target, e.out_code)
        for i in range(2):
            nest.strides[0][i] *= ITEM[r.code]
    args[0] = r.data_ptr_
    for i in range(n):
        if isinstance(<object>slots[i], Tensor):
            args[1 + i] = (<Tensor>slots[i]).data_ptr_
    fill_scalars(op, slots, e, args, scratch, 1)
    desc[0] = nest.shape[0]
    for i in range(1 + n + op.scalars):
        desc[1 + 2 * i] = nest.strides[i][1] if i <= n else 0
        desc[2 + 2 * i] = nest.strides[i][0] if i <= n else 0
    if r.count <= e.grain:
        e.kernel(args, desc, 0, rows, 0)
    else:
        grain = (rows // (get_num_threads() * 4) + 15) // 16 * 16
        with nogil:
            parallel_for(e.kernel, args, desc, rows, grain if grain > 16 else 16)
    return r
