# Short cuts for ops that make or fill tensors.

cdef bint read_options(PyObject** args, Py_ssize_t n, PyObject* kwnames, int* code, bint* needs_grad) except -1:
    """The keywords dtype, device and requires_grad of a function that makes tensors; False where there are others."""
    cdef Py_ssize_t k
    cdef object name
    cdef object value
    if kwnames == NULL:
        return True
    for k in range(PyTuple_GET_SIZE(<object>kwnames)):
        name = <object>PyTuple_GET_ITEM(<object>kwnames, k)
        value = <object>args[n + k]
        if name == "dtype":
            if value is not None:
                if type(value) is not dtype:
                    return False
                code[0] = (<dtype>value).code
        elif name == "device":
            if value is not None and value is not CPU and not (type(value) is str and value == "cpu"):
                return False
        elif name == "requires_grad":
            if type(value) is not bool:
                return False
            needs_grad[0] = value
        else:
            return False
    return True


cdef Tensor new_blank(PyObject** args, Py_ssize_t n, PyObject* kwnames, int code):
    """An uninitialised tensor for f(*size, dtype=, device=, requires_grad=); None where Python must look."""
    cdef int64_t shape[64]
    cdef bint needs_grad = False
    cdef int dims, d
    cdef Tensor r
    if n == 0:
        return None
    dims = read_shape(args, n, shape)
    if dims < 0 or not read_options(args, n, kwnames, &code, &needs_grad):
        return None
    for d in range(dims):
        if shape[d] < 0:
            return None
    if needs_grad and CATEGORY[code] < 2:
        return None
    r = new_dense(code, dims, shape)
    r.needs_grad = needs_grad
    return r


cdef object filled_blank(PyObject** args, Py_ssize_t n, PyObject* kwnames, int code, long value):
    cdef Tensor r = new_blank(args, n, kwnames, code)
    return NotImplemented if r is None else fill_number(r, value)


cdef object short_empty(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef Tensor r = new_blank(args, n, kwnames, default_dtype_code)
    return NotImplemented if r is None else r


cdef object short_zeros(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return filled_blank(args, n, kwnames, default_dtype_code, 0)


cdef object short_ones(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return filled_blank(args, n, kwnames, default_dtype_code, 1)


cdef object short_new_zeros(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    if n < 2 or not is_tensor(args[0]):
        return NotImplemented
    return filled_blank(args + 1, n - 1, kwnames, (<Tensor>args[0]).code, 0)


cdef object filled_like(PyObject** args, Py_ssize_t n, PyObject* kwnames, object value):
    cdef bint needs_grad = False
    cdef int code
    cdef Tensor r
    if n != 1 or not is_tensor(args[0]) or not (<Tensor>args[0]).dense:
        return NotImplemented
    code = (<Tensor>args[0]).code
    if not read_options(args, n, kwnames, &code, &needs_grad) or (needs_grad and CATEGORY[code] < 2):
        return NotImplemented
    r = new_like(<Tensor>args[0], code)
    r.needs_grad = needs_grad
    return r if value is None else fill_number(r, value)


cdef object short_empty_like(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return filled_like(args, n, kwnames, None)


cdef object short_zeros_like(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return filled_like(args, n, kwnames, 0)


cdef object short_ones_like(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return filled_like(args, n, kwnames, 1)


# ---- random numbers --------------------------------------------------------------------------------

cdef object draw(Tensor t, int kind, double first, double second):
    """Fill a row-major tensor of floats from the default generator; NotImplemented for other types."""
    cdef _RandomRequest request
    cdef _CppGenerator* stream = (<Generator>default_generator).stream()
    cdef bint done
    if t.code != F32 and t.code != F64:
        return NotImplemented
    if t.count == 0:
        return t
    request.kind, request.out, request.n, request.dtype = kind, t.data_ptr_, t.count, t.code
    request.numbers[0], request.numbers[1] = first, second
    request.integers[0] = 1
    if t.count < _FILL_WITHOUT_GIL:
        done = _run_random_request(stream[0], request)
    else:
        with nogil:
            done = _run_random_request(stream[0], request)
    return t if done else NotImplemented


cdef object short_rand(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef Tensor r = new_blank(args, n, kwnames, default_dtype_code)
    return NotImplemented if r is None else draw(r, _UNIFORM, 0.0, 1.0)


cdef object short_randn(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef Tensor r = new_blank(args, n, kwnames, default_dtype_code)
    return NotImplemented if r is None else draw(r, _NORMAL, 0.0, 1.0)


cdef object draw_over(PyObject** args, Py_ssize_t n, PyObject* kwnames, int kind, double first, double second):
    """x.uniform_() and the like, with up to two numbers given by position."""
    cdef Tensor t
    cdef double given[2]
    cdef Py_ssize_t i
    given[0], given[1] = first, second
    if kwnames != NULL or n < 1 or n > 3 or not is_tensor(args[0]):
        return NotImplemented
    t = <Tensor>args[0]
    for i in range(n - 1):
        if type(<object>args[1 + i]) is not float and type(<object>args[1 + i]) is not int:
            return NotImplemented
        given[i] = <object>args[1 + i]
        if not -1e30 < given[i] < 1e30:
            return NotImplemented
    if (kind == _UNIFORM and given[0] > given[1]) or (kind == _NORMAL and given[1] < 0.0):
        return NotImplemented
    if not t.dense or (t.code != F32 and t.code != F64) or wants_history(t):
        return NotImplemented
    check_writable(t, "uniform_" if kind == _UNIFORM else "normal_")
    if draw(t, kind, given[0], given[1]) is NotImplemented:
        return NotImplemented
    t.storage.version += 1
    return t


cdef object short_uniform_(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return draw_over(args, n, kwnames, _UNIFORM, 0.0, 1.0)


cdef object short_normal_(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return draw_over(args, n, kwnames, _NORMAL, 0.0, 1.0)


add_shortcut("empty", short_empty)
add_shortcut("zeros", short_zeros)
add_shortcut("ones", short_ones)
add_shortcut("new_zeros", short_new_zeros)
add_shortcut("empty_like", short_empty_like)
add_shortcut("zeros_like", short_zeros_like)
add_shortcut("ones_like", short_ones_like)
add_shortcut("rand", short_rand)
add_shortcut("randn", short_randn)
add_shortcut("uniform_", short_uniform_)
add_shortcut("normal_", short_normal_)
