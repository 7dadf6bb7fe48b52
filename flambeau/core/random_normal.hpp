// Normal numbers. Two rules give different streams, so which one runs is part of the contract:
// blocks of 16 for contiguous outputs of 16 elements and more, else one Box-Muller pair at a time.
#pragma once

#include "random_element.hpp"

namespace flambeau {

// 64 blocks of 16: the words of one chunk and its results stay in the L1 cache.
constexpr int64_t normal_block = 16;
constexpr int64_t normal_chunk = 64 * normal_block;

// Single-precision logarithm of a normal x > 0 (Cephes, S. Moshier). Which steps are fused matters.
FLAMBEAU_ALWAYS_INLINE inline float block_log(float x) {
  const uint32_t word = bit_cast_to<uint32_t>(x);
  const float mantissa = bit_cast_to<float>((word & 0x007fffffu) | 0x3f000000u);  // in [0.5, 1)
  const bool low = mantissa < 0.707106781186547524f;
  const float exponent = static_cast<float>(static_cast<int32_t>(word >> 23) - 126 - (low ? 1 : 0));
  const float m = (mantissa - 1.0f) + (low ? mantissa : 0.0f);
  const float square = m * m;
  float y = std::fma(7.0376836292e-2f, m, -1.1514610310e-1f);
  y = std::fma(y, m, 1.1676998740e-1f);
  y = std::fma(y, m, -1.2420140846e-1f);
  y = std::fma(y, m, 1.4249322787e-1f);
  y = std::fma(y, m, -1.6668057665e-1f);
  y = std::fma(y, m, 2.0000714765e-1f);
  y = std::fma(y, m, -2.4999993993e-1f);
  y = std::fma(y, m, 3.3333331174e-1f);
  y = y * m;
  y = std::fma(y, square, exponent * -2.12194440e-4f);
  y = std::fma(-square, 0.5f, y);
  return std::fma(exponent, 0.693359375f, m + y);
}

// Single-precision sine and cosine of x >= 0 (Cephes), by octant.
FLAMBEAU_ALWAYS_INLINE inline void block_sincos(float x, float& sine, float& cosine) {
  const int32_t octant = (static_cast<int32_t>(x * 1.27323954473516f) + 1) & ~1;
  const float turns = static_cast<float>(octant);
  x = std::fma(turns, -0.78515625f, x);
  x = std::fma(turns, -2.4187564849853515625e-4f, x);
  x = std::fma(turns, -3.77489497744594108e-8f, x);
  const float z = x * x;
  float c = std::fma(2.443315711809948e-5f, z, -1.388731625493765e-3f);
  c = std::fma(c, z, 4.166664568298827e-2f);
  c = c * z;
  c = std::fma(c, z, -(z * 0.5f));
  c = c + 1.0f;
  float s = std::fma(-1.9515295891e-4f, z, 8.3321608736e-3f);
  s = std::fma(s, z, -1.6666654611e-1f);
  s = s * z;
  s = std::fma(s, x, x);
  const bool swapped = (octant & 2) != 0;
  const uint32_t sine_sign = static_cast<uint32_t>(octant & 4) << 29;
  const uint32_t cosine_sign = static_cast<uint32_t>(~(octant - 2) & 4) << 29;
  sine = bit_cast_to<float>(bit_cast_to<uint32_t>(swapped ? c : s) ^ sine_sign);
  cosine = bit_cast_to<float>(bit_cast_to<uint32_t>(swapped ? s : c) ^ cosine_sign);
}

// Square roots in place, four at a time. A loop of its own: the compiler vectorises no call that
// may set errno.
FLAMBEAU_ALWAYS_INLINE inline void take_square_roots(float* values, int64_t count) {
#if defined(__SSE2__) || defined(_M_X64)
  for (int64_t i = 0; i < count; i += 4) {
    _mm_storeu_ps(values + i, _mm_sqrt_ps(_mm_loadu_ps(values + i)));
  }
#elif defined(__aarch64__)
  for (int64_t i = 0; i < count; i += 4) {
    vst1q_f32(values + i, vsqrtq_f32(vld1q_f32(values + i)));
  }
#else
  for (int64_t i = 0; i < count; ++i) {
    values[i] = std::sqrt(values[i]);
  }
#endif
}

// Turns words into normals, 16 per block: 8 radii, 8 angles -> 8 cosines, 8 sines. count % 16 == 0.
inline void transform_normal_blocks(const uint32_t* words, float* out, int64_t count, float mean,
                                    float std) {
  run_loop([=]() FLAMBEAU_ALWAYS_INLINE {
    constexpr float two_pi = 6.283185307179586476925286766559f;
    constexpr size_t half_block = 8 * sizeof(float);
    float uniform[normal_chunk];
    float radius[normal_chunk / 2];
    float angle[normal_chunk / 2];
    float sine[normal_chunk / 2];
    const int64_t half = count / 2;
    for (int64_t i = 0; i < count; ++i) {
      uniform[i] = static_cast<float>(static_cast<int32_t>(words[i] & 0xffffffu)) * 0x1p-24f;
    }
    for (int64_t i = 0; i < half; i += 8) {
      std::memcpy(radius + i, uniform + 2 * i, half_block);
      std::memcpy(angle + i, uniform + 2 * i + 8, half_block);
    }
    for (int64_t i = 0; i < half; ++i) {
      radius[i] = -2.0f * block_log(1.0f - radius[i]);
    }
    take_square_roots(radius, half);
    for (int64_t i = 0; i < half; ++i) {
      float s, c;
      block_sincos(two_pi * angle[i], s, c);
      sine[i] = std::fma(radius[i] * s, std, mean);
      angle[i] = std::fma(radius[i] * c, std, mean);
    }
    for (int64_t i = 0; i < half; i += 8) {
      std::memcpy(out + 2 * i, angle + i, half_block);
      std::memcpy(out + 2 * i + 8, sine + i, half_block);
    }
  });
}

// float32 and narrower: arithmetic in float32. n >= 16. The last n % 16 elements come from a block
// of their own laid over the last 16; float32 has drawn (and drops) words for them before that.
template <class T>
inline void fill_normal_blocks(Generator& gen, T* out, int64_t n, double mean, double std) {
  uint32_t words[normal_chunk];
  const auto write = [&](T* target, int64_t count) {
    const float low_mean = static_cast<float>(mean);
    const float low_std = static_cast<float>(std);
    gen.fill_words(words, count);
    if constexpr (std::is_same_v<T, float>) {
      transform_normal_blocks(words, target, count, low_mean, low_std);
    } else {
      float values[normal_chunk];
      transform_normal_blocks(words, values, count, low_mean, low_std);
      std::transform(values, values + count, target, [](float v) { return Element<T>::from(v); });
    }
  };
  const int64_t tail = n % normal_block;
  const int64_t whole = n - tail;
  for (int64_t i = 0; i < whole; i += normal_chunk) {
    write(out + i, std::min(normal_chunk, whole - i));
  }
  if (tail != 0) {
    if (std::is_same_v<T, float>) {
      gen.fill_words(words, tail);
    }
    write(out + n - normal_block, normal_block);
  }
}

inline void write_normal_block(Generator& gen, double* out, double mean, double std) {
  constexpr double two_pi = 6.283185307179586476925286766559;
  double uniform[normal_block];
  std::generate(uniform, uniform + normal_block, [&] { return gen.next_double(); });
  for (int j = 0; j < 8; ++j) {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform[j]));
    const double angle = two_pi * uniform[j + 8];
    out[j] = std::fma(radius * std::cos(angle), std, mean);
    out[j + 8] = std::fma(radius * std::sin(angle), std, mean);
  }
}

// float64, with the C library's functions.
inline void fill_normal_blocks(Generator& gen, double* out, int64_t n, double mean, double std) {
  const int64_t tail = n % normal_block;
  for (int64_t i = 0; i < n - tail; i += normal_block) {
    write_normal_block(gen, out + i, mean, std);
  }
  if (tail != 0) {
    for (int64_t i = 0; i < tail; ++i) {
      gen.next64();  // drawn for the tail, then replaced
    }
    write_normal_block(gen, out + n - normal_block, mean, std);
  }
}

// std * z + mean with one rounding, z from the serial rule.
inline double next_scaled_normal(Generator& gen, double mean, double std) {
  return std::fma(gen.next_normal(), std, mean);
}

// Blocks of 16; needs n >= 16 (complex counts twice). Neither reads nor clears the cached normal.
inline bool fill_normal_block(Generator& gen, void* out, int64_t n, int dtype, double mean,
                              double std) {
  return dispatch_float(dtype, [&](auto tag) {
    fill_normal_blocks(gen, static_cast<typename decltype(tag)::type*>(out), n, mean, std);
  });
}

// One Box-Muller pair at a time in double, through the generator's cached normal.
inline bool fill_normal_serial(Generator& gen, void* out, int64_t n, int dtype, double mean,
                               double std) {
  return dispatch_float(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (int64_t i = 0; i < n; ++i) {
      static_cast<T*>(out)[i] = Element<T>::from(next_scaled_normal(gen, mean, std));
    }
  });
}

// normal_(mean, std). A complex element is two reals, each with std / sqrt(2).
inline bool fill_normal(Generator& gen, void* out, int64_t n, int dtype, double mean, double std,
                        bool contiguous) {
  if (is_complex_dtype(dtype)) {
    return fill_normal(gen, out, 2 * n, component_dtype(dtype), mean, std / std::sqrt(2.0),
                       contiguous);
  }
  if (contiguous && n >= normal_block) {
    return fill_normal_block(gen, out, n, dtype, mean, std);
  }
  return fill_normal_serial(gen, out, n, dtype, mean, std);
}

}  // namespace flambeau
