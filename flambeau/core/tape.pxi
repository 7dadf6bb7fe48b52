# Tapes: what the Python of an op calls, noted the first time it sees arguments of certain kinds.
#
# While a call is taped, TAPE_DEPTH stands in the thread's depth of modes, so every op and (through `Taped`) every
# function of the core that touches tensors comes to `call_taped`. It runs the function and notes it as a Step, whose
# tensors are numbered slots. Whatever a step could not repeat (reading elements, addresses, history) spoils the tape.

cdef enum:
    TAPE_DEPTH = 1 << 20
    MOST_ARGUMENTS = 24
    KIND_DIMS = 8
    PLACE_CONSTANT = -1
    PLACE_BUNDLE = -2
    RESULT_CONSTANT = 0    # what a step returns: a number or None, that must be the same again
    RESULT_TENSOR = 1      # a new tensor
    RESULT_SEQUENCE = 2    # several, in a tuple or list
    RESULT_KNOWN = 3       # a tensor that has a slot already


cdef class Kind:
    """A tensor's type, sizes and strides: what a step must make again."""

    cdef int code
    cdef int ndim
    cdef int64_t shape[KIND_DIMS]
    cdef int64_t strides[KIND_DIMS]


cdef inline bint is_kind(Tensor t, Kind k) noexcept:
    cdef int d
    if t.code != k.code or t.ndim_ != k.ndim:
        return False
    for d in range(k.ndim):
        if t.shape_[d] != k.shape[d] or t.strides_[d] != k.strides[d]:
            return False
    return True


cdef class Bundle:
    """A tuple or list among a step's arguments that holds tensors."""

    cdef bint is_list
    cdef object kind         # the class of a named tuple, else None
    cdef list places
    cdef list constants


cdef class Step:
    """One call: slots and constants in, slots out."""

    cdef object fn
    cdef Plan plan                       # instead of fn
    cdef bint makes_empty                # core.empty: made from the result's Kind
    cdef int count                       # arguments, named ones included
    cdef int positional
    cdef int place[MOST_ARGUMENTS]       # a slot, or PLACE_...
    cdef tuple constants                 # by argument: constants and Bundles
    cdef object names
    cdef bint records                    # does a result have history?
    cdef bint draws                      # random numbers
    cdef int result
    cdef object expected                 # a constant result
    cdef list slots                      # of the results; -1 for None
    cdef list kinds                      # of the results
    cdef list drops                      # slots nobody reads afterwards


@cython.no_gc_clear
cdef class Tape:
    """What a call has done so far."""

    cdef dict slots          # id of a tensor -> its slot
    cdef list kept           # the tensors by slot: they live while their ids are used
    cdef list groups         # by slot: the same for tensors of one storage; see fold.pxi
    cdef list constants      # (slot, tensor) of replays that were put into this tape
    cdef list steps
    cdef int inputs
    cdef int64_t versions    # of the inputs' storages, summed
    cdef bint written        # was an input written?
    cdef bint spoiled


cdef inline void spoil_tape():
    """What happens now depends on more than the kinds of the arguments, or can't be done again by a step."""
    if mode_stack_depth() >= TAPE_DEPTH:
        (<Tape>current_tape()).spoiled = True


def not_replayable():
    """Say that the op's present call has an effect which its steps do not have, such as a warning."""
    spoil_tape()


cdef object call_taped(object fn, PyObject** args, Py_ssize_t n, PyObject* names):
    """Call fn as if there were no tape, then note it."""
    cdef Tape tape = <Tape>current_tape()
    cdef list nested = nested_call(<Op>fn, args, n, names) if type(fn) is Op and not tape.spoiled else None
    cdef int64_t draws = _draws
    cdef object result
    set_mode_depth(0)
    try:
        result = PyObject_Vectorcall(fn, args, n, names)
    except BaseException:
        tape.spoiled = True
        raise
    finally:
        set_mode_depth(TAPE_DEPTH)
        set_current_tape(<void*>tape)
    if not tape.spoiled and (nested is None or not splice_replay(tape, <Op>fn, nested, result)):
        note_step(tape, fn, args, n, names, result)
        if draws != _draws and not tape.spoiled and len(tape.steps):
            (<Step>tape.steps[len(tape.steps) - 1]).draws = True
    return result


cdef object call_taped_tuple(object fn, tuple args):
    cdef PyObject* given[MOST_ARGUMENTS]
    cdef Py_ssize_t n = PyTuple_GET_SIZE(args), i
    if n > MOST_ARGUMENTS:
        spoil_tape()
        set_mode_depth(0)
        try:
            return fn(*args)
        finally:
            set_mode_depth(TAPE_DEPTH)
    for i in range(n):
        given[i] = PyTuple_GET_ITEM(args, i)
    return call_taped(fn, given, n, NULL)


# ---- noting a step ---------------------------------------------------------------------------------

cdef set _constant_types = {int, float, bool, complex, str, bytes, type(None), type(Ellipsis), dtype, device, layout,
                            memory_format, type, Generator}


cdef object _function_type = None  # of functions written in Python


cdef bint is_constant(object x):
    """Is it a value that can be passed again as it is?"""
    cdef type kind = type(x)
    if kind in _constant_types or kind is LoopOp or kind is Op or kind is Plan:
        return True
    if kind is list or isinstance(x, tuple):
        for y in x:
            if not is_constant(y):
                return False
        return True
    if kind is _function_type:
        return x.__closure__ is None
    return kind is slice and is_constant(x.start) and is_constant(x.stop) and is_constant(x.step)


cdef int find_place(Tape tape, object x, list constants) except -3:
    """Where an argument comes from; what is no slot goes to the end of constants."""
    cdef Bundle bundle
    if isinstance(x, Tensor):
        slot = tape.slots.get(<uintptr_t><PyObject*>x)
        if slot is None:
            tape.spoiled = True
            return PLACE_CONSTANT
        constants.append(None)
        return slot
    if is_constant(x):
        constants.append(list(x) if type(x) is list else x)
        return PLACE_CONSTANT
    if not isinstance(x, (tuple, list)):
        tape.spoiled = True
        return PLACE_CONSTANT
    bundle = Bundle.__new__(Bundle)
    bundle.is_list = isinstance(x, list)
    bundle.kind = None if type(x) is tuple or type(x) is list else type(x)
    bundle.places, bundle.constants = [], []
    for y in x:
        bundle.places.append(find_place(tape, y, bundle.constants))
        if tape.spoiled:
            return PLACE_CONSTANT
    constants.append(bundle)
    return PLACE_BUNDLE


cdef int note_step(Tape tape, object fn, PyObject** args, Py_ssize_t n, PyObject* names, object result) except -1:
    cdef Step s = Step.__new__(Step)
    cdef list constants = []
    cdef Py_ssize_t i
    cdef bint written_before = tape.written
    s.count = <int>(n + (0 if names == NULL else PyTuple_GET_SIZE(<object>names)))
    s.positional = <int>n
    if s.count > MOST_ARGUMENTS:
        tape.spoiled = True
        return 0
    if fn is _contiguous_plain and result is <object>args[0]:
        return 0
    for i in range(s.count):
        s.place[i] = find_place(tape, <object>args[i], constants)
        if tape.spoiled:
            return 0
    s.fn = fn
    s.names = None if names == NULL else <object>names
    if fn is _run_plan and s.place[0] == PLACE_CONSTANT:
        s.plan = <Plan>constants[0]
    s.constants = tuple(constants)
    note_result(tape, s, result)
    s.makes_empty = fn is _empty and s.result == RESULT_TENSOR and not (<Tensor>result).needs_grad
    tape.written = tape.written or fn is _random_fill_ or input_versions(tape) != tape.versions
    if written_before and not is_certain(s):
        tape.spoiled = True  # a replay that finds another result here could not be called off any more
    tape.steps.append(s)
    return 0


cdef bint is_certain(Step s) except -1:
    """Does the kind of its result follow from the kinds of its arguments?"""
    if s.result == RESULT_KNOWN or (s.result == RESULT_CONSTANT and s.expected is None):
        return True
    return s.result == RESULT_TENSOR and (type(s.fn) is LoopOp or s.fn in _certain)


cdef int64_t input_versions(Tape tape):
    cdef int64_t total = 0
    cdef int i
    for i in range(tape.inputs):
        total += (<Tensor>tape.kept[i]).storage.version
    return total


cdef int note_result(Tape tape, Step s, object result) except -1:
    if isinstance(result, Tensor):
        if <uintptr_t><PyObject*>result in tape.slots:
            s.result, s.slots = RESULT_KNOWN, [tape.slots[<uintptr_t><PyObject*>result]]
            return 0
        s.result, s.slots, s.kinds = RESULT_TENSOR, [], []
        return note_slot(tape, s, <Tensor>result)
    if is_constant(result):
        s.result, s.expected = RESULT_CONSTANT, result
        return 0
    if not isinstance(result, (tuple, list)):
        tape.spoiled = True
        return 0
    s.result, s.slots, s.kinds = RESULT_SEQUENCE, [], []
    for x in result:
        if x is None:
            s.slots.append(-1)
            s.kinds.append(None)
        elif isinstance(x, Tensor) and <uintptr_t><PyObject*>x not in tape.slots:
            note_slot(tape, s, <Tensor>x)
        else:
            tape.spoiled = True
            return 0
    return 0


cdef int note_slot(Tape tape, Step s, Tensor t) except -1:
    cdef Kind k = Kind.__new__(Kind)
    if t.ndim_ > KIND_DIMS or type(t) is not Tensor:
        tape.spoiled = True
        return 0
    k.code, k.ndim = t.code, t.ndim_
    memcpy(k.shape, t.shape_, t.ndim_ * sizeof(int64_t))
    memcpy(k.strides, t.strides_, t.ndim_ * sizeof(int64_t))
    s.slots.append(add_slot(tape, t))
    s.kinds.append(k)
    s.records = s.records or t.needs_grad
    return 0


cdef object add_slot(Tape tape, Tensor t):
    cdef Py_ssize_t slot = len(tape.kept)
    tape.slots[<uintptr_t><PyObject*>t] = slot
    tape.kept.append(t)
    tape.groups.append(group_of(t))
    return slot


# ---- the functions of the core that are taped ------------------------------------------------------

cdef class Taped:
    """A function of this module as the ops floor sees it: noted while a tape runs."""

    cdef vectorcallfunc vectorcall
    cdef readonly object __wrapped__
    cdef bint spoils

    def __init__(self, fn, spoils):
        self.vectorcall = <vectorcallfunc>taped_vectorcall
        self.__wrapped__, self.spoils = fn, spoils

    @property
    def __name__(self):
        return self.__wrapped__.__name__

    @property
    def __doc__(self):
        return self.__wrapped__.__doc__

    @property
    def __module__(self):
        return self.__wrapped__.__module__

    def __repr__(self):
        return repr(self.__wrapped__)

    def __get__(self, instance, owner):
        return self if instance is None else PyMethod_New(self, instance)

    def __reduce__(self):
        return self.__wrapped__.__name__

    def __call__(self, *args, **kwargs):
        raise NotImplementedError  # replaced by the vectorcall slot


cdef object taped_vectorcall(PyObject* callable, PyObject** args, size_t nargsf, PyObject* names):
    cdef Taped f = <Taped>callable
    if mode_stack_depth() >= TAPE_DEPTH:
        if not f.spoils:
            return call_taped(f.__wrapped__, args, PyVectorcall_NARGS(nargsf), names)
        spoil_tape()
    return PyObject_Vectorcall(f.__wrapped__, args, nargsf, names)


cdef set _certain = set()
cdef object _random_fill_ = None
cdef object _contiguous_plain = None
cdef object _run_plan = None
cdef object _unbind_views = None
cdef object _empty = None
cdef object _empty_strided = None
cdef object _clone_plain = None
cdef object _read_flag = None

# What steps repeat.
cdef set _TAPED = {
    "add_blocks", "add_pieces", "alias", "apply_inplace", "as_dtype_view", "basic_index", "bump_version", "check_indices", "check_inplace",
    "clone_plain", "contiguous_plain", "copy_", "copy_pieces", "copy_plain", "cut_views", "deliver_out", "empty",
    "empty_strided", "expand", "fill_linspace", "fill_number", "fill_range", "from_data", "join_dense", "launch",
    "launch_rows", "matrix_product", "name_view", "new_flag", "permute", "product", "put_rows", "read_index", "record_rows",
    "restride",
    "is_offset_multiple", "offset_between", "random_fill", "read_flag", "record_call", "run_along", "shares_memory", "small_positions",
    "store_result", "strided_view_of", "sum_to_shape", "take_rows", "try_view", "unbind_views", "view", "write_index",
}
# What depends on nothing but the kinds of arguments and the settings that a replay's key holds, or only loads code.
cdef set _UNTAPED = {
    "anomaly_state", "any_sparse", "cpu_features", "crc32", "crc32_is_fast", "find_symbol", "get_default_dtype", "get_member",
    "grad_enabled", "inference_enabled", "list_members", "load_object", "mode_depth", "needs_history", "not_replayable", "overrides_disabled",
    "set_copy_loader", "set_gather_kernel", "set_row_form", "set_shortcut_op", "set_take_kernel", "speed_up_module",
    "threads", "use_shortcut",
    "remember_calls", "memory_stats",
}


cdef int tape_functions(dict names) except -1:
    """Put Taped in the place of the module's functions."""
    global _random_fill_, _function_type, _contiguous_plain, _run_plan, _empty, _empty_strided, _clone_plain, _read_flag, _read_index, _write_index, _unbind_views
    _contiguous_plain, _empty, _run_plan = names["contiguous_plain"], names["empty"], Plan.run
    _read_index, _write_index, _unbind_views = names["read_index"], names["write_index"], names["unbind_views"]
    _random_fill_, _empty_strided, _clone_plain = names["random_fill"], names["empty_strided"], names["clone_plain"]
    _read_flag = names["read_flag"]
    list_writers(names)
    _certain.update([names[n] for n in ("alias", "clone_plain", "contiguous_plain", "empty", "empty_strided", "expand", "from_data",
                                        "permute", "restride", "view")])
    from types import FunctionType as _function_type
    kind = type(_empty)
    for name, fn in list(names.items()):
        if type(fn) is kind and name not in _UNTAPED and not name.startswith("_"):
            names[name] = Taped(fn, name not in _TAPED)
    return 0
