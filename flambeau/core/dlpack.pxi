# DLPack: handing tensors to other libraries, and taking theirs, without copying.

cdef extern from "dlpack.hpp" namespace "flambeau":
    ctypedef struct DlDevice:
        int32_t type
        int32_t id

    ctypedef struct DlDataType:
        uint8_t code
        uint8_t bits
        uint16_t lanes

    ctypedef struct DlTensor:
        void* data
        DlDevice device
        int32_t ndim
        DlDataType dtype
        int64_t* shape
        int64_t* strides
        uint64_t byte_offset

    ctypedef struct DlManaged:
        DlTensor tensor
        void* context
        void (*deleter)(DlManaged*)

    ctypedef struct DlManagedVersioned:
        uint32_t major
        uint32_t minor
        void* context
        void (*deleter)(DlManagedVersioned*)
        uint64_t flags
        DlTensor tensor

    ctypedef struct DlExport:
        DlManaged plain
        DlManagedVersioned versioned
        int64_t sizes[128]

    DlExport* new_export(PyObject*)
    void destroy_capsule(PyObject*)

cdef extern from "Python.h":
    object PyCapsule_New(void*, const char*, void (*)(PyObject*))
    bint PyCapsule_IsValid(object, const char*)
    void* PyCapsule_GetPointer(object, const char*) except? NULL
    int PyCapsule_SetName(object, const char*) except -1

cdef enum:
    DL_CPU = 1
    DL_READ_ONLY = 1
    DL_COPIED = 2

# dtype code -> (kind, bits)
cdef dict _DL_KINDS = {
    BOOL: (6, 8), U8: (1, 8), I8: (0, 8), I16: (0, 16), I32: (0, 32), I64: (0, 64), F16: (2, 16), BF16: (4, 16),
    F32: (2, 32), F64: (2, 64), C64: (5, 64), C128: (5, 128), U16: (1, 16), U32: (1, 32), U64: (1, 64),
}
cdef dict _DL_CODES = {kind: code for code, kind in _DL_KINDS.items()}


cdef void describe(Tensor t, DlTensor* d, int64_t* sizes):
    cdef int i
    for i in range(t.ndim_):
        sizes[i] = t.shape_[i]
        sizes[64 + i] = t.strides_[i] if t.shape_[i] != 1 else 1
    d.data = t.data_ptr_
    d.device.type = DL_CPU
    d.device.id = 0
    d.ndim = t.ndim_
    kind, bits = _DL_KINDS[t.code]
    d.dtype.code = kind
    d.dtype.bits = bits
    d.dtype.lanes = 1
    d.shape = sizes
    d.strides = sizes + 64
    d.byte_offset = 0


def to_dlpack(Tensor t, versioned=False, copied=False):
    """A capsule that describes t's memory and keeps it alive until its consumer lets go."""
    cdef _Keeper held = storage_keeper(t)
    cdef DlExport* e = new_export(<PyObject*>held)
    if e == NULL:
        raise MemoryError("out of memory for a DLPack capsule")
    if versioned:
        describe(t, &e.versioned.tensor, e.sizes)
        e.versioned.flags = (DL_COPIED if copied else 0) | (DL_READ_ONLY if t.storage.flags & kReadOnly else 0)
        return PyCapsule_New(&e.versioned, "dltensor_versioned", destroy_capsule)
    describe(t, &e.plain.tensor, e.sizes)
    return PyCapsule_New(&e.plain, "dltensor", destroy_capsule)


cdef class _DlOwner:
    """Holds a foreign tensor; tells its producer when the last of ours over it is gone."""

    cdef DlManaged* plain
    cdef DlManagedVersioned* versioned

    def __dealloc__(self):
        if self.plain != NULL and self.plain.deleter != NULL:
            self.plain.deleter(self.plain)
        if self.versioned != NULL and self.versioned.deleter != NULL:
            self.versioned.deleter(self.versioned)


def from_dlpack_capsule(capsule):
    """A tensor over the memory that a capsule describes; the capsule is used up."""
    cdef _DlOwner owner = _DlOwner.__new__(_DlOwner)
    cdef DlManaged* plain
    cdef DlManagedVersioned* versioned
    cdef Tensor r
    if PyCapsule_IsValid(capsule, "dltensor_versioned"):
        versioned = <DlManagedVersioned*>PyCapsule_GetPointer(capsule, "dltensor_versioned")
        if versioned.major > 1:
            raise BufferError(f"from_dlpack: DLPack version {versioned.major}.{versioned.minor} is newer than 1.x")
        r = take_foreign(&versioned.tensor, owner)
        PyCapsule_SetName(capsule, "used_dltensor_versioned")
        owner.versioned = versioned
        if versioned.flags & DL_READ_ONLY:
            r.storage.flags |= kReadOnly
        return r
    if PyCapsule_IsValid(capsule, "dltensor"):
        plain = <DlManaged*>PyCapsule_GetPointer(capsule, "dltensor")
        r = take_foreign(&plain.tensor, owner)
        PyCapsule_SetName(capsule, "used_dltensor")
        owner.plain = plain
        return r
    raise RuntimeError("from_dlpack: not a DLPack capsule, or one that has been consumed already")


cdef Tensor take_foreign(DlTensor* d, object owner):
    """Our tensor over a foreign one's memory; BufferError where that cannot be."""
    cdef int i
    cdef int64_t step = 1
    if d.device.type != DL_CPU:
        raise BufferError(f"from_dlpack: the tensor is on DLPack device type {d.device.type}: expected the CPU (1)")
    if d.ndim < 0 or d.ndim > kMaxDims:
        raise BufferError(f"from_dlpack: {d.ndim} dimensions: expected 0 to {kMaxDims}")
    code = _DL_CODES.get((d.dtype.code, d.dtype.bits))
    if code is None or d.dtype.lanes != 1:
        raise BufferError(f"from_dlpack: unsupported type: kind {d.dtype.code}, {d.dtype.bits} bits, {d.dtype.lanes} lanes")
    size = [d.shape[i] for i in range(d.ndim)]
    if d.strides != NULL:
        stride = [d.strides[i] for i in range(d.ndim)]
    else:
        stride = [0] * d.ndim
        for i in range(d.ndim - 1, -1, -1):
            stride[i] = step
            step *= d.shape[i] if d.shape[i] > 0 else 1
    for n, s in zip(size, stride):
        if n < 0 or (s < 0 and n > 1):
            raise BufferError(f"from_dlpack: sizes {size} and strides {stride} must not be negative")
    stride = [s if s >= 0 else 0 for s in stride]
    return from_address(<uintptr_t>d.data + d.byte_offset, DTYPES[code], size, stride, owner)
