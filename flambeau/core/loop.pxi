# Loop ops: pointwise, reductions and row programs, called without any Python once a signature is known.
#
# A signature is the operands' types and ranks plus the access classes that the layouts reduce to. Each op
# keeps a small hash table from signature to kernel; a miss asks the op's record to compile one.

cdef enum:
    MAX_IN = 6            # tensor operands
    MAX_SCALARS = 8
    POINTWISE = 0
    REDUCTION = 1         # one result a row
    ROWS = 2              # one result an element
    ACCESS_C = 1
    ACCESS_S = 2
    ACCESS_0 = 3
    ACCESS_G = 4
    ACCESS_T = 5
    FORM_FLAT = 0
    FORM_NEST = 1
    FORM_REDUCE = 2
    FORM_COLUMNS = 3
    FORM_TILE = 4
    RANK_TENSOR = 0
    RANK_SCALAR = 1       # 0-d tensor
    RANK_NUMBER = 2       # Python number

cdef list _loop_ops = []

cdef struct Entry:
    uint64_t types
    uint64_t layout
    kernel_fn kernel
    kernel_fn partial      # reductions: accumulators of a chunk
    kernel_fn final        # reductions: from the chunks' accumulators
    int out_code
    int acc_code
    int scalar_code[14]    # element type of each number operand and scalar parameter
    int64_t grain          # elements

cdef class LoopOp:
    """A loop program: a scalar body over operands, perhaps with reductions along dimensions."""

    cdef vectorcallfunc vectorcall
    cdef readonly str name
    cdef public object record
    cdef readonly int form
    cdef readonly int operands
    cdef readonly int scalars
    cdef readonly tuple names          # operands, then scalars
    cdef readonly tuple defaults       # of the scalars (and trailing operands); missing = required
    cdef readonly str node_name
    cdef readonly bint wants_count     # last scalar is the number of reduced elements, filled in by the core
    cdef Entry* table
    cdef int room
    cdef int used
    cdef list vjps                     # per operand: None (zero), True (the cotangent itself), or a LoopOp
    cdef list vjp_uses                 # per operand: bit mask of the operands its vjp reads; bit 30 the output; bit 29:
                                       # multiply the cotangent by operand 0 first instead of reading that
    cdef int reads[MAX_IN]             # the same masks, and -1 where the vjp is zero
    cdef public object keyword_dim     # reductions: default of dim, or NotImplemented if required
    cdef public bint takes_dtype
    cdef public int tensor_mask        # operands that may not be Python numbers
    cdef object __weakref__
    cdef dict __dict__

    def __init__(self, str name, record, int form, tuple names, int operands, tuple defaults, bint wants_count=False):
        self.vectorcall = <vectorcallfunc>loop_vectorcall
        self.name = name
        self.record = record
        self.form = form
        self.names = names
        self.operands = operands
        self.scalars = len(names) - operands
        self.defaults = defaults
        self.wants_count = wants_count
        self.node_name = "".join([p.capitalize() for p in name.split("_")]) + "Backward0"
        if operands > MAX_IN or self.scalars > MAX_SCALARS:
            raise ValueError(f"{name}: a loop op takes at most {MAX_IN} tensors and {MAX_SCALARS} scalars")
        _loop_ops.append(self)

    def __dealloc__(self):
        free(self.table)

    @property
    def __name__(self):
        return self.name

    @property
    def __doc__(self):
        return self.record.doc

    def __repr__(self):
        return f"<op {self.name}>"

    def __get__(self, instance, owner):
        return self if instance is None else PyMethod_New(self, instance)

    def __reduce__(self):
        return _op_by_name, (self.name,)

    cdef void clear_cache(self):
        self.table = NULL  # kept, like an outgrown one
        self.room = self.used = 0

    cdef Entry* find(self, uint64_t types, uint64_t layout) noexcept:
        cdef uint64_t h
        cdef int i
        if self.room == 0:
            return NULL
        h = (types * 0x9E3779B97F4A7C15ULL) ^ (layout * 0xC2B2AE3D27D4EB4FULL)
        i = <int>((h >> 32) & <uint64_t>(self.room - 1))
        while self.table[i].kernel != NULL:
            if self.table[i].types == types and self.table[i].layout == layout:
                return &self.table[i]
            i = (i + 1) & (self.room - 1)
        return NULL

    cdef Entry* insert(self, Entry* e) except NULL:
        cdef Entry* old = self.table
        cdef int old_room = self.room
        cdef int i
        cdef uint64_t h
        if 2 * (self.used + 1) > self.room:
            self.room = 8 if old_room == 0 else 2 * old_room
            self.table = <Entry*>calloc(self.room, sizeof(Entry))
            if self.table == NULL:
                self.table, self.room = old, old_room
                raise MemoryError("out of memory for a kernel table")
            self.used = 0
            for i in range(old_room):
                if old[i].kernel != NULL:
                    self.insert(&old[i])
            # the outgrown table is kept: another thread may be about to launch from an entry of it
        h = (e.types * 0x9E3779B97F4A7C15ULL) ^ (e.layout * 0xC2B2AE3D27D4EB4FULL)
        i = <int>((h >> 32) & <uint64_t>(self.room - 1))
        while self.table[i].kernel != NULL:
            i = (i + 1) & (self.room - 1)
        self.table[i] = e[0]
        self.used += 1
        return &self.table[i]

    cdef Entry* compile(self, uint64_t types, uint64_t layout, int form, list accesses, int out_request) except NULL:
        """Ask the record for a kernel: it answers (address, out code, scalar codes, grain[, partial, final, acc])."""
        cdef Entry e
        cdef int i
        cdef list ranks = []
        cdef uint64_t w = types
        for i in range(self.operands + self.scalars):
            ranks.append((int(w & 15), int((w >> 4) & 3)))
            w >>= 6
        answer = self.record.compile(self, form, ranks, accesses, out_request)
        memset(&e, 0, sizeof(Entry))
        e.types = types
        e.layout = layout
        e.kernel = <kernel_fn><uintptr_t>answer[0]
        e.out_code = answer[1]
        for i in range(len(answer[2])):
            e.scalar_code[i] = answer[2][i]
        e.grain = answer[3]
        if len(answer) > 4:
            e.partial = <kernel_fn><uintptr_t>answer[4]
            e.final = <kernel_fn><uintptr_t>answer[5]
            e.acc_code = answer[6]
        return self.insert(&e)

    def vjp_table(self):
        """The derivative ops, made on first use: one per operand (None: zero, True: the cotangent)."""
        cdef int i
        if self.vjps is None:
            vjps, uses = self.record.derive(self)
            for i in range(self.operands):
                self.reads[i] = -1 if vjps[i] is None else uses[i]
            self.vjps, self.vjp_uses = vjps, uses
        return self.vjps, self.vjp_uses

    def __call__(self, *args, **kwargs):
        raise NotImplementedError  # replaced by the vectorcall slot


cdef object _op_by_name_hook = None


def set_op_lookup(fn):
    """How a pickled op is found again by name."""
    global _op_by_name_hook
    _op_by_name_hook = fn


def _op_by_name(name):
    """The op of that name."""
    return _op_by_name_hook(name)


# ---- calling ---------------------------------------------------------------------------------------

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
        return pointwise_out(op, slots, types, out, record)
    elif plain:
        r = pointwise_flat(op, slots, types, first)
    else:
        r = pointwise_nest(op, slots, types, None)
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


cdef Tensor pointwise_flat(LoopOp op, PyObject** slots, uint64_t types, Tensor first):
    """All tensors dense and of one shape; numbers, 0-d tensors and repeated elements are single elements."""
    cdef uint64_t layout = FORM_FLAT
    cdef int i, access
    cdef Entry* e
    cdef Tensor r
    cdef void* args[16]
    cdef char scratch[256]
    cdef int64_t n
    cdef bint numbers = op.scalars > 0
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
    else:
        r = new_dense(e.out_code, first.ndim_, first.shape_)
    args[0] = r.data_ptr_
    if numbers:
        fill_scalars(op, slots, e, args, scratch, 1)
    n = r.count
    if n <= e.grain:
        e.kernel(args, NULL, 0, n, 0)
    else:
        with nogil:
            parallel_for(e.kernel, args, NULL, n, launch_grain(e.grain, n))
    return r


cdef list accesses_of(uint64_t layout, int operands):
    """[output access, operand accesses...] as the record wants them; the output's is in bits 60-63."""
    cdef list names = ["c", "c", "s", "0", "g", "t"]
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


cdef Tensor pointwise_nest(LoopOp op, PyObject** slots, uint64_t types, Tensor into):
    """Any layouts: broadcast, order dimensions by stride, coalesce, then flat or rows."""
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
    return run_nest(op, slots, types, &nest, r, into is None, request)


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


cdef Tensor run_nest(LoopOp op, PyObject** slots, uint64_t types, Nest* nest, Tensor r, bint fresh, int request):
    """Coalesce and run; for a fresh result, nest.strides[0] is in elements and its storage is still missing."""
    cdef int n = op.operands, i, d, dims
    cdef uint64_t layout
    cdef Entry* e
    cdef int out_item
    cdef int item[16]
    cdef NestRun run
    cdef char scratch[256]
    cdef int64_t desc[40]
    cdef int64_t total, rows_grain
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
        return run_tiles(op, slots, types, nest, r, fresh, request)
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
        r.code = e.out_code
        allocate_storage(r, r.count)
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
    rows_grain = e.grain // (nest.shape[0] if nest.shape[0] > 0 else 1)
    if rows_grain < 1:
        rows_grain = 1
    if r.count <= e.grain:
        nest_run_c(run, 1 << 62)
    else:
        with nogil:
            nest_run_c(run, rows_grain)
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
        if nest.strides[1 + i][1] == 4 and nest.strides[1 + i][0] != 4:
            found = True
        elif nest.strides[1 + i][0] != 4 and nest.strides[1 + i][0] != 0:
            return False
    return found


cdef Tensor run_tiles(LoopOp op, PyObject** slots, uint64_t types, Nest* nest, Tensor r, bint fresh, int request):
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
        r.code = e.out_code
        allocate_storage(r, r.count)
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


# ---- in place and out= -----------------------------------------------------------------------------

cdef bint overlaps(Tensor a, Tensor b) noexcept:
    """May a and b share memory without being the same elements in the same order?"""
    cdef int d
    cdef char* a_end
    cdef char* b_end
    if a.storage.data != b.storage.data or a.count == 0 or b.count == 0:
        return False
    if a.data_ptr_ == b.data_ptr_ and a.ndim_ == b.ndim_ and a.code == b.code:
        for d in range(a.ndim_):
            if a.shape_[d] != b.shape_[d] or (a.strides_[d] != b.strides_[d] and a.shape_[d] != 1):
                break
        else:
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
        pointwise_nest(op, own, types, into)
    into.storage.version += 1
    return into


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


cdef Tensor pointwise_out(LoopOp op, PyObject** slots, uint64_t types, object out, bint record):
    cdef Tensor r
    if isinstance(out, tuple) and len(out) == 1:
        out = out[0]
    if not isinstance(out, Tensor):
        raise TypeError(f"{op.name}(): argument 'out' must be Tensor, not {type(out).__name__}")
    if record or (<Tensor>out).needs_grad and grad_mode_on():
        raise RuntimeError(f"{op.name}(): functions with out=... arguments don't support automatic differentiation, but one of the arguments requires grad.")
    r = pointwise_nest(op, slots, types, None)
    return deliver(op.name, <Tensor>out, r)


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
    return inplace_call(op, args)


cdef Tensor inplace_call(LoopOp op, tuple args):
    cdef PyObject* slots[20]
    cdef int i, total = op.operands + op.scalars, given = <int>len(args), k
    cdef Tensor self
    if not isinstance(args[0], Tensor):
        raise TypeError(f"{op.name}_(): expected a Tensor, got {type(args[0]).__name__}")
    self = <Tensor>args[0]
    if given > total:
        raise_too_many(op, given)
    for i in range(total):
        if i < given:
            slots[i] = <PyObject*>args[i]
        else:
            k = i - (total - <int>len(op.defaults))
            if k < 0:
                raise TypeError(f"{op.name}_() missing required argument: '{op.names[i]}'")
            slots[i] = <PyObject*>op.defaults[k]
    check_writable(self, op.name + "_")
    check_inplace_type(op, slots, self)
    return call_pointwise(op, slots, None, self)


cdef int check_inplace_type(LoopOp op, PyObject** slots, Tensor self) except -1:
    """The result's own type must be one that may be stored in self."""
    cdef list ranks = []
    cdef int i
    for i in range(op.operands):
        x = <object>slots[i]
        if isinstance(x, Tensor):
            ranks.append(((<Tensor>x).code, RANK_SCALAR if (<Tensor>x).ndim_ == 0 else RANK_TENSOR))
        else:
            ranks.append((number_code(x), RANK_NUMBER))
        if ranks[i][0] != self.code and ranks[i][1] != RANK_NUMBER or CATEGORY[max(0, ranks[i][0])] > CATEGORY[self.code]:
            break
    else:
        if CATEGORY[self.code] >= 2:
            return 0
    op.record.check_inplace(op, [
        ((<Tensor>slots[i]).code, RANK_SCALAR if (<Tensor>slots[i]).ndim_ == 0 else RANK_TENSOR)
        if isinstance(<object>slots[i], Tensor) else (number_code(<object>slots[i]), RANK_NUMBER)
        for i in range(op.operands)], self.code)
    return 0


# ---- reductions and rows ---------------------------------------------------------------------------

cdef uint64_t reduced_mask(LoopOp op, object dim, int ndim, Tensor x) except? 0xFFFFFFFFFFFFFFFF:
    cdef uint64_t mask = 0
    cdef int d
    if dim is None or (isinstance(dim, (tuple, list)) and len(dim) == 0):
        return (1ULL << ndim) - 1 if ndim < 64 else 0xFFFFFFFFFFFFFFFEULL
    if not isinstance(dim, (tuple, list)):
        dim = (dim,)
    for one in dim:
        if not isinstance(one, int):
            if isinstance(one, Tensor):
                one = (<Tensor>one).item()
            elif not hasattr(one, "__index__"):
                raise TypeError(f"{op.name}(): argument 'dim' must be tuple of ints or int, not {type(one).__name__}")
        d = wrap_dim(one, ndim)
        if mask & (1ULL << d):
            raise RuntimeError(f"{op.name}: dim {d} appears multiple times in the list of dims {tuple(dim)}")
        mask |= 1ULL << d
    return mask if ndim > 0 else 0


cdef object call_reduction(LoopOp op, PyObject** slots, object dim, object keepdim, object wanted, object out):
    cdef uint64_t mask
    cdef Tensor x
    cdef Tensor r
    cdef int i, ndim = 0, request = -1
    cdef bint record = False
    if dim is NotImplemented:
        if op.keyword_dim is NotImplemented:
            raise TypeError(f"{op.name}() missing required argument: 'dim'")
        dim = op.keyword_dim
    if type(keepdim) is not bool:
        if not isinstance(keepdim, int):
            raise TypeError(f"{op.name}(): argument 'keepdim' must be bool, not {type(keepdim).__name__}")
    for i in range(op.operands):
        if not isinstance(<object>slots[i], Tensor):
            raise_operand(op, i, <object>slots[i])
        x = <Tensor>slots[i]
        if x.ndim_ > ndim:
            ndim = x.ndim_
        if x.tracked_view:
            refresh_view(x)
        if x.needs_grad:
            record = True
    mask = reduced_mask(op, dim, ndim, <Tensor>slots[0])
    if wanted is not None:
        request = as_dtype(wanted).code
    r = run_reduction(op, slots, mask, bool(keepdim), request)
    if record and grad_mode_on() and CATEGORY[r.code] >= 2:
        if out is not None:
            raise RuntimeError(f"{op.name}(): functions with out=... arguments don't support automatic differentiation, but one of the arguments requires grad.")
        record_reduction(op, slots, r, mask, bool(keepdim), ndim)
    if out is not None:
        if not isinstance(out, Tensor):
            raise TypeError(f"{op.name}(): argument 'out' must be Tensor, not {type(out).__name__}")
        return deliver(op.name, <Tensor>out, r)
    return r


cdef Tensor run_reduction(LoopOp op, PyObject** slots, uint64_t mask, bint keepdim, int request):
    """Run a reduction or row program over the dimensions in `mask` of the operands' common shape."""
    cdef int64_t shape[64]
    cdef int64_t kept_shape[64]
    cdef int n = op.operands, ndim, i, d, kept = 0
    cdef Tensor r
    cdef uint64_t types = 0
    cdef int code
    cdef object x
    ndim = broadcast_shape(op, slots, n, shape)
    for i in range(n):
        types |= (<uint64_t>((<Tensor>slots[i]).code)) << (6 * i)
    for i in range(n, n + op.scalars):
        x = <object>slots[i]
        code = (<Tensor>x).code if isinstance(x, Tensor) else number_code(x)
        if code < 0:
            raise TypeError(f"{op.name}(): argument '{op.names[i]}' must be Number, not {type(x).__name__}")
        types |= (<uint64_t>(code | (RANK_NUMBER << 4))) << (6 * i)
    if request >= 0:
        types |= <uint64_t>(request + 1) << 60
    r = Tensor.__new__(Tensor)
    r.inference = inference_mode_on()
    if op.form == ROWS:
        reserve_dims(r, ndim)
        for d in range(ndim):
            r.shape_[d] = shape[d]
    else:
        for d in range(ndim):
            if not mask & (1ULL << d):
                kept_shape[kept] = shape[d]
                kept += 1
            elif keepdim:
                kept_shape[kept] = 1
                kept += 1
        reserve_dims(r, kept)
        for d in range(kept):
            r.shape_[d] = kept_shape[d]
    dense_strides(r)
    fill_reduction(op, slots, types, mask, keepdim, r, ndim, shape, request)
    return r


cdef int fill_reduction(LoopOp op, PyObject** slots, uint64_t types, uint64_t mask, bint keepdim, Tensor r, int ndim, int64_t* shape, int request) except -1:
    cdef Nest nest
    cdef int n = op.operands, i, d, j, red = 0, kept = 0, form
    cdef int64_t out_strides[64]
    cdef int64_t length = 1
    # output strides (elements) over the full space: zero along reduced dimensions
    j = 0
    for d in range(ndim):
        if op.form == ROWS:
            out_strides[d] = r.strides_[d]
        elif mask & (1ULL << d):
            out_strides[d] = 0
            if keepdim:
                j += 1
        else:
            out_strides[d] = r.strides_[j]
            j += 1
        if mask & (1ULL << d):
            length *= shape[d]
    nest.operands = 1 + n
    # reduced dimensions first, each group ordered innermost first by the operands' strides
    nest.dims = ndim
    for d in range(ndim):
        nest.shape[d] = shape[d]
        nest.strides[0][d] = out_strides[d]
    for i in range(n):
        operand_strides(&nest, 1 + i, <Tensor>slots[i], ndim, shape)
    nest_order(nest, 1)
    j = 0
    cdef int perm[64]
    for d in range(ndim):
        if mask & (1ULL << nest.perm[d]):
            perm[j] = nest.perm[d]
            j += 1
    red = j
    for d in range(ndim):
        if not mask & (1ULL << nest.perm[d]):
            perm[j] = nest.perm[d]
            j += 1
    for d in range(ndim):
        nest.perm[d] = perm[d]
    nest_permute(nest)
    red = nest_coalesce(nest, 0, red)
    if length == 0 and red > 1:  # several empty dimensions do not coalesce: one says as much
        nest.shape[0] = 0
        red = 1
    if red > 2 and r.count > 0:
        return fill_packed(op, slots, types, mask, keepdim, r, ndim, shape, request)
    kept = shift_kept(&nest, red, count_bits(mask, ndim), ndim)
    return run_reduced(op, slots, types, &nest, red, kept, length, r, request)


cdef int count_bits(uint64_t mask, int ndim) noexcept:
    cdef int d, c = 0
    for d in range(ndim):
        if mask & (1ULL << d):
            c += 1
    return c


cdef int shift_kept(Nest* nest, int red, int from_, int ndim) noexcept:
    """Coalesce the kept dimensions and move them right behind the reduced ones; how many."""
    cdef int end = nest_coalesce(nest[0], from_, ndim)
    cdef int kept = end - from_, d, k
    for d in range(kept):
        nest.shape[red + d] = nest.shape[from_ + d]
        for k in range(nest.operands):
            nest.strides[k][red + d] = nest.strides[k][from_ + d]
    return kept


cdef int fill_packed(LoopOp op, PyObject** slots, uint64_t types, uint64_t mask, bint keepdim, Tensor r, int ndim, int64_t* shape, int request) except -1:
    """Reduced dimensions that don't merge into two: run on copies that have them innermost, side by side."""
    cdef PyObject* own[20]
    cdef list moved = []
    cdef Tensor target = r
    cdef int i
    for i in range(op.operands + op.scalars):
        own[i] = slots[i]
        if i < op.operands:
            moved.append(reduced_last(<Tensor>slots[i], mask, ndim, shape))
            own[i] = <PyObject*>moved[i]
    if op.form == ROWS:
        target = Tensor.__new__(Tensor)
        reserve_dims(target, r.ndim_)
        memcpy(target.shape_, r.shape_, r.ndim_ * sizeof(int64_t))
        memcpy(target.strides_, (<Tensor>moved[0]).strides_, r.ndim_ * sizeof(int64_t))
        find_dense(target)
    fill_reduction(op, own, types, mask, keepdim, target, ndim, shape, request)
    if target is not r:
        r.code = target.code
        allocate_storage(r, r.count)
        copy_into(r, target)
    return 0


cdef Tensor reduced_last(Tensor t, uint64_t mask, int ndim, int64_t* shape):
    """A copy of t, broadcast to `shape`, whose reduced dimensions are innermost in memory."""
    cdef list order = []
    cdef int64_t sizes[64]
    cdef int d
    cdef Tensor packed
    full = reshape_dense(contiguous_plain(t.detach()), (1,) * (ndim - t.ndim_) + tuple(t.shape))
    for d in range(ndim):
        if not mask & (1ULL << d):
            order.append(d)
    for d in range(ndim):
        if mask & (1ULL << d):
            order.append(d)
    for d in range(ndim):
        sizes[d] = shape[<int>order[d]]
    packed = new_dense(t.code, ndim, sizes)
    copy_into(packed, permute_view(full, tuple(order)))
    inverse = [0] * ndim
    for d in range(ndim):
        inverse[order[d]] = d
    return permute_view(packed, tuple(inverse))


cdef int run_reduced(LoopOp op, PyObject** slots, uint64_t types, Nest* nest, int red, int kept, int64_t length, Tensor r, int request) except -1:
    """nest: `red` (0-2) reduced dimensions, then `kept` others, innermost first; strides[0] in elements."""
    cdef int n = op.operands, i, d, form, total = 1 + op.operands + op.scalars
    cdef int64_t n0 = nest.shape[0] if red > 0 else 1
    cdef int64_t n1 = nest.shape[1] if red > 1 else 1
    cdef int64_t desc[60]
    cdef int item[16]
    cdef uint64_t layout
    cdef NestRun run
    cdef char scratch[256]
    cdef Entry* e
    cdef int64_t rows = nest.shape[red] if kept > 0 else 1
    cdef int64_t s0, s1, work, grain
    cdef bint columns = kept > 0 and rows >= 8 and length > 0 and nest.strides[0][red] == 1
    if length == 0:
        n0 = 0
    item[0] = 1
    for i in range(n):
        item[1 + i] = ITEM[(<Tensor>slots[i]).code]
        if columns:
            s0 = nest.strides[1 + i][red]
            if s0 != item[1 + i] and s0 != 0:
                columns = False
    if columns and red > 0 and nest.strides[1][0] == item[1] and n0 >= 8:
        columns = False
    form = FORM_COLUMNS if columns else FORM_REDUCE
    layout = form
    for i in range(n):
        s0 = nest.strides[1 + i][0] if red > 0 else 0
        s1 = nest.strides[1 + i][1] if red > 1 else 0
        if columns:
            d = ACCESS_C if nest.strides[1 + i][red] != 0 else ACCESS_0
        elif red == 0:
            d = ACCESS_C
        elif s0 == 0 and s1 == 0:
            d = ACCESS_0
        else:
            d = ACCESS_C if s0 == item[1 + i] else ACCESS_G
        layout |= <uint64_t>d << (4 + 4 * i)
    if op.form == REDUCTION or columns:
        d = ACCESS_C
    else:
        d = ACCESS_C if red == 0 or nest.strides[0][0] == 1 else ACCESS_G
    layout |= <uint64_t>d << 60
    e = op.find(types, layout)
    if e == NULL:
        e = op.compile(types, layout, form, accesses_of(layout, n), request)
    r.code = e.out_code
    allocate_storage(r, r.count)
    if r.count == 0:
        return 0
    if length == 0 and op.form == REDUCTION:
        op.record.check_empty(op)
    for d in range(kept + red):
        nest.strides[0][d] *= ITEM[r.code]
    run.pointers[0] = r.data_ptr_
    for i in range(n):
        run.pointers[1 + i] = (<Tensor>slots[i]).data_ptr_
    fill_scalars(op, slots, e, &run.pointers[1], scratch, 0)
    if e.partial != NULL and form == FORM_REDUCE and n == 1 and n0 * n1 > 2 * e.grain and get_num_threads() > 1 \
            and (rows * outer_product(nest, red, kept)) < 2 * get_num_threads():
        return run_chunked(op, e, nest, red, kept, n0, n1, length, &run)
    desc[0] = n1
    desc[1] = n0
    desc[2] = length
    for i in range(total):
        desc[3 + 3 * i] = nest.strides[i][red] if i <= n and kept > 0 else 0
        desc[4 + 3 * i] = nest.strides[i][1] if i <= n and red > 1 else 0
        desc[5 + 3 * i] = nest.strides[i][0] if i <= n and red > 0 else 0
    run.kernel = e.kernel
    run.desc = desc
    run.operands = total
    run.rows = rows
    run.outer = kept - 1 if kept > 1 else 0
    for d in range(run.outer):
        run.shape[d] = nest.shape[red + 1 + d]
        for i in range(total):
            run.strides[i][d] = nest.strides[i][red + 1 + d] if i <= n else 0
    work = rows * outer_product(nest, red, kept) * (n0 * n1 if n0 * n1 > 0 else 1)
    grain = e.grain // (n0 * n1 if n0 * n1 > 0 else 1)
    if columns:
        grain = (grain + 63) // 64 * 64
    if grain < 1:
        grain = 1
    if work <= e.grain:
        nest_run_c(run, 1 << 62)
    else:
        with nogil:
            nest_run_c(run, grain)
    return 0


cdef int64_t outer_product(Nest* nest, int red, int kept) noexcept:
    cdef int64_t p = 1
    cdef int d
    for d in range(1, kept):
        p *= nest.shape[red + d]
    return p


cdef int run_chunked(LoopOp op, Entry* e, Nest* nest, int red, int kept, int64_t n0, int64_t n1, int64_t length, NestRun* run) except -1:
    """Few rows, each long: chunks of a row in parallel, then their accumulators. Same chunks for any thread count."""
    cdef int64_t chunks, size, whole, rest, row, rows = nest.shape[red] if kept > 0 else 1
    cdef int64_t outer = outer_product(nest, red, kept)
    cdef int along = 0 if n1 == 1 else 1
    cdef int64_t extent = n0 if along == 0 else n1
    cdef int64_t desc[24]
    cdef int acc = ITEM[e.acc_code], k
    cdef void* args[4]
    cdef char* partials
    cdef int64_t stride = nest.strides[1][along]
    cdef char* x0
    cdef char* x
    cdef char* y
    cdef int64_t o, index
    chunks = extent if extent < 64 else 64
    size = extent // chunks
    rest = extent - size * chunks
    partials = <char*>malloc((chunks + 1) * 16)
    if partials == NULL:
        raise MemoryError(f"{op.name}: out of memory")
    for o in range(outer * rows):
        x = <char*>run.pointers[1] + (o % rows) * (nest.strides[1][red] if kept > 0 else 0)
        y = <char*>run.pointers[0] + (o % rows) * (nest.strides[0][red] if kept > 0 else 0)
        index = o // rows
        for k in range(1, kept):
            x += (index % nest.shape[red + k]) * nest.strides[1][red + k]
            y += (index % nest.shape[red + k]) * nest.strides[0][red + k]
            index //= nest.shape[red + k]
        args[0] = partials
        args[1] = x
        desc[0] = size if along == 1 else 1
        desc[1] = n0 if along == 1 else size
        desc[2] = length
        desc[3], desc[4], desc[5] = acc, 0, 0
        desc[6] = stride * size
        desc[7] = nest.strides[1][1] if red > 1 else 0
        desc[8] = nest.strides[1][0]
        with nogil:
            parallel_for(e.partial, args, desc, chunks, 1)
        whole = chunks
        if rest:
            if along == 1:
                desc[0] = rest
            else:
                desc[1] = rest
            args[0] = partials + chunks * acc
            args[1] = x + chunks * size * stride
            e.partial(args, desc, 0, 1, 0)
            whole += 1
        args[0] = y
        args[1] = partials
        desc[0], desc[1], desc[2] = 1, whole, length
        desc[6], desc[7], desc[8] = 0, 0, acc
        e.final(args, desc, 0, 1, 0)
    free(partials)
    return 0


# ---- recording and differentiating -----------------------------------------------------------------

cdef class LoopNode(Node):
    """The node of a loop op: operands as they were (or just their types and shapes), and the output."""

    cdef LoopOp op
    cdef object x0             # SavedTensor, Tensor, number, or None where it is not needed
    cdef object x1
    cdef object x2
    cdef object x3
    cdef object x4
    cdef object x5
    cdef int64_t versions[6]
    cdef Tensor out            # detached alias
    cdef int64_t out_version
    cdef object saved_out
    cdef tuple scalars
    cdef uint8_t codes[6]
    cdef uint8_t is_tensor[6]
    cdef tuple shapes          # per operand, where it differs from the output's
    cdef bint saved_any
    cdef uint64_t mask         # reduced dimensions
    cdef bint keepdim
    cdef int full_ndim
    cdef object full_shape

    cdef str title(self):
        return self.op.node_name

    cdef PyObject* stored(self, int i) noexcept:
        if i == 0:
            return <PyObject*>self.x0
        if i == 1:
            return <PyObject*>self.x1
        if i == 2:
            return <PyObject*>self.x2
        if i == 3:
            return <PyObject*>self.x3
        if i == 4:
            return <PyObject*>self.x4
        return <PyObject*>self.x5

    cdef int keep(self, int i, object x) except -1:
        if isinstance(x, Tensor):
            self.saved_any = True
            self.versions[i] = (<Tensor>x).storage.version
            if (<Tensor>x).inference:
                raise_inference(<Tensor>x, self)
            if hooks_active():
                x = save_tensor(<Tensor>x, False, 0)
        if i == 0:
            self.x0 = x
        elif i == 1:
            self.x1 = x
        elif i == 2:
            self.x2 = x
        elif i == 3:
            self.x3 = x
        elif i == 4:
            self.x4 = x
        else:
            self.x5 = x
        return 0

    cdef Tensor output(self):
        cdef Tensor r
        if self.saved_out is not None:
            return (<SavedTensor>self.saved_out).get(self)
        check_version(self.out, self.out_version, self)
        if not grad_mode_on():
            return self.out
        r = alias_of(self.out)
        adopt(r, self, 0)
        return r

    cdef int release(self) except -1:
        if self.saved_any:
            self.x0 = self.x1 = self.x2 = self.x3 = self.x4 = self.x5 = None
            self.out = None
            self.saved_out = None
            self.released = True
        return 0

    cdef object vjp(self, object grad):
        cdef int i
        if self.released:
            raise_released(self)
        if self.edges == 1:
            return self.operand_vjp(0, <Tensor>grad)
        return tuple([None if self.edge(i) is None else self.operand_vjp(i, <Tensor>grad) for i in range(self.edges)])

    cdef int propagate(self, _Run run, object grad) except -1:
        cdef int i
        cdef Tensor g = <Tensor>grad
        if self.released:
            raise_released(self)
        if self.n0 is not None:
            self.send_operand(run, 0, self.n0, g)
        if self.n1 is not None:
            self.send_operand(run, 1, self.n1, g)
        if self.n2 is not None:
            self.send_operand(run, 2, self.n2, g)
        if self.n3 is not None:
            self.send_operand(run, 3, self.n3, g)
        for i in range(4, self.edges):
            if self.edge(i) is not None:
                self.send_operand(run, i, self.edge(i), g)
        return 0

    cdef int send_operand(self, _Run run, int i, Node target, Tensor grad) except -1:
        cdef Tensor r
        if run.needed is not None and target not in run.needed:
            return 0
        r = self.operand_vjp(i, grad)
        if r is not None:
            run.send(target, self.edge_nr(i), r)
        return 0

    cdef Tensor operand_vjp(self, int i, Tensor grad):
        """The cotangent of operand i."""
        cdef object rule = self.op.vjps[i]
        cdef LoopOp op
        cdef PyObject* slots[20]
        cdef int k, uses, n = 1
        cdef Tensor r
        cdef list held = None      # what no field of this node keeps alive during the call
        if rule is None:
            return None
        if rule is True and self.op.form == REDUCTION and not (grad.needs_grad and grad_mode_on()) and self.shapes is None:
            r = spread(grad, self.mask, self.full_shape, self.keepdim)
            return r if r.code == self.codes[i] else cast_to(r, self.codes[i])
        if self.op.form == REDUCTION and not self.keepdim:
            grad = keep_reduced(grad, self.mask, self.full_ndim)
        if rule is True:
            r = grad
        else:
            op = <LoopOp>rule
            uses = self.op.reads[i]
            if uses & (1 << 29):
                grad = premultiply(self, grad)
                held = hold(held, grad)
                uses &= ~1
            slots[0] = <PyObject*>grad
            for k in range(self.op.operands):
                if uses & (1 << k):
                    slots[n] = self.stored(k)
                    if type(<object>slots[n]) is SavedTensor:
                        held = hold(held, (<SavedTensor>slots[n]).get(self))
                        slots[n] = <PyObject*>held[len(held) - 1]
                    elif isinstance(<object>slots[n], Tensor):
                        check_version(<Tensor>slots[n], self.versions[k], self)
                    n += 1
            if uses & (1 << 30):
                x = self.output()
                if self.op.form == REDUCTION and not self.keepdim:
                    x = keep_reduced(<Tensor>x, self.mask, self.full_ndim)
                held = hold(held, x)
                slots[n] = <PyObject*>x
                n += 1
            for k in range(self.op.scalars):
                slots[n] = PyTuple_GET_ITEM(self.scalars, k)
                n += 1
            if op.wants_count:
                x = reduced_count(self.full_shape, self.mask)
                held = hold(held, x)
                slots[n] = <PyObject*>x
                n += 1
            if op.form == POINTWISE:
                r = call_pointwise(op, slots, None, None)
            else:
                r = run_recorded_rows(op, slots, self.mask)
        return fit_gradient(r, self, i)


cdef Tensor run_recorded_rows(LoopOp op, PyObject** slots, uint64_t mask):
    cdef int i, ndim = 0
    cdef bint record = False
    cdef Tensor r = run_reduction(op, slots, mask, True, -1)
    if grad_mode_on():
        for i in range(op.operands):
            if (<Tensor>slots[i]).needs_grad:
                record = True
            if (<Tensor>slots[i]).ndim_ > ndim:
                ndim = (<Tensor>slots[i]).ndim_
        if record:
            record_reduction(op, slots, r, mask, True, ndim)
    return r


cdef Tensor premultiply(LoopNode n, Tensor grad):
    """grad times operand 0: keeps derivatives of high order, linear in every cotangent, within MAX_IN operands."""
    cdef PyObject* slots[2]
    x = <object>n.stored(0)
    if type(x) is SavedTensor:
        x = (<SavedTensor>x).get(n)
    else:
        check_version(<Tensor>x, n.versions[0], n)
    if CATEGORY[grad.code] == 3:
        raise RuntimeError(f"{n.title()}: derivatives of such high order are only available for real tensors")
    slots[0], slots[1] = <PyObject*>grad, <PyObject*>x
    return call_pointwise(_op_mul, slots, None, None)


cdef list hold(list held, object x):
    if held is None:
        return [x]
    held.append(x)
    return held


cdef Tensor spread(Tensor g, uint64_t mask, tuple shape, bint keepdim):
    """The gradient of a sum: g repeated along the reduced dimensions, without history."""
    cdef int n = <int>PyTuple_GET_SIZE(shape), d, j = 0
    cdef Tensor r = alias_shape(g, n)
    for d in range(n):
        r.shape_[d] = <object>PyTuple_GET_ITEM(shape, d)
        if mask & (1ULL << d):
            r.strides_[d] = 0
            j += 1 if keepdim and g.ndim_ > 0 else 0
        else:
            r.strides_[d] = g.strides_[j]
            j += 1
    find_dense(r)
    r.base = g.base if g.base is not None else g
    return r


cdef object reduced_count(object shape, uint64_t mask):
    n = 1
    for d, s in enumerate(shape):
        if mask & (1ULL << <int>d):
            n *= s
    return n


cdef Tensor keep_reduced(Tensor g, uint64_t mask, int full):
    """g with size-1 dimensions put back where they were reduced away."""
    cdef list shape = []
    cdef int d, j = 0
    for d in range(full):
        if mask & (1ULL << d):
            shape.append(1)
        else:
            shape.append(g.shape_[j])
            j += 1
    return reshape_view(g, tuple(shape))


cdef Tensor fit_gradient(Tensor r, LoopNode n, int i):
    """Bring a cotangent to the operand's shape and type."""
    cdef object shape = None if n.shapes is None else n.shapes[i]
    if n.op.form == REDUCTION and shape is None:
        shape = n.full_shape
    if shape is not None and not shape_is(r, shape):
        r = sum_or_expand(r, shape)
    if r.code != n.codes[i]:
        r = cast_to(r, n.codes[i])
    return r


cdef bint shape_is(Tensor t, object shape):
    cdef int i
    if t.ndim_ != len(shape):
        return False
    for i in range(t.ndim_):
        if t.shape_[i] != shape[i]:
            return False
    return True


cdef Tensor sum_or_expand(Tensor r, tuple shape):
    """Sum r over broadcast dimensions, and repeat it along those it lacks, to reach shape."""
    cdef int i, lead = r.ndim_ - <int>len(shape)
    cdef list dims = []
    cdef bint grow = lead < 0
    for i in range(r.ndim_):
        if i < lead or (shape[i - lead] == 1 and r.shape_[i] != 1):
            dims.append(i)
        elif r.shape_[i] == 1 and shape[i - lead] != 1:
            grow = True
    if dims:
        r = _sum_op(r, tuple(dims), True)
        if lead > 0:
            r = reshape_view(r, tuple([r.shape_[i] for i in range(lead, r.ndim_)]))
    if grow:
        r = expand_view(r, shape)
    return r


def sum_to_shape(Tensor r, shape):
    """Sum r over the dimensions in which `shape` was broadcast to reach it."""
    return r if shape_is(r, tuple(shape)) else sum_or_expand(r, tuple(shape))


cdef Tensor cast_to(Tensor r, int code):
    if CATEGORY[r.code] == 3 and CATEGORY[code] < 3:
        r = _real_op(r)
    if r.code == code:
        return r
    return _to_dtype_op(r, <object>DTYPES[code])


cdef int record_loop(LoopOp op, PyObject** slots, Tensor r, Tensor into) except -1:
    """Record a pointwise call; with `into`, rebase the written tensor's history."""
    cdef LoopNode n
    cdef int i, uses = 0
    cdef object x
    cdef Tensor t
    cdef Tensor old = None
    if op.vjps is None:
        op.vjp_table()
    n = LoopNode.__new__(LoopNode)
    number_node(n)
    n.op = op
    n.edges = op.operands
    for i in range(op.operands):
        x = <object>slots[i]
        if not isinstance(x, Tensor):
            continue
        t = <Tensor>x
        n.is_tensor[i] = 1
        n.codes[i] = <uint8_t>t.code
        if op.reads[i] < 0:
            continue
        if t.needs_grad:
            if i < 4:
                set_edge(n, i, t)
            uses |= op.reads[i]
        if not same_shape(t, r):
            if n.shapes is None:
                n.shapes = (None,) * op.operands
            n.shapes = n.shapes[:i] + (tuple(t.shape),) + n.shapes[i + 1:]
    if op.operands > 4:
        n.more = tuple([
            (source_of(<Tensor>slots[i]), (<Tensor>slots[i]).output_nr) if isinstance(<object>slots[i], Tensor) and op.vjps[i] is not None else (None, 0)
            for i in range(4, op.operands)])
    for i in range(op.operands):
        if uses & (1 << i):
            n.keep(i, <object>slots[i])
    if op.scalars:
        n.scalars = scalars_of(op, slots)
    if into is not None:
        rebase_history(into, n, 0)
    else:
        adopt(r, n, 0)
    if uses & (1 << 30):
        keep_output(n, r)
    return 0


cdef Tensor save_overwritten(LoopOp op, PyObject** slots, Tensor into):
    """A copy of the tensor about to be written, with its history, if a derivative reads the old value."""
    cdef int i, uses = 0
    cdef Tensor held = None
    if op.vjps is None:
        op.vjp_table()
    for i in range(op.operands):
        if isinstance(<object>slots[i], Tensor) and wants_history(<Tensor>slots[i]) and op.reads[i] >= 0:
            uses |= op.reads[i]
    for i in range(op.operands):
        if slots[i] == <PyObject*>into and uses & (1 << i):
            held = clone_of(into)
            if wants_history(into):
                adopt(held, into.grad_fn_, into.output_nr)
            return held
    return None


cdef tuple scalars_of(LoopOp op, PyObject** slots):
    """The scalar arguments; the tuple of defaults itself where they are just that."""
    cdef int i
    if PyTuple_GET_SIZE(op.defaults) == op.scalars:
        for i in range(op.scalars):
            if slots[op.operands + i] != PyTuple_GET_ITEM(op.defaults, i):
                break
        else:
            return op.defaults
    return tuple([<object>slots[op.operands + i] for i in range(op.scalars)])


cdef int keep_output(LoopNode n, Tensor r) except -1:
    n.saved_any = True
    if hooks_active():
        n.saved_out = save_tensor(r, True, 0)
        return 0
    n.out = alias_of(r)
    n.out_version = r.storage.version
    return 0


cdef int record_reduction(LoopOp op, PyObject** slots, Tensor r, uint64_t mask, bint keepdim, int ndim) except -1:
    cdef LoopNode n
    cdef int64_t shape[64]
    cdef int i, uses = 0
    cdef Tensor t
    if op.vjps is None:
        op.vjp_table()
    n = LoopNode.__new__(LoopNode)
    number_node(n)
    n.op = op
    n.edges = op.operands
    n.mask = mask
    n.keepdim = keepdim or ndim == 0
    n.full_ndim = ndim
    if op.operands == 1:
        n.full_shape = int_tuple((<Tensor>slots[0]).shape_, (<Tensor>slots[0]).ndim_)
    else:
        ndim = broadcast_shape(op, slots, op.operands, shape)
        n.full_shape = int_tuple(shape, ndim)
    for i in range(op.operands):
        t = <Tensor>slots[i]
        n.is_tensor[i] = 1
        n.codes[i] = <uint8_t>t.code
        if op.reads[i] >= 0 and t.needs_grad:
            set_edge(n, i, t)
            uses |= op.reads[i]
        if op.operands > 1 and not shape_is(t, n.full_shape):
            if n.shapes is None:
                n.shapes = (None,) * op.operands
            n.shapes = n.shapes[:i] + (tuple(t.shape),) + n.shapes[i + 1:]
    for i in range(op.operands):
        if uses & (1 << i):
            n.keep(i, <object>slots[i])
    if op.scalars:
        n.scalars = scalars_of(op, slots)
    adopt(r, n, 0)
    if uses & (1 << 30):
        keep_output(n, r)
    return 0


# ---- small services the core needs from ops --------------------------------------------------------

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
    if target.dense and source.dense and target.code == source.code and same_shape(target, source) and target.count < 16384:
        memmove(target.data_ptr_, source.data_ptr_, target.count * ITEM[target.code])
        target.storage.version += 1
        return 0
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
    nest_order(nest, 0)
    nest_permute(nest)
    run_nest(_copy_op, slots, types, &nest, target, False, target.code)
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


# ---- multi-tensor updates (optimisers) ------------------------------------------------------------

def launch_update(find, list lists, tuple scalars, tuple written):
    """Apply a fused update rule to every parameter: lists[k][i] is operand k of parameter i.

    find(dtype code) is the address of the rule's flat kernel, whose args are the written operands, all
    operands, then the scalars. Returns the numbers of the parameters it cannot run (operands that are not
    dense, or of unlike types or sizes).
    """
    cdef int k, m = <int>len(lists), s = <int>len(scalars), w = <int>len(written)
    cdef Py_ssize_t i
    cdef void* args[48]
    cdef double wide[24]
    cdef float narrow[24]
    cdef Tensor t
    cdef Tensor p
    cdef kernel_fn fn = NULL
    cdef int code = -1
    cdef int64_t n
    cdef bint fits
    cdef list left = []
    if m + w + s > 48 or s > 24:
        raise ValueError("launch_update: too many operands")
    for k in range(s):
        wide[k] = scalars[k]
        narrow[k] = <float>wide[k]
    for i in range(len(<list>lists[0])):
        p = <Tensor?>(<list>lists[0])[i]
        n = p.count
        fits = CATEGORY[p.code] == 2
        for k in range(m):
            t = <Tensor?>(<list>lists[k])[i]
            if t.code != p.code or t.count != n or not same_layout(t, p):
                fits = False
            args[w + k] = t.data_ptr_
        if not fits:
            left.append(i)
            continue
        if p.code != code:
            code = p.code
            fn = <kernel_fn><uintptr_t>find(code)
        for k in range(w):
            t = <Tensor>(<list>lists[written[k]])[i]
            args[k] = t.data_ptr_
            t.storage.version += 1
        for k in range(s):
            args[w + m + k] = <void*>&wide[k] if code == F64 else <void*>&narrow[k]
        if n <= 16384:
            fn(args, NULL, 0, n, 0)
        else:
            with nogil:
                parallel_for(fn, args, NULL, n, launch_grain(16384, n))
    return left


cdef bint same_layout(Tensor a, Tensor b):
    """Are both packed, with their elements in the same order of memory?"""
    cdef int d
    if a.dense and b.dense:
        return True
    if not same_shape(a, b):
        return False
    for d in range(a.ndim_):
        if a.strides_[d] != b.strides_[d] and a.shape_[d] != 1:
            return False
    return packed(a)
