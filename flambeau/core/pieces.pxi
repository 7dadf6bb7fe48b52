# Copies made of pieces: along each dimension, runs of positions taken forwards, backwards, one position
# repeated, or a fill. Flips, rolls and paddings are such copies.

cdef enum:
    PIECE_FILL = 2  # a step other than 1, -1 and 0: no position, but the fill value


cdef int64_t copy_piece(Tensor out, Tensor source, tuple pieces, int d, char* to, char* at, bint filled, char* fill, Nest* nest) except -1:
    """Every combination of pieces of the dimensions d.. ; nest holds the choices for those before."""
    cdef Nest leaf
    cdef int item = ITEM[out.code]
    cdef int64_t first, count, start
    cdef int step
    if d == out.ndim_:
        leaf = nest[0]
        if filled:
            for d in range(out.ndim_):
                leaf.strides[1][d] = 0
        copy_strided(to, fill if filled else at, &leaf, item)
        return 0
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
        copy_piece(out, source, pieces, d + 1, to + first * out.strides_[d] * item,
                   at if step == PIECE_FILL else at + start * source.strides_[d] * item,
                   filled or step == PIECE_FILL, fill, nest)
    return 0


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
    if n != source.ndim_ or <int>len(pieces) != n or (fill is not None and (fill.code != source.code or fill.count != 1)):
        raise ValueError("copy_pieces: ranks or types differ")
    out = new_dense(source.code, n, sizes)
    nest.operands, nest.dims = 2, n
    if out.count:
        if fill is not None:
            value = fill.data_ptr_
        copy_piece(out, source, pieces, 0, out.data_ptr_, source.data_ptr_, False, value, &nest)
    return out
