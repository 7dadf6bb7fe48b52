# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, nonecheck=False, overflowcheck=False
# distutils: language = c++
"""The core: tensors, op calls, autograd and its engine, in one extension module.

Each included file is one subject, in this order: what a tensor is and is made of (types, tensor, numbers,
metadata, build, storage, sparse, operators); history and backward (node, leaves, history, hooks, saved, copy_slices,
engine, views); loop ops (loop, pointwise, inplace, reduction, loop_node, copies, float8, update); history of
primitives (primitive), ops written in Python, modes and plans (op), indexing short cuts (gather), matrix products (product), random, fill, short cuts
for ops written in Python (shortcuts), what repeats the others (tape, replay), dlpack; nn.Module's lookup and call (module).
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_SIMPLE, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_SetItem
from cpython.object cimport PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_REFCNT, PyObject
from cpython.slice cimport PySlice_AdjustIndices, PySlice_Unpack
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from libc.math cimport isinf as isinf_
from libc.stdint cimport (
    int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t,
)
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove, memset, strerror
from libcpp.string cimport string as std_string

from operator import index as operator_index
from weakref import ref as weakref_ref

tuple_new = tuple.__new__

cdef extern from "Python.h":
    ctypedef object (*vectorcallfunc)(PyObject*, PyObject**, size_t, PyObject*)
    Py_ssize_t PyVectorcall_NARGS(size_t)
    long PyLong_AsLongAndOverflow(object, int*)
    object PyObject_Vectorcall(object, PyObject**, size_t, PyObject*)
    void PyType_Modified(type)
    object PyMethod_New(object, object)
    object PyType_GenericAlloc(type, Py_ssize_t)
    const char* PyUnicode_AsUTF8AndSize(object, Py_ssize_t*) except NULL

cdef extern from "storage.hpp" namespace "flambeau" nogil:
    ctypedef struct Storage:
        int64_t references
        int64_t version
        char* data
        size_t bytes
        PyObject* owner
        int64_t flags
    Storage* storage_new(size_t)
    Storage* storage_borrow(void*, size_t, PyObject*)
    void storage_drop(Storage*)
    bint storage_resize(Storage*, size_t)
    int64_t kReadOnly
    void* allocate(size_t)
    void release_memory "flambeau::release"(void*, size_t)
    int64_t cached_bytes()
    int64_t allocated_bytes()
    int64_t peak_bytes()
    void reset_peak()
    void empty_cache_c "flambeau::empty_cache"()

cdef extern from "support.hpp" namespace "flambeau" nogil:
    int grad_mode_on()
    int set_grad_mode(int)
    int inference_mode_on()
    int set_inference_mode(int)
    int mode_stack_depth()
    void set_mode_depth(int)
    int overrides_off()
    void* own_random_stream()
    void set_own_random_stream(void*)
    void* engine_run()
    void* current_tape()
    void set_current_tape(void*)
    void set_engine_run(void*)
    int set_overrides_off(int)
    PyObject* saved_hook_list()
    void set_saved_hook_list(PyObject*)
    void enable_attributes(PyObject*, Py_ssize_t, Py_ssize_t)
    void drop_attributes(PyObject**)
    bint mul_overflow(int64_t, int64_t, int64_t*)
    bint add_overflow(int64_t, int64_t, int64_t*)
    bint mul_add_overflow(int64_t, int64_t, int64_t*)
    double bfloat_to_double(uint16_t)
    uint16_t double_to_bfloat(double)
    double half_to_double(uint16_t)
    uint16_t double_to_half(double)
    void enable_vectorcall(PyObject*, Py_ssize_t)
    void rename_type(PyObject*, const char*)
    std_string cpu_feature_names()

cdef extern from "crc32.hpp" namespace "flambeau" nogil:
    bint crc32_folds()

cdef extern from "files.hpp" namespace "flambeau" nogil:
    const bint kReadsFiles
    cdef cppclass FileRun:
        uint8_t* data
        int64_t size
        int descriptor
        int64_t offset
        bint summed
        uint32_t before
        int error
        bint cut_off
        uint32_t total()
    void work_on(FileRun&) except +
    bint exchange_names_c "flambeau::exchange_names"(const char*, const char*)

cdef extern from "nest.hpp" namespace "flambeau" nogil:
    ctypedef void (*kernel_fn)(void**, const int64_t*, int64_t, int64_t, int64_t) noexcept nogil
    const int kMaxDims
    cdef cppclass Nest:
        int operands
        int dims
        int64_t shape[64]
        int64_t strides[12][64]
        int perm[64]
    cdef cppclass NestRun:
        kernel_fn kernel
        const int64_t* desc
        int operands
        void* pointers[12]
        int64_t rows
        int outer
        int64_t shape[64]
        int64_t strides[12][64]
    void nest_order(Nest&, int)
    void nest_permute(Nest&)
    int nest_coalesce(Nest&, int, int)
    void nest_run_c "flambeau::nest_run"(NestRun&, int64_t)
    void nest_run_elements "flambeau::nest_run_elements"(NestRun&, int64_t)
    void parallel_for(kernel_fn, void**, const int64_t*, int64_t, int64_t)
    void parallel_for(kernel_fn, void**, const int64_t*, int64_t, int64_t, int)
    int64_t last_cache_bytes "flambeau::platform::last_cache_bytes"()
    int get_num_threads()
    void set_num_threads_c "flambeau::set_num_threads"(int)
    void set_own_thread_limit(int)

cdef extern from "distance.hpp" namespace "flambeau" nogil:
    const int64_t* cores_far_apart()
    void fix_distance(int)

cdef extern from "pieces.hpp" namespace "flambeau" nogil:
    cdef cppclass PieceRun:
        NestRun run
        int64_t desc[5]
        int64_t rows
    cdef cppclass PieceRuns:
        void reserve(size_t)
        void resize(size_t)
        size_t size()
        PieceRun& back()
    cdef cppclass JoinedRows:
        char* to
        int64_t row_bytes
        void add(const char* rows, int64_t bytes)
    void join_rows(void**, const int64_t*, int64_t, int64_t, int64_t) noexcept
    void copy_slices(void**, const int64_t*, int64_t, int64_t, int64_t) noexcept
    cdef cppclass PlaneRun:
        int64_t to
        int64_t at "from"
        int dims
        bint first
        int64_t shape[6]
        int64_t to_strides[6]
        int64_t from_strides[6]
    cdef cppclass PlaneRuns:
        void note(const PlaneRun&)
        int64_t to_size
        int64_t from_step
    void add_planes_f32 "flambeau::add_planes<float>"(void**, const int64_t*, int64_t, int64_t, int64_t) noexcept
    void add_planes_f64 "flambeau::add_planes<double>"(void**, const int64_t*, int64_t, int64_t, int64_t) noexcept

cdef extern from "loader.hpp" namespace "flambeau":
    ctypedef struct LoadedObject:
        pass
    LoadedObject* load_object_c "flambeau::load_object"(const uint8_t*, size_t, std_string&)
    void* find_symbol_c "flambeau::find_symbol"(LoadedObject*, const char*)

cdef extern from *:
    """
    #define FLAMBEAU_OFFSET(type, member) offsetof(struct type, member)
    """

include "types.pxi"
include "tensor.pxi"
include "numbers.pxi"
include "metadata.pxi"
include "build.pxi"
include "storage.pxi"
include "sparse.pxi"
include "operators.pxi"
include "node.pxi"
include "leaves.pxi"
include "history.pxi"
include "hooks.pxi"
include "saved.pxi"
include "copy_slices.pxi"
include "engine.pxi"
include "views.pxi"
include "loop.pxi"
include "pointwise.pxi"
include "pointwise_nest.pxi"
include "inplace.pxi"
include "reduction.pxi"
include "loop_node.pxi"
include "strided_copy.pxi"
include "pieces.pxi"
include "copies.pxi"
include "float8.pxi"
include "update.pxi"
include "primitive.pxi"
include "op.pxi"
include "gather.pxi"
include "product.pxi"
include "random.pxi"
include "fill.pxi"
include "parts.pxi"
include "shortcuts.pxi"
include "shortcuts_make.pxi"
include "shortcuts_apply.pxi"
include "shortcuts_plain.pxi"
include "index.pxi"
include "tape.pxi"
include "replay.pxi"
include "fold.pxi"
include "dlpack.pxi"
include "shortcuts_numpy.pxi"
include "fourier.pxi"
include "module.pxi"


cdef int _finish_types() except -1:
    cdef LoopOp loop = LoopOp.__new__(LoopOp)
    cdef Op op = Op.__new__(Op)
    cdef Taped taped = Taped.__new__(Taped)
    cdef Remembered remembered = Remembered.__new__(Remembered)
    cdef Tensor tensor = Tensor.__new__(Tensor)
    enable_attributes(<PyObject*>Tensor, <char*>&tensor.attributes - <char*><PyObject*>tensor,
                      <char*>&tensor.owned_accumulator - <char*><PyObject*>tensor)
    enable_vectorcall(<PyObject*>LoopOp, <char*>&loop.vectorcall - <char*><PyObject*>loop)
    enable_vectorcall(<PyObject*>Op, <char*>&op.vectorcall - <char*><PyObject*>op)
    enable_vectorcall(<PyObject*>Taped, <char*>&taped.vectorcall - <char*><PyObject*>taped)
    enable_vectorcall(<PyObject*>Remembered, <char*>&remembered.vectorcall - <char*><PyObject*>remembered)
    rename_type(<PyObject*>Tensor, "flambeau.Tensor")
    rename_type(<PyObject*>dtype, "flambeau.dtype")
    rename_type(<PyObject*>device, "flambeau.device")
    rename_type(<PyObject*>Generator, "flambeau.Generator")
    return 0


_finish_types()
tape_functions(globals())
Size.__module__ = layout.__module__ = memory_format.__module__ = "flambeau"
OutOfMemoryError.__module__ = "flambeau"
