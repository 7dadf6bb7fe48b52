# Views: tensors over the same storage with other sizes and strides, and what their gradients need.

cdef enum:
    VIEW_RESHAPE = 0
    VIEW_PERMUTE = 1
    VIEW_EXPAND = 2
    VIEW_STRIDED = 3
    VIEW_ALIAS = 4

cdef list _VIEW_NAMES = ["ViewBackward0", "PermuteBackward0", "ExpandBackward0", "AsStridedBackward0", "AliasBackward0"]


cdef class ViewNode(Node):
    """History of a view: how to carry a gradient back to the tensor viewed."""

    cdef int kind
    cdef object payload        # permutation, or (shape, strides, offset) of the view
    cdef tuple in_shape
    cdef tuple in_strides
    cdef bint in_dense
    cdef str label

    cdef str title(self):
        return self.label if self.label is not None else _VIEW_NAMES[self.kind]

    cdef object vjp(self, object grad):
        cdef Tensor g = <Tensor>grad
        if self.kind == VIEW_RESHAPE:
            return reshape_any(g, self.in_shape)
        if self.kind == VIEW_PERMUTE:
            return permute_view(g, self.payload)
        if self.kind == VIEW_EXPAND:
            return g if shape_is(g, self.in_shape) else sum_or_expand(g, self.in_shape)
        if self.kind == VIEW_ALIAS:
            return g
        if self.in_dense and not grad_mode_on():
            whole = embed_dense(g, self.in_shape, self.payload)
            if whole is not None:
                return whole
        return _embed_hook(g, self.in_shape, self.in_strides, self.payload)


cdef Tensor embed_dense(Tensor g, tuple in_shape, tuple geometry):
    """Zeros of in_shape with g in the window (shape, strides, offset); None where windows repeat elements."""
    cdef int64_t shape[64]
    cdef int n = read_sizes(in_shape, shape), d
    cdef int64_t reach = 0
    cdef Tensor whole
    cdef Tensor window
    if g.count == 0:
        return None
    window = Tensor.__new__(Tensor)
    reserve_dims(window, g.ndim_)
    read_sizes(geometry[0], window.shape_)
    read_sizes(geometry[1], window.strides_)
    for d in range(g.ndim_ - 1, -1, -1):
        # a slice's strides grow outwards, past all that the inner dimensions reach
        if window.shape_[d] > 1:
            if window.strides_[d] <= reach:
                return None
            reach += (window.shape_[d] - 1) * window.strides_[d]
    whole = new_dense(g.code, n, shape)
    if geometry[2] < 0 or geometry[2] + reach >= whole.count:
        return None
    memset(whole.data_ptr_, 0, whole.count * ITEM[whole.code])
    window.code = g.code
    window.storage = whole.storage
    window.storage.references += 1
    window.data_ptr_ = whole.data_ptr_ + <int64_t>geometry[2] * ITEM[g.code]
    find_dense(window)
    copy_into(window, g)
    whole.storage.version = 0
    return whole


cdef object _embed_hook = None
cdef object _reshape_hook = None


def set_view_services(embed, reshape):
    """Ops the views' gradients use: embed(g, shape, strides, geometry) and reshape(g, shape)."""
    global _embed_hook, _reshape_hook
    _embed_hook, _reshape_hook = embed, reshape


cdef Tensor reshape_any(Tensor g, tuple shape):
    cdef int64_t new[64]
    cdef int64_t steps[64]
    cdef int n, i
    if shape_is(g, shape):
        return g
    n = len(shape)
    for i in range(n):
        new[i] = shape[i]
    if view_steps(g, n, new, steps):
        return strided(g, n, new, steps, 0, VIEW_RESHAPE, None)
    return _reshape_hook(g, shape)


cdef inline bint wants_history(Tensor t) except -1:
    if t.tracked_view:
        refresh_view(t)
    return t.needs_grad and grad_mode_on()


cdef int record_view(Tensor r, Tensor source, int kind, object payload) except -1:
    """Give the view r of source its node. A strided view keeps its geometry relative to source."""
    cdef ViewNode n = ViewNode.__new__(ViewNode)
    number_node(n)
    n.kind = kind
    n.edges = 1
    n.in_shape = int_tuple(source.shape_, source.ndim_)
    if kind == VIEW_STRIDED:
        n.in_strides = int_tuple(source.strides_, source.ndim_)
        n.in_dense = source.dense
        n.payload = (int_tuple(r.shape_, r.ndim_), int_tuple(r.strides_, r.ndim_),
                     (r.data_ptr_ - source.data_ptr_) // ITEM[source.code])
    elif kind == VIEW_PERMUTE:
        inverse = [0] * len(payload)
        for i, p in enumerate(payload):
            inverse[p] = i
        n.payload = tuple(inverse)
    set_edge(n, 0, source)
    adopt(r, n, 0)
    return 0


cdef inline int note_base(Tensor r, Tensor source) except -1:
    """Note what r is a view of."""
    if source.base is None:
        r.base = source
        r.tracked_view = grad_mode_on()
        r.untracked_view = not r.tracked_view
    else:
        r.base = source.base
        r.tracked_view = source.tracked_view and grad_mode_on()
        r.untracked_view = (source.tracked_view or source.untracked_view) and not r.tracked_view
    r.view_version = r.storage.version
    return 0


cdef inline int finish_view(Tensor r, Tensor source, int kind, object payload) except -1:
    """Note what r is a view of, and record it when history is kept."""
    note_base(r, source)
    if wants_history(source):
        record_view(r, source, kind, payload)
    return 0


cdef Tensor strided(Tensor t, int n, int64_t* shape, int64_t* steps, int64_t offset, int kind, object payload):
    """A view of t with the given sizes and strides; offset in elements from t's first."""
    cdef Tensor r = alias_shape(t, n)
    memcpy(r.shape_, shape, n * sizeof(int64_t))
    memcpy(r.strides_, steps, n * sizeof(int64_t))
    find_dense(r)
    r.data_ptr_ += offset * ITEM[t.code]
    finish_view(r, t, kind, payload)
    return r


cdef Tensor permute_view(Tensor t, tuple order):
    cdef int64_t shape[64]
    cdef int64_t steps[64]
    cdef int i, p
    for i in range(t.ndim_):
        p = order[i]
        shape[i] = t.shape_[p]
        steps[i] = t.strides_[p]
    return strided(t, t.ndim_, shape, steps, 0, VIEW_PERMUTE, order)


cdef Tensor expand_view(Tensor t, tuple sizes):
    cdef int64_t shape[64]
    cdef int64_t steps[64]
    cdef int n = len(sizes), i, j
    if n < t.ndim_:
        raise RuntimeError(f"expand: the number of sizes provided ({n}) must be greater or equal to the number of dimensions in the tensor ({t.ndim_}): "
                           f"{tuple(t.shape)} to {sizes}")
    for i in range(n):
        j = i - (n - t.ndim_)
        shape[i] = sizes[i]
        if j < 0:
            if shape[i] < 0:
                raise RuntimeError(f"expand: The expanded size of the tensor ({shape[i]}) isn't allowed in a leading, non-existing dimension {i}")
            steps[i] = 0
            continue
        if shape[i] == -1:
            shape[i] = t.shape_[j]
        if t.shape_[j] == shape[i]:
            steps[i] = t.strides_[j]
        elif t.shape_[j] == 1:
            if shape[i] < 0:
                raise RuntimeError(f"expand: negative size {shape[i]} at dimension {i}")
            steps[i] = 0
        else:
            raise RuntimeError(f"expand: The expanded size of the tensor ({shape[i]}) must match the existing size ({t.shape_[j]}) at "
                               f"non-singleton dimension {i}.  Target sizes: {list(sizes)}.  Tensor sizes: {list(t.shape)}")
    return strided(t, n, shape, steps, 0, VIEW_EXPAND, None)


cdef bint view_steps(Tensor t, int n, int64_t* shape, int64_t* steps) noexcept:
    """Strides that show t's elements in row-major order as `shape` without copying, if there are any."""
    cdef int64_t stride, chunk, want
    cdef int i, j
    if t.count == 0 or t.dense:
        stride = 1
        for i in range(n - 1, -1, -1):
            steps[i] = stride
            stride *= shape[i] if shape[i] > 0 else 1
        return True
    # walk both shapes from the innermost side; `chunk` is a run of t's dimensions that lie as one
    j = n - 1
    stride = t.strides_[t.ndim_ - 1]
    chunk = 1
    want = 1
    for i in range(t.ndim_ - 1, -1, -1):
        chunk *= t.shape_[i]
        if i == 0 or (t.shape_[i - 1] != 1 and t.strides_[i - 1] != chunk * stride):
            while j >= 0 and (want < chunk or shape[j] == 1):
                steps[j] = want * stride
                want *= shape[j]
                j -= 1
            if want != chunk:
                return False
            if i > 0:
                stride = t.strides_[i - 1]
                chunk = 1
                want = 1
    return j == -1


cdef int resolve_shape(Tensor t, object sizes, int64_t* shape) except -1:
    """Read sizes, one of which may be -1; they must hold t's elements."""
    cdef int n = read_sizes(sizes, shape), i, missing = -1
    cdef int64_t known = 1
    for i in range(n):
        if shape[i] == -1:
            if missing >= 0:
                raise RuntimeError("only one dimension can be inferred")
            missing = i
        elif shape[i] < 0:
            raise RuntimeError(f"invalid shape dimension {shape[i]} at index {i} of shape {list(sizes)}")
        else:
            known *= shape[i]
    if missing >= 0:
        if known == 0:
            raise RuntimeError(f"cannot reshape tensor of {t.count} elements into shape {list(sizes)} because the unspecified dimension size -1 can be any value and is ambiguous")
        shape[missing] = t.count // known
        known *= shape[missing]
    if known != t.count:
        raise RuntimeError(f"shape '{list(sizes)}' is invalid for input of size {t.count} (shape {tuple(t.shape)})")
    return n


cdef Tensor reshape_view(Tensor t, tuple sizes):
    """A view of other sizes; an error where only a copy would do."""
    cdef int64_t shape[64]
    cdef int64_t steps[64]
    cdef int n = resolve_shape(t, sizes, shape)
    if not view_steps(t, n, shape, steps):
        raise RuntimeError(f"view size is not compatible with input tensor's size and stride (at least one dimension spans across two contiguous subspaces): "
                           f"{tuple(t.shape)} with strides {t.stride()} to {tuple(sizes)}. Use .reshape(...) instead.")
    return strided(t, n, shape, steps, 0, VIEW_RESHAPE, None)


cdef Tensor reshape_dense(Tensor t, tuple sizes):
    cdef int64_t shape[64]
    cdef int64_t steps[64]
    cdef int n = resolve_shape(t, sizes, shape)
    view_steps(t, n, shape, steps)
    return strided(t, n, shape, steps, 0, VIEW_RESHAPE, None)


def view(Tensor t, sizes):
    """A view of other sizes."""
    return reshape_view(t, tuple(sizes))


def try_view(Tensor t, sizes):
    """A view of other sizes, or None where the elements would have to be copied."""
    cdef int64_t shape[64]
    cdef int64_t steps[64]
    cdef int n = resolve_shape(t, sizes, shape)
    if not view_steps(t, n, shape, steps):
        return None
    return strided(t, n, shape, steps, 0, VIEW_RESHAPE, None)


def permute(Tensor t, order):
    """A view with reordered dimensions (each named once, in 0..ndim-1)."""
    return permute_view(t, tuple(order))


def expand(Tensor t, sizes):
    """A view with dimensions of size 1 repeated."""
    return expand_view(t, tuple(sizes))


def alias(Tensor t):
    """A view of the same sizes."""
    return strided(t, t.ndim_, t.shape_, t.strides_, 0, VIEW_ALIAS, None)


def restride(Tensor t, size, stride, int64_t offset=0):
    """A view with any sizes and strides whose elements all lie within t's own reach or storage.

    offset counts elements from t's first one.
    """
    cdef int64_t shape[64]
    cdef int64_t steps[64]
    cdef int n = read_sizes(size, shape), i
    cdef int64_t low = (t.data_ptr_ - t.storage.data) // ITEM[t.code] + offset
    cdef int64_t high = low
    cdef bint empty_ = False
    if read_sizes(stride, steps) != n:
        raise RuntimeError(f"mismatch in length of strides and shape: {tuple(stride)} and {tuple(size)}")
    for i in range(n):
        if shape[i] < 0 or steps[i] < 0:
            raise RuntimeError(f"as_strided: Negative sizes or strides are not supported: {tuple(size)}, {tuple(stride)}")
        if shape[i] == 0:
            empty_ = True
        elif mul_add_overflow(shape[i] - 1, steps[i], &high):
            raise RuntimeError("as_strided: sizes and strides reach past what can be addressed")
    if not empty_ and (low < 0 or (high + 1) * ITEM[t.code] > <int64_t>t.storage.bytes):
        raise RuntimeError(f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {low}, and itemsize {int(ITEM[t.code])} requiring a storage size of "
                           f"{(high + 1) * int(ITEM[t.code])} are out of bounds for storage of size {t.storage.bytes}")
    return strided(t, n, shape, steps, 0 if empty_ else offset, VIEW_STRIDED, None)


def as_dtype_view(Tensor t, d):
    """The same bytes as elements of another type of the same size; without history."""
    cdef Tensor r = alias_of(t)
    if (<dtype?>d).itemsize != ITEM[t.code]:
        raise ValueError("as_dtype_view: element sizes differ")
    r.code = (<dtype>d).code
    r.base = t.base if t.base is not None else t
    return r


def strided_view_of(Tensor t, d, size, stride, int64_t byte_offset):
    """A view of t's memory as elements of type d, without history; bounds checked."""
    cdef int64_t at = t.data_ptr_ - t.storage.data + byte_offset
    cdef int item = (<dtype?>d).itemsize
    if at % item:
        raise RuntimeError(f"storage offset of {at} bytes is not a multiple of the new type's {item}")
    cdef Tensor r = view_storage(t.storage, (<dtype>d).code, at // item, size, stride)
    r.base = t.base if t.base is not None else t
    # Its geometry counts in another type's elements, so a write through it cannot be carried to the base.
    r.untracked_view = t.base is None or t.tracked_view or t.untracked_view or t.needs_grad
    return r


def name_view(Tensor t, str label):
    """Name the node of a view just made, for grad_fn's repr."""
    if t.grad_fn_ is not None and isinstance(t.grad_fn_, ViewNode):
        (<ViewNode>t.grad_fn_).label = label
    return t


# ---- basic indexing --------------------------------------------------------------------------------

cdef Tensor index_basic(Tensor t, object key):
    """t[key] for ints, slices, None and Ellipsis; None for anything else."""
    cdef int64_t shape[64]
    cdef int64_t steps[64]
    cdef int64_t offset = 0
    cdef int out = 0, d = 0, used = 0
    cdef Py_ssize_t i, n
    cdef object k
    cdef tuple keys
    if type(key) is not tuple:
        if type(key) is int and t.ndim_ > 0:
            return select_first(t, key)
        key = (key,)
    keys = <tuple>key
    n = PyTuple_GET_SIZE(keys)
    for i in range(n):
        k = <object>PyTuple_GET_ITEM(keys, i)
        if type(k) is int or type(k) is slice:
            used += 1
        elif k is not None and k is not Ellipsis:
            if type(k) is bool or isinstance(k, (list, tuple, Tensor, str)) or not hasattr(k, "__index__"):
                return None
            if getattr(k, "ndim", 0):
                return None  # an array of NumPy's
            used += 1
    if used > t.ndim_:
        raise IndexError(f"too many indices for tensor of dimension {t.ndim_}")
    seen = False
    for i in range(n):
        k = <object>PyTuple_GET_ITEM(keys, i)
        if k is None:
            if out >= kMaxDims:
                raise IndexError(f"tensors have at most {kMaxDims} dimensions")
            shape[out] = 1
            steps[out] = 0 if d >= t.ndim_ else t.strides_[d] * t.shape_[d]
            out += 1
        elif k is Ellipsis:
            if seen:
                raise IndexError("an index can only have a single ellipsis ('...')")
            seen = True
            for _ in range(t.ndim_ - used):
                shape[out], steps[out] = t.shape_[d], t.strides_[d]
                out += 1
                d += 1
        elif type(k) is slice:
            offset += slice_dim(t, k, d, &shape[out], &steps[out])
            out += 1
            d += 1
        else:
            offset += index_dim(t, k, d) * t.strides_[d]
            d += 1
    while d < t.ndim_:
        shape[out], steps[out] = t.shape_[d], t.strides_[d]
        out += 1
        d += 1
    return strided(t, out, shape, steps, offset, VIEW_STRIDED, None)


cdef Tensor select_first(Tensor t, object k):
    """t[k]: dimension 0 away."""
    cdef int64_t i = index_dim(t, k, 0)
    return strided(t, t.ndim_ - 1, t.shape_ + 1, t.strides_ + 1, i * t.strides_[0], VIEW_STRIDED, None)


cdef int64_t index_dim(Tensor t, object k, int d) except -1:
    cdef int64_t i
    try:
        i = operator_index(k)
    except OverflowError:
        raise IndexError(f"index {k} is out of bounds for dimension {d} with size {t.shape_[d]}") from None
    if i < -t.shape_[d] or i >= t.shape_[d]:
        raise IndexError(f"index {i} is out of bounds for dimension {d} with size {t.shape_[d]}")
    return i + t.shape_[d] if i < 0 else i


cdef int64_t slice_dim(Tensor t, object k, int d, int64_t* size, int64_t* step) except -1:
    """Offset of a slice; its size and stride."""
    cdef Py_ssize_t start, stop, by
    cdef Py_ssize_t n
    k = slice(plain_bound(k.start), plain_bound(k.stop), plain_bound(k.step))
    PySlice_Unpack(k, &start, &stop, &by)
    if by <= 0:
        raise ValueError(f"slice step must be positive, got {by}: use torch.flip for a reversed copy")
    n = PySlice_AdjustIndices(t.shape_[d], &start, &stop, by)
    size[0] = n
    step[0] = t.strides_[d] * by
    return start * t.strides_[d] if n > 0 or start < t.shape_[d] else 0


cdef object plain_bound(object x):
    return (<Tensor>x).item() if isinstance(x, Tensor) else x


def basic_index(Tensor t, key):
    """The view t[key], or None if the key holds more than ints, slices, None and Ellipsis."""
    return index_basic(t, key)


# ---- copy_ with history ----------------------------------------------------------------------------

cdef class CopyNode(Node):
    """self.copy_(source): nothing goes back to self's old value, everything to source."""

    cdef tuple source_shape
    cdef int source_code

    cdef str title(self):
        return "CopyBackwards"

    cdef object vjp(self, object grad):
        cdef Tensor g = <Tensor>grad
        cdef Tensor zero = None
        if self.n0 is not None:
            zero = new_like(g, g.code)
            memset(zero.data_ptr_, 0, zero.count * ITEM[zero.code])
        if self.n1 is None:
            return (zero, None)
        if not shape_is(g, self.source_shape):
            g = sum_or_expand(g, self.source_shape)
        return (zero, cast_to(g, self.source_code))


def copy_(Tensor self, source, non_blocking=False):
    """Copy elements from source, broadcasting and converting; returns self."""
    cdef Tensor s
    cdef CopyNode n
    if not isinstance(source, Tensor):
        raise TypeError(f"copy_(): argument 'src' must be Tensor, not {type(source).__name__}")
    s = <Tensor>source
    check_writable(self, "copy_")
    if s is self:
        return self
    if CATEGORY[s.code] == 3 and CATEGORY[self.code] < 3:
        s = _real_op(s)
    copy_into(self, s)
    if grad_mode_on() and (wants_history(s) or wants_history(self)) and CATEGORY[self.code] >= 2:
        n = CopyNode.__new__(CopyNode)
        number_node(n)
        n.edges = 2
        n.source_shape = tuple(s.shape)
        n.source_code = s.code
        set_edge(n, 0, self)
        set_edge(n, 1, s)
        rebase_history(self, n, 0)
    return self
