// Element types of the random fills: the dtype codes, float16 and bfloat16 storage, and dispatch.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "random.hpp"

namespace flambeau {

enum DtypeCode : int {
  dtype_bool,
  dtype_uint8,
  dtype_int8,
  dtype_int16,
  dtype_int32,
  dtype_int64,
  dtype_float16,
  dtype_bfloat16,
  dtype_float32,
  dtype_float64,
  dtype_complex64,
  dtype_complex128,
  dtype_uint16,
  dtype_uint32,
  dtype_uint64
};

template <class To, class From>
inline To bit_cast_to(From value) {
  static_assert(sizeof(To) == sizeof(From), "bit cast between sizes");
  To result;
  std::memcpy(&result, &value, sizeof(To));
  return result;
}

struct Float16 {
  uint16_t bits;
};

struct BFloat16 {
  uint16_t bits;
};

// Round to nearest even; too large becomes infinity, NaN stays NaN.
inline Float16 round_to_float16(float value) {
  const uint32_t word = bit_cast_to<uint32_t>(value);
  const uint32_t magnitude = word & 0x7fffffffu;
  const uint16_t sign = static_cast<uint16_t>((word >> 16) & 0x8000u);
  if (magnitude >= 0x47800000u) {  // 65536 and up, infinity, NaN
    return {static_cast<uint16_t>(sign | (magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u))};
  }
  if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 leaves the subnormal in the low bits
    const float shifted = bit_cast_to<float>(magnitude) + 0.5f;
    return {static_cast<uint16_t>(sign | (bit_cast_to<uint32_t>(shifted) - 0x3f000000u))};
  }
  const uint32_t rounded = magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u);
  return {static_cast<uint16_t>(sign | (rounded >> 13))};
}

inline float widen(Float16 value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t magnitude = value.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) {
    return bit_cast_to<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  }
  if (magnitude < 0x400u) {
    const float subnormal = static_cast<float>(magnitude) * 0x1p-24f;
    return bit_cast_to<float>(sign | bit_cast_to<uint32_t>(subnormal));
  }
  return bit_cast_to<float>(sign | ((magnitude << 13) + 0x38000000u));
}

inline BFloat16 round_to_bfloat16(float value) {
  const uint32_t word = bit_cast_to<uint32_t>(value);
  if ((word & 0x7fffffffu) > 0x7f800000u) {
    return {0x7fc0u};
  }
  return {static_cast<uint16_t>((word + 0x7fffu + ((word >> 16) & 1u)) >> 16)};
}

inline float widen(BFloat16 value) {
  return bit_cast_to<float>(static_cast<uint32_t>(value.bits) << 16);
}
inline float widen(float value) { return value; }
inline double widen(double value) { return value; }

// The type arithmetic happens in: float for 16-bit floats, itself for float and double.
template <class T>
using Wide = decltype(widen(T{}));

// Digits of the significand: integers up to 2^digits are exact.
template <class T>
constexpr int digits_of = std::numeric_limits<T>::digits;
template <>
constexpr int digits_of<Float16> = 11;
template <>
constexpr int digits_of<BFloat16> = 8;

template <class T>
constexpr bool is_real_float = std::numeric_limits<T>::is_iec559;
template <>
constexpr bool is_real_float<Float16> = true;
template <>
constexpr bool is_real_float<BFloat16> = true;

// Conversion of a number to an element: doubles reach the 16-bit floats through float, and what an
// integer type cannot hold goes through int64 (infinity and NaN to its minimum) and wraps.
template <class T>
struct Element {
  template <class From>
  static T from(From value) {
    if constexpr (std::is_floating_point_v<From> && !std::is_floating_point_v<T>) {
      constexpr double limit = 9223372036854775808.0;
      const bool fits = value >= -limit && value < limit;
      return static_cast<T>(fits ? static_cast<int64_t>(value)
                                 : std::numeric_limits<int64_t>::min());
    } else {
      return static_cast<T>(value);
    }
  }
};

template <>
struct Element<Float16> {
  template <class From>
  static Float16 from(From value) {
    return round_to_float16(static_cast<float>(value));
  }
};

template <>
struct Element<BFloat16> {
  template <class From>
  static BFloat16 from(From value) {
    return round_to_bfloat16(static_cast<float>(value));
  }
};

template <class T>
struct Tag {
  using type = T;
};

// Each dispatch calls `body` with the Tag of the element type; false when the dtype is not of the
// family.
template <class Body>
inline bool dispatch_float(int dtype, Body body) {
  switch (dtype) {
    case dtype_float16: body(Tag<Float16>{}); return true;
    case dtype_bfloat16: body(Tag<BFloat16>{}); return true;
    case dtype_float32: body(Tag<float>{}); return true;
    case dtype_float64: body(Tag<double>{}); return true;
    default: return false;
  }
}

template <class Body>
inline bool dispatch_wide_float(int dtype, Body body) {
  switch (dtype) {
    case dtype_float32: body(Tag<float>{}); return true;
    case dtype_float64: body(Tag<double>{}); return true;
    default: return false;
  }
}

template <class Body>
inline bool dispatch_integer(int dtype, Body body) {
  switch (dtype) {
    case dtype_uint8: body(Tag<uint8_t>{}); return true;
    case dtype_int8: body(Tag<int8_t>{}); return true;
    case dtype_int16: body(Tag<int16_t>{}); return true;
    case dtype_int32: body(Tag<int32_t>{}); return true;
    case dtype_int64: body(Tag<int64_t>{}); return true;
    case dtype_uint16: body(Tag<uint16_t>{}); return true;
    case dtype_uint32: body(Tag<uint32_t>{}); return true;
    case dtype_uint64: body(Tag<uint64_t>{}); return true;
    default: return false;
  }
}

// Integers and floats, without bool and complex.
template <class Body>
inline bool dispatch_number(int dtype, Body body) {
  return dispatch_integer(dtype, body) || dispatch_float(dtype, body);
}

template <class Body>
inline bool dispatch_real(int dtype, Body body) {
  if (dtype == dtype_bool) {
    body(Tag<bool>{});
    return true;
  }
  return dispatch_number(dtype, body);
}

inline bool is_complex_dtype(int dtype) {
  return dtype == dtype_complex64 || dtype == dtype_complex128;
}

// The dtype of one component of a complex dtype.
inline int component_dtype(int dtype) {
  return dtype == dtype_complex64 ? dtype_float32 : dtype_float64;
}

}  // namespace flambeau
