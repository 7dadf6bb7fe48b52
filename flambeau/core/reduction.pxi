# Calling reductions and row programs.

cdef enum:
    SHORT_ROW = 16        # rows of up to as many elements are reduced many at a time
    FEW_GATHERED = 6      # up to as many cost less to gather than a vector of each row to read
    SHORT_SEARCH = 64     # the same where positions are wanted
    FEWEST_PACKED = 1024  # elements, at least, of row programs whose operands are copied to lie along the rows
    FEW_ROWS = 16         # up to as many rows (columns) are cut into chunks, reduced in parallel
    FEW_COLUMNS = 1024

cdef object _row_form = None
cdef int _rows_abreast = -1


def set_row_form(ask):
    """ask(): do kernels of short, contiguous rows read many of them at a time?"""
    global _row_form
    _row_form = ask


cdef bint reads_rows_abreast() except -1:
    global _rows_abreast
    if _rows_abreast < 0:
        _rows_abreast = bool(_row_form())
    return _rows_abreast


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
        if is_float8(request):
            _refuse_float8(op.name, [(request, RANK_TENSOR)])
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
    if op.form == ROWS and r.count >= FEWEST_PACKED and walks_across(op, slots, r, ndim):
        return fill_row_major(op, slots, types, mask, keepdim, r, ndim, shape, request)
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


cdef int run_column_chunks(LoopOp op, Entry* e, Nest* nest, int red, int64_t n0, int64_t n1, int64_t length, NestRun* run) except -1:
    """Few columns, each long: chunks of all columns in parallel, then their accumulators. Same chunks for any thread count.

    Where the elements of a step lie side by side with those of the next, several steps go abreast as if
    they were further columns, so that vectors are full.
    """
    cdef int64_t rows = nest.shape[red], extent, stride, fold = 1, width, chunks, size, rest, entries
    cdef int along = 0 if n1 == 1 else 1
    cdef int acc = ITEM[e.acc_code]
    cdef int64_t desc[9]
    cdef void* args[2]
    cdef NestRun part
    cdef char* partials
    extent = n0 if along == 0 else n1
    stride = nest.strides[1][along]
    if along == 0 and rows < 64 and stride == rows * nest.strides[1][red] and extent >= 4096:
        fold = 64 if rows < 8 else 16
    width = rows * fold
    chunks = min(extent // fold, 16, max(2, rows * extent // e.grain))
    size = extent // fold // chunks
    rest = extent - size * chunks * fold
    entries = chunks * fold + (1 if rest else 0)
    partials = <char*>malloc(entries * rows * acc)
    if partials == NULL:
        raise MemoryError(f"{op.name}: out of memory")
    desc[0] = size if along == 1 else 1
    desc[1] = n0 if along == 1 else size
    desc[2] = length
    desc[3], desc[4], desc[5] = acc, 0, 0
    desc[6], desc[7], desc[8] = nest.strides[1][red], stride, nest.strides[1][0] * fold
    part.kernel = e.partial
    part.desc = desc
    part.operands = 2
    part.rows = width
    part.outer = 1
    part.shape[0] = chunks
    part.pointers[0], part.strides[0][0] = partials, width * acc
    part.pointers[1], part.strides[1][0] = run.pointers[1], stride * fold * size
    with nogil:
        nest_run_c(part, width)
    if rest:
        desc[0] = rest if along == 1 else 1
        desc[1] = n0 if along == 1 else rest
        desc[8] = nest.strides[1][0]
        args[0] = partials + chunks * width * acc
        args[1] = <char*>run.pointers[1] + chunks * size * fold * stride
        e.partial(args, desc, 0, rows, 0)
    args[0] = run.pointers[0]
    args[1] = partials
    desc[0], desc[1] = 1, entries
    desc[3] = nest.strides[0][red]
    desc[6], desc[7], desc[8] = acc, 0, rows * acc
    e.final(args, desc, 0, rows, 0)
    free(partials)
    return 0


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


cdef bint walks_across(LoopOp op, PyObject** slots, Tensor r, int ndim) noexcept:
    """Are an operand's neighbours along the result's innermost dimension apart in memory?"""
    cdef int i, d = ndim - 1
    while d >= 0 and r.shape_[d] == 1:
        d -= 1
    if d < 0:
        return False
    for i in range(op.operands):
        t = <Tensor>slots[i]
        if t.ndim_ == ndim and t.shape_[d] == r.shape_[d] and t.strides_[d] != r.strides_[d] and t.strides_[d] != 0:
            return True
    return False


cdef int fill_row_major(LoopOp op, PyObject** slots, uint64_t types, uint64_t mask, bint keepdim, Tensor r, int ndim, int64_t* shape, int request) except -1:
    """Run on row-major copies: a copy goes by tiles, while rows that lie across would be loaded element by element."""
    cdef PyObject* own[20]
    cdef list packed = []
    cdef int i
    for i in range(op.operands + op.scalars):
        own[i] = slots[i]
        if i < op.operands:
            packed.append(contiguous_plain((<Tensor>slots[i]).detach()))
            own[i] = <PyObject*>packed[i]
    return fill_reduction(op, own, types, mask, keepdim, r, ndim, shape, request)


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
    cdef int64_t s0, s1, tasks, work, grain
    cdef bint columns = kept > 0 and rows >= (2 if op.chunkable else 8) and length > 0 and nest.strides[0][red] == 1
    # rows of a few elements that lie apart: lanes across the rows, each gathering its own
    cdef bint short = rows >= 64 and n0 * n1 <= (SHORT_ROW if op.chunkable else SHORT_SEARCH) and op.form == REDUCTION
    cdef bint gathers = False
    if length == 0:
        n0 = 0
    item[0] = 1
    for i in range(n):
        item[1 + i] = ITEM[(<Tensor>slots[i]).code]
        if columns:
            s0 = nest.strides[1 + i][red]
            if s0 != item[1 + i] and s0 != 0:
                gathers = True
                if op.chunkable and red == 1 and n0 > FEW_GATHERED and nest.strides[1 + i][0] == item[1 + i] and reads_rows_abreast():
                    columns = False
                elif not short or item[1 + i] < 4 or CATEGORY[(<Tensor>slots[i]).code] == 3:
                    columns = False
    if columns and not gathers and red > 0 and nest.strides[1][0] == item[1] and n0 >= 8:
        columns = False
    form = FORM_COLUMNS if columns else FORM_REDUCE
    layout = form
    for i in range(n):
        s0 = nest.strides[1 + i][0] if red > 0 else 0
        s1 = nest.strides[1 + i][1] if red > 1 else 0
        if columns:
            s0 = nest.strides[1 + i][red]
            d = ACCESS_0 if s0 == 0 else ACCESS_C if s0 == item[1 + i] else ACCESS_G
        elif red == 0:
            d = ACCESS_C
        elif s0 == 0 and s1 == 0:
            d = ACCESS_0
        else:
            d = ACCESS_C if s0 == item[1 + i] else ACCESS_B if s0 == 0 else ACCESS_G
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
    tasks = rows * outer_product(nest, red, kept)
    work = tasks * (n0 * n1 if n0 * n1 > 0 else 1)
    cdef bint few_columns = columns and total == 2 and not gathers and kept == 1 and rows <= FEW_COLUMNS and max(n0, n1) >= 64
    cdef bint few_rows = not columns and tasks <= FEW_ROWS and n0 * n1 > 2 * e.grain
    if op.chunkable and work > 2 * e.grain and (few_columns or few_rows):
        if not e.asked_chunks:
            op.ask_chunks(e, form, accesses_of(layout, n), request)
            e = op.find(types, layout)
        if e.partial != NULL:
            if columns:
                return run_column_chunks(op, e, nest, red, n0, n1, length, &run)
            return run_chunked(op, e, nest, red, kept, n0, n1, length, &run)
    if few_rows and op.form == REDUCTION and not op.chunkable and total == 2 and red == 1 and nest.strides[1][0] != 0:
        return search_chunks(op, e, nest, item[1], kept, &run)
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
    grain = e.grain // (n0 * n1 if n0 * n1 > 0 else 1)
    if columns or grain > 64:  # whole vectors of rows
        grain = (grain + 63) // 64 * 64
        if columns and run.outer and grain < rows and rows * n0 * n1 <= 8 * e.grain:
            grain = rows  # whole runs of neighbours: no task ends amid a vector
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
    cdef int64_t chunks, size, whole, rest, rows = nest.shape[red] if kept > 0 else 1
    cdef int64_t outer = outer_product(nest, red, kept)
    cdef int along = 0 if n1 == 1 else 1
    cdef int64_t extent = n0 if along == 0 else n1
    cdef int64_t desc[60]
    cdef int acc = ITEM[e.acc_code], n = op.operands, i
    cdef void* args[20]
    cdef void* ends[20]
    cdef char* partials
    cdef int64_t o
    chunks = min(extent, 64, max(2, n0 * n1 // e.grain))
    size = extent // chunks
    rest = extent - size * chunks
    partials = <char*>malloc((chunks + 1) * 16)
    if partials == NULL:
        raise MemoryError(f"{op.name}: out of memory")
    for i in range(op.scalars):
        args[1 + n + i] = ends[2 + i] = run.pointers[1 + n + i]
    for o in range(outer * rows):
        memset(desc, 0, sizeof(desc))
        desc[0] = size if along == 1 else 1
        desc[1] = n0 if along == 1 else size
        desc[2], desc[3] = length, acc
        args[0] = partials
        for i in range(1, 1 + n):
            args[i] = <char*>run.pointers[i] + nest_offset(nest, i, red, kept, o)
            desc[3 + 3 * i] = nest.strides[i][along] * size
            desc[4 + 3 * i] = nest.strides[i][1] if red > 1 else 0
            desc[5 + 3 * i] = nest.strides[i][0]
        with nogil:
            parallel_for(e.partial, args, desc, chunks, 1)
        whole = chunks
        if rest:
            desc[0 if along == 1 else 1] = rest
            args[0] = partials + chunks * acc
            for i in range(1, 1 + n):
                args[i] = <char*>args[i] + chunks * size * nest.strides[i][along]
            e.partial(args, desc, 0, 1, 0)
            whole += 1
        memset(desc, 0, sizeof(desc))
        desc[0], desc[1], desc[2], desc[8] = 1, whole, length, acc
        ends[0] = <char*>run.pointers[0] + nest_offset(nest, 0, red, kept, o)
        ends[1] = partials
        e.final(ends, desc, 0, 1, 0)
    free(partials)
    return 0


cdef int search_chunks(LoopOp op, Entry* e, Nest* nest, int item, int kept, NestRun* run) except -1:
    """Few rows, each long, of which positions are wanted: of chunks in parallel, then of what was found there."""
    cdef int64_t rows = nest.shape[1] if kept > 0 else 1, extent = nest.shape[0], stride = nest.strides[1][0]
    cdef int64_t chunks = min(extent, 64, max(2, extent // e.grain)), size = extent // chunks, k, o, whole
    cdef int64_t desc[9]
    cdef int64_t found[66]
    cdef int64_t best
    cdef char values[65 * 16]
    cdef char* x
    cdef void* args[2]
    for o in range(outer_product(nest, 1, kept) * rows):
        x = <char*>run.pointers[1] + nest_offset(nest, 1, 1, kept, o)
        args[0], args[1] = found, x
        desc[0], desc[1], desc[2] = 1, size, size
        desc[3], desc[4], desc[5] = sizeof(int64_t), 0, 0
        desc[6], desc[7], desc[8] = stride * size, 0, stride
        with nogil:
            parallel_for(e.kernel, args, desc, chunks, 1)
        whole = chunks
        if extent > size * chunks:
            desc[1] = desc[2] = extent - size * chunks
            args[0], args[1] = found + chunks, x + size * chunks * stride
            e.kernel(args, desc, 0, 1, 0)
            whole += 1
        for k in range(whole):
            memcpy(values + k * item, x + (k * size + found[k]) * stride, item)
        args[0], args[1] = &best, values  # the first of equals, as each of them is in its chunk
        desc[1] = desc[2] = whole
        desc[8] = item
        e.kernel(args, desc, 0, 1, 0)
        (<int64_t*>(<char*>run.pointers[0] + nest_offset(nest, 0, 1, kept, o)))[0] = best * size + found[best]
    return 0


cdef int64_t nest_offset(Nest* nest, int k, int red, int kept, int64_t row) noexcept:
    """Bytes from operand k's start to the row of this number, the kept dimensions behind `red` others."""
    cdef int64_t at = 0
    cdef int d
    for d in range(kept):
        at += row % nest.shape[red + d] * nest.strides[k][red + d]
        row //= nest.shape[red + d]
    return at


def launch_rows(uintptr_t kernel, tuple operands, tuple desc, int64_t rows, int64_t grain, tuple outer, tuple strides, bint narrow):
    """Run a row program over `rows` rows, for each index of the `outer` sizes (innermost first).

    operands are tensors, or numbers (of float32 where `narrow`, else float64); strides hold each tensor's byte
    strides along `outer`. desc is the kernel's.
    """
    cdef NestRun run
    cdef double wide[8]
    cdef float small[8]
    cdef int64_t numbers[48]
    cdef int i, k, scalars = 0, n = <int>len(operands)
    if n > 12 or len(desc) > 48 or len(outer) > 8:
        raise ValueError("launch_rows: too many operands")
    for i in range(n):
        x = <object>PyTuple_GET_ITEM(operands, i)
        if isinstance(x, Tensor):
            run.pointers[i] = (<Tensor>x).data_ptr_
            for k in range(<int>len(outer)):
                run.strides[i][k] = <object>PyTuple_GET_ITEM(<tuple>strides[i], k)
            continue
        wide[scalars] = x
        small[scalars] = <float>wide[scalars]
        run.pointers[i] = <void*>&small[scalars] if narrow else <void*>&wide[scalars]
        scalars += 1
        for k in range(<int>len(outer)):
            run.strides[i][k] = 0
    for k in range(<int>len(desc)):
        numbers[k] = <object>PyTuple_GET_ITEM(desc, k)
    run.kernel = <kernel_fn>kernel
    run.desc = numbers
    run.operands = n
    run.rows = rows
    run.outer = <int>len(outer)
    for k in range(run.outer):
        run.shape[k] = <object>PyTuple_GET_ITEM(outer, k)
    with nogil:
        nest_run_c(run, grain)
