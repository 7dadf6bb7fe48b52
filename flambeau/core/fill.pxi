# Fills whose values follow from an element's place; what creation functions call. New tensors keep
# version 0: who fills an old one counts the write.

cdef extern from "fill.hpp" namespace "flambeau" nogil:
    void fill_kernel(void**, const int64_t*, int64_t, int64_t, int64_t) noexcept
    ctypedef struct Progression:
        int code
        int64_t n
        double start
        double step
        int64_t first
        int64_t by
    bint has_arange_float(int)
    bint has_arange_int(int)
    void arange_float_kernel(void**, const int64_t*, int64_t, int64_t, int64_t) noexcept
    void arange_int_kernel(void**, const int64_t*, int64_t, int64_t, int64_t) noexcept
    void linspace_kernel(void**, const int64_t*, int64_t, int64_t, int64_t) noexcept
    bint fill_linspace_serial(void*, int, int64_t, double, double)


def fill_number(Tensor t, value):
    """Write a Python number in every element, without history or a count of the write; returns t."""
    cdef char element[16]
    cdef void* args[2]
    cdef int64_t desc[1]
    cdef Tensor one
    if is_float8(t.code):
        check_float8_range(value, t.code)
    write_element(element, t.code, value)
    if t.count == 0:
        return t
    if not t.dense and not packed(t):
        one = new_dense(t.code, 0, NULL)
        memcpy(one.data_ptr_, element, ITEM[t.code])
        copy_into(t, one)
        t.storage.version -= 1
        return t
    args[0] = t.data_ptr_
    args[1] = element
    desc[0] = ITEM[t.code]
    if t.count <= 32768:
        fill_kernel(args, desc, 0, t.count, 0)
    else:
        with nogil:
            parallel_for(fill_kernel, args, desc, t.count, launch_grain(32768, t.count))
    return t


cdef int check_fill(str name, Tensor t, bint done) except -1:
    if not done:
        raise NotImplementedError(f'"{name}" not implemented for {DTYPES[t.code]!r}')
    return 0


cdef int run_progression(Tensor t, kernel_fn kernel, Progression* p) except -1:
    cdef void* args[2]
    args[0] = t.data_ptr_
    args[1] = p
    if t.count <= 32768:
        kernel(args, NULL, 0, t.count, 0)
    else:
        with nogil:
            parallel_for(kernel, args, NULL, t.count, launch_grain(32768, t.count))
    return 0


def fill_range(Tensor t, start, step):
    """start + i * step in a row-major tensor: exact for integers, as PyTorch rounds it for floats."""
    cdef Progression p
    if not t.dense:
        raise ValueError("fill_range: the tensor is not contiguous")
    p.code, p.n = t.code, t.count
    if CATEGORY[t.code] == 2:
        check_fill("arange", t, has_arange_float(t.code))
        p.start, p.step = start, step
        run_progression(t, arange_float_kernel, &p)
    else:
        check_fill("arange", t, has_arange_int(t.code))
        p.first, p.by = start, step
        run_progression(t, arange_int_kernel, &p)
    return t


def fill_linspace(Tensor t, double start, double end):
    """Evenly spaced points from start to end in a row-major tensor of a real type."""
    cdef Progression p
    if not t.dense:
        raise ValueError("fill_linspace: the tensor is not contiguous")
    if t.count == 0:
        return t
    if t.count >= 2 and (t.code == F32 or t.code == F64):
        p.code, p.n, p.start, p.step = t.code, t.count, start, end
        run_progression(t, linspace_kernel, &p)
    else:
        check_fill("linspace", t, fill_linspace_serial(t.data_ptr_, t.code, t.count, start, end))
    return t
