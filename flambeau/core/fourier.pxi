# Fourier transforms: from a tensor and a dimension to the plan for them, without Python on a hit.

cdef enum:
    FOURIER_COMPLEX = 0   # of complex numbers
    FOURIER_TO_HALF = 1   # of real ones: the first n // 2 + 1 coefficients
    FOURIER_FROM_HALF = 2 # real numbers from the first n // 2 + 1 coefficients
    FOURIER_PLANS = 256

cdef dict _fourier_plans = {}   # geometry -> (plan, tables), None where there is no plan
cdef object _fourier_planner = None


def set_fourier_planner(planner):
    """planner(kind, code, n, have, outer, lanes, columns, input_outer, input_step, output_outer, output_step, backward,
    conjugate, norm, threads) -> (Plan, what it needs), or None; strides in elements."""
    global _fourier_planner
    _fourier_planner = planner


def fourier(Tensor t, int kind, int dim, int64_t n, bint backward, int norm, bint conjugate, bint inplace=False):
    """The transform of length n over one dimension (more elements are ignored, less are zeros), without history.

    norm: 0 no scale, 1 one over the root of n, 2 one over n. None where the layout or the length has no plan.
    """
    return fourier_over(t, kind, dim, n, backward, norm, conjugate, inplace)


cdef object fourier_over(Tensor t, int kind, int dim, int64_t n, bint backward, int norm, bint conjugate, bint inplace):
    cdef int64_t key[15]
    cdef int64_t shape[64]
    cdef int64_t need = n // 2 + 1 if kind == FOURIER_FROM_HALF else n
    cdef int64_t made = n // 2 + 1 if kind == FOURIER_TO_HALF else n
    cdef int64_t after = 1
    cdef int d
    cdef int code = t.code
    cdef Tensor r
    cdef void* args[4]
    memcpy(shape, t.shape_, t.ndim_ * sizeof(int64_t))
    shape[dim] = made
    if kind == FOURIER_TO_HALF:
        code = C64 if code == F32 else C128
    elif kind == FOURIER_FROM_HALF:
        code = F32 if code == C64 else F64
    for d in range(t.ndim_):
        if shape[d] == 0:
            return new_dense(code, t.ndim_, shape)
    for d in range(t.ndim_ - 1, dim, -1):
        if t.shape_[d] != 1 and t.strides_[d] != after:
            return None
        after *= t.shape_[d]
    memset(key, 0, sizeof(key))
    key[0], key[1], key[2] = kind, t.code, n
    key[3] = need if t.shape_[dim] > need else t.shape_[dim]
    key[6] = after != 1
    if not fourier_lines(t, dim, after, made, &key[4]):
        return None
    key[11], key[12], key[13], key[14] = backward, conjugate, norm, get_num_threads()
    raw = PyBytes_FromStringAndSize(<char*>key, sizeof(key))
    found = _fourier_plans.get(raw, NotImplemented)
    if found is NotImplemented:
        found = _fourier_planner(*[key[d] for d in range(15)])
        if len(_fourier_plans) >= FOURIER_PLANS:
            _fourier_plans.clear()
        _fourier_plans[raw] = found
    if found is None:
        return None
    r = t if inplace else new_dense(code, t.ndim_, shape)
    args[0], args[1] = r.data_ptr_, t.data_ptr_
    run_phases(<Plan>PyTuple_GET_ITEM(found, 0), args, 2)
    return r


cdef bint fourier_lines(Tensor t, int dim, int64_t after, int64_t made, int64_t* key):
    """Where the lines are: outer, lanes, columns (given), input_outer, input_step, output_outer, output_step."""
    cdef int64_t outer = 1, step = 0
    cdef int d
    for d in range(dim - 1, -1, -1):
        if t.shape_[d] == 1:
            continue
        if outer == 1:
            step = t.strides_[d]
        elif t.strides_[d] != step * outer:
            return False
        outer *= t.shape_[d]
    if after != 1:
        key[0], key[1] = outer, after
        key[3], key[4] = step, t.strides_[dim]
        key[5], key[6] = made * after, after
        return t.strides_[dim] >= after or t.shape_[dim] == 1
    key[0], key[1] = 1, outer
    key[4], key[6] = step, made
    return t.strides_[dim] == 1 or t.shape_[dim] <= 1


# ---- torch.fft's common calls ----------------------------------------------------------------------

cdef int read_norm(PyObject* given, bint forward) except -2:
    """The scale of a norm's name; -1 where it is no such name."""
    if given == NULL or given == <PyObject*>None:
        return 0 if forward else 2
    if type(<object>given) is not str:
        return -1
    if <object>given == "backward":
        return 0 if forward else 2
    if <object>given == "forward":
        return 2 if forward else 0
    return 1 if <object>given == "ortho" else -1


cdef bint takes(int kind, Tensor t) except -1:
    """Is it of a type that this kind of transform reads, and without history?"""
    cdef bint real = t.code == F32 or t.code == F64
    if kind == FOURIER_TO_HALF and not real or kind == FOURIER_FROM_HALF and real:
        return False
    return (real or t.code == C64 or t.code == C128) and not wants_history(t)


cdef Tensor as_complex(Tensor t):
    """t, or its numbers as complex ones."""
    cdef Tensor r
    if t.code != F32 and t.code != F64:
        return t
    r = new_dense(C64 if t.code == F32 else C128, t.ndim_, t.shape_)
    copy_into(r, t)
    r.storage.version = 0
    return r


cdef object short_fourier(int kind, bint forward, PyObject** args, Py_ssize_t n, PyObject* kwnames):
    """(input, n=None, dim=-1, norm=None)"""
    cdef PyObject* given[4]
    cdef Tensor t
    cdef int dim, norm
    cdef int64_t length
    if not read_named(("input", "n", "dim", "norm"), args, n, kwnames, given) or given[0] == NULL or not is_tensor(given[0]):
        return NotImplemented
    t = <Tensor>given[0]
    if t.ndim_ == 0 or not takes(kind, t):
        return NotImplemented
    dim = t.ndim_ - 1 if given[2] == NULL else read_dim(given[2], t.ndim_)
    norm = read_norm(given[3], forward)
    if dim < 0 or norm < 0:
        return NotImplemented
    if given[1] == NULL or given[1] == <PyObject*>None:
        length = 2 * (t.shape_[dim] - 1) if kind == FOURIER_FROM_HALF else t.shape_[dim]
    elif not read_int(given[1], &length):
        return NotImplemented
    if length < 1:
        return NotImplemented
    if kind == FOURIER_COMPLEX:
        t = as_complex(t)
    found = fourier_over(t, kind, dim, length, not forward, norm, conjugates(kind, forward), False)
    return NotImplemented if found is None else found


cdef inline bint conjugates(int kind, bint forward):
    """Is the input (where the result is real) or the result (of real numbers) to be conjugated?"""
    return kind != FOURIER_COMPLEX and forward == (kind == FOURIER_FROM_HALF)


cdef int read_many(object given, bint two, Tensor t, int* dims) except -1:
    """The dimensions to transform, None for the usual ones; 0 where they are not plainly right."""
    cdef int count = 0, d, k
    if given is None:
        count = 2 if two else t.ndim_
        for d in range(count):
            dims[d] = t.ndim_ - count + d
        return count if count <= t.ndim_ else 0
    if (type(given) is not tuple and type(given) is not list) or len(given) > kMaxDims:
        return 0
    for one in given:
        d = read_dim(<PyObject*>one, t.ndim_)
        if d < 0:
            return 0
        for k in range(count):
            if dims[k] == d:
                return 0
        dims[count] = d
        count += 1
    return count


cdef object short_fourier_many(int kind, bint forward, bint two, PyObject** args, Py_ssize_t n, PyObject* kwnames):
    """(input, s=None, dim, norm=None): the real side is over the last dimension."""
    cdef PyObject* given[4]
    cdef int dims[64]
    cdef int count, norm, i
    cdef int64_t last
    cdef bint fresh = False
    cdef object found
    if not read_named(("input", "s", "dim", "norm"), args, n, kwnames, given) or given[0] == NULL or not is_tensor(given[0]):
        return NotImplemented
    if given[1] != NULL and given[1] != <PyObject*>None or not takes(kind, <Tensor>given[0]):
        return NotImplemented
    found = <Tensor>given[0]
    norm = read_norm(given[3], forward)
    count = read_many(None if given[2] == NULL else <object>given[2], two, <Tensor>found, dims)
    if norm < 0 or count == 0:
        return NotImplemented
    for i in range(count):
        if (<Tensor>found).shape_[dims[i]] < 1:
            return NotImplemented
    last = (<Tensor>found).shape_[dims[count - 1]]
    if kind == FOURIER_FROM_HALF:
        last = 2 * (last - 1)
    if last < 1:
        return NotImplemented
    if kind == FOURIER_COMPLEX:
        fresh = (<Tensor>found).code == F32 or (<Tensor>found).code == F64
        found = as_complex(<Tensor>found)
    if kind != FOURIER_FROM_HALF:
        found = fourier_over(<Tensor>found, kind, dims[count - 1], last, not forward, norm, conjugates(kind, forward), fresh)
        fresh = True
    for i in range(count - 2, -1, -1):
        if found is None:
            return NotImplemented
        found = fourier_over(<Tensor>found, FOURIER_COMPLEX, dims[i], (<Tensor>found).shape_[dims[i]], not forward, norm, False, fresh)
        fresh = True
    if kind == FOURIER_FROM_HALF and found is not None:
        found = fourier_over(<Tensor>found, kind, dims[count - 1], last, not forward, norm, conjugates(kind, forward), False)
    return NotImplemented if found is None else found


cdef object short_fft(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_fourier(FOURIER_COMPLEX, True, args, n, kwnames)


cdef object short_fft2(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_fourier_many(FOURIER_COMPLEX, True, True, args, n, kwnames)


cdef object short_fftn(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_fourier_many(FOURIER_COMPLEX, True, False, args, n, kwnames)


cdef object short_ifft(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_fourier(FOURIER_COMPLEX, False, args, n, kwnames)


cdef object short_ifft2(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_fourier_many(FOURIER_COMPLEX, False, True, args, n, kwnames)


cdef object short_ifftn(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_fourier_many(FOURIER_COMPLEX, False, False, args, n, kwnames)


cdef object short_rfft(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_fourier(FOURIER_TO_HALF, True, args, n, kwnames)


cdef object short_rfft2(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_fourier_many(FOURIER_TO_HALF, True, True, args, n, kwnames)


cdef object short_rfftn(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_fourier_many(FOURIER_TO_HALF, True, False, args, n, kwnames)


cdef object short_ihfft(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_fourier(FOURIER_TO_HALF, False, args, n, kwnames)


cdef object short_ihfft2(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_fourier_many(FOURIER_TO_HALF, False, True, args, n, kwnames)


cdef object short_ihfftn(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_fourier_many(FOURIER_TO_HALF, False, False, args, n, kwnames)


cdef object short_irfft(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_fourier(FOURIER_FROM_HALF, False, args, n, kwnames)


cdef object short_irfft2(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_fourier_many(FOURIER_FROM_HALF, False, True, args, n, kwnames)


cdef object short_irfftn(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_fourier_many(FOURIER_FROM_HALF, False, False, args, n, kwnames)


cdef object short_hfft(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_fourier(FOURIER_FROM_HALF, True, args, n, kwnames)


cdef object short_hfft2(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_fourier_many(FOURIER_FROM_HALF, True, True, args, n, kwnames)


cdef object short_hfftn(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_fourier_many(FOURIER_FROM_HALF, True, False, args, n, kwnames)


add_shortcut("fft_fft", short_fft)
add_shortcut("fft_fft2", short_fft2)
add_shortcut("fft_fftn", short_fftn)
add_shortcut("fft_ifft", short_ifft)
add_shortcut("fft_ifft2", short_ifft2)
add_shortcut("fft_ifftn", short_ifftn)
add_shortcut("fft_rfft", short_rfft)
add_shortcut("fft_rfft2", short_rfft2)
add_shortcut("fft_rfftn", short_rfftn)
add_shortcut("fft_ihfft", short_ihfft)
add_shortcut("fft_ihfft2", short_ihfft2)
add_shortcut("fft_ihfftn", short_ihfftn)
add_shortcut("fft_irfft", short_irfft)
add_shortcut("fft_irfft2", short_irfft2)
add_shortcut("fft_irfftn", short_irfftn)
add_shortcut("fft_hfft", short_hfft)
add_shortcut("fft_hfft2", short_hfft2)
add_shortcut("fft_hfftn", short_hfftn)
