// The 8-bit floating types: every code's value, and rounding float32 to the nearest code.
#pragma once
#include <cstdint>
#include <cstring>

#include "vector_loops.hpp"

namespace flambeau {

constexpr int kFirstFloat8 = 48;  // dtype codes: e4m3fn, e5m2, e4m3fnuz, e5m2fnuz, e8m0fnu
constexpr int kFloat8Types = 5;

inline float float_of_bits(uint32_t bits) noexcept {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline uint32_t bits_of_float(float x) noexcept {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}

// A sign, an exponent and `mantissa` bits. `overflow`: float32 bits of the first number beyond the
// largest; `infinite`: the code of what reaches it; `top`: the largest code that rounding may give.
struct E4m3fn {
  static constexpr uint32_t mantissa = 3, bias = 7, overflow = 1087u << 20;
  static constexpr uint32_t infinite = 0x7E, nan = 0x7F, top = 0x7E;
  static constexpr bool one_zero = false;
};
struct E5m2 {
  static constexpr uint32_t mantissa = 2, bias = 15, overflow = 143u << 23;
  static constexpr uint32_t infinite = 0x7C, nan = 0x7F, top = 0x7C;
  static constexpr bool one_zero = false;
};
// No infinities and no -0, whose code is the only NaN.
struct E4m3fnuz {
  static constexpr uint32_t mantissa = 3, bias = 8, overflow = 135u << 23;
  static constexpr uint32_t infinite = 0x80, nan = 0x80, top = 0x80;
  static constexpr bool one_zero = true;
};
struct E5m2fnuz {
  static constexpr uint32_t mantissa = 2, bias = 16, overflow = 143u << 23;
  static constexpr uint32_t infinite = 0x80, nan = 0x80, top = 0x80;
  static constexpr bool one_zero = true;
};

// Round to nearest, ties to even; both roundings are computed, so that loops become vectors.
template <class F>
inline uint8_t pack_float8(float x) noexcept {
  constexpr uint32_t shift = 23 - F::mantissa;
  // Adding 2^(1 - bias - mantissa + 23) leaves a subnormal's mantissa in the lowest bits of the sum.
  constexpr uint32_t magic = (127 - F::bias + shift + 1) << 23;
  constexpr uint32_t normal = (127 - F::bias + 1) << 23;
  const uint32_t bits = bits_of_float(x), sign = bits >> 31 << 7, size = bits & 0x7FFFFFFFu;
  const uint32_t small = bits_of_float(float_of_bits(size) + float_of_bits(magic)) - magic;
  const uint32_t odd = size >> shift & 1;
  const uint32_t large =
      (size - ((127 - F::bias) << 23) + ((1u << (shift - 1)) - 1) + odd) >> shift;
  uint32_t code = size < normal ? small : large;
  code = code > F::top ? F::top : code;
  code = size >= F::overflow ? F::infinite : code;
  code = size > 0x7F800000u ? F::nan : code;
  const bool unsigned_code = F::one_zero && (code == 0 || size >= F::overflow);
  return static_cast<uint8_t>(unsigned_code ? code : code | sign);
}

// A power of two alone, without sign; 255 is NaN. Ties go up, but for those below 2^-126.
struct E8m0fnu {};
template <>
inline uint8_t pack_float8<E8m0fnu>(float x) noexcept {
  const uint32_t bits = bits_of_float(x), exponent = bits >> 23 & 255, rest = bits & 0x7FFFFFu;
  const uint32_t up = rest > 0x400000u || (rest == 0x400000u && exponent > 0) ? 1 : 0;
  return static_cast<uint8_t>(exponent == 255 ? 255 : exponent + up);
}

template <class F>
inline float unpack_float8(uint8_t code) noexcept {
  const uint32_t sign = static_cast<uint32_t>(code >> 7) << 31, size = code & 0x7F;
  if (F::one_zero && code == 0x80) return float_of_bits(0x7F800001u);
  if (!F::one_zero && size > F::infinite) {  // NaN keeps the code's bits, and is quiet
    const uint32_t payload = F::mantissa == 3 ? 0x700000u : (size & 3) << 21 | 0x400000u;
    return float_of_bits(sign | 0x7F800000u | payload);
  }
  if (!F::one_zero && F::mantissa == 2 && size == F::infinite)
    return float_of_bits(sign | 0x7F800000u);
  uint32_t exponent = size >> F::mantissa;
  float unit = float_of_bits((127 - F::bias - F::mantissa + (exponent ? exponent : 1)) << 23);
  const uint32_t fraction = size & ((1u << F::mantissa) - 1);
  const float value = unit * static_cast<float>(exponent ? fraction | 1u << F::mantissa : fraction);
  return float_of_bits(bits_of_float(value) | sign);
}
template <>
inline float unpack_float8<E8m0fnu>(uint8_t code) noexcept {
  if (code == 0) return float_of_bits(0x00400000u);
  if (code == 255) return float_of_bits(0x7F800001u);
  return float_of_bits(static_cast<uint32_t>(code) << 23);
}

// Calls visit(Format{}) with the format of a dtype code.
template <class Visit>
inline void with_float8(int code, Visit visit) noexcept {
  switch (code - kFirstFloat8) {
    case 0: return visit(E4m3fn{});
    case 1: return visit(E5m2{});
    case 2: return visit(E4m3fnuz{});
    case 3: return visit(E5m2fnuz{});
    default: return visit(E8m0fnu{});
  }
}

// The values of all codes of a type, as float32's bits: some NaN are signalling, and stay so.
struct Float8Values {
  uint32_t bits[kFloat8Types][256];
  Float8Values() noexcept {
    for (int type = 0; type < kFloat8Types; ++type)
      with_float8(kFirstFloat8 + type, [&](auto format) {
        for (int i = 0; i < 256; ++i)
          bits[type][i] =
              bits_of_float(unpack_float8<decltype(format)>(static_cast<uint8_t>(i)));
      });
  }
};
inline const uint32_t* float8_values(int code) noexcept {
  static const Float8Values all;
  return all.bits[code - kFirstFloat8];
}

inline double float8_to_double(uint8_t element, int code) noexcept {
  return static_cast<double>(float_of_bits(float8_values(code)[element]));
}
inline uint8_t double_to_float8(double value, int code) noexcept {
  uint8_t made = 0;
  with_float8(code, [&](auto format) {
    made = pack_float8<decltype(format)>(static_cast<float>(value));
  });
  return made;
}

// Kernels of the usual signature: args = {out, in}, desc = {dtype code of the 8-bit side}.
inline void unpack_float8_kernel(void** args, const int64_t* desc, int64_t begin, int64_t end,
                                 int64_t) noexcept {
  const uint32_t* values = float8_values(static_cast<int>(desc[0]));
  auto* out = static_cast<uint32_t*>(args[0]);
  const auto* in = static_cast<const uint8_t*>(args[1]);
  for (int64_t i = begin; i < end; ++i) out[i] = values[in[i]];
}
inline void pack_float8_kernel(void** args, const int64_t* desc, int64_t begin, int64_t end,
                               int64_t) noexcept {
  auto* out = static_cast<uint8_t*>(args[0]);
  const auto* in = static_cast<const float*>(args[1]);
  with_float8(static_cast<int>(desc[0]), [=](auto format) {
    using Format = decltype(format);
    run_loop([=]() FLAMBEAU_ALWAYS_INLINE {
      for (int64_t i = begin; i < end; ++i) out[i] = pack_float8<Format>(in[i]);
    });
  });
}

}  // namespace flambeau
