# Loop ops: pointwise, reductions and row programs, called without any Python once a signature is known.
#
# A signature is the operands' types and ranks plus the access classes that the layouts reduce to. Each op
# keeps a small hash table from signature to kernel; a miss asks the op's record to compile one.

cdef enum:
    MAX_IN = 6            # tensor operands
    MAX_SCALARS = 8
    POINTWISE = 0
    REDUCTION = 1         # one result a row
    ROWS = 2              # one result an element
    ACCESS_C = 1
    ACCESS_S = 2
    ACCESS_0 = 3
    ACCESS_G = 4
    ACCESS_T = 5
    ACCESS_B = 6
    FORM_FLAT = 0
    FORM_NEST = 1
    FORM_REDUCE = 2
    FORM_COLUMNS = 3
    FORM_TILE = 4
    FORM_STREAM = 5
    RANK_TENSOR = 0
    RANK_SCALAR = 1       # 0-d tensor
    RANK_NUMBER = 2       # Python number

cdef list _loop_ops = []

cdef struct Entry:
    uint64_t types
    uint64_t layout
    kernel_fn kernel
    bint never_streams     # there is no stream kernel at hand
    bint asked_chunks      # the two below are known
    kernel_fn partial      # reductions: accumulators of a chunk; NULL where there is no such kernel
    kernel_fn final        # from the chunks' accumulators
    int out_code
    int acc_code
    int scalar_code[14]    # element type of each number operand and scalar parameter
    int64_t grain          # elements

cdef class LoopOp:
    """A loop program: a scalar body over operands, perhaps with reductions along dimensions."""

    cdef vectorcallfunc vectorcall
    cdef readonly str name
    cdef public object record
    cdef readonly int form
    cdef readonly int operands
    cdef readonly int scalars
    cdef readonly tuple names          # operands, then scalars
    cdef readonly tuple defaults       # of the scalars (and trailing operands); missing = required
    cdef readonly str node_name
    cdef readonly bint wants_count     # last scalar is the number of reduced elements, filled in by the core
    cdef Entry* table
    cdef int room
    cdef int used
    cdef list vjps                     # per operand: None (zero), True (the cotangent itself), or a LoopOp
    cdef list vjp_uses                 # per operand: bit mask of the operands its vjp reads; bit 30 the output; bit 29:
                                       # multiply the cotangent by operand 0 first instead of reading that
    cdef object joint                  # row programs: all derivatives by one kernel, or None
    cdef int reads[MAX_IN]             # the same masks, and -1 where the vjp is zero
    cdef public object keyword_dim     # reductions: default of dim, or NotImplemented if required
    cdef public bint takes_dtype
    cdef public bint chunkable         # few long rows are reduced in chunks: worth full vectors even so
    cdef public int tensor_mask        # operands that may not be Python numbers
    cdef str inplace_name
    cdef set stored                    # signatures whose result may be stored in place
    cdef object __weakref__
    cdef dict __dict__

    def __init__(self, str name, record, int form, tuple names, int operands, tuple defaults, bint wants_count=False):
        self.vectorcall = <vectorcallfunc>loop_vectorcall
        self.name = name
        self.record = record
        self.form = form
        self.names = names
        self.operands = operands
        self.scalars = len(names) - operands
        self.defaults = defaults
        self.wants_count = wants_count
        self.inplace_name = name + "_"
        self.stored = set()
        self.node_name = "".join([p.capitalize() for p in name.split("_")]) + "Backward0"
        if operands > MAX_IN or self.scalars > MAX_SCALARS:
            raise ValueError(f"{name}: a loop op takes at most {MAX_IN} tensors and {MAX_SCALARS} scalars")
        _loop_ops.append(self)

    def __dealloc__(self):
        free(self.table)

    @property
    def __name__(self):
        return self.name

    @property
    def __doc__(self):
        return self.record.doc

    @property
    def __signature__(self):
        return describe_signature(self)

    def __repr__(self):
        return f"<op {self.name}>"

    def __get__(self, instance, owner):
        return self if instance is None else PyMethod_New(self, instance)

    def __reduce__(self):
        return _op_by_name, (self.name,)

    cdef void clear_cache(self):
        self.stored.clear()
        self.table = NULL  # kept, like an outgrown one
        self.room = self.used = 0

    cdef Entry* find(self, uint64_t types, uint64_t layout) noexcept:
        cdef uint64_t h
        cdef int i
        if self.room == 0:
            return NULL
        h = (types * 0x9E3779B97F4A7C15ULL) ^ (layout * 0xC2B2AE3D27D4EB4FULL)
        i = <int>((h >> 32) & <uint64_t>(self.room - 1))
        while self.table[i].kernel != NULL:
            if self.table[i].types == types and self.table[i].layout == layout:
                return &self.table[i]
            i = (i + 1) & (self.room - 1)
        return NULL

    cdef Entry* insert(self, Entry* e) except NULL:
        cdef Entry* old = self.table
        cdef int old_room = self.room
        cdef int i
        cdef uint64_t h
        if 2 * (self.used + 1) > self.room:
            self.room = 8 if old_room == 0 else 2 * old_room
            self.table = <Entry*>calloc(self.room, sizeof(Entry))
            if self.table == NULL:
                self.table, self.room = old, old_room
                raise MemoryError("out of memory for a kernel table")
            self.used = 0
            for i in range(old_room):
                if old[i].kernel != NULL:
                    self.insert(&old[i])
            # the outgrown table is kept: another thread may be about to launch from an entry of it
        h = (e.types * 0x9E3779B97F4A7C15ULL) ^ (e.layout * 0xC2B2AE3D27D4EB4FULL)
        i = <int>((h >> 32) & <uint64_t>(self.room - 1))
        while self.table[i].kernel != NULL:
            i = (i + 1) & (self.room - 1)
        self.table[i] = e[0]
        self.used += 1
        return &self.table[i]

    cdef Entry* compile(self, uint64_t types, uint64_t layout, int form, list accesses, int out_request) except NULL:
        """Ask the record for a kernel: it answers (address, out code, scalar codes, grain)."""
        cdef Entry e
        cdef int i, held
        cdef list ranks = self.unpack_ranks(types)
        held = hold_float8(self, ranks)
        answer = self.record.compile(self, form, ranks, accesses, out_request)
        memset(&e, 0, sizeof(Entry))
        e.types = types
        e.layout = layout
        e.kernel = <kernel_fn><uintptr_t>answer[0]
        e.out_code = held if held >= 0 else answer[1]
        for i in range(len(answer[2])):
            e.scalar_code[i] = held if held >= 0 else answer[2][i]
        e.grain = answer[3]
        return self.insert(&e)

    cdef list unpack_ranks(self, uint64_t types):
        """(type code, rank) of each operand and scalar."""
        cdef int i
        cdef list ranks = []
        for i in range(self.operands + self.scalars):
            rank = int((types >> 4) & 3)
            ranks.append((int(types & 15) | (F8_E4M3FN if rank == 3 else 0), 0 if rank == 3 else rank))
            types >>= 6
        return ranks

    cdef int ask_chunks(self, Entry* e, int form, list accesses, int out_request) except -1:
        """Ask the record for the kernels that reduce by chunks: when a row is first long enough to need them."""
        answer = self.record.compile_chunks(self, form, self.unpack_ranks(e.types), accesses, out_request)
        e = self.find(e.types, e.layout)  # another thread may have made the table grow
        if answer:
            e.final = <kernel_fn><uintptr_t>answer[1]
            e.acc_code = answer[2]
            e.partial = <kernel_fn><uintptr_t>answer[0]
        e.asked_chunks = True
        return 0

    def vjp_table(self):
        """The derivative ops, made on first use: one per operand (None: zero, True: the cotangent)."""
        cdef int i
        if self.vjps is None:
            vjps, uses = self.record.derive(self)
            for i in range(self.operands):
                self.reads[i] = -1 if vjps[i] is None else uses[i]
            self.vjps, self.vjp_uses = vjps, uses
            self.joint = self.record.joint(self)
        return self.vjps, self.vjp_uses

    def __call__(self, *args, **kwargs):
        raise NotImplementedError  # replaced by the vectorcall slot


cdef object _op_by_name_hook = None


def set_op_lookup(fn):
    """How a pickled op is found again by name."""
    global _op_by_name_hook
    _op_by_name_hook = fn


def _op_by_name(name):
    """The op of that name."""
    return _op_by_name_hook(name)


cdef object describe_signature(LoopOp op):
    """How the op is called, as `inspect` tells it; see `loop_vectorcall`, which reads the arguments."""
    from inspect import Parameter, Signature
    cdef int i, optional = op.operands + op.scalars - <int>len(op.defaults)
    cdef list positional = [], named = []
    for i in range(op.operands + op.scalars):
        by_name = op.form != POINTWISE and i >= op.operands
        default = op.defaults[i - optional] if i >= optional else Parameter.empty
        kind = Parameter.KEYWORD_ONLY if by_name else Parameter.POSITIONAL_OR_KEYWORD
        (named if by_name else positional).append(Parameter(op.names[i], kind, default=default))
    if op.form != POINTWISE:
        dim = Parameter.empty if op.keyword_dim is NotImplemented else op.keyword_dim
        positional.append(Parameter("dim", Parameter.POSITIONAL_OR_KEYWORD, default=dim))
    if op.form == REDUCTION:
        positional.append(Parameter("keepdim", Parameter.POSITIONAL_OR_KEYWORD, default=False))
    if op.takes_dtype:
        named.append(Parameter("dtype", Parameter.KEYWORD_ONLY, default=None))
    named.append(Parameter("out", Parameter.KEYWORD_ONLY, default=None))
    return Signature(positional + named)
