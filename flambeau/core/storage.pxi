# Storages and foreign memory.

cdef class _Keeper:
    """Holds one reference to a storage for Python objects that need it alive."""

    cdef Storage* storage

    def __dealloc__(self):
        storage_drop(self.storage)

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.storage.data, <Py_ssize_t>self.storage.bytes, (self.storage.flags & kReadOnly) != 0, flags)


cdef _Keeper storage_keeper(Tensor t):
    cdef _Keeper k = _Keeper.__new__(_Keeper)
    k.storage = t.storage
    k.storage.references += 1
    return k


cdef class UntypedStorage:
    """A block of bytes that tensors view."""

    cdef Tensor tensor

    def __init__(self, size=0):
        self.tensor = empty((size,), DTYPES[U8])

    @staticmethod
    def _of(Tensor t):
        cdef UntypedStorage s = UntypedStorage.__new__(UntypedStorage)
        s.tensor = t
        return s

    def nbytes(self):
        """Size in bytes."""
        return self.tensor.storage.bytes

    def size(self):
        """Size in bytes."""
        return self.tensor.storage.bytes

    def __len__(self):
        return self.tensor.storage.bytes

    def data_ptr(self):
        """Address of the first byte."""
        return <uintptr_t>self.tensor.storage.data

    def _cdata_key(self):
        """An int that is the same for every tensor over this storage."""
        return <uintptr_t>self.tensor.storage

    @property
    def device(self):
        """Where the bytes are."""
        return CPU

    def tobytes(self):
        """A copy of the bytes."""
        return PyBytes_FromStringAndSize(self.tensor.storage.data, self.tensor.storage.bytes)

    def tolist(self):
        """The bytes as ints."""
        return list(self.tobytes())

    def resize_(self, size_t size):
        """Change the size, keeping what fits."""
        if not storage_resize(self.tensor.storage, size):
            raise OutOfMemoryError(f"not enough memory for a storage of {size} bytes")
        return self

    def __getitem__(self, i):
        return self.tobytes()[i]

    def __eq__(self, other):
        return isinstance(other, UntypedStorage) and self.tensor.storage == (<UntypedStorage>other).tensor.storage

    def __hash__(self):
        return hash(<uintptr_t>self.tensor.storage)


def from_buffer(obj, d, size, strides, int64_t offset=0, writable=True):
    """A tensor over the memory of an object with the buffer protocol; strides in elements.

    The object stays referenced while tensors use its memory. Bounds are checked.
    """
    cdef _Buffer holder = _Buffer(obj, writable)
    cdef Storage* s = storage_borrow(holder.view.buf, <size_t>holder.view.len, <PyObject*>holder)
    if s == NULL:
        raise MemoryError("out of memory for a storage header")
    try:
        return view_storage(s, (<dtype?>d).code, offset, size, strides)
    finally:
        storage_drop(s)


def from_address(uintptr_t address, d, size, strides, owner):
    """A tensor over foreign memory at an address that `owner` keeps alive; strides in elements, not negative."""
    cdef int64_t last = 0
    for n, s in zip(size, strides):
        if n == 0:
            last = -1
            break
        last += (n - 1) * s
    cdef Storage* st = storage_borrow(<void*>address, <size_t>((last + 1) * (<dtype?>d).itemsize), <PyObject*>owner)
    if st == NULL:
        raise MemoryError("out of memory for a storage header")
    try:
        return view_storage(st, (<dtype>d).code, 0, size, strides)
    finally:
        storage_drop(st)


cdef class _Buffer:
    """Keeps an exported buffer open."""

    cdef Py_buffer view
    cdef bint open

    def __init__(self, obj, writable):
        flags = PyBUF_STRIDES | PyBUF_WRITABLE if writable else PyBUF_STRIDES
        PyObject_GetBuffer(obj, &self.view, PyBUF_SIMPLE | (PyBUF_WRITABLE if writable else 0))
        self.open = True

    def __dealloc__(self):
        if self.open:
            PyBuffer_Release(&self.view)


cdef uint32_t work_through(FileRun& run, _Buffer holder) except? 0:
    run.data = <uint8_t*>holder.view.buf
    run.size = holder.view.len
    with nogil:
        work_on(run)
    if run.error:
        raise OSError(run.error, strerror(run.error).decode())
    if run.cut_off:
        raise EOFError("the file ends before the bytes that are wanted")
    return run.total()


def crc32(data, uint32_t before=0):
    """CRC-32 of a contiguous buffer; `before` is that of the bytes in front of it."""
    cdef FileRun run
    run.descriptor, run.offset, run.summed, run.before = -1, 0, True, before
    return work_through(run, _Buffer(data, False))


def read_file(int descriptor, int64_t offset, target, bint summed):
    """Fill a contiguous buffer from a file, from `offset` on; its CRC-32 where it is to be `summed`, else 0.

    EOFError when the file ends before that, OSError as reading fails.
    """
    cdef FileRun run
    run.descriptor, run.offset, run.summed, run.before = descriptor, offset, summed, 0
    return work_through(run, _Buffer(target, True))


def reads_files():
    """Is there a `read_file` on this system?"""
    return kReadsFiles


def exchange_names(const char* one, const char* other):
    """Exchange the names of two files in one step; False where the system has no way or refuses."""
    return exchange_names_c(one, other)


def crc32_is_fast():
    """Does this processor have the instructions that `crc32` wants?"""
    return crc32_folds()


def write_bytes(Tensor self, bytes data):
    """Copy bytes into a contiguous tensor of exactly that many bytes."""
    if not self.dense or len(data) != self.count * ITEM[self.code]:
        raise ValueError(f"write_bytes: {len(data)} bytes for a tensor of {self.count * ITEM[self.code]}")
    memcpy(self.data_ptr_, <char*>data, len(data))


def read_bytes(Tensor self):
    """The bytes of a contiguous tensor."""
    if not self.dense:
        raise ValueError("read_bytes: the tensor is not contiguous")
    return PyBytes_FromStringAndSize(self.data_ptr_, self.count * ITEM[self.code])


def keeper(Tensor t):
    """An object that keeps t's memory alive."""
    return storage_keeper(t)
