# Element types, devices, layouts and sizes: the small immutable objects the API speaks in.

cdef enum:
    BOOL = 0
    U8 = 1
    I8 = 2
    I16 = 3
    I32 = 4
    I64 = 5
    F16 = 6
    BF16 = 7
    F32 = 8
    F64 = 9
    C64 = 10
    C128 = 11
    U16 = 12
    U32 = 13
    U64 = 14
    DTYPE_COUNT = 15     # the types that ops compute with
    # 8-bit floats are only stored and converted. A signature has four bits for a code and two for
    # a rank (loop.pxi); both rank bits set is no rank, so these codes cannot be taken for another.
    F8_E4M3FN = 48
    F8_E5M2 = 49
    F8_E4M3FNUZ = 50
    F8_E5M2FNUZ = 51
    F8_E8M0FNU = 52
    CODE_END = 53

cdef int[CODE_END] ITEM
cdef int[CODE_END] CATEGORY   # 0 bool, 1 integer, 2 float, 3 complex
for _code, (_size, _kind) in enumerate(zip(
        (1, 1, 1, 2, 4, 8, 2, 2, 4, 8, 8, 16, 2, 4, 8), (0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 1, 1, 1))):
    ITEM[_code], CATEGORY[_code] = _size, _kind
for _code in range(F8_E4M3FN, CODE_END):
    ITEM[_code], CATEGORY[_code] = 1, 2

_DTYPE_NAMES = (
    ("bool", "bool"), ("uint8", "u8"), ("int8", "i8"), ("int16", "i16"), ("int32", "i32"),
    ("int64", "i64"), ("float16", "f16"), ("bfloat16", "bf16"), ("float32", "f32"),
    ("float64", "f64"), ("complex64", "c64"), ("complex128", "c128"), ("uint16", "u16"),
    ("uint32", "u32"), ("uint64", "u64"),
)
_FLOAT8_NAMES = (
    ("float8_e4m3fn", "f8_e4m3fn"), ("float8_e5m2", "f8_e5m2"), ("float8_e4m3fnuz", "f8_e4m3fnuz"),
    ("float8_e5m2fnuz", "f8_e5m2fnuz"), ("float8_e8m0fnu", "f8_e8m0fnu"),
)


@cython.final
cdef class dtype:
    """An element type, such as flambeau.float32."""

    cdef readonly int code
    cdef readonly str name
    cdef readonly str short

    @property
    def itemsize(self):
        """Bytes of one element."""
        return ITEM[self.code]

    @property
    def is_floating_point(self):
        """Is it a real floating-point type?"""
        return CATEGORY[self.code] == 2

    @property
    def is_complex(self):
        """Is it a complex type?"""
        return CATEGORY[self.code] == 3

    @property
    def is_signed(self):
        """Can it hold negative numbers?"""
        return self.code not in (BOOL, U8, U16, U32, U64, F8_E8M0FNU)

    def to_complex(self):
        """The complex type whose parts are of this type."""
        if self.code >= F8_E4M3FN:
            raise RuntimeError(f"Unknown Complex ScalarType for {self.name.capitalize()}")
        return DTYPES[C128 if self.code == F64 or self.code == C128 else C64]

    def to_real(self):
        """The type of a complex type's parts."""
        return DTYPES[F32] if self.code == C64 else DTYPES[F64] if self.code == C128 else self

    def __repr__(self):
        return f"torch.{self.name}"

    def __reduce__(self):
        return _dtype_by_name, (self.name,)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


def _dtype_by_name(str name):
    """The dtype object of that name."""
    for d in dtypes + float8_dtypes:
        if (<dtype>d).name == name:
            return d
    raise ValueError(f"no dtype named {name!r}")


cdef dtype _make_dtype(int code, str name, str short):
    cdef dtype d = dtype.__new__(dtype)
    d.code = code
    d.name = name
    d.short = short
    return d


dtypes = tuple([_make_dtype(i, n, s) for i, (n, s) in enumerate(_DTYPE_NAMES)])
float8_dtypes = tuple([_make_dtype(F8_E4M3FN + i, n, s) for i, (n, s) in enumerate(_FLOAT8_NAMES)])
cdef tuple DTYPES = dtypes + (None,) * (F8_E4M3FN - DTYPE_COUNT) + float8_dtypes  # by code

cdef int default_dtype_code = F32


def get_default_dtype():
    """The type new floating-point tensors have."""
    return DTYPES[default_dtype_code]


def set_default_dtype(d):
    """Set the type new floating-point tensors have; a floating-point type."""
    global default_dtype_code
    if not isinstance(d, dtype) or not (<dtype>d).is_floating_point:
        raise TypeError(f"set_default_dtype: only floating-point types are supported as the default type, got {d!r}")
    if (<dtype>d).code >= F8_E4M3FN:
        raise TypeError(f"couldn't find storage object {(<dtype>d).name.capitalize()}Storage")
    default_dtype_code = (<dtype>d).code
    for op in _loop_ops:
        (<LoopOp>op).clear_cache()


cdef dtype as_dtype(object d):
    """A dtype from what a user may pass as one."""
    if type(d) is dtype:
        return <dtype>d
    if d is float:
        return <dtype>DTYPES[default_dtype_code if default_dtype_code == F64 else F64]
    if d is int:
        return <dtype>DTYPES[I64]
    if d is bool:
        return <dtype>DTYPES[BOOL]
    if d is complex:
        return <dtype>DTYPES[C128]
    raise TypeError(f"dtype must be a torch.dtype, got {type(d).__name__}")


_DEVICE_TYPES = frozenset(("cpu", "cuda", "mps", "xpu", "xla", "meta", "opencl", "hip", "mtia", "privateuseone"))


@cython.final
cdef class device:
    """Where a tensor lives: a type such as 'cpu', and an index or None."""

    cdef readonly str type
    cdef readonly object index

    def __init__(self, type="cpu", index=None):
        if isinstance(type, device):
            type, index = (<device>type).type, (<device>type).index if index is None else index
        elif isinstance(type, int):
            type, index = "cuda", type
        elif not isinstance(type, str):
            raise TypeError(f"device: expected a string, an int or a device, got {type!r}")
        name, _, number = (<str>type).partition(":")
        if name not in _DEVICE_TYPES or (_ and not number.isdigit()):
            raise RuntimeError(
                f"Invalid device string: '{type}': expected one of {', '.join(sorted(_DEVICE_TYPES))}, "
                "optionally with ':index'")
        if number and index is not None:
            raise RuntimeError(f"type (string) must not include an index because index was passed explicitly: {type}")
        self.type = name
        self.index = int(number) if number else index

    def __repr__(self):
        return f"device(type='{self.type}')" if self.index is None else f"device(type='{self.type}', index={self.index})"

    def __str__(self):
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other):
        if not isinstance(other, device):
            return NotImplemented
        return self.type == (<device>other).type and self.index == (<device>other).index

    def __hash__(self):
        return hash((self.type, self.index))

    def __reduce__(self):
        return device, (self.type, self.index)

    def __enter__(self):
        _device_context_hook(self, True)
        return self

    def __exit__(self, *exc):
        _device_context_hook(self, False)


cdef device CPU = device("cpu")


class Size(tuple):
    """The shape of a tensor: a tuple of ints."""

    __slots__ = ()

    def numel(self):
        """The product of the sizes."""
        n = 1
        for s in self:
            n *= s
        return n

    def __repr__(self):
        return f"torch.Size([{', '.join(map(str, self))}])"

    def __add__(self, other):
        return Size(tuple(self) + tuple(other))

    def __radd__(self, other):
        return Size(tuple(other) + tuple(self))

    def __mul__(self, n):
        return Size(tuple(self) * n)

    __rmul__ = __mul__

    def __getitem__(self, i):
        found = tuple.__getitem__(self, i)
        return Size(found) if isinstance(i, slice) else found

    def __reduce__(self):
        return Size, (tuple(self),)


class layout:
    """How elements lie in memory: strided is the only layout here."""

    def __init__(self, name):
        self._name = name

    def __repr__(self):
        return f"torch.{self._name}"

    def __reduce__(self):
        return _layout_by_name, (self._name,)


class memory_format:
    """Dimension order wanted of a result."""

    def __init__(self, name):
        self._name = name

    def __repr__(self):
        return f"torch.{self._name}"

    def __reduce__(self):
        return _memory_format_by_name, (self._name,)


_LAYOUTS = {name: layout(name) for name in ("strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "_mkldnn", "jagged")}
_MEMORY_FORMATS = {
    name: memory_format(name)
    for name in ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
}


def _layout_by_name(name):
    return _LAYOUTS[name]


def _memory_format_by_name(name):
    return _MEMORY_FORMATS[name]
