# History of primitives: ops whose forward and derivative are Python functions (ops/primitive.py).

cdef class Op
cdef class Memory

cdef enum:
    READ_ARGUMENT = 0   # an argument; tensors are saved
    READ_LIKE = 1       # an argument's shape, dtype and strides
    READ_NEEDS = 2      # which tensor arguments need a gradient
    READ_OUT = 3        # the result
    READ_ONE = 4        # one of several results; the others may then be changed in place
    MAX_PARAMETERS = 32


@cython.auto_pickle(False)
cdef class Like:
    """What is left of a tensor whose data the derivative does not need."""

    cdef readonly tuple shape
    cdef readonly dtype dtype
    cdef readonly tuple strides


cdef class History:
    """How a primitive is recorded: its forward, its derivative, and what that reads."""

    cdef str name
    cdef str node_name
    cdef object forward
    cdef object derivative
    cdef tuple parameters      # names: positional ones first
    cdef Py_ssize_t positional
    cdef tuple defaults        # by parameter; _required where there is none
    cdef list reads            # (READ_..., number of the parameter)
    cdef bint reads_needs
    cdef Memory memory         # of calls of the derivative

    def __init__(self, str name, str node_name, forward, tuple parameters, Py_ssize_t positional, dict defaults):
        if len(parameters) > MAX_PARAMETERS:
            raise ValueError(f"{name}: a primitive takes at most {int(MAX_PARAMETERS)} parameters")
        self.name, self.node_name, self.forward = name, node_name, forward
        self.parameters, self.positional = parameters, positional
        self.defaults = tuple([defaults.get(p, _required) for p in parameters])

    def set_derivative(self, derivative, reads):
        """derivative(g, *what it reads); reads: the names of its other parameters."""
        self.derivative = derivative
        self.reads = [read_of(self.parameters, name) for name in reads]
        self.reads_needs = "needs" in reads


cdef object _required = object()


cdef tuple read_of(tuple parameters, str name):
    if name in parameters:
        return READ_ARGUMENT, parameters.index(name)
    if name == "needs":
        return READ_NEEDS, 0
    if name == "out":
        return READ_OUT, 0
    if name.startswith("out_"):
        return READ_ONE, int(name[4:])
    if name.removesuffix("_like") in parameters:
        return READ_LIKE, parameters.index(name.removesuffix("_like"))
    raise ValueError(f"a derivative reads '{name}', which is no parameter of {parameters}")


cdef class PrimitiveNode(Node):
    """A recorded call of a primitive."""

    cdef History history
    cdef list values       # what the derivative reads; tensors as SavedTensor, sequences of them as lists of those
    cdef bint saves        # is a tensor among them?
    cdef list groups       # per argument that holds tensors: how many, -1 for a tensor itself

    cdef str title(self):
        return self.history.node_name

    cdef int release(self) except -1:
        if self.saves:
            self.values = None
            self.released = True
        return 0

    cdef object vjp(self, object grad):
        cdef object result
        cdef object value
        cdef list given
        if self.values is None:
            raise_released(self)
        given = [tuple(grad) if self.outputs > 1 else grad]
        for value in self.values:
            given.append(read_back(value, self) if self.saves else value)
        result = call_derivative(self.history, given)
        if len(self.groups) == 1 and self.groups[0] == -1:
            return result[0] if isinstance(result, tuple) else result
        return flatten_gradients(result if isinstance(result, tuple) else (result,), self.groups)


cdef object call_derivative(History h, list given):
    cdef object result = NotImplemented
    cdef PyObject* given_items[MAX_PARAMETERS + 1]
    cdef Py_ssize_t i
    if h.memory is not None and mode_stack_depth() == 0 and len(given) <= MAX_PARAMETERS:
        for i in range(len(given)):
            given_items[i] = PyList_GET_ITEM(given, i)
        result = call_remembered(h.memory, h.derivative, given_items, len(given), NULL)
    return h.derivative(*given) if result is NotImplemented else result


cdef object read_back(object value, Node owner):
    if type(value) is SavedTensor:
        return (<SavedTensor>value).get(owner)
    if type(value) is list and len(<list>value) and type((<list>value)[0]) is SavedTensor:
        return tuple([read_back(v, owner) for v in <list>value])
    return value


cdef list flatten_gradients(tuple parts, list groups):
    """One gradient per tensor, from one per argument (a sequence or None where the argument is a sequence)."""
    cdef list flat = []
    cdef Py_ssize_t i
    for i in range(min(len(parts), len(groups))):
        if groups[i] == -1:
            flat.append(parts[i])
        elif parts[i] is None:
            flat.extend([None] * groups[i])
        else:
            flat.extend(parts[i])
    return flat


cdef inline bint holds_tensors(object value):
    """Is it a sequence of tensors?"""
    if type(value) is not tuple and type(value) is not list and not isinstance(value, (tuple, list)):
        return False
    return len(value) > 0 and isinstance(value[0], Tensor)


cdef object like_of(object value):
    cdef Like like
    if isinstance(value, Tensor):
        like = Like.__new__(Like)
        like.shape = int_tuple((<Tensor>value).shape_, (<Tensor>value).ndim_)
        like.strides = int_tuple((<Tensor>value).strides_, (<Tensor>value).ndim_)
        like.dtype = <dtype>DTYPES[(<Tensor>value).code]
        return like
    if isinstance(value, (tuple, list)):
        return [like_of(v) for v in value]
    return value


cdef object call_forward(Op op, PyObject** args, size_t nargsf, PyObject* kwnames):
    """The call itself, without recording."""
    cdef History h = op.history
    cdef int before = set_grad_mode(0)
    cdef object made
    try:
        if op.shortcut != NULL:
            made = op.shortcut(args, PyVectorcall_NARGS(nargsf), kwnames)
            if made is not NotImplemented:
                return made
        if kwnames != NULL and "out" in <object>kwnames:
            named = keywords(args, PyVectorcall_NARGS(nargsf), kwnames)
            if named.pop("out") is not None:
                raise RuntimeError(f"{h.name}(): functions with out=... arguments don't support automatic differentiation, "
                                   "but one of the arguments requires grad.")
            return h.forward(*positional(args, PyVectorcall_NARGS(nargsf)), **named)
        if op.memory is not None:
            made = call_remembered(op.memory, h.forward, args, nargsf, kwnames)
            if made is not NotImplemented:
                return made
        return PyObject_Vectorcall(h.forward, args, nargsf, kwnames)
    finally:
        set_grad_mode(before)


cdef int bind_arguments(History h, PyObject** args, Py_ssize_t n, PyObject* kwnames, PyObject** values) except -1:
    """Arguments by parameter, defaults included; NULL where there is neither (forward has not complained)."""
    cdef Py_ssize_t i, k
    for i in range(len(h.parameters)):
        values[i] = PyTuple_GET_ITEM(h.defaults, i)
        if values[i] == <PyObject*>_required:
            values[i] = <PyObject*>None
    for i in range(min(n, h.positional)):
        values[i] = args[i]
    if kwnames != NULL:
        for k in range(PyTuple_GET_SIZE(<object>kwnames)):
            i = find_name(h.parameters, <object>PyTuple_GET_ITEM(<object>kwnames, k))
            if i >= 0:
                values[i] = args[n + k]
    return 0


cdef object call_recorded(Op op, PyObject** args, size_t nargsf, PyObject* kwnames):
    """Call a primitive one of whose arguments needs a gradient."""
    cdef History h = op.history
    cdef PyObject* values[MAX_PARAMETERS]
    cdef list inputs = []
    cdef list groups = []
    cdef object result = call_forward(op, args, nargsf, kwnames)
    cdef object value
    cdef bint wanted = False
    cdef Py_ssize_t i
    if h.derivative is None:
        return result
    bind_arguments(h, args, PyVectorcall_NARGS(nargsf), kwnames, values)
    for i in range(len(h.parameters)):
        value = <object>values[i]
        if isinstance(value, Tensor):
            inputs.append(value)
            groups.append(-1)
            wanted = wanted or needs_gradient(<Tensor>value)
        elif holds_tensors(value):
            inputs.extend(value)
            groups.append(len(value))
            wanted = wanted or needs_history(value)
    if wanted:
        record_primitive(h, values, inputs, groups, result)
    return result


cdef int record_primitive(History h, PyObject** values, list inputs, list groups, object result) except -1:
    cdef PrimitiveNode n = PrimitiveNode.__new__(PrimitiveNode)
    cdef bint several = isinstance(result, (tuple, list))
    cdef object outputs = result if several else (result,)
    cdef object one
    cdef int kind, place, i = 0
    number_node(n)
    n.history = h
    n.groups = groups
    n.outputs = len(outputs)
    set_edges(n, inputs)
    needs = None
    if h.reads_needs:
        needs = tuple([t is not None and needs_gradient(t) for t in inputs])
    for one in outputs:
        if isinstance(one, Tensor) and CATEGORY[(<Tensor>one).code] >= 2:
            adopt(<Tensor>one, n, i)
        i += 1
    n.values = []
    for kind, place in h.reads:
        if kind == READ_ARGUMENT:
            n.values.append(keep(n, <object>values[place], outputs))
        elif kind == READ_LIKE:
            n.values.append(like_of(<object>values[place]))
        elif kind == READ_NEEDS:
            n.values.append(needs)
        elif kind == READ_ONE:
            n.values.append(keep(n, outputs[place], outputs))
        else:
            n.values.append(keep(n, outputs if several else result, outputs))
    return 0


cdef object keep(PrimitiveNode n, object value, object outputs):
    """What the node holds of a value: tensors are saved, and noted as its own outputs where they are."""
    cdef SavedTensor saved
    if isinstance(value, Tensor):
        n.saves = True
        saved = save_tensor(<Tensor>value, t_is_output(value, outputs), output_index(value, outputs))
        saved.needs_grad = (<Tensor>value).needs_grad
        return saved
    if holds_tensors(value):
        return [keep(n, v, outputs) for v in value]
    return value
