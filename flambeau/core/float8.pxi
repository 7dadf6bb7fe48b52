# The 8-bit floating types: stored and converted, by way of float32; no op computes in them.

cdef extern from "float8.hpp" namespace "flambeau" nogil:
    void pack_float8_kernel(void**, const int64_t*, int64_t, int64_t, int64_t) noexcept
    void unpack_float8_kernel(void**, const int64_t*, int64_t, int64_t, int64_t) noexcept

cdef enum:
    FLOAT8_GRAIN = 32768

cdef object _refuse_float8 = None


def set_float8_refusal(refuse):
    """refuse(op's name, [(dtype code, rank)...]): raises what an op given an 8-bit float raises."""
    global _refuse_float8
    _refuse_float8 = refuse


cdef inline bint is_float8(int code) noexcept:
    return code >= F8_E4M3FN


cdef int hold_float8(LoopOp op, list ranks) except -2:
    """The 8-bit type of the operands, or -1. `ranks` then tells of bytes, if bytes are all that the op moves.

    Any other op given an 8-bit operand is an error: such signatures get no kernel.
    """
    cdef int held = -1, i
    for code, rank in ranks:
        if is_float8(code):
            held = code
    if held < 0:
        return -1
    for i, (code, rank) in enumerate(ranks):
        if rank == RANK_NUMBER and op.name == "where":
            ranks[i] = (I64, RANK_NUMBER)
        elif code == held and op.name in ("where", "clone", "copy"):
            ranks[i] = (U8, rank)
        elif i > 0 or op.name != "where":
            _refuse_float8(op.name, [(held if c == U8 else c, r) for c, r in ranks])
    return held


cdef int convert_float8(Tensor target, Tensor source) except -1:
    """Copy elements where one side is of an 8-bit type and the other is of another type."""
    cdef Tensor wide
    if overlaps(source, target):
        source = clone_of(source)
    if is_float8(source.code):
        if target.code == F32 and target.dense and same_shape(target, source):
            run_float8(unpack_float8_kernel, source.code, target, contiguous_plain(source))
            return 0
        wide = new_dense(F32, source.ndim_, source.shape_)
        run_float8(unpack_float8_kernel, source.code, wide, contiguous_plain(source))
        return copy_into(target, wide)
    wide = source
    if source.code != F32 or not source.dense:
        wide = new_dense(F32, source.ndim_, source.shape_)
        copy_into(wide, source)
    return narrow_float8(target, wide)


cdef int narrow_float8(Tensor target, Tensor wide) except -1:
    """Round row-major float32 numbers to the 8-bit target, which they broadcast to."""
    cdef Tensor made = target
    if not target.dense or not same_shape(target, wide):
        made = new_dense(target.code, wide.ndim_, wide.shape_)
    run_float8(pack_float8_kernel, target.code, made, wide)
    return 0 if made is target else copy_into(target, made)


cdef int run_float8(kernel_fn kernel, int code, Tensor out, Tensor given) except -1:
    cdef void* args[2]
    cdef int64_t desc[1]
    args[0], args[1] = out.data_ptr_, given.data_ptr_
    desc[0] = code
    if out.count <= FLOAT8_GRAIN:
        kernel(args, desc, 0, out.count, 0)
    else:
        with nogil:
            parallel_for(kernel, args, desc, out.count, launch_grain(FLOAT8_GRAIN, out.count))
    out.storage.version += 1
    return 0
