# Ops written in Python, the stack of modes that may intercept any op, and the plans of generated kernels.

ctypedef object (*shortcut_fn)(PyObject** args, Py_ssize_t n, PyObject* kwnames)


cdef class Op:
    """A public op whose body is a Python function."""

    cdef vectorcallfunc vectorcall
    cdef readonly str name
    cdef public object record
    cdef readonly object function     # the body
    cdef object direct                # the body for calls without out=
    cdef History history              # of primitives: what records a call when an argument needs a gradient
    cdef shortcut_fn shortcut         # tried first; see shortcuts.pxi
    cdef LoopOp writes                # the loop op of which this is the in-place form
    cdef readonly Memory memory                # of its calls; see replay.pxi
    cdef LoopOp plain                 # the loop op that a call with nothing but tensors (and dim) is
    cdef object __weakref__
    cdef dict __dict__

    def __init__(self, str name, record, function, History history=None, direct=None, LoopOp writes=None):
        self.vectorcall = <vectorcallfunc>op_vectorcall
        self.name = name
        self.record = record
        self.function = function
        self.direct = function if direct is None else direct
        self.history = history
        self.writes = writes

    @property
    def __name__(self):
        return self.name

    @property
    def __doc__(self):
        return self.function.__doc__

    @property
    def __wrapped__(self):
        return self.function

    @property
    def __module__(self):
        return self.function.__module__

    def __repr__(self):
        return f"<op {self.name}>"

    def __get__(self, instance, owner):
        return self if instance is None else PyMethod_New(self, instance)

    def __reduce__(self):
        return _op_by_name, (self.name,)

    def __call__(self, *args, **kwargs):
        raise NotImplementedError  # replaced by the vectorcall slot


cdef object op_vectorcall(PyObject* callable, PyObject** args, size_t nargsf, PyObject* kwnames):
    cdef Op op = <Op>callable
    cdef Py_ssize_t n = PyVectorcall_NARGS(nargsf), i
    cdef bint history = False
    cdef object x
    if mode_stack_depth() > 0:
        return dispatch_modes(op, args, n, kwnames)
    if kwnames != NULL:
        n += PyTuple_GET_SIZE(<object>kwnames)
    for i in range(n):
        x = <object>args[i]
        if isinstance(x, Tensor):
            if type(x) is not Tensor and overrides(type(x)):
                return dispatch_override(op, args, PyVectorcall_NARGS(nargsf), kwnames)
            history = history or needs_gradient(<Tensor>x)
        elif type(x) is list or type(x) is tuple:
            for y in x:
                if isinstance(y, Tensor):
                    if type(y) is not Tensor and overrides(type(y)):
                        return dispatch_override(op, args, PyVectorcall_NARGS(nargsf), kwnames)
                    history = history or needs_gradient(<Tensor>y)
                elif type(y) not in _plain_types and overrides(type(y)):
                    return dispatch_override(op, args, PyVectorcall_NARGS(nargsf), kwnames)
        elif type(x) not in _plain_types and overrides(type(x)):
            return dispatch_override(op, args, PyVectorcall_NARGS(nargsf), kwnames)
    if op.writes is not None and (kwnames == NULL or are_names(op.writes, kwnames)):
        return call_inplace_named(op.writes, args, PyVectorcall_NARGS(nargsf), kwnames)
    if history and op.history is not None and grad_mode_on():
        return call_recorded(op, args, nargsf, kwnames)
    if op.plain is not None and is_plain_call(op.plain, args, PyVectorcall_NARGS(nargsf), kwnames):
        return loop_vectorcall(<PyObject*>op.plain, args, nargsf, kwnames)
    if op.shortcut != NULL:
        x = op.shortcut(args, PyVectorcall_NARGS(nargsf), kwnames)
        if x is not NotImplemented:
            return x
    try:
        if kwnames != NULL and op.direct is not op.function and "out" in <object>kwnames:
            return PyObject_Vectorcall(op.function, args, nargsf, kwnames)
        if op.memory is not None:
            x = call_remembered(op.memory, op.direct, args, nargsf, kwnames)
            if x is not NotImplemented:
                return x
        return PyObject_Vectorcall(op.direct, args, nargsf, kwnames)
    except MetaRequest:
        pass
    return _meta_hook(op, positional(args, PyVectorcall_NARGS(nargsf)), keywords(args, PyVectorcall_NARGS(nargsf), kwnames))


class MetaRequest(NotImplementedError):
    """Raised by an op that is asked for a tensor without data; the hook then answers the call."""


cdef object _meta_hook = None
cdef object _device_context_hook = None


def set_meta_hooks(answer, enter_device):
    """answer(op, args, kwargs) makes tensors without data; enter_device(device, entering) is for `with device:`."""
    global _meta_hook, _device_context_hook
    _meta_hook, _device_context_hook = answer, enter_device


def use_plain(Op op, LoopOp loop):
    """Hand calls of op that give nothing but floating-point tensors (and an int dim) to a loop op."""
    op.plain = loop


cdef bint is_plain_call(LoopOp loop, PyObject** args, Py_ssize_t n, PyObject* kwnames) except -1:
    cdef Py_ssize_t i
    cdef Py_ssize_t dims = 0 if loop.form == POINTWISE else 1
    if n + (0 if kwnames == NULL else PyTuple_GET_SIZE(<object>kwnames)) != loop.operands + dims or n < loop.operands:
        return False
    for i in range(loop.operands):
        if not isinstance(<object>args[i], Tensor) or CATEGORY[(<Tensor>args[i]).code] != 2:
            return False
    if dims and (type(<object>args[loop.operands]) is not int):  # after the positional ones come the named
        return False
    return kwnames == NULL or (dims == 1 and <object>PyTuple_GET_ITEM(<object>kwnames, 0) == "dim")


cdef inline bint needs_gradient(Tensor t) except -1:
    if t.tracked_view:
        refresh_view(t)
    return t.needs_grad


cdef set _plain_types = {int, float, bool, complex, str, type(None), slice, dtype, device, Size}


# ---- overrides and modes ---------------------------------------------------------------------------

cdef dict _override_cache = {}
cdef object _disabled_override = None
cdef object _override_hook = None
cdef object _mode_hook = None


def set_dispatch_hooks(disabled, override, mode):
    """What marks a type as not overriding, and the functions that dispatch to overrides and to modes."""
    global _disabled_override, _override_hook, _mode_hook
    _disabled_override, _override_hook, _mode_hook = disabled, override, mode


def _disabled_torch_function_impl(func, types, args=(), kwargs=None):
    """As a class's __torch_function__: its instances are treated as plain tensors."""
    cdef int before = set_overrides_off(1)
    try:
        return func(*args, **(kwargs or {}))
    finally:
        set_overrides_off(before)


def overrides_disabled():
    """Are overrides off in this thread?"""
    return bool(overrides_off())


def disable_overrides(off):
    """Turn overrides off or on in this thread; was it off before?"""
    return bool(set_overrides_off(1 if off else 0))


cdef bint overrides(type t):
    """Does this type want to see the ops called on it (PyTorch's __torch_function__ protocol)?"""
    if overrides_off():
        return t in _sparse_types  # no op may read one as a plain tensor
    found = _override_cache.get(t)
    if found is None:
        handler = getattr(t, "__torch_function__", None)
        found = t in _sparse_types or (handler is not None and handler is not _disabled_override and t is not Tensor)
        if len(_override_cache) > 4096:
            _override_cache.clear()
        _override_cache[t] = found
    return found


cdef bint has_override(PyObject** slots, int n, object out):
    cdef int i
    for i in range(n):
        if type(<object>slots[i]) is Tensor:
            continue
        if isinstance(<object>slots[i], Tensor):
            if overrides(type(<object>slots[i])):
                return True
        elif type(<object>slots[i]) not in _plain_types and overrides(type(<object>slots[i])):
            return True
    return False


cdef tuple positional(PyObject** args, Py_ssize_t n):
    return tuple([<object>args[i] for i in range(n)])


cdef dict keywords(PyObject** args, Py_ssize_t n, PyObject* names):
    if names == NULL:
        return {}
    return {<object>PyTuple_GET_ITEM(<object>names, k): <object>args[n + k] for k in range(PyTuple_GET_SIZE(<object>names))}


cdef object dispatch_override(object op, PyObject** args, Py_ssize_t n, PyObject* names):
    return _override_hook(op, positional(args, n), keywords(args, n, names))


cdef object dispatch_modes(object op, PyObject** args, Py_ssize_t n, PyObject* names):
    if mode_stack_depth() >= TAPE_DEPTH:
        return call_taped(op, args, n, names)
    return _mode_hook(op, positional(args, n), keywords(args, n, names))


def mode_depth():
    """Active modes in this thread."""
    return 0 if mode_stack_depth() >= TAPE_DEPTH else mode_stack_depth()


def set_depth(int depth):
    """Set the number of active modes in this thread; the previous number."""
    cdef int before = mode_depth()
    spoil_tape()
    set_mode_depth(depth)
    return before


def needs_history(*tensors):
    """Does any of these (tensors, sequences of them, or anything else) need a gradient now?"""
    if not grad_mode_on():
        return False
    for t in tensors:
        if isinstance(t, Tensor):
            if wants_history(<Tensor>t):
                return True
        elif isinstance(t, (list, tuple)):
            for u in t:
                if isinstance(u, Tensor) and wants_history(<Tensor>u):
                    return True
    return False


# ---- plans -----------------------------------------------------------------------------------------

cdef struct PhaseC:
    kernel_fn kernel
    int64_t* desc
    int64_t tasks
    int64_t grain


cdef class Plan:
    """Phases of generated kernels that share one array of pointers; see kernels/plan.py.

    phases: (kernel address, desc, tasks, grain). `run` takes tensors, addresses or None, and appends the workspace.
    otherwise() makes the plan to run as well where a kernel sets the workspace's first number.
    """

    cdef PhaseC* phases
    cdef int count
    cdef readonly int64_t workspace
    cdef readonly int threads
    cdef object otherwise

    def __init__(self, phases, int64_t workspace, int threads, otherwise=None):
        cdef int i, k
        self.otherwise = otherwise
        self.count = len(phases)
        self.workspace = workspace
        self.threads = threads
        self.phases = <PhaseC*>calloc(self.count if self.count else 1, sizeof(PhaseC))
        if self.phases == NULL:
            raise MemoryError("out of memory for a plan")
        for i, (kernel, desc, tasks, grain) in enumerate(phases):
            self.phases[i].kernel = <kernel_fn><uintptr_t>kernel
            self.phases[i].desc = <int64_t*>malloc((len(desc) + 1) * sizeof(int64_t))
            if self.phases[i].desc == NULL:
                raise MemoryError("out of memory for a plan")
            for k, value in enumerate(desc):
                if isinstance(value, float):
                    (<double*>self.phases[i].desc)[k] = value
                else:
                    self.phases[i].desc[k] = value
            self.phases[i].tasks = tasks
            self.phases[i].grain = grain

    def __dealloc__(self):
        cdef int i
        if self.phases != NULL:
            for i in range(self.count):
                free(self.phases[i].desc)
            free(self.phases)

    def run(self, *operands):
        """Run every phase in order. The first operand is written (its version goes up)."""
        cdef PyObject* given[24]
        cdef int n = <int>len(operands), i
        if mode_stack_depth() >= TAPE_DEPTH:
            call_taped_tuple(Plan.run, (self, *operands))
            return
        if n > 22:
            raise ValueError(f"a plan takes at most 22 operands, got {n}")
        for i in range(n):
            given[i] = PyTuple_GET_ITEM(operands, i)
        run_plan(self, given, n)


cdef int run_plan(Plan plan, PyObject** operands, int n) except -1:
    """Run a plan on at most 22 tensors, addresses or None."""
    cdef void* args[24]
    cdef int i
    for i in range(n):
        if isinstance(<object>operands[i], Tensor):
            args[i] = (<Tensor>operands[i]).data_ptr_
        elif operands[i] == <PyObject*>None:
            args[i] = NULL
        else:
            args[i] = <void*><uintptr_t><object>operands[i]
    return run_phases(plan, args, n)


cdef int64_t _near = 0

cdef int run_phases(Plan plan, void** args, int n) except -1:
    """Run a plan on n operands; args has room for the workspace behind them, and for where it says whether the
    threads' cores are far apart."""
    cdef char* work = NULL
    cdef int i
    cdef PhaseC* p
    if plan.workspace:
        work = <char*>allocate(<size_t>plan.workspace)
        if work == NULL:
            raise OutOfMemoryError(f"not enough memory for a workspace of {plan.workspace} bytes")
    args[n] = work
    args[n + 1] = <void*>cores_far_apart() if plan.threads > 1 else <void*>&_near
    if plan.otherwise is not None:
        (<int64_t*>work)[0] = 0
    for i in range(plan.count):
        p = &plan.phases[i]
        if p.tasks <= p.grain:
            p.kernel(args, p.desc, 0, p.tasks, 0)
        else:
            with nogil:
                parallel_for(p.kernel, args, p.desc, p.tasks, p.grain, plan.threads)
    cdef bint again = plan.otherwise is not None and (<int64_t*>work)[0] != 0
    if work != NULL:
        release_memory(work, <size_t>plan.workspace)
    if again:
        if not isinstance(plan.otherwise, Plan):
            plan.otherwise = plan.otherwise()
        run_phases(<Plan>plan.otherwise, args, n)
    return 0


def launch(uintptr_t kernel, operands, desc, int64_t tasks, int64_t grain):
    """Run one kernel once: operands are tensors, addresses or None; desc ints and floats.

    Returns nothing; a kernel that can fail takes the address of a flag among its operands.
    """
    Plan([(kernel, desc, tasks, grain)], 0, get_num_threads()).run(*operands)


# ---- machine code ----------------------------------------------------------------------------------

cdef class LoadedModule:
    """Machine code brought in by the loader; lives as long as the process."""

    cdef LoadedObject* handle


def load_object(bytes code):
    """Load an object file made by the kernel compiler. ValueError if it is damaged."""
    cdef std_string error
    cdef LoadedModule m = LoadedModule.__new__(LoadedModule)
    m.handle = load_object_c(<const uint8_t*><char*>code, len(code), error)
    if m.handle == NULL:
        raise ValueError(f"object code cannot be loaded: {error.decode(errors='replace')}")
    return m


def find_symbol(LoadedModule module, str name):
    """Address of a function in a loaded module."""
    cdef bytes raw = name.encode()
    cdef void* p = find_symbol_c(module.handle, raw)
    if p == NULL:
        raise KeyError(f"no symbol {name!r} in the module")
    return <uintptr_t>p


def cpu_features():
    """The instruction sets this processor has, as LLVM names them."""
    return frozenset(cpu_feature_names().decode().split())


def threads():
    """How many threads kernels use."""
    return get_num_threads()


def set_threads(int n):
    """Set how many threads kernels use."""
    if n < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    set_num_threads_c(n)


def cores_apart(pretend=None):
    """Are the threads' cores far apart, not sharing a cache? `pretend`, for tests: what to believe from now on, -1 to look."""
    if pretend is not None:
        fix_distance(pretend)
    return cores_far_apart()[0] != 0


def memory_stats():
    """Bytes in use, most in use since the last reset, and kept for reuse."""
    return {"allocated": allocated_bytes(), "peak": peak_bytes(), "cached": cached_bytes()}


def reset_peak_memory():
    """Start measuring peak memory anew."""
    reset_peak()


def empty_cache():
    """Give unused memory back to the system."""
    empty_cache_c()


def install(str name, value):
    """Add a method to Tensor (an extension type, whose attributes Python code cannot set)."""
    PyDict_SetItem(<object>(<PyTypeObject*>Tensor).tp_dict, name, value)
    PyType_Modified(<type>Tensor)


def install_all(dict methods):
    """Add many methods to Tensor."""
    d = <object>(<PyTypeObject*>Tensor).tp_dict
    for name, value in methods.items():
        PyDict_SetItem(d, name, value)
    PyType_Modified(<type>Tensor)
