# Saved tensors, and nodes of Python functions.

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


def record_call(str name, backward, inputs, outputs, saved, context):
    """Make the outputs those of a node with edges to the inputs, which saves tensors (or None) and a context for `backward`."""
    cdef PythonNode n = make_node(name, backward, inputs)
    n.context = context
    attach(n, outputs)
    n.save(saved)
    n.output_metas = [(tuple((<Tensor>t).shape), (<Tensor>t).dtype) for t in outputs]


def new_function_node(cls, str name, backward, inputs):
    """The same for a subclass of PythonNode (custom Functions are their own context)."""
    cdef PythonNode n = (<type>cls).__new__(cls)
    number_node(n)
    n.name_ = name
    n.backward = backward
    set_edges(n, inputs)
    return n


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
