// Fills whose values follow from an element's place: one constant, a + i * b, and evenly spaced points.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "support.hpp"
#include "vector_loops.hpp"

namespace flambeau {

// Elements of `item` bytes, written as 64-byte patterns so that any size goes out in whole vectors.
inline void repeat(char* out, const unsigned char* element, int64_t item, int64_t begin,
                   int64_t end) {
  uint64_t pattern[8];
  for (int64_t at = 0; at < 64; at += item)
    std::memcpy(reinterpret_cast<char*>(pattern) + at, element, static_cast<size_t>(item));
  char* target = out + begin * item;
  const int64_t whole = (end - begin) * item / 64;
  run_loop([=]() FLAMBEAU_ALWAYS_INLINE {
    for (int64_t i = 0; i < whole; ++i) {
      for (int k = 0; k < 8; ++k) std::memcpy(target + 64 * i + 8 * k, &pattern[k], 8);
    }
  });
  const int64_t done = whole * 64;
  std::memcpy(target + done, pattern, static_cast<size_t>((end - begin) * item - done));
}

// A kernel of the usual signature: args = {out, element}, desc = {item size}.
inline void fill_kernel(void** args, const int64_t* desc, int64_t begin, int64_t end, int64_t) noexcept {
  char* out = static_cast<char*>(args[0]);
  const unsigned char* element = static_cast<const unsigned char*>(args[1]);
  const int64_t item = desc[0];
  bool same = true;
  for (int64_t i = 1; i < item; ++i) same = same && element[i] == element[0];
  if (same) {
    std::memset(out + begin * item, element[0], static_cast<size_t>((end - begin) * item));
    return;
  }
  repeat(out, element, item, begin, end);
}

struct HalfNumber {
  uint16_t bits;
  static uint16_t pack(float x) { return double_to_half(x); }
  static float unpack(uint16_t x) { return static_cast<float>(half_to_double(x)); }
};
struct BrainNumber {
  uint16_t bits;
  static uint16_t pack(float x) { return double_to_bfloat(x); }
  static float unpack(uint16_t x) { return static_cast<float>(bfloat_to_double(x)); }
};

// arange of floats as PyTorch's vector kernels have it: the first element of each group of `lanes` is
// rounded to the type, the others count on from it; what is left of two groups is start + i * step.
// Writes the elements [begin, end) of n; begin is a multiple of lanes.
template <int lanes, class T, class Acc, class Round>
inline void fill_arange(T* out, int64_t n, Acc start, Acc step, int64_t begin, int64_t end,
                        Round round) {
  const int64_t all_grouped = n - n % (2 * lanes);
  const int64_t grouped = end < all_grouped ? end : all_grouped;
  run_loop([=]() FLAMBEAU_ALWAYS_INLINE {
    for (int64_t i = begin; i < grouped; i += lanes) {
      const T first = round.pack(std::fma(static_cast<Acc>(i), step, start));
      const Acc from = static_cast<Acc>(round.unpack(first));
      for (int lane = 0; lane < lanes; ++lane)
        out[i + lane] = round.pack(std::fma(static_cast<Acc>(lane), step, from));
      out[i] = first;
    }
  });
  for (int64_t i = grouped < begin ? begin : grouped; i < end; ++i)
    out[i] = round.pack(std::fma(static_cast<Acc>(i), step, start));
}

template <class T>
struct Plain {
  static T pack(double x) { return static_cast<T>(x); }
  static T unpack(T x) { return x; }
};

// Evenly spaced points, counted from the nearer end: start + i * step, end - (n - 1 - i) * step.
// Writes the elements [begin, stop) of n >= 2.
template <class T>
inline void fill_linspace(T* out, int64_t n, T start, T end, int64_t begin, int64_t stop) {
  const T step = (end - start) / static_cast<T>(n - 1);
  const int64_t middle = n / 2 < stop ? n / 2 : stop;
  run_loop([=]() FLAMBEAU_ALWAYS_INLINE {
    for (int64_t i = begin; i < middle; ++i)
      out[i] = std::fma(step, static_cast<T>(i), start);
  });
  run_loop([=]() FLAMBEAU_ALWAYS_INLINE {
    for (int64_t i = begin > middle ? begin : middle; i < stop; ++i)
      out[i] = std::fma(-step, static_cast<T>(n - 1 - i), end);
  });
}

// The same in a 16-bit type: every operation is rounded.
template <class Round>
inline void fill_linspace_short(uint16_t* out, int64_t n, double from, double to) {
  auto rounded = [](float x) { return Round::unpack(Round::pack(x)); };
  const float start = rounded(static_cast<float>(from)), end = rounded(static_cast<float>(to));
  const float step = n > 1 ? rounded(rounded(end - start) / rounded(static_cast<float>(n - 1))) : 0.0f;
  for (int64_t i = 0; i < n; ++i) {
    const float moved = rounded(step * rounded(static_cast<float>(i < n / 2 || n == 1 ? i : n - 1 - i)));
    out[i] = Round::pack(i < n / 2 || n == 1 ? start + moved : end - moved);
  }
}

// Integers: the exact points in double, truncated.
template <class T>
inline void fill_linspace_integer(T* out, int64_t n, double start, double end) {
  const double step = n > 1 ? (end - start) / static_cast<double>(n - 1) : 0.0;
  for (int64_t i = 0; i < n; ++i) {
    const double x = i < n / 2 || n == 1 ? std::fma(step, static_cast<double>(i), start)
                                         : std::fma(-step, static_cast<double>(n - 1 - i), end);
    out[i] = static_cast<T>(static_cast<int64_t>(x));
  }
}

// Writes the elements [begin, end).
template <class T>
inline void fill_arange_integer(T* out, int64_t start, int64_t step, int64_t begin, int64_t end) {
  const uint64_t by = static_cast<uint64_t>(step);
  const uint64_t from = static_cast<uint64_t>(start) + static_cast<uint64_t>(begin) * by;
  run_loop([=]() FLAMBEAU_ALWAYS_INLINE {
    uint64_t value = from;
    for (int64_t i = begin; i < end; ++i, value += by) out[i] = static_cast<T>(value);
  });
}

// What to write, for kernels of the usual signature: args = {out, Progression}.
struct Progression {
  int code;  // of types.pxi
  int64_t n;
  double start, step;  // arange of floats; linspace has its end in `step`
  int64_t first, by;   // arange of integers
};

inline bool has_arange_float(int code) noexcept { return code >= 6 && code <= 9; }
inline bool has_arange_int(int code) noexcept {
  return (code >= 1 && code <= 5) || (code >= 12 && code <= 14);
}

inline void arange_float_kernel(void** args, const int64_t*, int64_t begin, int64_t end,
                                int64_t) noexcept {
  void* out = args[0];
  const Progression& p = *static_cast<const Progression*>(args[1]);
  const float start = static_cast<float>(p.start), step = static_cast<float>(p.step);
  auto* shorts = static_cast<uint16_t*>(out);
  switch (p.code) {
    case 6: return fill_arange<16>(shorts, p.n, start, step, begin, end, HalfNumber{});
    case 7: return fill_arange<16>(shorts, p.n, start, step, begin, end, BrainNumber{});
    case 8:
      return fill_arange<8>(static_cast<float*>(out), p.n, p.start, p.step, begin, end,
                            Plain<float>{});
    default:
      return fill_arange<4>(static_cast<double*>(out), p.n, p.start, p.step, begin, end,
                            Plain<double>{});
  }
}

inline void arange_int_kernel(void** args, const int64_t*, int64_t begin, int64_t end,
                              int64_t) noexcept {
  void* out = args[0];
  const Progression& p = *static_cast<const Progression*>(args[1]);
  switch (p.code) {
    case 1: return fill_arange_integer(static_cast<uint8_t*>(out), p.first, p.by, begin, end);
    case 2: return fill_arange_integer(static_cast<int8_t*>(out), p.first, p.by, begin, end);
    case 3: return fill_arange_integer(static_cast<int16_t*>(out), p.first, p.by, begin, end);
    case 4: return fill_arange_integer(static_cast<int32_t*>(out), p.first, p.by, begin, end);
    case 5: return fill_arange_integer(static_cast<int64_t*>(out), p.first, p.by, begin, end);
    case 12: return fill_arange_integer(static_cast<uint16_t*>(out), p.first, p.by, begin, end);
    case 13: return fill_arange_integer(static_cast<uint32_t*>(out), p.first, p.by, begin, end);
    default: return fill_arange_integer(static_cast<uint64_t*>(out), p.first, p.by, begin, end);
  }
}

// Of float32 and float64 with n >= 2.
inline void linspace_kernel(void** args, const int64_t*, int64_t begin, int64_t end,
                            int64_t) noexcept {
  const Progression& p = *static_cast<const Progression*>(args[1]);
  if (p.code == 8)
    fill_linspace(static_cast<float*>(args[0]), p.n, static_cast<float>(p.start),
                  static_cast<float>(p.step), begin, end);
  else
    fill_linspace(static_cast<double*>(args[0]), p.n, p.start, p.step, begin, end);
}

// linspace of the other types and of short tensors. False: no rule for the dtype.
inline bool fill_linspace_serial(void* out, int code, int64_t n, double start,
                                 double end) noexcept {
  switch (code) {
    case 1: fill_linspace_integer(static_cast<uint8_t*>(out), n, start, end); return true;
    case 2: fill_linspace_integer(static_cast<int8_t*>(out), n, start, end); return true;
    case 3: fill_linspace_integer(static_cast<int16_t*>(out), n, start, end); return true;
    case 4: fill_linspace_integer(static_cast<int32_t*>(out), n, start, end); return true;
    case 5: fill_linspace_integer(static_cast<int64_t*>(out), n, start, end); return true;
    case 6: fill_linspace_short<HalfNumber>(static_cast<uint16_t*>(out), n, start, end); return true;
    case 7: fill_linspace_short<BrainNumber>(static_cast<uint16_t*>(out), n, start, end); return true;
    case 8: static_cast<float*>(out)[0] = static_cast<float>(start); return true;
    case 9: static_cast<double*>(out)[0] = start; return true;
    default: return false;
  }
}

}  // namespace flambeau
