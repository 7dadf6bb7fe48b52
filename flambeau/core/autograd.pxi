# Reverse-mode differentiation: nodes, saved tensors, leaves, and the engine.
#
# A node is made after everything it depends on, so the order of creation is a topological order: the
# engine keeps a heap of nodes keyed by their sequence number and needs no pass that counts dependencies.

from _thread import allocate_lock as _allocate_lock
import os as _os

cdef extern from "Python.h":
    Py_ssize_t PyList_GET_SIZE(object)

cdef int64_t sequence = 0
cdef bint anomaly_on = False
cdef bint anomaly_checks_nan = True


cdef class _Run


@cython.trashcan(True)
cdef class Node:
    """One recorded operation; edges lead to the nodes that made its inputs."""

    cdef int64_t seq
    cdef int outputs              # how many outputs it had
    cdef int edges                # how many inputs
    cdef Node n0
    cdef Node n1
    cdef Node n2
    cdef Node n3
    cdef int16_t nr[4]            # which output of those nodes
    cdef tuple more               # (node, nr) pairs beyond the fourth
    cdef object pending           # gradient waiting to be processed: a Tensor, or a list of them
    cdef void* run                # the backward call that is using `pending`
    cdef bint released
    cdef object hooks             # {"pre": [...], "post": [...], "retain": {nr: weakref}}
    cdef dict user_metadata
    cdef object trace             # where the forward call was made, in anomaly mode
    cdef object __weakref__

    cdef object vjp(self, object grad):
        """Gradients for the edges: a Tensor when there is one edge, else a sequence."""
        raise NotImplementedError

    cdef int propagate(self, _Run run, object grad) except -1:
        """Send the gradients of the inputs on."""
        return send_all(run, self, self.vjp(grad))

    cdef int release(self) except -1:
        """Forget what was saved."""
        self.released = True
        return 0

    cdef str title(self):
        return type(self).__name__

    cdef Node edge(self, int i):
        if i == 0:
            return self.n0
        if i == 1:
            return self.n1
        if i == 2:
            return self.n2
        if i == 3:
            return self.n3
        return <Node>self.more[i - 4][0]

    cdef int edge_nr(self, int i) except -1:
        return self.nr[i] if i < 4 else self.more[i - 4][1]

    def name(self):
        """The node's name, such as MulBackward0."""
        return self.title()

    def __repr__(self):
        return f"<{self.title()} object at {hex(id(self))}>"

    @property
    def next_functions(self):
        """(node, output number) for every input."""
        return tuple([(self.edge(i), self.edge_nr(i) if self.edge(i) is not None else 0) for i in range(self.edges)])

    @property
    def metadata(self):
        """A dictionary of the user's."""
        if self.user_metadata is None:
            self.user_metadata = {}
        return self.user_metadata

    def _sequence_nr(self):
        return self.seq

    def register_hook(self, fn):
        """Call fn(grad_inputs, grad_outputs) after the node ran; it may return other grad_inputs."""
        return _HookHandle(node_hooks(self, "post"), fn)

    def register_prehook(self, fn):
        """Call fn(grad_outputs) before the node runs; it may return other grad_outputs."""
        return _HookHandle(node_hooks(self, "before"), fn)


cdef dict node_hooks(Node n, str kind):
    if n.hooks is None:
        n.hooks = {}
    return n.hooks.setdefault(kind, {})


class _HookHandle:
    """Removes a hook again; also a context manager."""

    _next = 0

    def __init__(self, hooks, fn):
        _HookHandle._next += 1
        self.id = _HookHandle._next
        self._hooks = hooks
        hooks[self.id] = fn

    def remove(self):
        """Take the hook away."""
        self._hooks.pop(self.id, None)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.remove()


cdef inline void number_node(Node n):
    global sequence
    sequence += 2  # odd numbers are for the accumulators this node's edges create: they come before it
    n.seq = sequence
    n.outputs = 1
    if anomaly_on:
        n.trace = _anomaly_trace()


cdef object _anomaly_trace():
    import traceback
    return "".join(traceback.format_stack())


def set_anomaly(enabled, check_nan=True):
    """Turn recording of forward positions on or off; the previous setting."""
    global anomaly_on, anomaly_checks_nan
    before = (anomaly_on, anomaly_checks_nan)
    anomaly_on, anomaly_checks_nan = bool(enabled), bool(check_nan)
    return before


def anomaly_state():
    """(on, looking for NaN)"""
    return anomaly_on, anomaly_checks_nan


def push_saved_hooks(pack, unpack):
    """Saved tensors go through pack when saved and unpack when used, until popped."""
    cdef list hooks
    if saved_hook_list() == NULL:
        hooks = []
        set_saved_hook_list(<PyObject*>hooks)
    (<list>saved_hook_list()).append((pack, unpack))


def pop_saved_hooks():
    """Undo the last push_saved_hooks."""
    (<list>saved_hook_list()).pop()


cdef inline bint hooks_active() noexcept:
    return saved_hook_list() != NULL and PyList_GET_SIZE(<list>saved_hook_list()) > 0


# ---- leaves ----------------------------------------------------------------------------------------

@cython.no_gc_clear  # the leaf points back here: __dealloc__ must still find it
@cython.trashcan(False)  # a delayed dealloc would leave the leaf's pointer to a dead object
cdef class AccumulateGrad(Node):
    """Where the graph ends: adds what arrives to a leaf's .grad.

    The leaf owns it, so that steps do not make it anew. When the leaf dies while a graph still holds the
    accumulator, a stand-in with the leaf's memory, gradient and hooks takes its place.
    """

    cdef PyObject* leaf_       # the leaf, or the stand-in
    cdef Tensor stand_in

    cdef inline Tensor leaf(self):
        return <Tensor>self.leaf_

    def __dealloc__(self):
        if self.stand_in is not None:
            self.stand_in.accumulator = NULL

    cdef str title(self):
        return "torch::autograd::AccumulateGrad"

    @property
    def variable(self):
        """The leaf."""
        return self.leaf()

    cdef object vjp(self, object grad):
        accumulate(self.leaf(), <Tensor>grad, False)
        return None


cdef Node accumulator_of(Tensor t):
    cdef AccumulateGrad n
    if t.accumulator != NULL:
        return <Node>t.accumulator
    n = AccumulateGrad.__new__(AccumulateGrad)
    if t.accumulator != NULL:  # making n ran the garbage collector, and that ran somebody's code
        return <Node>t.accumulator
    n.seq = sequence - 1
    n.outputs = 1
    n.leaf_ = <PyObject*>t
    t.accumulator = <void*>n
    t.owned_accumulator = <PyObject*>n
    Py_INCREF(n)
    return n


cdef int leave_accumulator(Tensor t) except -1:
    """t dies: drop its accumulator, or leave it a stand-in if a graph still holds it."""
    cdef AccumulateGrad n = <AccumulateGrad>t.owned_accumulator
    cdef Tensor stand_in
    t.owned_accumulator = NULL
    if Py_REFCNT(n) > 2:  # n here, and what t owned
        stand_in = alias_of(t)
        stand_in.needs_grad = t.needs_grad
        stand_in.grad_ = t.grad_
        stand_in.hooks = t.hooks
        stand_in.accumulator = <void*>n
        n.stand_in = stand_in
        n.leaf_ = <PyObject*>stand_in
    Py_DECREF(n)
    return 0


cdef int accumulate(Tensor leaf, Tensor grad, bint alone) except -1:
    """leaf.grad += grad; in place unless the gradient itself is being differentiated.

    alone: nobody else holds grad, so it may become leaf.grad without a copy.
    """
    cdef Tensor have
    if leaf.grad_ is None:
        if alone and grad.storage.references == 1 and grad.base is None and (
                not grad.needs_grad or grad_mode_on()) and laid_out_like(grad, leaf):
            leaf.grad_ = grad
        elif grad_mode_on():
            leaf.grad_ = copy_recorded(grad, leaf)
        else:
            leaf.grad_ = copy_like(grad, leaf)
    else:
        have = <Tensor>leaf.grad_
        if grad_mode_on() or not (have.dense or packed(have)):
            leaf.grad_ = add_tensors(have, grad)
        elif have.count <= UNLOCKED_ELEMENTS:
            add_into(have, grad)
        else:
            with _accumulate_lock:
                add_into(have, grad)
    if leaf.hooks is not None and "accumulated" in leaf.hooks:
        for hook in list(leaf.hooks["accumulated"].values()):
            if hook(leaf) is not None:
                raise RuntimeError("post accumulate grad hooks should return None.")
    return 0


# Up to here an addition keeps the GIL, so two threads cannot be adding to one leaf at a time.
cdef enum:
    UNLOCKED_ELEMENTS = 1024

cdef object _accumulate_lock = _allocate_lock()


def _renew_lock():
    """In a forked child: whoever held the lock is not there any more."""
    global _accumulate_lock
    _accumulate_lock = _allocate_lock()


if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(after_in_child=_renew_lock)


cdef bint laid_out_like(Tensor grad, Tensor leaf) noexcept:
    """Has grad the strides that leaf.grad should have: the leaf's if it is packed, row-major otherwise?"""
    cdef int i
    if grad.dense and leaf.dense:
        return True
    if not packed(leaf):
        return grad.dense
    for i in range(leaf.ndim_):
        if grad.strides_[i] != leaf.strides_[i] and leaf.shape_[i] != 1:
            return False
    return True


cdef Tensor copy_like(Tensor grad, Tensor leaf):
    """A copy of grad laid out as the leaf is when that is packed, row-major otherwise."""
    cdef Tensor r = new_dense(grad.code, grad.ndim_, grad.shape_)
    if not leaf.dense and packed(leaf):
        memcpy(r.strides_, leaf.strides_, leaf.ndim_ * sizeof(int64_t))
        find_dense(r)
    copy_into(r, grad)
    r.storage.version = 0
    return r


cdef Tensor copy_recorded(Tensor grad, Tensor leaf):
    """The same with history."""
    cdef PyObject* slots[1]
    slots[0] = <PyObject*>grad
    return call_pointwise(_copy_op, slots, None, None)


# ---- history of tensors ----------------------------------------------------------------------------

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


# ---- hooks on tensors ------------------------------------------------------------------------------

cdef object add_tensor_hook(Tensor t, object hook):
    if not (node_made(t) is not None or t.needs_grad):
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if t.grad_fn_ is None:
        if t.hooks is None:
            t.hooks = {}
        return _HookHandle(t.hooks.setdefault("grad", {}), hook)
    return _HookHandle(node_hooks(t.grad_fn_, "pre").setdefault(t.output_nr, {}), hook)


cdef object add_accumulate_hook(Tensor t, object hook):
    if not t.needs_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if node_made(t) is not None:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    if t.hooks is None:
        t.hooks = {}
    return _HookHandle(t.hooks.setdefault("accumulated", {}), hook)


cdef int keep_grad(Tensor t) except -1:
    cdef Node n = node_made(t)
    if not t.needs_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if n is None:
        return 0
    if t.hooks is None:
        t.hooks = {}
    t.hooks["retain"] = True
    node_hooks(n, "retain")[t.output_nr] = weakref_ref(t)
    return 0


cdef object run_pre_hooks(Node n, object grad):
    """Apply the hooks of the tensors whose gradient this is; the gradient to go on with."""
    cdef AccumulateGrad leaf
    if isinstance(n, AccumulateGrad):
        leaf = <AccumulateGrad>n
        if leaf.leaf().hooks is not None and "grad" in leaf.leaf().hooks:
            grad = run_hooks(leaf.leaf().hooks["grad"], grad)
        return grad
    if n.hooks is None:
        return grad
    for nr, hooks in n.hooks.get("pre", {}).items():
        part = grad if n.outputs == 1 else grad[nr]
        if part is not None:
            part = run_hooks(hooks, part)
            if n.outputs == 1:
                grad = part
            else:
                grad[nr] = part
    for nr, ref in n.hooks.get("retain", {}).items():
        t = ref()
        part = grad if n.outputs == 1 else grad[nr]
        if t is not None and part is not None:
            have = (<Tensor>t).grad_
            (<Tensor>t).grad_ = part if have is None else add_tensors(have, part)
    return grad


cdef object run_node_prehooks(Node n, object grad):
    """Apply the prehooks of the node itself."""
    before = n.hooks.get("before") if n.hooks is not None else None
    if before:
        for hook in list(before.values()):
            result = hook((grad,) if n.outputs == 1 else tuple(grad))
            if result is not None:
                grad = result[0] if n.outputs == 1 and isinstance(result, tuple) else (result if n.outputs == 1 else list(result))
    return grad


cdef object run_hooks(dict hooks, object grad):
    for hook in list(hooks.values()):
        result = hook(grad)
        if result is not None:
            if not isinstance(result, Tensor):
                raise TypeError(f"hook must return None or a Tensor, got {type(result).__name__}")
            grad = result
    return grad


# ---- saved tensors ---------------------------------------------------------------------------------

cdef class SavedTensor:
    """A tensor a node needs in backward; checked against in-place writes when it is used."""

    cdef object payload       # the tensor, its detached alias (for outputs), or what a pack hook returned
    cdef int64_t version
    cdef bint is_output
    cdef int nr
    cdef bint needs_grad
    cdef object unpack_hook
    cdef bint is_leaf
    cdef Tensor for_hook

    cdef Tensor get(self, Node owner):
        cdef Tensor t
        cdef Tensor r
        if self.unpack_hook is not None:
            t = self.unpack_hook(self.payload)
            if not isinstance(t, Tensor):
                raise TypeError("unpack hook must return a Tensor")
            if self.needs_grad and t.grad_fn_ is None and not t.needs_grad:
                t = alias_of(t)
                adopt(t, owner if self.is_output else <Node>self.for_hook_node(), self.nr)
            return t
        t = <Tensor>self.payload
        check_version(t, self.version, owner)
        if self.is_output and self.needs_grad:
            r = alias_of(t)
            adopt(r, owner, self.nr)
            return r
        return t

    cdef object for_hook_node(self):
        return source_of(self.for_hook)


cdef int check_version(Tensor t, int64_t version, Node owner) except -1:
    if t.storage.version != version:
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: "
            f"[{(<dtype>DTYPES[t.code]).name} {list(t.shape)}], saved by {owner.title()}, is at version {t.storage.version}; "
            f"expected version {version} instead. Hint: clone() the tensor before writing to it"
            + ("" if anomaly_on else ", or enable anomaly detection with torch.autograd.set_detect_anomaly(True) to find the forward call."))
    return 0


cdef SavedTensor save_tensor(Tensor t, bint is_output, int nr):
    cdef SavedTensor s = SavedTensor.__new__(SavedTensor)
    s.version = t.storage.version
    s.is_output = is_output
    s.nr = nr
    s.needs_grad = t.needs_grad or is_output
    if t.inference:
        raise_inference(t, None)
    if hooks_active():
        pack, s.unpack_hook = (<list>saved_hook_list())[PyList_GET_SIZE(<list>saved_hook_list()) - 1]
        s.payload = pack(alias_of(t) if is_output else t)
        if t.needs_grad and not is_output:
            s.for_hook = hook_anchor(t)
        return s
    s.payload = alias_of(t) if is_output else t
    return s


cdef int raise_inference(Tensor t, Node n) except -1:
    raise RuntimeError("Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode in computation tracked by autograd. "
                       f"To work around this, you can make a clone to get a normal tensor and use it in autograd (shape {tuple(t.shape)}).")


cdef Tensor hook_anchor(Tensor t):
    """Something that leads to t's history without holding t's memory."""
    cdef Tensor r = new_dense(t.code, 0, NULL)
    if t.grad_fn_ is None:
        return t
    adopt(r, t.grad_fn_, t.output_nr)
    return r


# ---- nodes of Python functions ---------------------------------------------------------------------

cdef class PythonNode(Node):
    """A node whose backward is a Python callable: backward(node, *grads) -> one gradient per edge."""

    cdef str name_
    cdef public object backward
    cdef public object context
    cdef list saved            # SavedTensor
    cdef public object output_metas  # (shape, dtype) of each output, to make zeros for missing gradients
    cdef bint materialize

    cdef str title(self):
        return self.name_

    cdef object vjp(self, object grad):
        if self.released and (self.saved is None):
            raise_released(self)
        if self.outputs == 1:
            return self.backward(self, grad)
        return self.backward(self, *grad)

    cdef int release(self) except -1:
        if self.saved is not None and len(self.saved):
            self.saved = None
            self.released = True
        return 0

    def save(self, tensors, outputs=()):
        """Keep tensors for backward; `outputs` maps those that this node made to their numbers."""
        self.saved = [
            None if t is None else save_tensor(t, t_is_output(t, outputs), output_index(t, outputs)) for t in tensors
        ]

    @property
    def saved_tensors(self):
        """The kept tensors, checked for in-place writes."""
        if self.saved is None:
            if self.released:
                raise_released(self)
            return ()
        return tuple([None if s is None else (<SavedTensor>s).get(self) for s in self.saved])


cdef bint t_is_output(object t, object outputs):
    for o in outputs:
        if o is t:
            return True
    return False


cdef int output_index(object t, object outputs):
    cdef int i = 0
    for o in outputs:
        if o is t:
            return i
        i += 1
    return 0


cdef int raise_released(Node n) except -1:
    raise RuntimeError(
        f"Trying to backward through the graph a second time (or directly access saved tensors after they have already been freed), at {n.title()}. "
        "Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify retain_graph=True if you need to "
        "backward through the graph a second time or if you need to access saved tensors after calling backward.")


cdef PythonNode make_node(str name, object backward, object inputs):
    cdef PythonNode n = PythonNode.__new__(PythonNode)
    number_node(n)
    n.name_ = name
    n.backward = backward
    set_edges(n, inputs)
    return n


def new_node(str name, backward, inputs, context=None):
    """A node with edges to the inputs (tensors or None); attach outputs with `attach`."""
    cdef PythonNode n = make_node(name, backward, inputs)
    n.context = context
    return n


def new_function_node(cls, str name, backward, inputs):
    """The same for a subclass of PythonNode (custom Functions are their own context)."""
    cdef PythonNode n = (<type>cls).__new__(cls)
    number_node(n)
    n.name_ = name
    n.backward = backward
    set_edges(n, inputs)
    return n


def renew_edges(PythonNode n, inputs):
    """Set a node's edges again, and its place in the order."""
    number_node(n)
    set_edges(n, inputs)


def attach(PythonNode n, outputs):
    """Make tensors the outputs of a node; None entries count but get no history."""
    cdef int i = 0
    n.outputs = len(outputs)
    for t in outputs:
        if t is not None:
            adopt(<Tensor>t, n, i)
        i += 1


def rebase(Tensor self, PythonNode n, int nr=0):
    """self was written in place by the operation n recorded (its edge 0 is self's old history)."""
    rebase_history(self, n, nr)


def bump_version(Tensor t):
    """Note an in-place write."""
    t.storage.version += 1


def check_inplace(Tensor t, str name):
    """Raise unless t may be written in place now."""
    check_writable(t, name)


def is_recording():
    """Is grad mode on?"""
    return grad_mode_on()


cdef int check_writable(Tensor t, object name) except -1:
    cdef int i
    if t.inference and not inference_mode_on():
        raise RuntimeError(f"{name}: Inplace update to inference tensor outside InferenceMode is not allowed. You can make a clone to get a normal tensor before doing inplace update.")
    if grad_mode_on():
        if t.untracked_view and t.base is not None and t.base.needs_grad:
            raise RuntimeError(f"{name}: A view was created in no_grad mode (or shows another dtype) and is being modified inplace with grad mode enabled. Given that this use case is ambiguous "
                               "and error-prone, it is forbidden. Make the view outside no_grad, write inside it, or write to a detach() of it.")
        if t.needs_grad and node_made(t) is None and not (t.base is not None and t.tracked_view):
            raise RuntimeError(f"{name}: a leaf Variable that requires grad is being used in an in-place operation. "
                               "Wrap the write in torch.no_grad(), or write to a clone().")
        if t.base is not None and t.tracked_view and t.base.needs_grad and node_made(t.base) is None:
            raise RuntimeError(f"{name}: a view of a leaf Variable that requires grad is being used in an in-place operation. "
                               "Wrap the write in torch.no_grad(), or write to a clone().")
    for i in range(t.ndim_):
        if t.strides_[i] == 0 and t.shape_[i] > 1:
            raise RuntimeError(f"{name}: unsupported operation: more than one element of the written-to tensor refers to a "
                               "single memory location. Please clone() the tensor before performing the operation.")
    if t.storage.flags & kReadOnly:
        raise RuntimeError(f"{name}: the tensor's memory is read-only")
    return 0


# ---- in-place writes through views -----------------------------------------------------------------

cdef class CopySlices(Node):
    """History of a base after one of its views was written by the node `inner`."""

    cdef Node inner
    cdef Tensor geometry   # the view, as shape and strides over the base's storage
    cdef Tensor base_like  # the base's own

    cdef str title(self):
        return "torch::autograd::CopySlices"

    cdef object vjp(self, object grad):
        result = _copy_slices_backward(grad, self.base_like, self.geometry)
        whole, part = result
        inner = self.inner.vjp(part if self.inner.outputs == 1 else [part] + [None] * (self.inner.outputs - 1))
        if inner is None or isinstance(inner, Tensor):
            inner = (inner,)
        whole = _copy_slices_merge(whole, inner[0], self.base_like, self.geometry)
        if self.edges == 1:
            return whole
        return (whole,) + tuple(inner[1:])

    cdef int release(self) except -1:
        self.released = True
        return self.inner.release()


cdef object _copy_slices_backward = None
cdef object _copy_slices_merge = None


def set_copy_slices(split, merge):
    """Functions of the ops floor that take a view's part out of a gradient and put it back."""
    global _copy_slices_backward, _copy_slices_merge
    _copy_slices_backward, _copy_slices_merge = split, merge


cdef Tensor shape_only(Tensor t, int64_t offset):
    """Shape and strides of t over no memory; the offset (elements) is kept in view_version."""
    cdef Tensor r = Tensor.__new__(Tensor)
    r.code = t.code
    reserve_dims(r, t.ndim_)
    memcpy(r.shape_, t.shape_, t.ndim_ * sizeof(int64_t))
    memcpy(r.strides_, t.strides_, t.ndim_ * sizeof(int64_t))
    r.count = t.count
    r.dense = t.dense
    r.storage = storage_new(0)
    r.data_ptr_ = r.storage.data
    r.view_version = offset
    return r


def geometry_of(Tensor t):
    """(shape, strides, offset) of a tensor made by shape_only."""
    return tuple(t.shape), t.stride(), t.view_version


cdef int move_retained(Tensor t, Node n, int nr) except -1:
    """After an in-place write, .grad is retained where the tensor's newest value came from."""
    cdef dict kept
    if t.hooks is None or "retain" not in t.hooks or t.grad_fn_ is None:
        return 0
    kept = t.grad_fn_.hooks.get("retain") if t.grad_fn_.hooks is not None else None
    if kept is not None:
        kept.pop(t.output_nr, None)
    node_hooks(n, "retain")[nr] = weakref_ref(t)
    return 0


cdef int rebase_history(Tensor self, Node n, int nr) except -1:
    """After an in-place write recorded as node n (edge 0: self's old history)."""
    cdef CopySlices c
    cdef Tensor base = self.base
    cdef Node source
    cdef int i
    if self.untracked_view and base is not None:
        raise RuntimeError("a view that history does not follow (made in no_grad mode, or of another dtype) was written with "
                           "a value that requires grad: write to the tensor it views, or to a clone().")
    if base is None or not self.tracked_view:
        move_retained(self, n, nr)
        adopt(self, n, nr)
        return 0
    c = CopySlices.__new__(CopySlices)
    c.inner = n
    c.geometry = shape_only(self, (self.data_ptr_ - base.data_ptr_) // ITEM[self.code])
    c.base_like = shape_only(base, 0)
    c.edges = n.edges
    c.n0 = source_of(base)
    c.nr[0] = <int16_t>base.output_nr
    c.n1, c.n2, c.n3, c.more = n.n1, n.n2, n.n3, n.more
    for i in range(1, 4):
        c.nr[i] = n.nr[i]
    number_node(c)
    move_retained(base, c, 0)
    base.needs_grad = True
    base.grad_fn_ = c
    base.output_nr = 0
    self.needs_grad = True
    self.view_version = -1  # stale: the next look rebuilds it from the base
    refresh_view(self)
    return 0


# ---- the engine ------------------------------------------------------------------------------------

cdef enum:
    SMALL_HEAP = 32

cdef int64_t run_count = 0


@cython.no_gc
@cython.freelist(8)
cdef class _Run:
    """One backward call: a heap of nodes whose gradients are complete once they come to the top."""

    cdef PyObject** heap
    cdef PyObject* small[SMALL_HEAP]   # the heap while it fits
    cdef int64_t size
    cdef int64_t room
    cdef int64_t number    # tells backward calls apart
    cdef Node root         # where it starts; `roots` if there are several places
    cdef list roots
    cdef set reachable     # all nodes it may run, once somebody asked
    cdef dict elsewhere    # gradients of nodes another running backward call is using
    cdef dict captures     # node -> [(output number, position)] for grad()
    cdef list captured
    cdef set needed        # nodes on a path to the captures; None means all
    cdef bint accumulate_leaves

    def __cinit__(self):
        global run_count
        run_count += 1
        self.number = run_count
        self.heap = &self.small[0]
        self.room = SMALL_HEAP

    def __dealloc__(self):
        cdef int64_t i
        for i in range(self.size):
            if (<Node>self.heap[i]).run == <void*>self:
                (<Node>self.heap[i]).pending = None
                (<Node>self.heap[i]).run = NULL
            Py_DECREF(<Node>self.heap[i])
        if self.heap != &self.small[0]:
            free(self.heap)

    cdef int grow(self) except -1:
        cdef PyObject** larger = <PyObject**>malloc(2 * self.room * sizeof(void*))
        if larger == NULL:
            raise MemoryError("backward: out of memory")
        memcpy(larger, self.heap, self.size * sizeof(void*))
        if self.heap != &self.small[0]:
            free(self.heap)
        self.heap = larger
        self.room *= 2
        return 0

    cdef int push(self, Node n) except -1:
        cdef int64_t i = self.size, p
        if self.size == self.room:
            self.grow()
        Py_INCREF(n)
        self.size += 1
        while i > 0:
            p = (i - 1) >> 1
            if (<Node>self.heap[p]).seq >= n.seq:
                break
            self.heap[i] = self.heap[p]
            i = p
        self.heap[i] = <PyObject*>n
        return 0

    cdef Node pop(self):
        cdef Node top = <Node>self.heap[0]
        cdef PyObject* x
        cdef int64_t i = 0, c
        cdef int64_t seq
        Py_DECREF(top)
        self.size -= 1
        if self.size == 0:
            return top
        x = self.heap[self.size]
        seq = (<Node>x).seq
        while True:
            c = 2 * i + 1
            if c >= self.size:
                break
            if c + 1 < self.size and (<Node>self.heap[c + 1]).seq > (<Node>self.heap[c]).seq:
                c += 1
            if seq >= (<Node>self.heap[c]).seq:
                break
            self.heap[i] = self.heap[c]
            i = c
        self.heap[i] = x
        return top

    cdef int send(self, Node n, int nr, Tensor grad) except -1:
        """Add a gradient for output nr of node n."""
        cdef object have
        if self.needed is not None and n not in self.needed:
            return 0
        if self.elsewhere is not None and n in self.elsewhere:
            return self.send_elsewhere(n, nr, grad)
        if n.run == NULL:
            n.run = <void*>self
            n.pending = None
            self.push(n)
        elif n.run != <void*>self:
            return self.send_elsewhere(n, nr, grad)
        n.pending = merge_pending(n, n.pending, nr, grad)
        return 0

    cdef int send_elsewhere(self, Node n, int nr, Tensor grad) except -1:
        if self.elsewhere is None:
            self.elsewhere = {}
        if n not in self.elsewhere:
            self.push(n)
            self.elsewhere[n] = None
        self.elsewhere[n] = merge_pending(n, self.elsewhere[n], nr, grad)
        return 0

    cdef object take(self, Node n):
        if self.elsewhere is not None and n in self.elsewhere and n.run != <void*>self:
            return self.elsewhere.pop(n)
        grad = n.pending
        n.pending = None
        n.run = NULL
        return grad


cdef object merge_pending(Node n, object have, int nr, Tensor grad):
    cdef list parts
    if n.outputs == 1:
        return grad if have is None else add_tensors(<Tensor>have, grad)
    parts = [None] * n.outputs if have is None else <list>have
    parts[nr] = grad if parts[nr] is None else add_tensors(<Tensor>parts[nr], grad)
    return parts


cdef int run_engine(_Run run, bint keep_graph) except -1:
    cdef void* before = engine_run()
    set_engine_run(<void*>run)
    try:
        return run_nodes(run, keep_graph)
    finally:
        set_engine_run(before)


def current_run():
    """A number that tells backward calls apart; -1 outside any."""
    return -1 if engine_run() == NULL else (<_Run>engine_run()).number


def will_run(Node n):
    """Is n among the nodes the current backward call runs?"""
    cdef _Run run
    if engine_run() == NULL:
        return False
    run = <_Run>engine_run()
    if run.needed is not None:
        return n in run.needed
    if run.reachable is None:
        run.reachable = find_reachable([run.root] if run.roots is None else run.roots)
    return n in run.reachable


cdef set find_reachable(list stack):
    cdef set found = set(stack)
    cdef list todo = list(stack)
    cdef Node n
    cdef Node child
    cdef int i
    while todo:
        n = todo.pop()
        for i in range(n.edges):
            child = n.edge(i)
            if child is not None and child not in found:
                found.add(child)
                todo.append(child)
    return found


cdef int run_nodes(_Run run, bint keep_graph) except -1:
    cdef Node n
    cdef object grad
    while run.size > 0:
        n = run.pop()
        grad = run.take(n)
        if grad is None:
            continue
        if type(n) is AccumulateGrad:
            arrive(run, <AccumulateGrad>n, <Tensor>grad, Py_REFCNT(grad) == 1)
            continue
        if n.hooks is not None:
            grad = run_pre_hooks(n, grad)
            if grad is None:
                continue
        if run.captures is not None and n in run.captures:
            for nr, position in run.captures[n]:
                run.captured[position] = grad if n.outputs == 1 else grad[nr]
            if not leads_on(run, n):
                continue
        if anomaly_on or n.hooks is not None:
            propagate_watched(run, n, grad)
        else:
            n.propagate(run, grad)
        grad = None
        if not keep_graph:
            n.release()
    return 0


cdef int arrive(_Run run, AccumulateGrad n, Tensor grad, bint alone) except -1:
    """A gradient reached a leaf."""
    cdef Tensor leaf = n.leaf()
    cdef dict hooks = leaf.hooks
    if hooks is not None and "grad" in hooks:
        grad = run_hooks(hooks["grad"], grad)
        alone = False
    if run.captures is not None and n in run.captures:
        for _, position in run.captures[n]:
            run.captured[position] = grad
        return 0
    if not run.accumulate_leaves:
        return 0
    if n.hooks is not None:
        grad = run_node_prehooks(n, grad)
        alone = False
    accumulate(leaf, grad, alone)
    if n.hooks is not None and "post" in n.hooks:
        for hook in list(n.hooks["post"].values()):
            hook((), (grad,))
    return 0


cdef int propagate_watched(_Run run, Node n, object grad) except -1:
    """Run a node with its hooks, or in anomaly mode."""
    cdef object results
    grad = run_node_prehooks(n, grad)
    results = vjp_watched(n, grad) if anomaly_on else n.vjp(grad)
    if n.hooks is not None and "post" in n.hooks:
        results = run_post_hooks(n, results, grad)
    send_all(run, n, results)
    return 0


cdef int send_all(_Run run, Node n, object results) except -1:
    """Send a node's results along its edges."""
    cdef int i
    cdef Node target
    if results is None:
        return 0
    if isinstance(results, Tensor):
        if n.n0 is not None:
            run.send(n.n0, n.nr[0], <Tensor>results)
        return 0
    if len(results) < n.edges:
        raise RuntimeError(f"function {n.title()} returned an incorrect number of gradients (expected {n.edges}, got {len(results)})")
    for i in range(n.edges):
        target = n.edge(i)
        if target is None:
            continue
        grad = results[i]
        if grad is not None:
            run.send(target, n.edge_nr(i), <Tensor?>grad)
    return 0


cdef bint leads_on(_Run run, Node n):
    """Is another captured node further down?"""
    cdef int i
    for i in range(n.edges):
        if n.edge(i) is not None and n.edge(i) in run.needed:
            return True
    return False


cdef object run_post_hooks(Node n, object results, object grad):
    inputs = (results,) if n.edges == 1 and (results is None or isinstance(results, Tensor)) else tuple(results)
    for hook in list(n.hooks["post"].values()):
        changed = hook(inputs, (grad,) if n.outputs == 1 else tuple(grad))
        if changed is not None:
            inputs = changed if isinstance(changed, tuple) else (changed,)
    return inputs[0] if n.edges == 1 else inputs


cdef object vjp_watched(Node n, object grad):
    """Run a node in anomaly mode: errors and NaN name the forward call."""
    try:
        results = n.vjp(grad)
    except Exception:
        print_trace(n)
        raise
    if anomaly_checks_nan:
        for i, r in enumerate((results,) if isinstance(results, Tensor) else (results or ())):
            if r is not None and _has_nan(r):
                print_trace(n)
                raise RuntimeError(f"Function '{n.title()}' returned nan values in its {i}th output.")
    return results


cdef object _has_nan = None


def set_has_nan(fn):
    """The test anomaly mode uses."""
    global _has_nan
    _has_nan = fn


cdef int print_trace(Node n) except -1:
    import warnings
    if n.trace is None:
        warnings.warn(f"Error detected in {n.title()}. No forward pass information available. Enable detect anomaly during forward pass for more information.", stacklevel=2)
    else:
        warnings.warn(f"Error detected in {n.title()}. Traceback of forward call that caused the error:\n{n.trace}", stacklevel=2)
    return 0


cdef set find_needed(list roots, dict captures):
    """Nodes from which a captured node can be reached (captured ones included)."""
    cdef dict state = {}  # node -> True once known to lead to a capture
    cdef list stack = [(r, 0, False) for r in roots]
    cdef Node n
    cdef Node child
    while stack:
        n, i, entered = stack.pop()
        if not entered:
            if n in state:
                continue
            state[n] = n in captures
        child = None
        while i < n.edges:
            child = n.edge(i)
            if child is not None:
                if child not in state:
                    break
                if state[child]:
                    state[n] = True
            i += 1
        if i < n.edges:
            stack.append((n, i, True))
            stack.append((child, 0, False))
    return {n for n, found in state.items() if found}


cdef int backward_scalar(Tensor t, object retain_graph, object create_graph) except -1:
    """t.backward() without a gradient: t has one element."""
    cdef _Run run
    cdef Tensor one
    cdef Node n
    cdef int before
    cdef bint create = create_graph is not False and bool(create_graph)
    if t.count != 1:
        raise RuntimeError(f"grad can be implicitly created only for scalar outputs, got shape {tuple(t.shape)}: pass backward() a gradient of that shape")
    n = source_of(t)
    if n is None:
        raise_no_history(0)
    if CATEGORY[t.code] != 2:
        raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {DTYPES[t.code]!r}")
    one = new_dense(t.code, t.ndim_, t.shape_)
    if t.code == F32:
        (<float*>one.data_ptr_)[0] = 1
    else:
        write_element(one.data_ptr_, t.code, 1)
    run = _Run.__new__(_Run)
    run.accumulate_leaves = True
    before = set_grad_mode(create)
    try:
        run.root = n
        run.send(n, t.output_nr, one)
        n = None
        one = None
        run_engine(run, create if retain_graph is None else bool(retain_graph))
    finally:
        set_grad_mode(before)
    return 0


cdef object _backward_hook = None


def set_backward_hook(fn):
    """What Tensor.backward calls when it is given arguments."""
    global _backward_hook
    _backward_hook = fn


cdef int raise_no_history(int i) except -1:
    raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")


cdef object edge_of(object x):
    """(node, output number) behind a tensor or a GradientEdge; the node is None if it needs no gradient."""
    if isinstance(x, Tensor):
        node = source_of(<Tensor>x)
        return node, (<Tensor>x).output_nr
    return x[0], x[1]


def gradient_edge(Tensor t):
    """(node, output number) where t's gradient goes; None for the node if it needs none."""
    return edge_of(t)


def run_backward(roots, grads, keep_graph, create_graph, inputs=None, accumulate=True):
    """Propagate from roots (tensors or edges) with their gradients; returns what arrived at `inputs`.

    With inputs and accumulate, .grad of just those leaves is accumulated; without accumulate the
    gradients are returned instead, None where none arrived.
    """
    cdef _Run run = _Run.__new__(_Run)
    cdef Node n
    cdef list starts = []
    cdef dict targets = {}
    cdef int before, i
    run.accumulate_leaves = accumulate
    for i, (t, g) in enumerate(zip(roots, grads)):
        node, nr = edge_of(t)
        if node is None:
            raise_no_history(i)
        starts.append((node, nr, g))
    if inputs is not None:
        for position, x in enumerate(inputs):
            node, nr = edge_of(x)
            if node is None:
                raise RuntimeError("One of the differentiated Tensors does not require grad")
            targets.setdefault(node, []).append((nr, position))
        run.needed = find_needed([s[0] for s in starts], targets)
        if not accumulate:
            run.captures, run.captured = targets, [None] * len(inputs)
    before = set_grad_mode(1 if create_graph else 0)
    run.roots = [s[0] for s in starts]
    try:
        while starts:
            node, nr, g = starts.pop()
            run.send(<Node>node, nr, <Tensor>g)
        node = g = grads = None
        run_engine(run, keep_graph)
    finally:
        set_grad_mode(before)
    return run.captured


def grad_enabled():
    """Is gradient recording on in this thread?"""
    return bool(grad_mode_on())


def set_grad_enabled(value):
    """Turn gradient recording on or off in this thread; the previous setting."""
    return bool(set_grad_mode(1 if value else 0))


def inference_enabled():
    """Is inference mode on in this thread?"""
    return bool(inference_mode_on())


def set_inference(value):
    """Turn inference mode on or off in this thread; the previous setting."""
    return bool(set_inference_mode(1 if value else 0))


cdef class GradGuard:
    """Sets gradient recording (and, if `inference` is not -1, inference mode) for the length of a with block.

    The base of no_grad, enable_grad and inference_mode; in the core because it is on every evaluation's path.
    """

    cdef int wanted
    cdef int inference
    cdef int before
    cdef int inference_before

    def __cinit__(self, *args, **kwargs):
        self.inference = -1

    cdef int enter(self) except -1:
        self.before = set_grad_mode(self.wanted)
        if self.inference >= 0:
            self.inference_before = set_inference_mode(self.inference)
        return 0

    def __exit__(self, kind, value, trace):
        set_grad_mode(self.before)
        if self.inference >= 0:
            set_inference_mode(self.inference_before)


cdef class NoGradGuard(GradGuard):
    """Recording off inside the block."""

    def __enter__(self):
        self.wanted = 0
        self.enter()


cdef class EnableGradGuard(GradGuard):
    """Recording on inside the block."""

    def __enter__(self):
        self.wanted = 1
        self.enter()


cdef class InferenceGuard(GradGuard):
    """Inference mode on (mode=True) or off inside the block; recording is its opposite."""

    cdef readonly bint mode

    def __init__(self, mode=True):
        self.mode = bool(mode)

    def __enter__(self):
        self.wanted = not self.mode
        self.inference = self.mode
        self.enter()


def detach_inplace(Tensor t):
    """Forget t's history, in place; returns it."""
    return t.detach_()
