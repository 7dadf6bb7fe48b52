// Fills whose values follow from an element's place: one constant, a + i * b, and evenly spaced points.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "support.hpp"

namespace flambeau {

template <int item>
struct Block {
  unsigned char bytes[item];
};

template <int item>
inline void repeat(char* out, const void* element, int64_t begin, int64_t end) {
  Block<item> value;
  std::memcpy(&value, element, item);
  Block<item>* target = reinterpret_cast<Block<item>*>(out);
  for (int64_t i = begin; i < end; ++i) target[i] = value;
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
  switch (item) {
    case 2: return repeat<2>(out, element, begin, end);
    case 4: return repeat<4>(out, element, begin, end);
    case 8: return repeat<8>(out, element, begin, end);
    default: return repeat<16>(out, element, begin, end);
  }
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
template <class T, class Acc, class Round>
inline void fill_arange(T* out, int64_t n, Acc start, Acc step, int64_t lanes, Round round) {
  const int64_t grouped = n - n % (2 * lanes);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t lane = i < grouped ? i % lanes : 0;
    const Acc first = std::fma(static_cast<Acc>(i - lane), step, start);
    if (lane == 0) {
      out[i] = round.pack(first);
    } else {
      out[i] = round.pack(std::fma(static_cast<Acc>(lane), step, static_cast<Acc>(round.unpack(round.pack(first)))));
    }
  }
}

template <class T>
struct Plain {
  static T pack(double x) { return static_cast<T>(x); }
  static T unpack(T x) { return x; }
};

// Evenly spaced points, counted from the nearer end: start + i * step, end - (n - 1 - i) * step.
template <class T>
inline void fill_linspace(T* out, int64_t n, int64_t stride, T start, T end) {
  if (n == 1) {
    out[0] = start;
    return;
  }
  const T step = (end - start) / static_cast<T>(n - 1);
  for (int64_t i = 0; i < n; ++i) {
    out[i * stride] = i < n / 2 ? std::fma(step, static_cast<T>(i), start)
                                : std::fma(-step, static_cast<T>(n - 1 - i), end);
  }
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

template <class T>
inline void fill_arange_integer(T* out, int64_t n, int64_t start, int64_t step) {
  uint64_t value = static_cast<uint64_t>(start);
  for (int64_t i = 0; i < n; ++i, value += static_cast<uint64_t>(step)) out[i] = static_cast<T>(value);
}

// Codes are those of types.pxi. False: no rule for the dtype.
inline bool fill_arange_float(void* out, int code, int64_t n, double start, double step) noexcept {
  switch (code) {
    case 6:
      fill_arange(static_cast<uint16_t*>(out), n, static_cast<float>(start), static_cast<float>(step), 16, HalfNumber{});
      return true;
    case 7:
      fill_arange(static_cast<uint16_t*>(out), n, static_cast<float>(start), static_cast<float>(step), 16, BrainNumber{});
      return true;
    case 8: fill_arange(static_cast<float*>(out), n, start, step, 8, Plain<float>{}); return true;
    case 9: fill_arange(static_cast<double*>(out), n, start, step, 4, Plain<double>{}); return true;
    default: return false;
  }
}

inline bool fill_arange_int(void* out, int code, int64_t n, int64_t start, int64_t step) noexcept {
  switch (code) {
    case 1: fill_arange_integer(static_cast<uint8_t*>(out), n, start, step); return true;
    case 2: fill_arange_integer(static_cast<int8_t*>(out), n, start, step); return true;
    case 3: fill_arange_integer(static_cast<int16_t*>(out), n, start, step); return true;
    case 4: fill_arange_integer(static_cast<int32_t*>(out), n, start, step); return true;
    case 5: fill_arange_integer(static_cast<int64_t*>(out), n, start, step); return true;
    case 12: fill_arange_integer(static_cast<uint16_t*>(out), n, start, step); return true;
    case 13: fill_arange_integer(static_cast<uint32_t*>(out), n, start, step); return true;
    case 14: fill_arange_integer(static_cast<uint64_t*>(out), n, start, step); return true;
    default: return false;
  }
}

inline bool fill_linspace_real(void* out, int code, int64_t n, double start, double end) noexcept {
  switch (code) {
    case 1: fill_linspace_integer(static_cast<uint8_t*>(out), n, start, end); return true;
    case 2: fill_linspace_integer(static_cast<int8_t*>(out), n, start, end); return true;
    case 3: fill_linspace_integer(static_cast<int16_t*>(out), n, start, end); return true;
    case 4: fill_linspace_integer(static_cast<int32_t*>(out), n, start, end); return true;
    case 5: fill_linspace_integer(static_cast<int64_t*>(out), n, start, end); return true;
    case 6: fill_linspace_short<HalfNumber>(static_cast<uint16_t*>(out), n, start, end); return true;
    case 7: fill_linspace_short<BrainNumber>(static_cast<uint16_t*>(out), n, start, end); return true;
    case 8:
      fill_linspace(static_cast<float*>(out), n, 1, static_cast<float>(start), static_cast<float>(end));
      return true;
    case 9: fill_linspace(static_cast<double*>(out), n, 1, start, end); return true;
    default: return false;
  }
}

}  // namespace flambeau
