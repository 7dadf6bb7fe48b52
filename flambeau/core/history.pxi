# The history of tensors: which node made them, and views that must look again.

cdef inline Node node_made(Tensor t):
    """The node that made t, brought up to date if t is a view whose base was written."""
    if t.tracked_view:
        refresh_view(t)
    return t.grad_fn_


cdef int refresh_view(Tensor t) except -1:
    cdef Tensor base = t.base
    if base is None or t.view_version == t.storage.version:
        return 0
    if base.needs_grad:
        t.view_version = t.storage.version
        record_view(t, base, VIEW_STRIDED, None)
        t.needs_grad = True
    return 0


cdef inline Node source_of(Tensor t):
    """Where t's gradient goes, or None if it needs none."""
    if t.tracked_view:
        refresh_view(t)
    if not t.needs_grad:
        return None
    return t.grad_fn_ if t.grad_fn_ is not None else accumulator_of(t)


cdef inline int set_edge(Node n, int i, Tensor t) except -1:
    """Edge i (< 4) leads to what made t."""
    cdef Node source = source_of(t)
    if source is None:
        return 0
    if i == 0:
        n.n0 = source
    elif i == 1:
        n.n1 = source
    elif i == 2:
        n.n2 = source
    else:
        n.n3 = source
    n.nr[i] = <int16_t>t.output_nr
    return 0


cdef int set_edges(Node n, object inputs) except -1:
    """Edges to what made the inputs (a sequence of tensors or None)."""
    cdef int i = 0
    cdef list rest = None
    for x in inputs:
        if i < 4:
            if x is not None:
                set_edge(n, i, <Tensor>x)
        else:
            if rest is None:
                rest = []
            source = None if x is None else source_of(<Tensor>x)
            rest.append((source, 0 if x is None else (<Tensor>x).output_nr))
        i += 1
    n.edges = i
    if rest is not None:
        n.more = tuple(rest)
    return 0


cdef inline int adopt(Tensor t, Node n, int nr) except -1:
    """t is output nr of node n."""
    t.grad_fn_ = n
    t.output_nr = nr
    t.needs_grad = True
    t.view_version = t.storage.version
    return 0


cdef int set_requires_grad(Tensor t, object value) except -1:
    cdef bint wanted = bool(value)
    if wanted and CATEGORY[t.code] < 2:
        raise RuntimeError(f"only Tensors of floating point and complex dtype can require gradients, got {DTYPES[t.code]!r}: "
                           "convert it first, for instance with .float()")
    if not wanted and node_made(t) is not None:
        raise RuntimeError("you can only change requires_grad flags of leaf variables. If you want to use a computed "
                           "variable in a subgraph that doesn't require differentiation use var_no_grad = var.detach().")
    if wanted and not t.needs_grad and t.inference and not inference_mode_on():
        raise RuntimeError("Setting requires_grad=True on inference tensor outside InferenceMode is not allowed.")
    t.needs_grad = wanted
    return 0


cdef int warn_about_grad(Tensor t) except -1:
    """Reading .grad of a tensor that will never have one is nearly always a mistake."""
    if t.hooks is not None and "retain" in t.hooks:
        return 0
    import warnings
    warnings.warn("The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't be populated during autograd.backward(). "
                  "If you indeed want the .grad field to be populated for a non-leaf Tensor, use .retain_grad() on the non-leaf Tensor. "
                  "If you access the non-leaf Tensor by mistake, make sure you access the leaf Tensor instead.", stacklevel=2)
    return 0


cdef int check_assigned_grad(Tensor t, object value) except -1:
    cdef Tensor g
    if not isinstance(value, Tensor):
        raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}")
    g = <Tensor>value
    if g is t:
        raise RuntimeError("can't assign Variable as its own grad")
    if g.code != t.code:
        raise RuntimeError(f"assigned grad has data type {DTYPES[g.code]!r}, but the tensor has {DTYPES[t.code]!r}: they must match")
    if not same_shape(g, t):
        raise RuntimeError(f"assigned grad has data of a different size: {tuple(g.shape)}, the tensor has {tuple(t.shape)}")
    return 0


cdef inline bint same_shape(Tensor a, Tensor b) noexcept:
    cdef int i
    if a.ndim_ != b.ndim_:
        return False
    for i in range(a.ndim_):
        if a.shape_[i] != b.shape_[i]:
            return False
    return True
