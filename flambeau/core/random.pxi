# The random generator and the fills for Python. Included by _core.pyx; addresses and dtype codes
# only, tensors are the business of flambeau/ops/random.py.

import operator as _operator
import os as _os

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libcpp.string cimport string as _std_string


cdef extern from "random_interface.hpp" namespace "flambeau" nogil:
    cdef cppclass _StdMutex "std::mutex":
        void lock()
        void unlock()

    cdef cppclass _CppGenerator "flambeau::Generator":
        _StdMutex& lock()
        void manual_seed(uint64_t seed)
        uint64_t initial_seed()
        void get_state(uint8_t* out)
        bint set_state(const uint8_t* state, size_t size, _std_string& error)

    cdef cppclass _RandomRequest "flambeau::RandomRequest":
        int kind
        void* out
        int64_t n
        int dtype
        double numbers[2]
        int64_t integers[6]

    bint _run_random_request "flambeau::run_random_request"(
        _CppGenerator& generator, const _RandomRequest& request) except +
    uint32_t _draw_word "flambeau::draw_word"(_CppGenerator& generator)
    uint64_t _draw_long_word "flambeau::draw_long_word"(_CppGenerator& generator)

    enum:
        _STATE_SIZE "flambeau::generator_state_size"
        _UNIFORM "flambeau::random_uniform"
        _NORMAL "flambeau::random_normal"
        _NORMAL_BLOCK "flambeau::random_normal_block"
        _NORMAL_SERIAL "flambeau::random_normal_serial"
        _EXPONENTIAL "flambeau::random_exponential"
        _GEOMETRIC "flambeau::random_geometric"
        _CAUCHY "flambeau::random_cauchy"
        _LOG_NORMAL "flambeau::random_log_normal"
        _BERNOULLI "flambeau::random_bernoulli"
        _BERNOULLI_TENSOR "flambeau::random_bernoulli_tensor"
        _RANDOM "flambeau::random_random"
        _RANDOM_FROM "flambeau::random_random_from"
        _RANDINT "flambeau::random_randint"
        _RANDPERM "flambeau::random_randperm"
        _RRELU_NOISE "flambeau::random_rrelu_noise"
        _MULTINOMIAL "flambeau::random_multinomial"
        _POISSON "flambeau::random_poisson"
        _STANDARD_GAMMA "flambeau::random_standard_gamma"
        _DIRICHLET "flambeau::random_dirichlet"
        _BINOMIAL "flambeau::random_binomial"


# kind -> (code, number of leading floats in params, number of integers after them). Addresses,
# dtype codes and flags are integers. Arrays are contiguous, n long and of the fill's dtype, but:
# multinomial has the weights' dtype, rows * categories weights (category by category if
# transposed) and writes rows * samples int64; dirichlet's n is rows * categories.
cdef dict _random_kinds = {
    "uniform": (_UNIFORM, 2, 0),  # low, high
    "normal": (_NORMAL, 2, 1),  # mean, std, contiguous
    "normal_block": (_NORMAL_BLOCK, 2, 0),  # mean, std
    "normal_serial": (_NORMAL_SERIAL, 2, 0),  # mean, std
    "exponential": (_EXPONENTIAL, 1, 0),  # rate
    "geometric": (_GEOMETRIC, 1, 0),  # p
    "cauchy": (_CAUCHY, 2, 0),  # median, sigma
    "log_normal": (_LOG_NORMAL, 2, 0),  # mean, std
    "bernoulli": (_BERNOULLI, 1, 0),  # p
    "bernoulli_tensor": (_BERNOULLI_TENSOR, 0, 2),  # probabilities, their dtype
    "random": (_RANDOM, 0, 0),
    "random_from": (_RANDOM_FROM, 0, 1),  # low
    "randint": (_RANDINT, 0, 2),  # low, high
    "randperm": (_RANDPERM, 0, 0),
    "rrelu_noise": (_RRELU_NOISE, 2, 1),  # lower, upper, input
    # weights, rows, categories, samples, replacement, transposed
    "multinomial": (_MULTINOMIAL, 0, 6),
    "poisson": (_POISSON, 0, 1),  # rates
    "standard_gamma": (_STANDARD_GAMMA, 0, 1),  # alphas
    "dirichlet": (_DIRICHLET, 0, 2),  # alphas, categories
    "binomial": (_BINOMIAL, 0, 2),  # counts, probabilities
}

# Shorter fills are over before another thread could use the interpreter lock.
cdef int64_t _FILL_WITHOUT_GIL = 16384

# What turns state bytes into the tensor get_state() returns and back, and what makes `device`.
cdef object _bytes_to_state = bytes
cdef object _state_to_bytes = bytes
cdef object _make_generator_device = str


def _set_generator_hooks(bytes_to_state, state_to_bytes, make_device):
    """Tell generators how to make their state tensors and their device objects."""
    global _bytes_to_state, _state_to_bytes, _make_generator_device
    _bytes_to_state = bytes_to_state
    _state_to_bytes = state_to_bytes
    _make_generator_device = make_device


cdef uint64_t _seed_to_word(object seed) except? 0:
    """The seed as 64 bits, a negative one in two's complement."""
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
    value = _operator.index(seed)
    if not -(2**63) <= value < 2**64:
        raise ValueError(f"manual_seed: seed {value} does not fit in 64 bits: "
                         "expected -2**63 <= seed < 2**64")
    return <uint64_t>(value & 0xFFFFFFFFFFFFFFFF)


cdef int64_t _draws = 0  # uses of streams: tapes ask whether a call was one of chance


cdef class Generator:
    """A stream of random numbers on the CPU: MT19937, with the same numbers as PyTorch's.

    The low 32 bits of the seed choose the stream; a fresh generator has seed 67280421310721.

    >>> import flambeau as torch
    >>> g = torch.Generator().manual_seed(0)
    >>> g.initial_seed()
    0
    """

    cdef _CppGenerator impl
    cdef object __weakref__

    def __init__(self, device="cpu"):
        if str(device).partition(":")[0] != "cpu":
            raise RuntimeError(f"Generator: device '{device}' has no generator: expected 'cpu'")

    cdef _CppGenerator* stream(self) noexcept:
        """The stream behind this object: the default generator may stand for one of this thread's."""
        global _draws
        cdef void* own = own_random_stream()
        _draws += 1
        return <_CppGenerator*>own if own != NULL and <PyObject*>self == <PyObject*>default_generator else &self.impl

    @property
    def device(self):
        """The device whose fills this generator serves: the CPU."""
        return _make_generator_device("cpu")

    def manual_seed(self, seed) -> Generator:
        """Restart the stream at `seed`, an int in [-2**63, 2**64), and return the generator."""
        self.stream().manual_seed(_seed_to_word(seed))
        return self

    def seed(self) -> int:
        """Restart the stream at a seed taken from the operating system, and return that seed."""
        cdef uint64_t seed = int.from_bytes(_os.urandom(8), "little")
        self.stream().manual_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed of the current stream, as an int in [0, 2**64)."""
        return self.stream().initial_seed()

    def get_state(self):
        """The whole state as a uint8 tensor of 5056 elements, in PyTorch's layout."""
        return _bytes_to_state(self._get_state_bytes())

    def set_state(self, new_state) -> None:
        """Continue from a state that get_state() gave."""
        self._set_state_bytes(_state_to_bytes(new_state))

    def clone_state(self) -> Generator:
        """A new generator that gives the numbers this one is about to give."""
        clone = Generator()
        clone._set_state_bytes(self._get_state_bytes())
        return clone

    def get_offset(self) -> int:
        """Only counter-based generators have an offset: raises RuntimeError."""
        raise RuntimeError("CPU Generator does not use offset")

    def set_offset(self, offset) -> None:
        """Only counter-based generators have an offset: raises RuntimeError."""
        raise RuntimeError("CPU Generator does not use offset")

    def _get_state_bytes(self) -> bytes:
        cdef uint8_t state[_STATE_SIZE]
        self.stream().get_state(state)
        return (<char*>state)[:_STATE_SIZE]

    def _set_state_bytes(self, bytes state not None) -> None:
        cdef _std_string error
        cdef const uint8_t* start = <const uint8_t*><char*>state
        if not self.stream().set_state(start, len(state), error):
            raise RuntimeError(error.decode("ascii"))

    def _raw32(self) -> int:
        """The next word of the stream."""
        return _draw_word(self.stream()[0])

    def _raw64(self) -> int:
        """The next two words, the first one in the high half."""
        return _draw_long_word(self.stream()[0])

    def _lock(self) -> None:
        self.impl.lock().lock()

    def _unlock(self) -> None:
        self.impl.lock().unlock()

    def __reduce__(self):
        return type(self), ("cpu",), self._get_state_bytes()

    def __setstate__(self, state):
        self._set_state_bytes(state)


cdef int _read_random_params(
        tuple params, int floats, int integers, _RandomRequest* request) except -1:
    cdef int i
    for i in range(floats):
        request.numbers[i] = params[i]
    for i in range(integers):
        request.integers[i] = params[floats + i]
    return 0


def _random_fill(str kind not None, Generator gen not None, uintptr_t ptr, int64_t n,
                 int dtype_code, tuple params not None) -> None:
    """Write n elements of a contiguous buffer at address `ptr` from a generator.

    `kind` and `params` are those of the table _random_kinds. Only kind, the number of params and
    dtype are checked: lengths, addresses and distribution bounds are the caller's to check.
    """
    cdef _RandomRequest request
    cdef _CppGenerator* stream = gen.stream()
    cdef int floats, integers
    cdef bint done
    found = _random_kinds.get(kind)
    if found is None:
        raise ValueError(f"random fill: unknown kind '{kind}': "
                         f"expected one of {sorted(_random_kinds)}")
    request.kind, floats, integers = found
    if len(params) != floats + integers:
        raise ValueError(f"random fill '{kind}': {len(params)} params, "
                         f"expected {floats + integers}")
    _read_random_params(params, floats, integers, &request)
    request.out = <void*>ptr
    request.n = n
    request.dtype = dtype_code
    if n < _FILL_WITHOUT_GIL:
        done = _run_random_request(stream[0], request)
    else:
        with nogil:
            done = _run_random_request(stream[0], request)
    if not done:
        raise TypeError(f"random fill '{kind}': no rule for dtype code {dtype_code}")


def random_fill(str kind, Generator gen, Tensor made, tuple params, int code=-1):
    """Fill made's memory, which has no gaps; params may hold tensors, whose addresses are passed on.

    code: the dtype that says which rule it is, where it is not made's.
    """
    cdef tuple plain = tuple([<uintptr_t>(<Tensor>p).data_ptr_ if isinstance(p, Tensor) else p for p in params])
    _random_fill(kind, gen, <uintptr_t>made.data_ptr_, made.count, made.code if code < 0 else code, plain)


default_generator = Generator()
default_generator.seed()


class own_context:
    """With this context the calling thread has a default generator and a number of threads of its own.

    Inside, `default_generator` stands for `generator`, in this thread only, and kernels that this
    thread launches use at most `threads` threads.
    """

    def __init__(self, Generator generator not None, int threads):
        self.generator, self.threads = generator, threads

    def __enter__(self):
        set_own_random_stream(&(<Generator>self.generator).impl)
        set_own_thread_limit(self.threads)

    def __exit__(self, *_):
        set_own_random_stream(NULL)
        set_own_thread_limit(0)

# A fork in the middle of another thread's fill would leave the child a torn state and a held lock.
if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(before=default_generator._lock, after_in_parent=default_generator._unlock,
                         after_in_child=default_generator._unlock)
