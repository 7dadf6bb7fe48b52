# Short cuts between tensors and NumPy's arrays over the same memory.

cdef object _ndarray = None        # NumPy's class, once NumPy was used
cdef list _array_types = None      # its dtypes by our codes, None where it has none


def set_numpy(ndarray, array_types):
    """Tell the core of NumPy's array class, and of its dtypes by our codes."""
    global _ndarray, _array_types
    _ndarray, _array_types = ndarray, array_types


cdef Tensor over_array(object array):
    """A tensor over an array's memory; None where that takes a closer look."""
    if _ndarray is None or type(array) is not _ndarray:
        return None
    try:
        return from_dlpack_capsule(array.__dlpack__())
    except BufferError:
        return None  # read-only, or a type or strides that we lack


cdef object short_from_numpy(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef Tensor r = None
    if n == 1 and kwnames == NULL:
        r = over_array(<object>args[0])
    return NotImplemented if r is None else r


cdef object short_tensor(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    """A copy of an array; other data is Python's to read."""
    cdef Tensor r = None
    if n == 1 and kwnames == NULL:
        r = over_array(<object>args[0])
    return NotImplemented if r is None or not r.dense else clone_of(r)


cdef object short_numpy(PyObject** args, Py_ssize_t n, PyObject* kwnames):
    cdef Tensor t
    if n != 1 or kwnames != NULL or _array_types is None or not is_tensor(args[0]):
        return NotImplemented
    t = <Tensor>args[0]
    if needs_gradient(t) or t.count == 0 or is_float8(t.code) or _array_types[t.code] is None or t.storage.flags & kReadOnly:
        return NotImplemented
    return _ndarray(int_tuple(t.shape_, t.ndim_), _array_types[t.code], storage_keeper(t), t.data_ptr_ - t.storage.data,
                    tuple([t.strides_[i] * ITEM[t.code] for i in range(t.ndim_)]))


add_shortcut("from_numpy", short_from_numpy)
add_shortcut("as_tensor", short_from_numpy)
add_shortcut("tensor", short_tensor)
add_shortcut("numpy", short_numpy)
