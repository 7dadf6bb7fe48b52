# Short cuts for ops that do next to nothing: conversions to what a tensor is already, fills, comparisons of contents.

cdef object short_contiguous(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    if kwnames != NULL or n != 1 or not is_tensor(args[0]) or not (<Tensor>args[0]).dense:
        return NotImplemented
    return <object>args[0]


cdef object short_real(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    """What is a number's own real part, conjugate or positive."""
    if kwnames != NULL or n != 1 or not is_tensor(args[0]) or (<Tensor>args[0]).code == BOOL or CATEGORY[(<Tensor>args[0]).code] == 3:
        return NotImplemented
    return <object>args[0]


cdef object short_to(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    """x.to(what it is already): a dtype, the CPU, or a tensor of its dtype."""
    cdef object to
    if kwnames != NULL or n != 2 or not is_tensor(args[0]):
        return NotImplemented
    to = <object>args[1]
    if type(to) is dtype:
        return <object>args[0] if (<dtype>to).code == (<Tensor>args[0]).code else NotImplemented
    if type(to) is Tensor:
        return <object>args[0] if (<Tensor>to).code == (<Tensor>args[0]).code else NotImplemented
    if to is CPU or (type(to) is str and to == "cpu") or (type(to) is device and to == CPU):
        return <object>args[0]
    return NotImplemented


cdef object filled(Tensor t, object value):
    if wants_history(t) or CATEGORY[t.code] == 3 or is_float8(t.code):
        return NotImplemented
    check_writable(t, "fill_")
    fill_number(t, value)
    t.storage.version += 1
    return t


cdef object short_zero_(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    if kwnames != NULL or n != 1 or not is_tensor(args[0]):
        return NotImplemented
    return filled(<Tensor>args[0], 0)


cdef object short_fill_(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    if kwnames != NULL or n != 2 or not is_tensor(args[0]) or CATEGORY[(<Tensor>args[0]).code] != 2:
        return NotImplemented
    if type(<object>args[1]) is not float and type(<object>args[1]) is not int:
        return NotImplemented
    return filled(<Tensor>args[0], <object>args[1])


cdef object short_equal(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    """equal(a, b) of small row-major tensors of one type: floats by value (NaN differs from itself), others by their bytes."""
    cdef Tensor a
    cdef Tensor b
    cdef int64_t i
    if kwnames != NULL or n != 2 or not is_tensor(args[0]) or not is_tensor(args[1]):
        return NotImplemented
    a, b = <Tensor>args[0], <Tensor>args[1]
    if a.code != b.code or not a.dense or not b.dense or a.count > SMALL_INDEX:
        return NotImplemented
    if not same_shape(a, b):
        return False
    if CATEGORY[a.code] < 2:
        return memcmp(a.data_ptr_, b.data_ptr_, a.count * ITEM[a.code]) == 0
    if a.code == F32:
        for i in range(a.count):
            if (<float*>a.data_ptr_)[i] != (<float*>b.data_ptr_)[i]:
                return False
        return True
    if a.code == F64:
        for i in range(a.count):
            if (<double*>a.data_ptr_)[i] != (<double*>b.data_ptr_)[i]:
                return False
        return True
    return NotImplemented


cdef object short_join(PyObject** args, Py_ssize_t n, PyObject* kwnames, bint fresh):
    """Small dense tensors of one type side by side; the dimension may be named."""
    cdef object dim = 0
    cdef Tensor made
    if n == 2 and kwnames == NULL:
        dim = <object>args[1]
    elif n == 1 and kwnames != NULL and <object>kwnames == ("dim",):
        dim = <object>args[1]
    elif n != 1 or kwnames != NULL:
        return NotImplemented
    made = join_small(<object>args[0], dim, fresh)
    return NotImplemented if made is None else made


cdef object short_cat(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_join(args, n, kwnames, False)


cdef object short_stack(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    return short_join(args, n, kwnames, True)


add_shortcut("contiguous", short_contiguous)
add_shortcut("real", short_real)
add_shortcut("to", short_to)
add_shortcut("zero_", short_zero_)
add_shortcut("fill_", short_fill_)
add_shortcut("equal", short_equal)
add_shortcut("cat", short_cat)
add_shortcut("stack", short_stack)
