# x[key] and x[key] = value for the keys that loops are full of; the ops floor (ops/index.py) does the rest.
#
# Numbers, slices, None and Ellipsis make views. Small dense tensors are read and written here through masks and
# index tensors too; large ones have kernels.

cdef enum:
    SMALL_INDEX = 4096   # elements of a mask or index up to which a plain loop is as good as a kernel
    LONG_BLOCK = 1024    # bytes a number of an index stands for from which on a kernel is worth its call


cdef object _read_index = None
cdef object _write_index = None


cdef inline bint plain_access(Tensor t) except -1:
    """Does nothing want to see operations on t?"""
    return mode_stack_depth() == 0 and (type(t) is Tensor or not overrides(type(t)))


def read_index(Tensor t, key):
    """t[key]."""
    return get_index(t, key)


def write_index(Tensor t, key, value):
    """t[key] = value."""
    set_index(t, key, value)


cdef object get_index(Tensor t, object key):
    cdef Tensor r = None
    if mode_stack_depth() >= TAPE_DEPTH:
        return call_taped_tuple(_read_index, (t, key))
    if plain_access(t):
        if type(key) is Tensor:
            if (<Tensor>key).ndim_ > 0:
                r = get_by_tensor(t, <Tensor>key)
            elif CATEGORY[(<Tensor>key).code] == 1 and t.ndim_ > 0:
                r = select_first(t, read_element((<Tensor>key).data_ptr_, (<Tensor>key).code))
        elif type(key) is list:
            r = rows_from_list(<list>key)
            r = None if r is None or wants_history(t) else take_dense(t, 0, r, True)
        else:
            r = index_basic(t, key)
            if r is None and type(key) is tuple:
                r = get_by_tuple(t, <tuple>key)
        if r is not None:
            return r
    return _operators["getitem"](t, key)


cdef Tensor get_by_tensor(Tensor t, Tensor key):
    """t[key] for a mask or a tensor of row numbers; None where the general path must do it."""
    cdef Tensor positions
    cdef Tensor rows
    if key.code == BOOL:
        if not masks_leading(t, key):
            return None
        positions, rows = mask_positions(key), merge_leading(t, key.ndim_)
    elif key.code == I64:
        positions, rows = key, t
    else:
        return None
    if wants_history(t):
        return _operators["select_rows"](rows, 0, positions, True, "index") if key.code == BOOL else None
    return take_dense(rows, 0, positions, True)


cdef Tensor rows_from_list(list numbers):
    """A list of ints as an index tensor; None for any other list."""
    cdef int64_t n = len(numbers), i
    cdef Tensor r
    if n == 0 or n > SMALL_INDEX:
        return None
    r = new_dense(I64, 1, &n)
    for i in range(n):
        if not read_int(PyList_GET_ITEM(numbers, i), <int64_t*>r.data_ptr_ + i):
            return None
    return r


# ---- masks -----------------------------------------------------------------------------------------

cdef bint masks_leading(Tensor t, Tensor mask) noexcept:
    """Is it a small dense mask of a dense tensor's leading dimensions?"""
    cdef int d
    if not t.dense or not mask.dense or mask.count > SMALL_INDEX or mask.ndim_ > t.ndim_ or t.count == 0:
        return False
    for d in range(mask.ndim_):
        if mask.shape_[d] != t.shape_[d]:
            return False
    return True


cdef Tensor mask_positions(Tensor mask):
    """Row-major positions of a small dense mask's true elements."""
    cdef const uint8_t* bits = <const uint8_t*>mask.data_ptr_
    cdef int64_t found = 0, i
    cdef int64_t* out
    cdef Tensor r
    for i in range(mask.count):
        found += bits[i] != 0
    r = new_dense(I64, 1, &found)
    out = <int64_t*>r.data_ptr_
    found = 0
    for i in range(mask.count):
        if bits[i]:
            out[found] = i
            found += 1
    return r


def small_positions(Tensor mask):
    """Row-major positions of a bool tensor's true elements; None where that is work for a kernel."""
    return mask_positions(mask) if mask.dense and mask.count <= SMALL_INDEX else None


cdef Tensor merge_leading(Tensor t, int dims):
    """A dense tensor's first dimensions as one."""
    cdef int64_t shape[64]
    cdef int d
    if dims == 1:
        return t
    shape[0] = 1
    for d in range(dims):
        shape[0] *= t.shape_[d]
    for d in range(dims, t.ndim_):
        shape[1 + d - dims] = t.shape_[d]
    return <Tensor>sized_view(t, 1 + t.ndim_ - dims, shape)


# ---- index tensors ---------------------------------------------------------------------------------

cdef Tensor point_offsets(Tensor t, PyObject** key, int n):
    """Element offsets in a dense tensor of t[key[0], key[1], ...], small dense int64 tensors of one shape.

    None where the general path must do it (or raise).
    """
    cdef Tensor first
    cdef Tensor index
    cdef Tensor r
    cdef int64_t* at
    cdef int64_t i, place
    cdef int k
    if n > t.ndim_ or not t.dense:
        return None
    for k in range(n):
        if type(<object>key[k]) is not Tensor:
            return None
        index = <Tensor>key[k]
        if index.code != I64 or not index.dense or index.ndim_ == 0 or not same_shape(index, <Tensor>key[0]):
            return None
    first = <Tensor>key[0]
    if first.count > SMALL_INDEX or first.ndim_ + t.ndim_ - n > kMaxDims:
        return None
    r = new_dense(I64, first.ndim_, first.shape_)
    at = <int64_t*>r.data_ptr_
    memset(at, 0, r.count * sizeof(int64_t))
    for k in range(n):
        index = <Tensor>key[k]
        for i in range(r.count):
            place = (<int64_t*>index.data_ptr_)[i]
            if place < -t.shape_[k] or place >= t.shape_[k]:
                return None
            at[i] += (place + t.shape_[k] if place < 0 else place) * t.strides_[k]
    return r


cdef int64_t block_after(Tensor t, int dims) noexcept:
    """Bytes of a dense tensor's block behind its first dimensions."""
    cdef int64_t block = ITEM[t.code]
    cdef int d
    for d in range(dims, t.ndim_):
        block *= t.shape_[d]
    return block


cdef Tensor get_by_tuple(Tensor t, tuple key):
    """t[i, j, ...] for index tensors, or t[:, i, :] for one; None where the general path must do it."""
    cdef int n = <int>PyTuple_GET_SIZE(key), k, dim = -1
    if n > t.ndim_ or wants_history(t):
        return None
    if type(key[0]) is Tensor:
        return get_points(t, key, n)
    for k in range(n):
        if type(key[k]) is Tensor:
            if dim >= 0 or (<Tensor>key[k]).code != I64 or (<Tensor>key[k]).ndim_ == 0:
                return None
            dim = k
        elif type(key[k]) is not slice or key[k] != _everything:
            return None
    return None if dim < 0 else take_dense(t, dim, <Tensor>key[dim], True)


cdef object _everything = slice(None)


cdef Tensor get_points(Tensor t, tuple key, int n):
    cdef PyObject* given[64]
    cdef int64_t shape[64]
    cdef int64_t block = block_after(t, n), i
    cdef Tensor offsets
    cdef Tensor r
    cdef int k
    for k in range(n):
        given[k] = PyTuple_GET_ITEM(key, k)
    offsets = point_offsets(t, given, n)
    if offsets is None or block > LONG_BLOCK:
        return None
    memcpy(shape, offsets.shape_, offsets.ndim_ * sizeof(int64_t))
    for k in range(n, t.ndim_):
        shape[offsets.ndim_ + k - n] = t.shape_[k]
    r = new_dense(t.code, offsets.ndim_ + t.ndim_ - n, shape)
    for i in range(offsets.count):
        memcpy(r.data_ptr_ + i * block, t.data_ptr_ + (<int64_t*>offsets.data_ptr_)[i] * ITEM[t.code], block)
    return r


# ---- writing ---------------------------------------------------------------------------------------

cdef inline bint is_real_number(object value) noexcept:
    return type(value) is float or type(value) is int or type(value) is bool


cdef int set_index(Tensor t, object key, object value) except -1:
    cdef Tensor part
    if mode_stack_depth() >= TAPE_DEPTH:
        call_taped_tuple(_write_index, (t, key, value))
        return 0
    if plain_access(t):
        if type(key) is Tensor:
            if is_real_number(value) and (<Tensor>key).code == BOOL and fill_masked(t, <Tensor>key, value):
                return 0
            if (<Tensor>key).code == I64 and put_points(t, (key,), value):
                return 0
        elif type(value) is Tensor or is_real_number(value):
            part = index_basic(t, key)
            if part is not None:
                return write_part(part, value)
            if type(key) is tuple and put_points(t, <tuple>key, value):
                return 0
    _operators["setitem"](t, key, value)
    return 0


cdef int write_part(Tensor part, object value) except -1:
    """Write a tensor, which broadcasts, or a number into a view."""
    if type(value) is Tensor:
        copy_(part, value)
        return 0
    if wants_history(part) or CATEGORY[part.code] == 3:
        copy_(part, from_data(value, DTYPES[part.code]))
        return 0
    check_writable(part, "copy_")
    fill_number(part, value)
    part.storage.version += 1
    return 0


cdef bint fill_masked(Tensor t, Tensor mask, object value) except -1:
    """t[mask] = number for a small dense mask of t's own shape; False where the general path must do it."""
    cdef char element[16]
    cdef int item = ITEM[t.code]
    cdef int64_t i
    if mask.ndim_ != t.ndim_ or t.ndim_ == 0 or not masks_leading(t, mask) or wants_history(t):
        return False
    if mask.storage == t.storage or CATEGORY[t.code] == 3:
        return False
    check_writable(t, "index_put_")
    write_element(element, t.code, value)
    for i in range(mask.count):
        if (<const uint8_t*>mask.data_ptr_)[i]:
            memcpy(t.data_ptr_ + i * item, element, item)
    t.storage.version += 1
    return True


cdef bint put_points(Tensor t, tuple key, object value) except -1:
    """t[i, j, ...] = value for index tensors: a number, or a tensor of just what is named, of t's type.

    False, with nothing written, where the general path must do it (or raise). A place named twice gets the later value.
    """
    cdef PyObject* given[64]
    cdef char repeated[LONG_BLOCK + 16]
    cdef int n = <int>PyTuple_GET_SIZE(key), k
    cdef int64_t block = block_after(t, n), step, i
    cdef Tensor offsets
    cdef char* source
    if n > t.ndim_ or wants_history(t) or block > LONG_BLOCK:
        return False
    for k in range(n):
        given[k] = PyTuple_GET_ITEM(key, k)
    offsets = point_offsets(t, given, n)
    if offsets is None or offsets.count == 0 or block == 0:
        return False
    if type(value) is Tensor:
        if not fits_points(<Tensor>value, t, offsets, block):
            return False
        source, step = (<Tensor>value).data_ptr_, block
    elif is_real_number(value) and CATEGORY[t.code] < 3:
        write_element(repeated, t.code, value)
        for i in range(1, block // ITEM[t.code]):
            memcpy(repeated + i * ITEM[t.code], repeated, ITEM[t.code])
        source, step = repeated, 0
    else:
        return False
    check_writable(t, "index_put_")
    for i in range(offsets.count):
        memcpy(t.data_ptr_ + (<int64_t*>offsets.data_ptr_)[i] * ITEM[t.code], source + i * step, block)
    t.storage.version += 1
    return True


cdef bint fits_points(Tensor value, Tensor t, Tensor offsets, int64_t block) except -1:
    """Is it dense, of t's type, without history, and of the shape of the points named?"""
    cdef int d, rest = value.ndim_ - offsets.ndim_
    if value.code != t.code or not value.dense or wants_history(value) or value.storage == t.storage or rest < 0:
        return False
    for d in range(offsets.ndim_):
        if value.shape_[d] != offsets.shape_[d]:
            return False
    for d in range(rest):
        if rest > t.ndim_ or value.shape_[offsets.ndim_ + d] != t.shape_[t.ndim_ - rest + d]:
            return False
    return value.count * ITEM[t.code] == offsets.count * block
