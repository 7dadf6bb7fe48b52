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
    if index.count == 0 or outer == 0 or inner == 0:
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
