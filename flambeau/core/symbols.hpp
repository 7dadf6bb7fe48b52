// The functions that generated code may call: the C library's mathematics and memory routines, and
// what the program registers.
#pragma once

#include <math.h>
#include <string.h>

#include <cmath>
#include <cstring>
#include <mutex>
#include <string>
#include <unordered_map>

#if defined(__APPLE__)
#include <strings.h>
#endif
#if defined(_WIN32) && defined(_MSC_VER)
extern "C" void __chkstk();
#elif defined(_WIN32)
extern "C" void ___chkstk_ms();
#endif

namespace flambeau {
namespace symbols_detail {

typedef std::unordered_map<std::string, void*> Table;

template <class Function>
inline void* address_of(Function* function) noexcept {
  return reinterpret_cast<void*>(function);
}

// C++ overloads these names for float and long double; the casts choose the C functions.
#define FLAMBEAU_UNARY(name)                                         \
  {#name, address_of(static_cast<double (*)(double)>(&::name))}, {   \
    #name "f", address_of(static_cast<float (*)(float)>(&::name##f)) \
  }
#define FLAMBEAU_BINARY(name)                                               \
  {#name, address_of(static_cast<double (*)(double, double)>(&::name))}, {  \
    #name "f", address_of(static_cast<float (*)(float, float)>(&::name##f)) \
  }

inline double fused(double x, double y, double z) noexcept { return std::fma(x, y, z); }
inline float fusedf(float x, float y, float z) noexcept { return std::fma(x, y, z); }
inline double scale(double x, int power) noexcept { return std::ldexp(x, power); }
inline float scalef(float x, int power) noexcept { return std::ldexp(x, power); }

inline Table standard_symbols() {
  return Table{
      FLAMBEAU_UNARY(exp),
      FLAMBEAU_UNARY(exp2),
      FLAMBEAU_UNARY(expm1),
      FLAMBEAU_UNARY(log),
      FLAMBEAU_UNARY(log2),
      FLAMBEAU_UNARY(log10),
      FLAMBEAU_UNARY(log1p),
      FLAMBEAU_UNARY(sin),
      FLAMBEAU_UNARY(cos),
      FLAMBEAU_UNARY(tan),
      FLAMBEAU_UNARY(asin),
      FLAMBEAU_UNARY(acos),
      FLAMBEAU_UNARY(atan),
      FLAMBEAU_UNARY(sinh),
      FLAMBEAU_UNARY(cosh),
      FLAMBEAU_UNARY(tanh),
      FLAMBEAU_UNARY(asinh),
      FLAMBEAU_UNARY(acosh),
      FLAMBEAU_UNARY(atanh),
      FLAMBEAU_UNARY(erf),
      FLAMBEAU_UNARY(erfc),
      FLAMBEAU_UNARY(lgamma),
      FLAMBEAU_UNARY(tgamma),
      FLAMBEAU_UNARY(cbrt),
      FLAMBEAU_UNARY(sqrt),
      FLAMBEAU_UNARY(floor),
      FLAMBEAU_UNARY(ceil),
      FLAMBEAU_UNARY(trunc),
      FLAMBEAU_UNARY(rint),
      FLAMBEAU_UNARY(nearbyint),
      FLAMBEAU_UNARY(round),
      FLAMBEAU_UNARY(fabs),
      FLAMBEAU_BINARY(pow),
      FLAMBEAU_BINARY(atan2),
      FLAMBEAU_BINARY(fmod),
      FLAMBEAU_BINARY(hypot),
      FLAMBEAU_BINARY(fmin),
      FLAMBEAU_BINARY(fmax),
      FLAMBEAU_BINARY(copysign),
      FLAMBEAU_BINARY(nextafter),
      FLAMBEAU_BINARY(remainder),
      {"fma", address_of(&fused)},
      {"fmaf", address_of(&fusedf)},
      {"ldexp", address_of(&scale)},
      {"ldexpf", address_of(&scalef)},
      {"memcpy", address_of(&::memcpy)},
      {"memmove", address_of(&::memmove)},
      {"memset", address_of(&::memset)},
      {"memcmp", address_of(&::memcmp)},
  // What LLVM calls unasked on some systems: sin and cos together, stack probes, block fills.
#if defined(__GLIBC__)
      {"sincos", address_of(&::sincos)},
      {"sincosf", address_of(&::sincosf)},
#endif
#if defined(__APPLE__)
      {"bzero", address_of(&::bzero)},
      {"memset_pattern16", address_of(&::memset_pattern16)},
#endif
#if defined(_WIN32) && defined(_MSC_VER)
      {"__chkstk", address_of(&__chkstk)},
#elif defined(_WIN32)
      {"___chkstk_ms", address_of(&___chkstk_ms)},
#endif
  };
}

#undef FLAMBEAU_UNARY
#undef FLAMBEAU_BINARY

struct Symbols {
  std::mutex mutex;
  Table table = standard_symbols();

  // Never destroyed: kernels may be loaded while static objects go away.
  static Symbols& instance() {
    static Symbols* symbols = new Symbols();
    return *symbols;
  }
};

}  // namespace symbols_detail

// Makes address callable by name from objects loaded later; replaces an earlier registration.
inline void register_symbol(const char* name, void* address) {
  symbols_detail::Symbols& symbols = symbols_detail::Symbols::instance();
  std::lock_guard<std::mutex> guard(symbols.mutex);
  symbols.table[name] = address;
}

// The address registered for name, or nullptr.
inline void* find_external(const std::string& name) {
  symbols_detail::Symbols& symbols = symbols_detail::Symbols::instance();
  std::lock_guard<std::mutex> guard(symbols.mutex);
  const auto found = symbols.table.find(name);
  return found == symbols.table.end() ? nullptr : found->second;
}

}  // namespace flambeau
