# Pointwise ops on operands that broadcast or are strided: a nest of loops, or tiles of it.

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
