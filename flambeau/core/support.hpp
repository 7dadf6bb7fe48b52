// Small things the Cython core needs from C++: thread state, half precision, checked arithmetic, vectorcall.
#pragma once
#include <Python.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

#if defined(__x86_64__) || defined(_M_X64)
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

#include "nest.hpp"

namespace flambeau {

struct ThreadState {
  int grad = 1;
  int inference = 0;
  int modes = 0;
  int overrides_off = 0;
  void* engine_run = nullptr;  // the backward call this thread is in
  PyObject* saved_hooks = nullptr;  // list of (pack, unpack); null until first used
  void* tape = nullptr;  // of the op call that is being taped
  void* random_stream = nullptr;  // the stream behind the default generator; null: everyone's
};
inline thread_local ThreadState thread_state;

inline int grad_mode_on() noexcept { return thread_state.grad; }
inline int set_grad_mode(int value) noexcept {
  int before = thread_state.grad;
  thread_state.grad = value;
  return before;
}
inline int inference_mode_on() noexcept { return thread_state.inference; }
inline int set_inference_mode(int value) noexcept {
  int before = thread_state.inference;
  thread_state.inference = value;
  return before;
}
inline void* engine_run() noexcept { return thread_state.engine_run; }
inline void set_engine_run(void* run) noexcept { thread_state.engine_run = run; }
inline void* current_tape() noexcept { return thread_state.tape; }
inline void set_current_tape(void* tape) noexcept { thread_state.tape = tape; }
inline void* own_random_stream() noexcept { return thread_state.random_stream; }
inline void set_own_random_stream(void* stream) noexcept { thread_state.random_stream = stream; }
inline int overrides_off() noexcept { return thread_state.overrides_off; }
inline int set_overrides_off(int value) noexcept {
  int before = thread_state.overrides_off;
  thread_state.overrides_off = value;
  return before;
}
inline PyObject* saved_hook_list() noexcept { return thread_state.saved_hooks; }
inline void set_saved_hook_list(PyObject* list) noexcept {
  Py_XINCREF(list);
  Py_XDECREF(thread_state.saved_hooks);
  thread_state.saved_hooks = list;
}
inline int mode_stack_depth() noexcept { return thread_state.modes; }
inline void set_mode_depth(int depth) noexcept { thread_state.modes = depth; }

// True on overflow, like the compiler builtins that MSVC lacks.
inline bool mul_overflow(int64_t a, int64_t b, int64_t* out) noexcept {
#if defined(_MSC_VER) && !defined(__clang__)
  int64_t high;
  int64_t low = _mul128(a, b, &high);
  *out = low;
  return high != (low < 0 ? -1 : 0);
#else
  return __builtin_mul_overflow(a, b, out);
#endif
}
inline bool add_overflow(int64_t a, int64_t b, int64_t* out) noexcept {
  *out = static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  return (a > 0 && b > 0 && *out < 0) || (a < 0 && b < 0 && *out >= 0);
}
inline bool mul_add_overflow(int64_t a, int64_t b, int64_t* sum) noexcept {
  int64_t product;
  return mul_overflow(a, b, &product) || add_overflow(*sum, product, sum);
}

inline double bfloat_to_double(uint16_t bits) noexcept {
  uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float f;
  std::memcpy(&f, &wide, 4);
  return f;
}
inline uint16_t double_to_bfloat(double value) noexcept {
  float f = static_cast<float>(value);
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  if (f != f) return 0x7FC0;
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}
inline double half_to_double(uint16_t bits) noexcept {
  int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  double magnitude = exponent == 31 ? (fraction ? NAN : INFINITY)
                     : exponent     ? std::ldexp(1024 + fraction, exponent - 25)
                                    : std::ldexp(fraction, -24);
  return bits & 0x8000 ? -magnitude : magnitude;
}
inline uint16_t double_to_half(double wide) noexcept {
  double value = static_cast<float>(wide);  // as PyTorch: through float
  uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  double m = std::fabs(value);
  if (m != m) return sign | 0x7E00;
  if (m >= 65520.0) return sign | 0x7C00;
  if (m < std::ldexp(1, -14)) return sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(m, 24)));
  int e;
  std::frexp(m, &e);  // m = f * 2^e, f in [0.5, 1)
  auto fraction = static_cast<int>(std::nearbyint(std::ldexp(m, 11 - e)));  // 1024..2048
  return sign | static_cast<uint16_t>(((e + 14) << 10) + (fraction - 1024));
}

inline void nest_run_c(NestRun& run, int64_t grain) { nest_run(run, grain); }

// Gives an extension type the vectorcall protocol; `offset` is that of its vectorcallfunc member.
inline void enable_vectorcall(PyObject* type, Py_ssize_t offset) noexcept {
  auto* t = reinterpret_cast<PyTypeObject*>(type);
  t->tp_vectorcall_offset = offset;
  t->tp_call = PyVectorcall_Call;
  t->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR;
  PyType_Modified(t);
}
// Replaces the function that finds a heap type's attributes; defining __getattr__ in Python undoes it.
inline void set_attribute_lookup(PyObject* type, void* lookup) noexcept {
  auto* t = reinterpret_cast<PyTypeObject*>(type);
  t->tp_getattro = reinterpret_cast<getattrofunc>(lookup);
  PyType_Modified(t);
}
// Replaces the call of a type that has inherited its base's.
inline void replace_call(PyObject* type, PyObject* base, void* call) noexcept {
  auto* t = reinterpret_cast<PyTypeObject*>(type);
  if (t->tp_call == reinterpret_cast<PyTypeObject*>(base)->tp_call) t->tp_call = reinterpret_cast<ternaryfunc>(call);
}
// Gives Tensor attributes of the user's whose dictionary is made on first use (Cython would make one per
// tensor): `offset` is that of its PyObject* member, which the type's own dealloc releases.
inline Py_ssize_t attributes_offset = 0;
inline Py_ssize_t accumulator_offset = 0;  // of the owned AccumulateGrad, which Cython does not see either
inline traverseproc plain_traverse = nullptr;
inline inquiry plain_clear = nullptr;
inline PyObject*& attributes_of(PyObject* self) noexcept {
  return *reinterpret_cast<PyObject**>(reinterpret_cast<char*>(self) + attributes_offset);
}
inline int traverse_attributes(PyObject* self, visitproc visit, void* arg) noexcept {
  Py_VISIT(attributes_of(self));
  Py_VISIT(*reinterpret_cast<PyObject**>(reinterpret_cast<char*>(self) + accumulator_offset));
  return plain_traverse(self, visit, arg);
}
inline int clear_attributes(PyObject* self) noexcept {
  Py_CLEAR(attributes_of(self));
  return plain_clear(self);
}
inline void enable_attributes(PyObject* type, Py_ssize_t offset, Py_ssize_t accumulator) {
  static PyGetSetDef property = {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr};
  auto* t = reinterpret_cast<PyTypeObject*>(type);
  attributes_offset = offset;
  accumulator_offset = accumulator;
  plain_traverse = t->tp_traverse;
  plain_clear = t->tp_clear;
  t->tp_dictoffset = offset;
  t->tp_traverse = traverse_attributes;
  t->tp_clear = clear_attributes;
  PyObject* descriptor = PyDescr_NewGetSet(t, &property);
  PyDict_SetItemString(t->tp_dict, "__dict__", descriptor);
  Py_XDECREF(descriptor);
  PyType_Modified(t);
}
inline void drop_attributes(PyObject** place) noexcept { Py_CLEAR(*place); }
inline void rename_type(PyObject* type, const char* name) noexcept {
  auto* t = reinterpret_cast<PyTypeObject*>(type);
  t->tp_name = name;
  PyType_Modified(t);
}

inline std::string cpu_feature_names() {
  std::string names;
#if defined(__x86_64__) && !defined(_MSC_VER)
  __builtin_cpu_init();
#define FLAMBEAU_FEATURE(f) \
  if (__builtin_cpu_supports(f)) names += f " ";
  FLAMBEAU_FEATURE("sse4.2") FLAMBEAU_FEATURE("avx") FLAMBEAU_FEATURE("avx2") FLAMBEAU_FEATURE("fma")
  FLAMBEAU_FEATURE("avx512f") FLAMBEAU_FEATURE("avx512bw") FLAMBEAU_FEATURE("avx512dq")
  FLAMBEAU_FEATURE("avx512vl") FLAMBEAU_FEATURE("avx512cd")
#undef FLAMBEAU_FEATURE
  unsigned a, b, c, d;
  if (__get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 29)) && __builtin_cpu_supports("avx")) names += "f16c ";
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 5)) && __builtin_cpu_supports("avx512f"))
    names += "avx512bf16 ";
#elif defined(_M_X64)
  int r[4];
  __cpuid(r, 1);
  bool avx = (r[2] & (1 << 28)) && (r[2] & (1 << 27)) && (_xgetbv(0) & 6) == 6;
  bool wide = avx && (_xgetbv(0) & 0xE6) == 0xE6;
  if (avx && (r[2] & (1 << 12))) names += "fma ";
  if (avx && (r[2] & (1 << 29))) names += "f16c ";
  __cpuidex(r, 7, 0);
  if (avx && (r[1] & (1 << 5))) names += "avx2 ";
  if (wide && (r[1] & (1 << 16))) names += "avx512f ";
  if (wide && (r[1] & (1 << 17))) names += "avx512dq ";
  if (wide && (r[1] & (1 << 30))) names += "avx512bw ";
  if (wide && (r[1] & (1u << 31))) names += "avx512vl ";
#endif
  return names;
}

}  // namespace flambeau
