# Copies made of pieces: along each dimension, runs of positions taken forwards, backwards, one position
# repeated, or a fill. Flips, rolls and paddings are such copies.

cdef enum:
    PIECE_FILL = 2  # a step other than 1, -1 and 0: no position, but the fill value

    SLICE_BYTES = 20480   # of the result, which stay in a core's nearest cache while every piece is copied
    MOST_PIECES = 64      # that are copied slice by slice


cdef int copy_piece(Tensor out, Tensor source, tuple pieces, int d, char* to, char* at, bint filled, char* fill, Nest* nest, PieceRuns* runs) except -1:
    """Every combination of pieces of the dimensions d.. ; nest holds the choices for those before.

    With `runs`, the copies are added there, not made; 1 if one of them cannot be.
    """
    cdef Nest leaf
    cdef int item = ITEM[out.code]
    cdef int64_t first, count, start
    cdef int step, failed = 0
    if filled:  # the pieces of the other dimensions make no difference
        leaf = nest[0]
        for k in range(out.ndim_):
            if k >= d:
                leaf.shape[k] = out.shape_[k]
                leaf.strides[0][k] = out.strides_[k] * item if out.shape_[k] > 1 else 0
            leaf.strides[1][k] = 0
        return finish_piece(to, fill, &leaf, item, runs)
    if d == out.ndim_:
        leaf = nest[0]
        return finish_piece(to, at, &leaf, item, runs)
    for piece in <tuple>pieces[d]:
        first, count, start, step = piece
        if count <= 0:
            continue
        if first < 0 or first + count > out.shape_[d]:
            raise IndexError(f"copy_pieces: piece {piece} leaves dimension {d} of size {out.shape_[d]}")
        if step != PIECE_FILL:
            if step not in (-1, 0, 1) or start < 0 or start >= source.shape_[d]:
                raise IndexError(f"copy_pieces: piece {piece} leaves dimension {d} of size {source.shape_[d]}")
            if start + (count - 1) * step < 0 or start + (count - 1) * step >= source.shape_[d]:
                raise IndexError(f"copy_pieces: piece {piece} leaves dimension {d} of size {source.shape_[d]}")
        nest.shape[d] = count
        nest.strides[0][d] = out.strides_[d] * item if count > 1 else 0
        nest.strides[1][d] = source.strides_[d] * item * step if count > 1 else 0
        failed |= (copy_under_slices if d == 0 else copy_piece)(
            out, source, pieces, d + 1, to + first * out.strides_[d] * item,
            at if step == PIECE_FILL else at + start * source.strides_[d] * item,
            step == PIECE_FILL, fill, nest, runs)
    return failed


cdef int finish_piece(char* to, char* at, Nest* leaf, int item, PieceRuns* runs) except -1:
    """Make or note the copy that leaf describes, its first dimension the one to be sliced."""
    cdef Nest inner
    cdef PieceRun* noted
    cdef int d, k, dims
    if runs == NULL:
        copy_strided(to, at, leaf, item)
        return 0
    inner.operands, inner.dims = 2, leaf.dims - 1
    for d in range(inner.dims):
        inner.shape[d] = leaf.shape[d + 1]
        for k in range(2):
            inner.strides[k][d] = leaf.strides[k][d + 1]
    nest_order(inner, 0)
    nest_permute(inner)
    dims = nest_coalesce(inner, 0, inner.dims)
    inner.shape[dims] = leaf.shape[0]
    for k in range(2):
        inner.strides[k][dims] = leaf.strides[k][0]
    if transposed_dimension(&inner, dims + 1, item) >= 0:
        return 1
    runs.resize(runs.size() + 1)
    noted = &runs.back()
    describe_copy(&noted.run, noted.desc, to, at, &inner, dims + 1, item)
    noted.rows = 1 if dims else 0
    for d in range(1, dims):
        noted.rows *= inner.shape[d]
    return 0


cdef int copy_under_slices(Tensor out, Tensor source, tuple pieces, int d, char* to, char* at, bint filled, char* fill, Nest* nest, PieceRuns* unused) except -1:
    """copy_piece for one choice of the dimensions before d, the first of which is cut into slices if that helps."""
    cdef PieceRuns runs
    cdef int64_t positions = nest.shape[0], combinations = 1, bytes_each = ITEM[out.code], slice, grain
    cdef int k, failed
    cdef void* args[1]
    for k in range(d, out.ndim_):
        combinations *= len(<tuple>pieces[k])
        bytes_each *= out.shape_[k]
        if combinations > MOST_PIECES:
            break
    if filled or combinations < 2 or combinations > MOST_PIECES or positions < 4 * get_num_threads():
        return copy_piece(out, source, pieces, d, to, at, filled, fill, nest, NULL)
    need_copiers(ITEM[out.code])
    runs.reserve(combinations)  # the runs point into themselves
    failed = copy_piece(out, source, pieces, d, to, at, filled, fill, nest, &runs)
    if failed:
        return copy_piece(out, source, pieces, d, to, at, filled, fill, nest, NULL)
    slice = grain = max(SLICE_BYTES // bytes_each, 1)
    if positions * bytes_each <= 2 * COPY_GRAIN:
        grain = positions
    elif grain > positions // (4 * get_num_threads()):
        grain = positions // (4 * get_num_threads())
    args[0] = &runs
    with nogil:
        parallel_for(copy_slices, args, &slice, positions, grain)
    return 0


cdef int walked_as_one(Tensor out, Tensor source, tuple pieces) except -1:
    """How many leading dimensions are whole, and one dimension in the source too (as they are in the result)."""
    cdef int d
    cdef int64_t before = 1
    for d in range(out.ndim_):
        parts = <tuple>pieces[d]
        if len(parts) != 1 or parts[0] != (0, out.shape_[d], 0, 1) or source.shape_[d] != out.shape_[d]:
            return d
        if before > 1 and source.strides_[d - 1] != source.strides_[d] * source.shape_[d]:
            return d
        before *= out.shape_[d]
    return out.ndim_


def copy_pieces(shape, Tensor source, tuple pieces, Tensor fill=None):
    """A new tensor of a shape, of source's rank and type, without history.

    pieces[d]: (first position in the result, count, first position in source, step), the step 1, -1, 0, or 2
    for the single element of `fill`; together they cover the result.
    """
    cdef int64_t sizes[64]
    cdef int n = read_sizes(shape, sizes)
    cdef Nest nest
    cdef Tensor out
    cdef char* value = source.data_ptr_
    cdef int k, lead
    if n != source.ndim_ or <int>len(pieces) != n or (fill is not None and (fill.code != source.code or fill.count != 1)):
        raise ValueError("copy_pieces: ranks or types differ")
    out = new_dense(source.code, n, sizes)
    nest.operands, nest.dims = 2, n
    if out.count:
        if fill is not None:
            value = fill.data_ptr_
        lead = walked_as_one(out, source, pieces)
        if lead == 0:
            copy_piece(out, source, pieces, 0, out.data_ptr_, source.data_ptr_, False, value, &nest, NULL)
            return out
        for k in range(lead):
            nest.shape[k] = 1
            nest.strides[0][k] = nest.strides[1][k] = 0
        nest.shape[0] = 1
        for k in range(lead):
            nest.shape[0] *= out.shape_[k]
        if nest.shape[0] > 1:
            nest.strides[0][0] = out.strides_[lead - 1] * ITEM[out.code]
            nest.strides[1][0] = source.strides_[lead - 1] * ITEM[out.code]
        copy_under_slices(out, source, pieces, lead, out.data_ptr_, source.data_ptr_, False, value, &nest, NULL)
    return out


# ---- the transpose ---------------------------------------------------------------------------------

cdef int note_plane_runs(Tensor out, Tensor g, tuple pieces, int lead, int d, PlaneRun* run, bint* covered, PlaneRuns* all) except -1:
    """Every combination of pieces of the dimensions d.. ; run holds the choices for those before."""
    cdef int64_t first, count, start, put = run.to, at = run.at
    cdef int step, k = d - lead
    if d == out.ndim_:
        run.first = not covered[0]
        for k in range(run.dims):
            d = lead + k
            if run.shape[k] != out.shape_[d] or (run.shape[k] > 1 and run.to_strides[k] != out.strides_[d]):
                run.first = False
        covered[0] |= run.first
        all.note(run[0])
        return 0
    for piece in <tuple>pieces[d]:
        first, count, start, step = piece
        run.shape[k], run.to_strides[k], run.from_strides[k] = count, out.strides_[d] * step, g.strides_[d]
        run.to, run.at = put + start * out.strides_[d], at + first * g.strides_[d]
        note_plane_runs(out, g, pieces, lead, d + 1, run, covered, all)
    run.to, run.at = put, at
    return 0


def add_pieces(shape, Tensor g, tuple pieces):
    """The transpose of `copy_pieces`, without fills: each element of the dense g added where it was taken from.

    None where this has no kernel or would keep cores idle: other types, few leading dimensions that are whole.
    """
    cdef int64_t sizes[64]
    cdef int n = read_sizes(shape, sizes)
    cdef int d, lead
    cdef int64_t planes = 1, inside = 1
    cdef bint covered = False
    cdef PlaneRun run
    cdef PlaneRuns all
    cdef Tensor out
    if (g.code != F32 and g.code != F64) or not g.dense or n != g.ndim_ or <int>len(pieces) != n or g.count == 0:
        return None
    out = new_dense(g.code, n, sizes)
    lead = walked_as_one(g, out, pieces)
    for d in range(n):
        if d < lead:
            planes *= sizes[d]
        else:
            inside *= g.shape_[d]
    if n == lead or n - lead > 6 or (planes < get_num_threads() and inside > COPY_GRAIN):
        return None
    run.to, run.at, run.dims = 0, 0, n - lead
    note_plane_runs(out, g, pieces, lead, lead, &run, &covered, &all)
    add_all_planes(out, g, planes, &all)
    return out


cdef void add_all_planes(Tensor out, Tensor g, int64_t planes, PlaneRuns* all):
    cdef void* args[3]
    args[0], args[1], args[2] = all, out.data_ptr_, g.data_ptr_
    all.to_size, all.from_step = out.count // planes, g.count // planes
    with nogil:
        parallel_for(add_planes_f32 if g.code == F32 else add_planes_f64, args, NULL, planes,
                     COPY_GRAIN // (all.from_step + 1) + 1)


def add_blocks(shape, Tensor g, tuple dilation, tuple padding, tuple stride):
    """Blocks g (N, C, kh, kw, rows, columns), dense, added into zeros (N, C, H, W) where they were taken from.

    None where this has no kernel or would keep cores idle: other types, few planes.
    """
    cdef int64_t sizes[64]
    cdef int64_t first, last, count, reach
    cdef int64_t tap[2]
    cdef int64_t steps[2]
    cdef int n = read_sizes(shape, sizes)
    cdef int d
    cdef int64_t planes = sizes[0] * sizes[1]
    cdef bint empty
    cdef PlaneRun run
    cdef PlaneRuns all
    cdef Tensor out
    if (g.code != F32 and g.code != F64) or not g.dense or n != 4 or g.ndim_ != 6 or g.count == 0:
        return None
    if planes < get_num_threads() and g.count > COPY_GRAIN:
        return None
    out = new_dense(g.code, n, sizes)
    run.dims, run.first = 2, False
    for tap[0] in range(g.shape_[2]):
        for tap[1] in range(g.shape_[3]):
            run.to = 0
            run.at = (tap[0] * g.shape_[3] + tap[1]) * g.shape_[4] * g.shape_[5]
            empty = False
            for d in range(2):  # the blocks whose tap is inside
                steps[d] = stride[d]
                reach = tap[d] * <int64_t>dilation[d] - <int64_t>padding[d]
                first = 0 if reach >= 0 else (-reach + steps[d] - 1) // steps[d]
                last = g.shape_[4 + d] if reach < sizes[2 + d] else 0
                if reach < sizes[2 + d] and (sizes[2 + d] - 1 - reach) // steps[d] + 1 < last:
                    last = (sizes[2 + d] - 1 - reach) // steps[d] + 1
                count = last - first
                empty |= count <= 0
                run.shape[d], run.to_strides[d] = count, steps[d] * out.strides_[2 + d]
                run.from_strides[d] = g.shape_[5] if d == 0 else 1
                run.to += (reach + first * steps[d]) * out.strides_[2 + d]
                run.at += first * run.from_strides[d]
            if not empty:
                all.note(run)
    add_all_planes(out, g, planes, &all)
    return out
