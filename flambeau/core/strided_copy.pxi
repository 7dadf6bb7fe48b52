# Copies between two layouts of one element type, by the kernels of kernels/strided_copy.py.

cdef kernel_fn _row_copiers[17]   # by element size; NULL until first used
cdef kernel_fn _tile_copiers[17]
cdef object _load_copiers = None

cdef enum:
    COPY_GRAIN = 65536     # bytes that are worth a thread of their own
    SPLIT_COLUMNS = 4096   # long rows are cut into pieces of so many elements when rows are few


def set_copy_loader(load):
    """load(element size) -> addresses of the row and tile kernels."""
    global _load_copiers
    _load_copiers = load


cdef int need_copiers(int item) except -1:
    if _row_copiers[item] == NULL:
        rows, tiles = _load_copiers(item)
        _tile_copiers[item] = <kernel_fn><uintptr_t>tiles
        _row_copiers[item] = <kernel_fn><uintptr_t>rows
    return 0


cdef int copy_strided(char* to, char* source, Nest* nest, int item) except -1:
    """Copy elements of `item` bytes; nest: operand 0 the destination, 1 the source, byte strides.

    The nest's dimensions are in tensor order and its `perm` is free; it is consumed.
    """
    cdef int dims
    need_copiers(item)
    nest_order(nest[0], 0)
    nest_permute(nest[0])
    dims = nest_coalesce(nest[0], 0, nest.dims)
    copy_ordered(to, source, nest, dims, item)
    return 0


cdef void copy_ordered(char* to, char* source, Nest* nest, int dims, int item) noexcept:
    """The dimensions are coalesced, innermost first."""
    cdef NestRun run
    cdef int64_t desc[5]
    cdef int d, across
    cdef int64_t total = 1, rows_total, grain
    for d in range(dims):
        total *= nest.shape[d]
    if total == 0:
        return
    across = transposed_dimension(nest, dims, item)
    if dims and across < 0 and total // nest.shape[0] < 8 and nest.shape[0] > 2 * SPLIT_COLUMNS:
        split_columns(to, source, nest, dims, item)
        return
    if across > 1:
        swap_dimensions(nest, 1, across)
    describe_copy(&run, desc, to, source, nest, dims, item)
    run.kernel = _row_copiers[item] if across < 0 else _tile_copiers[item]
    if total * item <= 2 * COPY_GRAIN:
        nest_run_c(run, 1 << 62)
        return
    rows_total = total // desc[0]
    grain = COPY_GRAIN // (desc[0] * item)
    if grain < rows_total // (4 * get_num_threads()):
        grain = rows_total // (4 * get_num_threads())
    if across >= 0:
        grain = (grain + 63) & ~63  # whole cache lines of the source
        if run.outer and grain < rows_total // (2 * get_num_threads()):
            grain = (grain + run.rows - 1) // run.rows * run.rows
    if grain > rows_total // 2 and across >= 0 and desc[0] > 2 * SPLIT_COLUMNS:
        split_columns(to, source, nest, dims, item)
        return
    with nogil:
        nest_run_c(run, grain if grain > 0 else 1)


cdef void describe_copy(NestRun* run, int64_t* desc, char* to, char* source, Nest* nest, int dims, int item) noexcept:
    """The run of a row kernel, which the caller may change, over coalesced dimensions, innermost first."""
    cdef int d
    desc[0] = nest.shape[0] if dims else 1
    desc[1] = nest.strides[0][1] if dims > 1 else 0
    desc[2] = nest.strides[1][1] if dims > 1 else 0
    desc[3] = nest.strides[0][0] if dims else item
    desc[4] = nest.strides[1][0] if dims else item
    run.kernel = _row_copiers[item]
    run.desc = desc
    run.operands = 2
    run.pointers[0], run.pointers[1] = to, source
    run.rows = nest.shape[1] if dims > 1 else 1
    run.outer = dims - 2 if dims > 2 else 0
    for d in range(run.outer):
        run.shape[d] = nest.shape[2 + d]
        run.strides[0][d], run.strides[1][d] = nest.strides[0][2 + d], nest.strides[1][2 + d]


cdef int transposed_dimension(Nest* nest, int dims, int item) noexcept:
    """The dimension along which the source's elements are adjacent where the destination's are not; or -1."""
    cdef int d
    if dims < 2 or nest.strides[0][0] != item or nest.strides[1][0] in (item, 0, -item):
        return -1
    for d in range(1, dims):
        if nest.strides[1][d] == item:
            return d
    return -1


cdef void swap_dimensions(Nest* nest, int a, int b) noexcept:
    cdef int k
    nest.shape[a], nest.shape[b] = nest.shape[b], nest.shape[a]
    for k in range(2):
        nest.strides[k][a], nest.strides[k][b] = nest.strides[k][b], nest.strides[k][a]


cdef void split_columns(char* to, char* source, Nest* nest, int dims, int item) noexcept:
    """Cut the innermost dimension in two so that threads can share it; what is left over comes last."""
    cdef int64_t pieces = nest.shape[0] // SPLIT_COLUMNS, rest = nest.shape[0] % SPLIT_COLUMNS
    cdef Nest cut = nest[0]
    cdef int d, k
    cdef int64_t done = pieces * SPLIT_COLUMNS
    for d in range(dims, 1, -1):
        cut.shape[d] = cut.shape[d - 1]
        for k in range(2):
            cut.strides[k][d] = cut.strides[k][d - 1]
    cut.shape[0], cut.shape[1] = SPLIT_COLUMNS, pieces
    for k in range(2):
        cut.strides[k][1] = cut.strides[k][0] * SPLIT_COLUMNS
    copy_ordered(to, source, &cut, dims + 1, item)
    if rest:
        cut = nest[0]
        cut.shape[0] = rest
        copy_ordered(to + done * cut.strides[0][0], source + done * cut.strides[1][0], &cut, dims, item)
