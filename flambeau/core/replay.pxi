# Replays: a Python op called again on arguments of kinds it has seen is done by the steps of its tape (tape.pxi).
#
# The key of a call holds all that the op's Python can see without spoiling the tape: types, sizes, strides and
# gradients wanted of the tensors, which of them are the same, the other arguments, and the settings of the thread.

cdef enum:
    KEY_BYTES = 1000
    MOST_INPUTS = 24
    MOST_ELEMENTS = 1 << 18  # of a tensor: with more of them its Python does not count, while a tape keeps memory alive
    MOST_REPLAYS = 128       # of one op; then they are forgotten
    MOST_MISSES = 2000       # calls of kinds never seen before, after which an op stops taping unless replays are as many
    MOST_VAIN = 16           # tapes of no use, after which an op without replays stops taping
    MOST_FAILURES = 2        # tapes of one key that were spoiled: the first call of an op may have compiled something

cdef struct KeyWriter:
    int used
    int count
    bint records             # is history kept?
    PyObject* tensors[MOST_INPUTS]
    char bytes[KEY_BYTES]


cdef inline bint write_bytes_(KeyWriter* w, const void* data, int n) noexcept:
    if w.used + n > KEY_BYTES:
        return False
    memcpy(w.bytes + w.used, data, n)
    w.used += n
    return True


cdef inline bint write_word(KeyWriter* w, int64_t word) noexcept:
    return write_bytes_(w, &word, 8)


cdef bint write_tensor(KeyWriter* w, Tensor t) except -1:
    """Its kind; or which of those before it is."""
    cdef int i
    if t.tracked_view:
        refresh_view(t)
    for i in range(w.count):
        if w.tensors[i] == <PyObject*>t:
            return write_word(w, 2 | i << 8)
    if w.count == MOST_INPUTS or t.count > MOST_ELEMENTS or w.used + 8 + 16 * t.ndim_ > KEY_BYTES or (type(t) is not Tensor and overrides(type(t))):
        return False
    w.tensors[w.count] = <PyObject*>t
    w.count += 1
    write_word(w, 1 | t.code << 8 | t.ndim_ << 16 | t.dense << 24 | (t.needs_grad and w.records) << 25 | <int64_t>t.inference << 26)
    write_bytes_(w, t.shape_, 8 * t.ndim_)
    return t.dense or write_bytes_(w, t.strides_, 8 * t.ndim_)


cdef inline bint is_pinned(object x):
    """Is it keyed by its address, so that a replay keeps it alive?"""
    return type(x) is Generator or (type(x) is _function_type and x.__closure__ is None)


cdef bint write_argument(KeyWriter* w, object x) except -1:
    """False where it is of no type that keys can hold."""
    cdef type kind = type(x)
    cdef int64_t word
    cdef double number
    if isinstance(x, Tensor):
        return write_tensor(w, <Tensor>x)
    if x is None:
        return write_word(w, 3)
    if kind is int:
        return read_int(<PyObject*>x, &word) and write_word(w, 4) and write_word(w, word)
    if kind is bool:
        return write_word(w, 5 | (256 if x else 0))
    if kind is float:
        number = x
        return write_word(w, 6) and write_bytes_(w, &number, 8)
    if kind is tuple or kind is list or kind is Size:
        if not write_word(w, (7 if kind is tuple else 8 if kind is list else 9) | <int64_t>len(x) << 8):
            return False
        for y in x:
            if is_pinned(y) or not write_argument(w, y):  # only the arguments themselves are kept alive
                return False
        return True
    if kind is str:
        return write_text(w, <str>x)
    if kind is dtype:
        return write_word(w, 11 | <int64_t>(<dtype>x).code << 8)
    if x is CPU:
        return write_word(w, 12)
    if kind is Like:
        return (write_word(w, 13 | <int64_t>(<Like>x).dtype.code << 8) and write_argument(w, (<Like>x).shape)
                and write_argument(w, (<Like>x).strides))
    if kind is slice:
        return (write_word(w, 14) and write_argument(w, x.start) and write_argument(w, x.stop) and write_argument(w, x.step))
    if x is Ellipsis:
        return write_word(w, 15)
    if is_pinned(x):
        return write_word(w, 16) and write_word(w, <int64_t><PyObject*>x)
    return False


cdef bint write_text(KeyWriter* w, str text) except -1:
    cdef Py_ssize_t n = 0
    cdef const char* p = PyUnicode_AsUTF8AndSize(text, &n)
    return write_word(w, 10 | <int64_t>n << 8) and write_bytes_(w, p, <int>n)


cdef bint write_call(KeyWriter* w, PyObject** args, Py_ssize_t n, PyObject* names) except -1:
    cdef Py_ssize_t i
    w.used = w.count = 0
    w.records = grad_mode_on()
    write_word(w, w.records | inference_mode_on() << 1 | default_dtype_code << 8 | <int64_t>get_num_threads() << 16 | <int64_t>n << 48)
    for i in range(n):
        if not write_argument(w, <object>args[i]):
            return False
    if names != NULL:
        for i in range(PyTuple_GET_SIZE(<object>names)):
            if not write_text(w, <str>PyTuple_GET_ITEM(<object>names, i)) or not write_argument(w, <object>args[n + i]):
                return False
    return True


# ---- what an op remembers --------------------------------------------------------------------------

cdef class Replay:
    """The steps of a call, and which slots are its result."""

    cdef list steps
    cdef int slots
    cdef int inputs          # the first slots
    cdef list groups         # by slot: the same for tensors of one storage
    cdef list constants      # (slot, tensor): made once, only read
    cdef list values         # by slot, before the first step: the constants
    cdef Bundle result       # of one place, unless `several`
    cdef bint several
    cdef int64_t hits, called_off
    cdef tuple pinned      # arguments whose addresses are in the key


cdef class Memory:
    """The calls that an op remembers."""

    cdef dict known        # key -> Replay, or how many tapes of it were spoiled
    cdef int64_t misses
    cdef int64_t hits
    cdef int64_t vain      # tapes that were spoiled, or of calls that have no steps and so cost little
    cdef bint full

    def __cinit__(self):
        self.known = {}

    @property
    def replays(self):
        """How many calls were answered by a replay."""
        return self.hits

    @property
    def failures(self):
        """How many kinds of calls cannot be replayed."""
        return sum([type(found) is not Replay for found in self.known.values()])

    def list_steps(self):
        """For each kind of call: the names of the functions that a replay calls; None where calls cannot be replayed."""
        return [[name_step(s) for s in (<Replay>r).steps] if type(r) is Replay else None for r in self.known.values()]


cdef str name_step(Step s):
    if s.plan is not None:
        return "run a plan"
    return getattr(s.fn, "__name__", None) or repr(s.fn)


def remember_calls(Op op, on=True):
    """Let an op answer calls of kinds it has seen from the steps of the first one, or stop that."""
    op.memory = Memory() if on else None
    if op.history is not None:
        op.history.memory = Memory() if on else None


cdef class Remembered:
    """A Python function in front of ops (nn.functional's) that answers calls of kinds it has seen by their steps."""

    cdef vectorcallfunc vectorcall
    cdef readonly object __wrapped__
    cdef readonly Memory memory
    cdef dict __dict__
    cdef object __weakref__

    def __init__(self, fn):
        self.vectorcall = <vectorcallfunc>remembered_vectorcall
        self.__wrapped__, self.memory = fn, Memory()
        for name in ("__name__", "__qualname__", "__module__", "__doc__", "__annotations__", "__defaults__", "__kwdefaults__",
                     "__code__", "__globals__"):
            setattr(self, name, getattr(fn, name))

    def __repr__(self):
        return repr(self.__wrapped__)

    def __get__(self, instance, owner):
        return self if instance is None else PyMethod_New(self, instance)

    def __reduce__(self):
        return self.__wrapped__.__qualname__

    def __call__(self, *args, **kwargs):
        raise NotImplementedError  # replaced by the vectorcall slot


cdef object remembered_vectorcall(PyObject* callable, PyObject** args, size_t nargsf, PyObject* names):
    cdef Remembered f = <Remembered>callable
    cdef object made
    if mode_stack_depth() == 0:
        made = call_remembered(f.memory, f.__wrapped__, args, nargsf, names)
        if made is not NotImplemented:
            return made
    return PyObject_Vectorcall(f.__wrapped__, args, nargsf, names)


cdef object call_remembered(Memory memory, object fn, PyObject** args, size_t nargsf, PyObject* names):
    """fn's result, from a replay if the call is known, else taped; NotImplemented where it is to be called plainly."""
    cdef KeyWriter w
    cdef bytes key
    cdef object found, made
    if memory.full or not write_call(&w, args, PyVectorcall_NARGS(nargsf), names):
        return NotImplemented
    key = PyBytes_FromStringAndSize(w.bytes, w.used)
    found = memory.known.get(key)
    if type(found) is Replay:
        made = run_replay(<Replay>found, &w)
        if made is NotImplemented:
            note_vain_call(memory, key, <Replay>found)
        else:
            memory.hits += 1
            (<Replay>found).hits += 1
        return made
    if found is None:
        found = 0
        memory.misses += 1
        memory.full = memory.misses > MOST_MISSES and memory.hits < memory.misses
    if found >= MOST_FAILURES:
        return NotImplemented
    if len(memory.known) >= MOST_REPLAYS:
        memory.known.clear()
    return tape_call(memory, key, found, &w, fn, args, nargsf, names)


cdef int note_vain_call(Memory memory, bytes key, Replay r) except -1:
    """A replay was called off: one that mostly is gives way to the Python."""
    r.called_off += 1
    if r.called_off > MOST_VAIN and r.called_off > r.hits:
        memory.known[key] = MOST_FAILURES
    return 0


cdef object tape_call(Memory memory, bytes key, object failures, KeyWriter* w, object fn, PyObject** args, size_t nargsf,
                      PyObject* names):
    cdef Tape tape = Tape.__new__(Tape)
    cdef void* before = current_tape()
    cdef Replay replay
    cdef object result
    cdef Py_ssize_t i, n
    tape.slots, tape.kept, tape.steps, tape.groups, tape.constants = {}, [], [], [], []
    tape.inputs = w.count
    for i in range(w.count):
        add_slot(tape, <Tensor>w.tensors[i])
    tape.versions = input_versions(tape)
    set_current_tape(<void*>tape)
    set_mode_depth(TAPE_DEPTH)
    try:
        result = PyObject_Vectorcall(fn, args, nargsf, names)
    finally:
        set_mode_depth(0)
        set_current_tape(before)
    replay = None if tape.spoiled or not tape.steps else finish_tape(tape, result)
    if replay is None:
        memory.vain += 1
        memory.full = memory.full or (memory.vain > MOST_VAIN and memory.hits < memory.vain)
        memory.known[key] = failures + 1
        return result
    n = PyVectorcall_NARGS(nargsf) + (0 if names == NULL else PyTuple_GET_SIZE(<object>names))
    replay.pinned = tuple([<object>args[i] for i in range(n) if is_pinned(<object>args[i])])
    memory.known[key] = replay
    return result


cdef Replay finish_tape(Tape tape, object result):
    """The replay of what was taped; None where its result is not one of the tensors."""
    cdef Replay r = Replay.__new__(Replay)
    cdef Bundle bundle = Bundle.__new__(Bundle)
    r.several = isinstance(result, (tuple, list))
    bundle.places, bundle.constants = [], []
    bundle.places.append(find_place(tape, result, bundle.constants))
    if tape.spoiled:
        return None
    if bundle.places[0] == PLACE_BUNDLE:
        bundle = <Bundle>bundle.constants[0]
    elif r.several:
        r.several = False  # a tuple of constants
    r.result, r.slots, r.steps = bundle, len(tape.kept), tape.steps
    r.inputs, r.groups, r.constants = tape.inputs, tape.groups, tape.constants
    drop_unread(r)
    fold_constants(r)
    r.values = [None] * r.slots
    for slot, kept in r.constants:
        r.values[slot] = kept
    find_drops(r)
    return r


cdef int collect_slots(list places, list constants, set found) except -1:
    for p, c in zip(places, constants):
        if p >= 0:
            found.add(p)
        elif p == PLACE_BUNDLE:
            collect_slots((<Bundle>c).places, (<Bundle>c).constants, found)
    return 0


cdef int find_drops(Replay r) except -1:
    """Note after which step each slot can go."""
    cdef set later = set(range(r.inputs))
    cdef set used
    cdef Step s
    later.update([slot for slot, kept in r.constants])
    collect_slots(r.result.places, r.result.constants, later)
    for s in reversed(r.steps):
        used = slots_read(s).union(slots_made(s))
        s.drops = sorted(used - later)
        later |= used
    return 0


# ---- doing it again --------------------------------------------------------------------------------

cdef object run_replay(Replay r, KeyWriter* w):
    """The result; NotImplemented, before anything was written, where the data lead elsewhere than the first time."""
    cdef list values = r.values[:]
    cdef Step s
    cdef int i
    for i in range(w.count):
        values[i] = <object>w.tensors[i]
    for s in r.steps:
        if not run_step(s, values):
            return NotImplemented
    if r.several:
        return fill_bundle(r.result, values)
    i = <int>r.result.places[0]
    return values[i] if i >= 0 else r.result.constants[0]


cdef object fill_bundle(Bundle bundle, list values):
    cdef list made = []
    cdef Py_ssize_t i
    cdef int p
    for i in range(len(bundle.places)):
        p = <int>bundle.places[i]
        if p >= 0:
            made.append(values[p])
        elif p == PLACE_BUNDLE:
            made.append(fill_bundle(<Bundle>bundle.constants[i], values))
        else:
            made.append(bundle.constants[i])
    if bundle.kind is not None:
        return tuple_new(bundle.kind, made) if issubclass(bundle.kind, tuple) else bundle.kind(made)
    return made if bundle.is_list else tuple(made)


cdef bint run_step(Step s, list values) except -1:
    cdef PyObject* argv[MOST_ARGUMENTS]
    cdef PyObject* names = NULL
    cdef list held = None
    cdef object made
    cdef Kind k
    cdef int i, p
    if s.makes_empty:
        k = <Kind>s.kinds[0]
        values[<int>s.slots[0]] = new_dense(k.code, k.ndim, k.shape)
        return True
    for i in range(s.count):
        p = s.place[i]
        if p >= 0:
            argv[i] = PyList_GET_ITEM(values, p)
        elif p == PLACE_CONSTANT:
            argv[i] = PyTuple_GET_ITEM(s.constants, i)
        else:
            made = fill_bundle(<Bundle><object>PyTuple_GET_ITEM(s.constants, i), values)
            if held is None:
                held = [made]
            else:
                held.append(made)
            argv[i] = <PyObject*>made
    if s.plan is not None:
        run_plan(s.plan, argv + 1, s.count - 1)
    else:
        if s.names is not None:
            names = <PyObject*>s.names
        if not take_result(s, PyObject_Vectorcall(s.fn, argv, s.positional, names), values):
            return False
    for i in range(PyList_GET_SIZE(s.drops)):
        values[<int>s.drops[i]] = None
    return True


cdef bint take_result(Step s, object result, list values) except -1:
    """Put a step's result into its slots; False where it is of another kind than it was."""
    cdef Py_ssize_t i
    cdef int slot
    if s.result == RESULT_TENSOR:
        if type(result) is not Tensor or not is_kind(<Tensor>result, <Kind>s.kinds[0]):
            return False
        values[<int>s.slots[0]] = result
        return True
    if s.result == RESULT_KNOWN:
        return result is values[<int>s.slots[0]]
    if s.result == RESULT_CONSTANT:
        return result is s.expected or (type(result) is type(s.expected) and result == s.expected)
    if not isinstance(result, (tuple, list)) or len(result) != len(s.slots):
        return False
    for i in range(len(s.slots)):
        slot, one = <int>s.slots[i], result[i]
        if slot < 0:
            if one is not None:
                return False
            continue
        if type(one) is not Tensor or not is_kind(<Tensor>one, <Kind>s.kinds[i]):
            return False
        values[slot] = one
    return True
