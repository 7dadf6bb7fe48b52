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

# By dtype code: DLPack's kind (0 int, 1 unsigned, 2 float, 4 bfloat, 5 complex, 6 bool); the bits follow.
cdef int[CODE_END] DL_KIND
for _code, _kind in enumerate((6, 1, 0, 0, 0, 0, 2, 4, 2, 2, 5, 5, 1, 1, 1)):
    DL_KIND[_code] = _kind
for _code, _kind in zip(range(F8_E4M3FN, CODE_END), (10, 12, 11, 13, 14)):  # a kind for each
    DL_KIND[_code] = _kind


cdef int foreign_code(int kind, int bits) noexcept:
    """Our dtype code for a DLPack type; -1 where there is none."""
    cdef int code
    for code in range(CODE_END):
        if ITEM[code] and DL_KIND[code] == kind and 8 * ITEM[code] == bits:
            return code
    return -1


cdef void describe(Tensor t, DlTensor* d, int64_t* sizes):
    cdef int i
    for i in range(t.ndim_):
        sizes[i] = t.shape_[i]
        sizes[64 + i] = t.strides_[i] if t.shape_[i] != 1 else 1
    d.data = t.data_ptr_
    d.device.type = DL_CPU
    d.device.id = 0
    d.ndim = t.ndim_
    d.dtype.code = DL_KIND[t.code]
    d.dtype.bits = 8 * ITEM[t.code]
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
    cdef Tensor r = Tensor.__new__(Tensor)
    cdef int64_t step = 1, last = 0
    cdef int i
    if d.device.type != DL_CPU:
        raise BufferError(f"from_dlpack: the tensor is on DLPack device type {d.device.type}: expected the CPU (1)")
    if d.ndim < 0 or d.ndim > kMaxDims:
        raise BufferError(f"from_dlpack: {d.ndim} dimensions: expected 0 to {kMaxDims}")
    r.code = foreign_code(d.dtype.code, d.dtype.bits)
    if r.code < 0 or d.dtype.lanes != 1:
        raise BufferError(f"from_dlpack: unsupported type: kind {d.dtype.code}, {d.dtype.bits} bits, {d.dtype.lanes} lanes")
    reserve_dims(r, d.ndim)
    for i in range(d.ndim - 1, -1, -1):
        r.shape_[i] = d.shape[i]
        r.strides_[i] = d.strides[i] if d.strides != NULL else step
        if r.shape_[i] < 0 or (r.strides_[i] < 0 and r.shape_[i] > 1):
            raise BufferError("from_dlpack: sizes and strides must not be negative")
        r.strides_[i] = max(r.strides_[i], 0)
        step *= max(r.shape_[i], 1)
        last += (r.shape_[i] - 1) * r.strides_[i]
    find_dense(r)
    if r.count == 0:
        dense_strides(r)
    r.storage = storage_borrow(<char*>d.data + d.byte_offset, <size_t>((last + 1) * ITEM[r.code] if r.count else 0), <PyObject*>owner)
    if r.storage == NULL:
        raise MemoryError("out of memory for a storage header")
    r.data_ptr_ = r.storage.data
    return r
