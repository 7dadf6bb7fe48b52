// Loops for the compiler to vectorise, with AVX2 and FMA where the machine has them.
#pragma once

#include <cstdint>

#if defined(__GNUC__) || defined(__clang__)
#define FLAMBEAU_ALWAYS_INLINE __attribute__((always_inline))
#else
#define FLAMBEAU_ALWAYS_INLINE
#endif

// GCC turns its vectoriser on at -O3 only, and Python's default flags often say -O2.
#if defined(__GNUC__) && !defined(__clang__)
#define FLAMBEAU_VECTOR_LOOPS __attribute__((optimize("O3")))
#else
#define FLAMBEAU_VECTOR_LOOPS
#endif

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__)) && \
    !defined(FLAMBEAU_RANDOM_PLAIN)
#define FLAMBEAU_RANDOM_AVX2 1
#endif

namespace flambeau {

template <class Body>
FLAMBEAU_VECTOR_LOOPS void run_loop_plain(Body body) {
  body();
}

#ifdef FLAMBEAU_RANDOM_AVX2
template <class Body>
FLAMBEAU_VECTOR_LOOPS __attribute__((target("avx2,fma"))) void run_loop_avx2(Body body) {
  body();
}

inline bool has_avx2_and_fma() {
  static const bool found = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return found;
}
#endif

// Runs a loop (an always-inline lambda) compiled for AVX2 and FMA where this machine has both.
// Every std::fma in it is one rounding either way, so the choice changes speed and never a bit.
template <class Body>
inline void run_loop(Body body) {
#ifdef FLAMBEAU_RANDOM_AVX2
  if (has_avx2_and_fma()) {
    run_loop_avx2(body);
    return;
  }
#endif
  run_loop_plain(body);
}

}  // namespace flambeau
