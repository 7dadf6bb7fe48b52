# Multi-tensor updates: the optimisers' fused kernels.

def launch_update(find, list lists, tuple scalars, tuple written):
    """Apply a fused update rule to every parameter: lists[k][i] is operand k of parameter i.

    find(dtype code) is the address of the rule's flat kernel, whose args are the written operands, all
    operands, then the scalars. Returns the numbers of the parameters it cannot run (operands that are not
    dense, or of unlike types or sizes).
    """
    cdef int k, m = <int>len(lists), s = <int>len(scalars), w = <int>len(written)
    cdef Py_ssize_t i
    cdef void* args[48]
    cdef double wide[24]
    cdef float narrow[24]
    cdef Tensor t
    cdef Tensor p
    cdef kernel_fn fn = NULL
    cdef int code = -1
    cdef int64_t n
    cdef bint fits
    cdef list left = []
    if m + w + s > 48 or s > 24:
        raise ValueError("launch_update: too many operands")
    for k in range(s):
        wide[k] = scalars[k]
        narrow[k] = <float>wide[k]
    for i in range(len(<list>lists[0])):
        p = <Tensor?>(<list>lists[0])[i]
        n = p.count
        fits = CATEGORY[p.code] == 2
        for k in range(m):
            t = <Tensor?>(<list>lists[k])[i]
            if t.code != p.code or t.count != n or not same_layout(t, p) or is_sparse(t):
                fits = False
            args[w + k] = t.data_ptr_
        if not fits:
            left.append(i)
            continue
        if p.code != code:
            code = p.code
            fn = <kernel_fn><uintptr_t>find(code)
        for k in range(w):
            t = <Tensor>(<list>lists[written[k]])[i]
            args[k] = t.data_ptr_
            t.storage.version += 1
        for k in range(s):
            args[w + m + k] = <void*>&wide[k] if code == F64 else <void*>&narrow[k]
        if n <= 16384:
            fn(args, NULL, 0, n, 0)
        else:
            with nogil:
                parallel_for(fn, args, NULL, n, launch_grain(16384, n))
    return left


cdef bint same_layout(Tensor a, Tensor b):
    """Are both packed, with their elements in the same order of memory?"""
    cdef int d
    if a.dense and b.dense:
        return True
    if not same_shape(a, b):
        return False
    for d in range(a.ndim_):
        if a.strides_[d] != b.strides_[d] and a.shape_[d] != 1:
            return False
    return packed(a)
