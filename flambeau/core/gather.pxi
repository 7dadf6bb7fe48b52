# Rows by number, the case that loops over data hit most: dense operands, no history, one kernel call.

cdef uintptr_t _take_kernels[17]  # by element size; 0 until the ops floor has loaded one


def set_take_kernel(int size, uintptr_t address):
    """The row-taking kernel for elements of a size (kernels/gather.py describes its desc)."""
    _take_kernels[size] = address


cdef Tensor take_dense(Tensor table, int dim, Tensor index, bint wraps):
    """table with dimension dim replaced by index's dimensions; None where the general path must do it.

    Both row-major, index int64. None also for an index out of range: the general path raises.
    """
    cdef int64_t shape[64]
    cdef int64_t desc[8]
    cdef void* args[4]
    cdef int64_t flag = 0
    cdef int64_t outer = 1, inner = 1, tasks, grain
    cdef int d, item = ITEM[table.code], n = 0
    cdef kernel_fn kernel = <kernel_fn>_take_kernels[item]
    cdef Tensor r
    if kernel == NULL or not table.dense or not index.dense or index.code != I64:
        return None
    if dim >= table.ndim_ or table.ndim_ + index.ndim_ > kMaxDims:
        return None
    for d in range(dim):
        outer *= table.shape_[d]
        shape[n] = table.shape_[d]
        n += 1
    for d in range(index.ndim_):
        shape[n] = index.shape_[d]
        n += 1
    for d in range(dim + 1, table.ndim_):
        inner *= table.shape_[d]
        shape[n] = table.shape_[d]
        n += 1
    if index.count == 0 or outer == 0 or inner == 0 or table.shape_[dim] == 0:
        return None
    r = new_dense(table.code, n, shape)
    desc[0], desc[1], desc[2] = outer, index.count, table.shape_[dim]
    desc[3] = -table.shape_[dim] if wraps else 0
    desc[4], desc[5] = table.shape_[dim] * inner * item, inner * item
    desc[6], desc[7] = inner, item
    args[0], args[1], args[2], args[3] = r.data_ptr_, table.data_ptr_, index.data_ptr_, &flag
    tasks = outer * index.count
    if r.count <= 16384:
        kernel(args, desc, 0, tasks, 0)
    else:
        grain = 16384 * tasks // r.count
        with nogil:
            parallel_for(kernel, args, desc, tasks, grain if grain > 0 else 1)
    return None if flag else r


def take_rows(Tensor table, int dim, Tensor index, wraps):
    """Rows by number for dense operands; None where the general path must do it (or raise)."""
    return take_dense(table, dim, index, wraps)


# ---- flags -----------------------------------------------------------------------------------------

def new_flag():
    """A number for kernels to raise: zero."""
    cdef int64_t one = 1
    cdef Tensor r = new_dense(I64, 1, &one)
    (<int64_t*>r.data_ptr_)[0] = 0
    return r


def read_flag(Tensor flag):
    """The first element as a number. Unlike item() it does not keep a call from being replayed: its answer must be the same."""
    return read_element(flag.data_ptr_, flag.code)


def shares_memory(Tensor a, Tensor b):
    """Are they over the same memory?"""
    return a.storage.data == b.storage.data


def offset_between(Tensor part, Tensor whole):
    """Elements from the first of whole to the first of part, a view of it."""
    return (part.data_ptr_ - whole.data_ptr_) // ITEM[whole.code]


def is_offset_multiple(Tensor t, int64_t n):
    """Does t start at a multiple of n elements in its storage?"""
    return (t.data_ptr_ - t.storage.data) // ITEM[t.code] % n == 0


# ---- writing rows, and elements along a dimension --------------------------------------------------

cdef inline bint all_zero_strides(Tensor t) noexcept:
    cdef int d
    for d in range(t.ndim_):
        if t.strides_[d] != 0 and t.shape_[d] != 1:
            return False
    return True


cdef int run_check(uintptr_t check, Tensor index, int64_t rows, int64_t lowest) except -1:
    """Are all of a row-major index's numbers in lowest..rows-1?"""
    cdef int64_t desc[4]
    cdef void* args[4]
    cdef int64_t flag = 0
    cdef kernel_fn kernel = <kernel_fn>check
    desc[0], desc[1], desc[2], desc[3] = rows, lowest, 0, 1
    args[0], args[1], args[2], args[3] = NULL, NULL, index.data_ptr_, &flag
    if index.count <= 65536:
        kernel(args, desc, 0, index.count, 0)
    else:
        with nogil:
            parallel_for(kernel, args, desc, index.count, 65536)
    return 0 if flag else 1


def check_indices(uintptr_t check, Tensor index, int64_t rows, int64_t lowest):
    """Are all of a row-major int64 index's numbers in lowest..rows-1?"""
    return index.count == 0 or bool(run_check(check, index, rows, lowest))


def put_rows(uintptr_t kernel, uintptr_t check, Tensor table, int dim, Tensor index, Tensor values, wraps):
    """Combine values into the table's rows by number (kernels/scatter.py): small dense operands only.

    False, with nothing written, where the general path must do it (or raise).
    """
    cdef int64_t desc[11]
    cdef void* args[4]
    cdef int64_t flag = 0
    cdef int64_t outer = 1, inner = 1, rows
    cdef int d, item = ITEM[table.code]
    cdef bint repeated = all_zero_strides(values)
    if not table.dense or not index.dense or index.code != I64 or dim >= table.ndim_ or values.code != table.code:
        return False
    if values.storage == table.storage or not (values.dense or repeated):
        return False
    for d in range(dim):
        outer *= table.shape_[d]
    for d in range(dim + 1, table.ndim_):
        inner *= table.shape_[d]
    rows = table.shape_[dim]
    if values.count != outer * inner * index.count or values.count == 0 or values.count > 32768:
        return False
    if not run_check(check, index, rows, -rows if wraps else 0):
        return False
    desc[0], desc[1], desc[2], desc[3], desc[4] = outer, index.count, rows, inner, 0
    desc[5], desc[6], desc[7] = rows * inner * item, inner * item, item
    if repeated:
        desc[8] = desc[9] = desc[10] = 0
        if inner == 1:
            desc[10] = item
    else:
        desc[8], desc[9], desc[10] = index.count * inner * item, inner * item, item
    args[0], args[1], args[2], args[3] = table.data_ptr_, values.data_ptr_, index.data_ptr_, &flag
    (<kernel_fn>kernel)(args, desc, 0, rows, 0)
    table.storage.version += 1
    return True


def run_along(uintptr_t kernel, uintptr_t check, Tensor written, Tensor other, Tensor index, int dim, scatters, wraps):
    """Elements along a dimension: gather (check is 0) into `written`, or scatter `other` into it.

    index and the value operand have one shape. False where an index is out of range.
    """
    cdef Tensor table = written if scatters else other
    cdef Tensor value = other if scatters else written
    cdef int64_t desc[11 + 4 * 64]
    cdef void* args[4]
    cdef int64_t flag = 0
    cdef int64_t lines = 1, rows = 1, step = ITEM[table.code], grain
    cdef int d, n = index.ndim_, column = -1, field = 11
    if index.count == 0:
        return True
    if table.ndim_:
        rows = table.shape_[dim]
        step = table.strides_[dim] * ITEM[table.code]
    if rows == 0 or (check != 0 and not run_check(check, index, rows, -rows if wraps else 0)):
        return False
    if n > 1 and dim != n - 1:
        column = n - 1
    elif n > 1 and index.shape_[dim] <= 4 and index.shape_[n - 2] > index.shape_[dim]:
        column = n - 2  # short lines: go across them
    if column >= 0:
        lines = index.shape_[column]
    desc[0], desc[1], desc[2] = 0, lines, index.shape_[dim] if n else 1
    desc[3], desc[4] = rows, -rows if wraps else 0
    desc[5] = index.strides_[column] * 8 if column >= 0 else 0
    desc[6] = value.strides_[column] * ITEM[value.code] if column >= 0 else 0
    desc[7] = table.strides_[column] * ITEM[table.code] if column >= 0 else 0
    desc[8] = index.strides_[dim] * 8 if n else 0
    desc[9] = value.strides_[dim] * ITEM[value.code] if n else 0
    desc[10] = step
    for d in range(n):
        if d == dim or d == column:
            continue
        desc[0] += 1
        lines *= index.shape_[d]
        desc[field], desc[field + 1] = index.shape_[d], index.strides_[d] * 8
        desc[field + 2], desc[field + 3] = value.strides_[d] * ITEM[value.code], table.strides_[d] * ITEM[table.code]
        field += 4
    args[0], args[1], args[2], args[3] = written.data_ptr_, other.data_ptr_, index.data_ptr_, &flag
    if index.count <= 16384:
        (<kernel_fn>kernel)(args, desc, 0, lines, 0)
    else:
        grain = 16384 * lines // index.count
        if column == n - 1 and grain < 64:  # narrow stripes of columns would touch every cache line often
            grain = min(64, (lines + get_num_threads() - 1) // get_num_threads())
        with nogil:
            parallel_for(<kernel_fn>kernel, args, desc, lines, grain if grain > 0 else 1)
    if scatters:
        written.storage.version += 1
    return not flag


cdef enum:
    SHORT_PARTS = 64  # bytes of a row of each tensor, on average, up to which rows are joined one by one


# ---- joining ---------------------------------------------------------------------------------------

def join_dense(tensors, dim, bint fresh):
    """See `join_small`."""
    return join_small(tensors, dim, fresh)


cdef Tensor join_small(object tensors, object dim, bint fresh):
    """Small dense tensors of one type, or of short rows, side by side along dim (a new dimension when `fresh`).

    None where there is more to do: history, promotion, long copies, or an error to raise.
    """
    cdef Py_ssize_t n, k
    cdef int64_t shape[64]
    cdef int64_t outer = 1, row
    cdef int d, at, ndim
    cdef Tensor first
    cdef Tensor t
    cdef Tensor r
    cdef JoinedRows all
    cdef void* args[1]
    if type(tensors) is not list and type(tensors) is not tuple or type(dim) is not int:
        return None
    n = len(tensors)
    if n == 0 or not isinstance(tensors[0], Tensor):
        return None
    first = <Tensor>tensors[0]
    ndim = first.ndim_
    if ndim + fresh == 0 or ndim >= kMaxDims or dim < -(ndim + fresh) or dim >= ndim + fresh:
        return None
    at = dim if dim >= 0 else dim + ndim + fresh
    shape[at] = 0
    for d in range(ndim):
        shape[d + 1 if fresh and d >= at else d] = first.shape_[d]
    shape[at] = 0
    for k in range(n):
        if not isinstance(tensors[k], Tensor):
            return None
        t = <Tensor>tensors[k]
        if t.code != first.code or not t.dense or t.ndim_ != ndim or wants_history(t):
            return None
        for d in range(ndim):
            if t.shape_[d] != first.shape_[d] and (fresh or d != at):
                return None
        shape[at] += 1 if fresh else t.shape_[at]
    for d in range(at):
        outer *= shape[d]
    r = new_dense(first.code, ndim + fresh, shape)
    if r.count == 0:
        return r
    all.to = r.data_ptr_
    for k in range(n):
        t = <Tensor>tensors[k]
        row = t.count // outer * ITEM[t.code]
        all.add(t.data_ptr_, row)
    if all.row_bytes > SHORT_PARTS * n and r.count * ITEM[r.code] >= 1 << 20:
        return None
    args[0] = &all
    with nogil:
        parallel_for(join_rows, args, NULL, outer, COPY_GRAIN // all.row_bytes + 1)
    return r
