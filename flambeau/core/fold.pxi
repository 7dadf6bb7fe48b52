# What a tape is made into: steps of calls that were replays themselves stand in their caller's list, and steps that depend
# on no argument are done once, when the replay is made.
#
# Tensors of one storage form a group. A group varies if an argument is in it, or if a step that reads a varying group writes
# it. Of a step that is not known to only read its arguments, all of them may be written.

cdef enum:
    MOST_CONSTANT_BYTES = 1 << 14  # of the tensors that a replay keeps; making larger ones is no matter of overhead
    MOST_READ = 16                 # whole numbers read at once
    WRITES_NOTHING = -1
    WRITES_ANY = -2

cdef dict _written_argument = {}   # functions of the core that repeat exactly -> which argument they write, or WRITES_...
cdef set _reading_ops = {
    "argmax", "argmin", "cat", "chunk", "conj", "contiguous", "dot", "embedding", "empty_like", "equal", "expand", "flatten", "gather",
    "index_select", "linear", "matmul", "max", "mean", "min", "mm", "mv", "narrow", "new_zeros", "ones", "ones_like", "permute",
    "reshape", "select", "split", "squeeze", "stack", "t", "to", "transpose", "unbind", "unsqueeze", "view", "view_as", "zeros",
    "zeros_like",
}  # of those with a short cut

cdef dict _writers = {
    WRITES_NOTHING: (
        "alias", "as_dtype_view", "basic_index", "check_indices", "check_inplace", "clone_plain", "contiguous_plain", "copy_pieces",
        "cut_views", "empty", "empty_strided", "expand", "from_data", "is_offset_multiple", "join_dense", "matrix_product",
        "name_view", "new_flag", "offset_between", "permute", "product", "read_flag", "read_index", "restride", "shares_memory",
        "small_positions", "strided_view_of", "sum_to_shape", "take_rows", "try_view", "unbind_views", "view"),
    0: ("copy_plain", "fill_number", "fill_range", "fill_linspace", "store_result", "write_index"),
    1: ("apply_inplace",),
    2: ("put_rows", "run_along"),
    WRITES_ANY: ("launch_rows",),
}


cdef int list_writers(dict names) except -1:
    for place, functions in _writers.items():
        for name in functions:
            _written_argument[names[name]] = place
    _written_argument[Tensor.detach] = _written_argument[Tensor.tolist] = WRITES_NOTHING
    _written_argument[_run_plan] = WRITES_ANY
    return 0


# ---- steps of steps --------------------------------------------------------------------------------

cdef list nested_call(Op op, PyObject** args, Py_ssize_t n, PyObject* names):
    """The key of a call within a taped one, and its tensors; None where no replay may answer it."""
    cdef KeyWriter w
    cdef list found
    cdef int i
    if op.memory is None or op.writes is not None or not write_call(&w, args, n, names):
        return None
    if names != NULL and op.direct is not op.function and "out" in <object>names:
        return None
    found = [PyBytes_FromStringAndSize(w.bytes, w.used)]
    for i in range(w.count):
        if op.history is not None and w.records and (<Tensor>w.tensors[i]).needs_grad:
            return None
        found.append(<object>w.tensors[i])
    return found


cdef bint splice_replay(Tape tape, Op op, list call, object result) except -1:
    """Put the steps of a nested call's replay into the tape; False where there is none."""
    cdef object found = op.memory.known.get(call[0])
    cdef Replay r
    cdef Step s
    cdef dict tensors = {}   # the results among the replay's slots
    cdef dict groups = {}
    cdef list slots
    cdef int k
    if type(found) is not Replay or len(call) - 1 != (<Replay>found).inputs:
        return False
    r = <Replay>found
    if tape.written and not all([is_certain(s) for s in r.steps]):
        return False
    slots = [tape.slots.get(<uintptr_t><PyObject*>t) for t in call[1:]] + [None] * (r.slots - r.inputs)
    if None in slots[:r.inputs] or not match_results(tape, r, result, slots, tensors):
        return False
    for k in range(r.slots):
        if slots[k] is not None:
            groups[r.groups[k]] = tape.groups[<int>slots[k]]
        elif k in tensors:
            groups.setdefault(r.groups[k], group_of(<Tensor>tensors[k]))
    for k in range(r.inputs, r.slots):
        slots[k] = len(tape.kept)
        tape.kept.append(tensors.get(k))
        if k in tensors:
            tape.slots[<uintptr_t><PyObject*>tensors[k]] = slots[k]
        tape.groups.append(groups.setdefault(r.groups[k], -<int>slots[k] - 1))
    for k, kept in r.constants:
        tape.constants.append((slots[k], kept))
    for s in r.steps:
        tape.steps.append(moved_step(s, slots))
        tape.written = tape.written or s.fn is _random_fill_
    tape.written = tape.written or input_versions(tape) != tape.versions
    return True


cdef bint match_results(Tape tape, Replay r, object result, list slots, dict tensors) except -1:
    """Find the tensors that a nested call returned among its replay's slots."""
    cdef Py_ssize_t i
    cdef int p
    cdef list results = list(result) if r.several else [result]
    if len(results) != len(r.result.places):
        return False
    for i in range(len(results)):
        p = <int>r.result.places[i]
        if p == PLACE_BUNDLE:
            return False
        if p < 0:
            continue
        if not isinstance(results[i], Tensor) or type(results[i]) is not Tensor:
            return False
        if p < r.inputs:
            if tape.slots.get(<uintptr_t><PyObject*>results[i]) != slots[p]:
                return False
        elif <uintptr_t><PyObject*>results[i] in tape.slots or (p in tensors and tensors[p] is not results[i]):
            return False
        else:
            tensors[p] = results[i]
    return True


cdef Step moved_step(Step s, list slots):
    """The same step with other numbers of slots."""
    cdef Step m = Step.__new__(Step)
    cdef int i
    m.fn, m.plan, m.makes_empty, m.count, m.positional = s.fn, s.plan, s.makes_empty, s.count, s.positional
    m.names, m.result, m.expected, m.kinds, m.records = s.names, s.result, s.expected, s.kinds, s.records
    m.draws = s.draws
    for i in range(s.count):
        m.place[i] = <int>slots[s.place[i]] if s.place[i] >= 0 else s.place[i]
    m.constants = tuple([moved_bundle(<Bundle>c, slots) if type(c) is Bundle else c for c in s.constants])
    m.slots = None if s.slots is None else [slots[k] if k >= 0 else k for k in s.slots]
    return m


cdef Bundle moved_bundle(Bundle b, list slots):
    cdef Bundle m = Bundle.__new__(Bundle)
    m.is_list, m.kind = b.is_list, b.kind
    m.places = [slots[p] if p >= 0 else p for p in b.places]
    m.constants = [moved_bundle(<Bundle>c, slots) if type(c) is Bundle else c for c in b.constants]
    return m


# ---- what varies -----------------------------------------------------------------------------------

cdef object group_of(Tensor t):
    return <uintptr_t>t.storage


cdef int written_by(Step s) except -3:
    """Which argument a step writes, WRITES_NOTHING, or WRITES_ANY."""
    cdef str name
    if s.makes_empty or (type(s.fn) is LoopOp and s.names is None):
        return WRITES_NOTHING
    if type(s.fn) is Op:
        if (<Op>s.fn).writes is not None:
            return 0
        name = (<Op>s.fn).name
        return WRITES_NOTHING if (<Op>s.fn).plain is not None or name in _reading_ops else WRITES_ANY
    return _written_argument.get(s.fn, WRITES_ANY)


cdef bint repeats_exactly(Step s) except -1:
    """Is what it makes of the same arguments the same each time, without history?"""
    if s.records or s.draws:
        return False
    return s.makes_empty or type(s.fn) is LoopOp or type(s.fn) is Op or s.fn in _written_argument


cdef set slots_read(Step s):
    cdef set found = set()
    cdef int i
    collect_slots([s.place[i] for i in range(s.count)], list(s.constants), found)
    return found


cdef list slots_made(Step s):
    return [] if s.slots is None else [k for k in s.slots if k >= 0]


cdef set find_varying(list steps, list groups, int inputs):
    """The groups that depend on the arguments of the call, or on chance."""
    cdef set varying = set(groups[:inputs])
    cdef set read
    cdef set made
    cdef Step s
    cdef int target
    cdef Py_ssize_t before = -1
    while before != len(varying):
        before = len(varying)
        for s in steps:
            read = {groups[k] for k in slots_read(s)}
            made = {groups[k] for k in slots_made(s)}
            target = written_by(s)
            if not repeats_exactly(s):
                varying |= read | made
            elif not varying.isdisjoint(read):
                varying |= made
                if target == WRITES_ANY:
                    varying |= read
                elif target >= 0 and s.place[target] >= 0:
                    varying.add(groups[s.place[target]])
                elif target >= 0:
                    varying |= read
    return varying


cdef int note_reading(Tensor t, object fn, object value) except -1:
    """Python reads elements of t, by fn. What depends on no argument is the same in every replay; of whole numbers a replay is
    told to find the same, or else to be called off."""
    cdef Tape tape = <Tape>current_tape()
    cdef PyObject* given = <PyObject*>t
    if tape.spoiled:
        return 0
    if <uintptr_t><PyObject*>t not in tape.slots:
        tape.spoiled = True
    elif group_of(t) in find_varying(tape.steps, tape.groups, tape.inputs):
        if CATEGORY[t.code] > 1 or t.count > MOST_READ:
            tape.spoiled = True
        else:
            note_step(tape, fn, &given, 1, NULL, value)
    return 0


# ---- what nobody reads ---------------------------------------------------------------------------------

cdef int drop_unread(Replay r) except -1:
    """Leave out the steps that only make a tensor which no other step reads: a plan's first call asks with empty ones. Where
    its sizes depend on elements, they are still to be compared.
    """
    cdef set read = set()
    cdef list kept = []
    cdef Step s
    collect_slots(r.result.places, r.result.constants, read)
    for s in reversed(r.steps):
        if (s.result == RESULT_TENSOR and is_certain(s) and repeats_exactly(s) and written_by(s) == WRITES_NOTHING
                and read.isdisjoint(slots_made(s))):
            continue
        read |= slots_read(s)
        kept.append(s)
    r.steps = kept[::-1]
    return 0


# ---- doing it once ---------------------------------------------------------------------------------

cdef int fold_constants(Replay r) except -1:
    """Do the steps that depend on no argument now, and return copies of what they made."""
    cdef set varying = find_varying(r.steps, r.groups, r.inputs)
    cdef set filled = set()
    cdef list once = []
    cdef list rest = []
    cdef list values
    cdef Step s
    cdef int64_t total = 0
    for s in r.steps:
        if not s.makes_empty and s.fn is not _empty_strided:
            filled.update([r.groups[k] for k in slots_made(s) + list(slots_read(s))])
    filled.update([r.groups[k] for k, kept in r.constants])
    for s in r.steps:  # memory that nothing is written to is not worth a copy
        varying.update([r.groups[k] for k in slots_made(s) if r.groups[k] not in filled])
    for s in r.steps:
        (once if is_constant_step(s, r.groups, varying) else rest).append(s)
    if not once or not shares_nothing(r, varying):
        return 0
    values = [None] * r.slots
    for k, kept in r.constants:
        values[k] = kept
    for s in once:
        s.drops = []
        if not run_step(s, values):
            return 0
    total = sum([(<Tensor>t).storage.bytes for t in values if t is not None])
    if total > MOST_CONSTANT_BYTES or not copy_results(r, rest, values):
        return 0
    r.steps = rest
    keep_constants(r, values)
    return 0


cdef bint is_constant_step(Step s, list groups, set varying) except -1:
    cdef int k
    if not repeats_exactly(s):
        return False
    for k in slots_read(s).union(slots_made(s)):
        if groups[k] in varying:
            return False
    return True


cdef bint shares_nothing(Replay r, set varying) except -1:
    """Is each constant group among the results there once?"""
    cdef list found = [r.groups[p] for p in r.result.places if p >= 0 and r.groups[p] not in varying]
    return len(found) == len(set(found)) and PLACE_BUNDLE not in r.result.places


cdef bint copy_results(Replay r, list steps, list values) except -1:
    """Add steps that copy the constants among the results."""
    cdef Step s
    cdef Kind k
    cdef Tensor t
    cdef Py_ssize_t i
    cdef int p
    cdef list places = list(r.result.places)
    cdef int slots = r.slots
    cdef list added = []
    for i in range(len(places)):
        p = <int>places[i]
        if p < 0 or p >= len(values) or values[p] is None:
            continue
        t = <Tensor>values[p]
        if not t.dense or t.ndim_ > KIND_DIMS:
            return False
        s = Step.__new__(Step)
        k = Kind.__new__(Kind)
        k.code, k.ndim = t.code, t.ndim_
        memcpy(k.shape, t.shape_, t.ndim_ * sizeof(int64_t))
        memcpy(k.strides, t.strides_, t.ndim_ * sizeof(int64_t))
        s.fn, s.count, s.positional, s.constants, s.result = _clone_plain, 1, 1, (None,), RESULT_TENSOR
        s.place[0] = p
        s.slots, s.kinds = [slots], [k]
        places[i] = slots
        slots += 1
        added.append(s)
    r.groups.extend([-(r.slots + i) - 1 for i in range(len(added))])
    r.result.places, r.slots = places, slots
    steps.extend(added)
    return True


cdef int keep_constants(Replay r, list values) except -1:
    """Keep the constants that steps still read."""
    cdef set used = set()
    cdef Step s
    for s in r.steps:
        used |= slots_read(s)
    r.constants = [(k, values[k]) for k in sorted(used) if k < len(values) and values[k] is not None]
    return 0
