# Matrix products: from tensors to the plan for their sizes and strides, without Python on a hit.

cdef dict _product_plans = {}
cdef object _product_planner = None


def set_product_planner(planner):
    """planner(code, m, n, k, a_strides, b_strides, batch, biased, relu, accumulate, threads) -> Plan."""
    global _product_planner
    _product_planner = planner


cdef int raise_inner(str name, Tensor a, Tensor b, int64_t ka, int64_t kb) except -1:
    raise RuntimeError(f"{name}: inner sizes differ: {tuple(a.shape)} @ {tuple(b.shape)}: {ka} != {kb} "
                       "(mat1 and mat2 shapes cannot be multiplied)")


def product(Tensor a, Tensor b, bint ta=False, bint tb=False, Tensor bias=None, bint relu=False, str name="matmul",
            Tensor start=None):
    """a @ b (+ bias of the columns) of 2-d or batched 3-d tensors; ta, tb: with their last dimensions swapped.

    No history. A batch of 1 or a 2-d operand is repeated. `start`, of the result's shape and type, is added too;
    all is rounded once.
    """
    cdef int64_t key[14]
    cdef int la = a.ndim_ - 2
    cdef int lb = b.ndim_ - 2
    cdef int64_t m, n, ka, kb, batch_a, batch_b, batch
    cdef int64_t shape[3]
    cdef Tensor r
    if a.code != b.code:
        raise RuntimeError(f"{name}: expected m1 and m2 to have the same dtype, but got: {(<dtype>DTYPES[a.code]).name} != {(<dtype>DTYPES[b.code]).name}")
    m = a.shape_[la + 1] if ta else a.shape_[la]
    ka = a.shape_[la] if ta else a.shape_[la + 1]
    kb = b.shape_[lb + 1] if tb else b.shape_[lb]
    n = b.shape_[lb] if tb else b.shape_[lb + 1]
    if ka != kb:
        raise_inner(name, a, b, ka, kb)
    batch_a = a.shape_[0] if la else 1
    batch_b = b.shape_[0] if lb else 1
    batch = batch_a if batch_a != 1 else batch_b
    if batch_a != batch_b and batch_a != 1 and batch_b != 1:
        raise RuntimeError(f"{name}: batch sizes differ: {tuple(a.shape)} @ {tuple(b.shape)}: {batch_a} != {batch_b}")
    shape[0] = batch
    shape[1] = m
    shape[2] = n
    r = new_dense(a.code, 3, shape) if la or lb else new_dense(a.code, 2, &shape[1])
    if r.count == 0:
        return r
    if start is not None:
        if start.code != a.code or tuple(start.shape) != tuple(r.shape):
            raise RuntimeError(f"{name}: expected a start of shape {tuple(r.shape)} and the operands' type, got {tuple(start.shape)}")
        copy_into(r, start)
    if bias is not None and (bias.code != a.code or bias.ndim_ != 1 or bias.shape_[0] != n or bias.strides_[0] != 1):
        raise RuntimeError(f"{name}: expected a contiguous bias of {n} numbers of type {(<dtype>DTYPES[a.code]).name}, got shape {tuple(bias.shape)} "
                           f"of type {(<dtype>DTYPES[bias.code]).name}")
    key[0] = a.code
    key[1], key[2], key[3] = m, n, ka
    key[4] = a.strides_[la + 1] if ta else a.strides_[la]
    key[5] = a.strides_[la] if ta else a.strides_[la + 1]
    key[6] = b.strides_[lb + 1] if tb else b.strides_[lb]
    key[7] = b.strides_[lb] if tb else b.strides_[lb + 1]
    key[8] = batch
    key[9] = a.strides_[0] if la and batch_a != 1 else 0
    key[10] = b.strides_[0] if lb and batch_b != 1 else 0
    key[11] = (1 if bias is not None else 0) | (2 if relu else 0) | (4 if start is not None else 0)
    key[12] = get_num_threads()
    cdef bytes raw = PyBytes_FromStringAndSize(<char*>key, 13 * sizeof(int64_t))
    cdef object plan = _product_plans.get(raw)
    if plan is None:
        plan = _product_planner(a.code, m, n, ka, (key[4], key[5]), (key[6], key[7]),
                                (batch, key[9], key[10], m * n), bias is not None, relu, start is not None, key[12])
        if len(_product_plans) > 4096:
            _product_plans.clear()
        _product_plans[raw] = plan
    run_product(<Plan>plan, r, a, b, bias)
    return r


cdef int run_product(Plan plan, Tensor r, Tensor a, Tensor b, Tensor bias) except -1:
    cdef void* args[6]
    args[0] = r.data_ptr_
    args[1] = a.data_ptr_
    args[2] = b.data_ptr_
    args[3] = NULL if bias is None else bias.data_ptr_
    return run_phases(plan, args, 4)


# ---- products with history -------------------------------------------------------------------------

cdef object _product_vjp_hook = None


def set_product_vjp(fn):
    """fn(grad, a, b, b_swapped, needs a, needs b): cotangents of a @ b written in recorded ops."""
    global _product_vjp_hook
    _product_vjp_hook = fn


cdef class ProductNode(Node):
    """History of a @ b (or a @ b^T, plus a bias) of matrices, or of a (*, k) input and a matrix."""

    cdef Tensor a
    cdef Tensor b
    cdef int64_t version_a
    cdef int64_t version_b
    cdef bint swapped
    cdef bint biased
    cdef str label

    cdef str title(self):
        return self.label

    cdef int release(self) except -1:
        self.a = None
        self.b = None
        self.released = True
        return 0

    cdef object vjp(self, object grad):
        cdef Tensor g = <Tensor>grad
        cdef Tensor flat
        cdef object ga = None
        cdef object gb = None
        cdef object gc = None
        if self.released:
            raise_released(self)
        check_version(self.a, self.version_a, self)
        check_version(self.b, self.version_b, self)
        if self.biased and self.n2 is not None:
            gc = _sum_op(g, 0 if g.ndim_ == 2 else tuple(range(g.ndim_ - 1)))
        if grad_mode_on() or CATEGORY[g.code] == 3:
            ga, gb = _product_vjp_hook(g, self.a, self.b, self.swapped, self.n0 is not None, self.n1 is not None)
            return (ga, gb, gc) if self.biased else (ga, gb)
        flat = as_matrix(g)
        if self.n0 is not None:
            ga = product(flat, self.b, False, not self.swapped)
            if self.a.ndim_ != 2:
                ga = reshape_view(<Tensor>ga, tuple([self.a.shape_[i] for i in range(self.a.ndim_)]))
        if self.n1 is not None:
            if self.swapped:
                gb = product(flat, as_matrix(self.a), True, False)
            else:
                gb = product(as_matrix(self.a), flat, True, False)
        return (ga, gb, gc) if self.biased else (ga, gb)


cdef Tensor as_matrix(Tensor t):
    """t with all dimensions but the last as one; a copy only where it must be."""
    cdef int64_t shape[2]
    cdef int64_t steps[2]
    cdef Tensor r
    if t.ndim_ == 2:
        return t
    if not t.dense:
        r = new_dense(t.code, t.ndim_, t.shape_)
        copy_into(r, t)
        t = r
    r = alias_shape(t, 2)
    r.shape_[1] = t.shape_[t.ndim_ - 1]
    r.shape_[0] = t.count // r.shape_[1] if r.shape_[1] else 0
    r.strides_[0], r.strides_[1] = r.shape_[1], 1
    find_dense(r)
    return r


cdef bint wants_grad(Tensor t) except -1:
    if t.tracked_view:
        refresh_view(t)
    return t.needs_grad


def matrix_product(Tensor a, Tensor b, bint swapped, Tensor bias, str name, str label):
    """a @ b, or a @ b^T where `swapped`, plus a bias, recorded; None where the general path must decide.

    b is a matrix; a is one too, or has more leading dimensions when `swapped`.
    """
    cdef int64_t columns
    cdef Tensor r
    cdef Tensor flat
    cdef ProductNode n
    cdef int64_t shape[64]
    cdef int i
    cdef bint record = False
    if b.ndim_ != 2 or a.ndim_ < 2 or hooks_active() or (a.ndim_ != 2 and a.count == 0):
        return None
    columns = b.shape_[0] if swapped else b.shape_[1]
    if bias is not None and (bias.ndim_ != 1 or bias.code != a.code or bias.strides_[0] != 1 or bias.shape_[0] != columns):
        return None
    if grad_mode_on():
        record = wants_grad(a) or wants_grad(b) or (bias is not None and wants_grad(bias))
    flat = as_matrix(a)
    r = product(flat, b, False, swapped, bias, False, name)
    if a.ndim_ != 2:
        for i in range(a.ndim_ - 1):
            shape[i] = a.shape_[i]
        shape[a.ndim_ - 1] = r.shape_[1]
        flat = r
        r = alias_shape(flat, a.ndim_)
        memcpy(r.shape_, shape, a.ndim_ * sizeof(int64_t))
        dense_strides(r)
    if not record or CATEGORY[r.code] < 2:
        return r
    n = ProductNode.__new__(ProductNode)
    number_node(n)
    n.label = label
    n.a = a
    n.b = b
    n.version_a = a.storage.version
    n.version_b = b.storage.version
    n.swapped = swapped
    n.biased = bias is not None
    n.edges = 3 if n.biased else 2
    set_edge(n, 0, a)
    set_edge(n, 1, b)
    if n.biased:
        set_edge(n, 2, bias)
    adopt(r, n, 0)
    return r
