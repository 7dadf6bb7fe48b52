// Random fills whose parameters are scalars, or one probability per element. Every fill writes n
// elements of a contiguous buffer, returns false (nothing drawn) when it has no such dtype, and
// checks nothing else.
#pragma once

#include "random_normal.hpp"

namespace flambeau {

// Ranges from here on take two words a number; PyTorch's limit for every dtype.
constexpr uint64_t two_word_range = uint64_t{1} << 28;
constexpr int64_t fill_chunk = 1024;

template <class T, class Draw>
inline void write_each(void* out, int64_t n, Draw draw) {
  T* target = static_cast<T*>(out);
  for (int64_t i = 0; i < n; ++i) {
    target[i] = Element<T>::from(draw());
  }
}

// float32 and narrower, in float32: low + u * (high - low), fused; a result equal to high becomes
// low.
template <class T>
inline void write_uniform(Generator& gen, T* out, int64_t n, double from, double to) {
  uint32_t words[fill_chunk];
  const float low = static_cast<float>(from);
  const float high = static_cast<float>(to);
  const float width = high - low;
  const float excluded = widen(Element<T>::from(high));
  const T replacement = Element<T>::from(low);
  for (int64_t start = 0; start < n; start += fill_chunk) {
    const int64_t count = std::min(fill_chunk, n - start);
    T* target = out + start;
    const uint32_t* source = words;
    gen.fill_words(words, count);
    run_loop([=]() FLAMBEAU_ALWAYS_INLINE {
      for (int64_t i = 0; i < count; ++i) {
        const float u = static_cast<float>(static_cast<int32_t>(source[i] & 0xffffffu)) * 0x1p-24f;
        const T value = Element<T>::from(std::fma(u, width, low));
        target[i] = widen(value) == excluded ? replacement : value;
      }
    });
  }
}

inline void write_uniform(Generator& gen, double* out, int64_t n, double low, double high) {
  for (int64_t i = 0; i < n; ++i) {
    const double value = std::fma(gen.next_double(), high - low, low);
    out[i] = value == high ? low : value;
  }
}

// uniform_(low, high): [low, high). Complex components are drawn one after the other.
inline bool fill_uniform(Generator& gen, void* out, int64_t n, int dtype, double low, double high) {
  if (is_complex_dtype(dtype)) {
    return fill_uniform(gen, out, 2 * n, component_dtype(dtype), low, high);
  }
  return dispatch_float(dtype, [&](auto tag) {
    write_uniform(gen, static_cast<typename decltype(tag)::type*>(out), n, low, high);
  });
}

// exponential_(rate): -log1p(-u) / rate.
inline bool fill_exponential(Generator& gen, void* out, int64_t n, int dtype, double rate) {
  const double scale = -1.0 / rate;
  return dispatch_float(dtype, [&](auto tag) {
    write_each<typename decltype(tag)::type>(
        out, n, [&] { return scale * std::log1p(-gen.next_double()); });
  });
}

// geometric_(p): the number of trials up to the first success, ceil(log(u) / log1p(-p)).
inline bool fill_geometric(Generator& gen, void* out, int64_t n, int dtype, double p) {
  const double log_failure = std::log1p(-p);
  return dispatch_number(dtype, [&](auto tag) {
    write_each<typename decltype(tag)::type>(
        out, n, [&] { return std::ceil(std::log(gen.next_double()) / log_failure); });
  });
}

// cauchy_(median, sigma): median + sigma * tan(pi * (u - 1/2)), fused.
inline bool fill_cauchy(Generator& gen, void* out, int64_t n, int dtype, double median,
                        double sigma) {
  constexpr double pi = 3.14159265358979323846;
  return dispatch_float(dtype, [&](auto tag) {
    write_each<typename decltype(tag)::type>(
        out, n, [&] { return std::fma(sigma, std::tan(pi * (gen.next_double() - 0.5)), median); });
  });
}

// log_normal_(mean, std): exp of a normal drawn by the serial rule, whatever the size.
inline bool fill_log_normal(Generator& gen, void* out, int64_t n, int dtype, double mean,
                            double std) {
  return dispatch_float(dtype, [&](auto tag) {
    write_each<typename decltype(tag)::type>(
        out, n, [&] { return std::exp(next_scaled_normal(gen, mean, std)); });
  });
}

// bernoulli_(p) with a number p: 1 where u < p, u of 53 bits whatever the dtype.
inline bool fill_bernoulli_scalar(Generator& gen, void* out, int64_t n, int dtype, double p) {
  // u < p as integers: u = m / 2^53, and scaling p by 2^53 is exact.
  constexpr double scale = 0x1p53;
  const int64_t threshold = p > 0.0 ? static_cast<int64_t>(std::ceil(std::min(p, 1.0) * scale)) : 0;
  return dispatch_real(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    uint32_t words[2 * fill_chunk];
    const T zero = Element<T>::from(0);
    const T one = Element<T>::from(1);
    for (int64_t start = 0; start < n; start += fill_chunk) {
      const int64_t count = std::min(fill_chunk, n - start);
      T* target = static_cast<T*>(out) + start;
      const uint32_t* source = words;
      gen.fill_words(words, 2 * count);
      run_loop([=]() FLAMBEAU_ALWAYS_INLINE {
        for (int64_t i = 0; i < count; ++i) {
          const int64_t high = source[2 * i] & 0x1fffffu;
          target[i] = ((high << 32) | source[2 * i + 1]) < threshold ? one : zero;
        }
      });
    }
  });
}

// bernoulli(P): one probability per element, in the order of the output. float64 P compares 53 bits
// of two words, narrower P 24 bits of one.
inline bool fill_bernoulli_tensor(Generator& gen, void* out, int64_t n, int dtype,
                                  const void* probabilities, int probability_dtype) {
  bool known = false;
  dispatch_real(dtype, [&](auto tag) {
    known = dispatch_float(probability_dtype, [&](auto probability_tag) {
      using P = typename decltype(probability_tag)::type;
      const P* p = static_cast<const P*>(probabilities);
      write_each<typename decltype(tag)::type>(out, n, [&] {
        if constexpr (std::is_same_v<P, double>) {
          return static_cast<int>(gen.next_double() < *p++);
        } else {
          return static_cast<int>(gen.next_float() < widen(*p++));
        }
      });
    });
  });
  return known;
}

// base + (0 .. range-1). Range 0 stands for 2^64.
template <class T>
inline void write_range(Generator& gen, void* out, int64_t n, uint64_t range, int64_t base) {
  const uint64_t offset = static_cast<uint64_t>(base);
  const auto shift = [=](uint64_t value) { return static_cast<int64_t>(value + offset); };
  if (range == 0) {
    write_each<T>(out, n, [&] { return shift(gen.next64()); });
  } else if (range >= two_word_range) {
    write_each<T>(out, n, [&] { return shift(gen.next64() % range); });
  } else {
    const uint32_t narrow = static_cast<uint32_t>(range);
    write_each<T>(out, n, [&] { return shift(gen.next32() % narrow); });
  }
}

// random_(): every value of a bool or uint8, the non-negative ones of a signed integer, and for a
// float the integers 0 .. 2^digits. The word count goes by dtype here: only int64 and float64 take
// two.
inline bool fill_random(Generator& gen, void* out, int64_t n, int dtype) {
  const auto write_words = [&](auto tag, uint32_t range) {
    write_each<typename decltype(tag)::type>(
        out, n, [&] { return static_cast<int64_t>(gen.next32() % range); });
  };
  const auto write_long_words = [&](auto tag, uint64_t range) {
    write_each<typename decltype(tag)::type>(
        out, n, [&] { return static_cast<int64_t>(gen.next64() % range); });
  };
  switch (dtype) {
    case dtype_bool: write_words(Tag<bool>{}, 2u); return true;
    case dtype_uint8: write_words(Tag<uint8_t>{}, 1u << 8); return true;
    case dtype_int8: write_words(Tag<int8_t>{}, 1u << 7); return true;
    case dtype_int16: write_words(Tag<int16_t>{}, 1u << 15); return true;
    case dtype_int32: write_words(Tag<int32_t>{}, 1u << 31); return true;
    case dtype_int64: write_long_words(Tag<int64_t>{}, uint64_t{1} << 63); return true;
    case dtype_float16: write_words(Tag<Float16>{}, (1u << 11) + 1); return true;
    case dtype_bfloat16: write_words(Tag<BFloat16>{}, (1u << 8) + 1); return true;
    case dtype_float32: write_words(Tag<float>{}, (1u << 24) + 1); return true;
    case dtype_float64: write_long_words(Tag<double>{}, (uint64_t{1} << 53) + 1); return true;
    default: return false;
  }
}

// The spacing of floats with `digits` digits at |value|, as an integer (1 where they are denser).
inline int64_t float_spacing(int64_t value, int digits) {
  uint64_t magnitude = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  int power = -digits;
  for (; magnitude != 0; magnitude >>= 1) {
    ++power;
  }
  return power > 0 ? int64_t{1} << power : 1;
}

// Moves an inclusive-low, exclusive-high range of integers inside what the float type T holds, so
// that rounding a drawn integer never reaches `high` or falls below `low`.
template <class T>
inline void tighten_range(int64_t& low, int64_t& high) {
  constexpr double limit = 9223372036854775808.0;
  const double last = static_cast<double>(widen(Element<T>::from(high - 1)));
  if (last < limit && static_cast<int64_t>(last) >= high) {
    high = static_cast<int64_t>(last) - float_spacing(high - 1, digits_of<T>);
  }
  const double first = static_cast<double>(widen(Element<T>::from(low + 1)));
  if (first >= -limit && static_cast<int64_t>(first) < low) {
    low = static_cast<int64_t>(first) + float_spacing(low + 1, digits_of<T>);
  }
}

// random_(low, high) and randint: integers of [low, high), low < high.
inline bool fill_randint(Generator& gen, void* out, int64_t n, int dtype, int64_t low,
                         int64_t high) {
  return dispatch_real(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    int64_t first = low;
    int64_t end = high;
    if constexpr (is_real_float<T>) {
      tighten_range<T>(first, end);
    }
    write_range<T>(gen, out, n, static_cast<uint64_t>(end) - static_cast<uint64_t>(first), first);
  });
}

// The largest value random_(low, None) may give: the type's maximum; for floats 2^digits.
template <class T>
constexpr int64_t last_random() {
  if constexpr (is_real_float<T>) {
    return int64_t{1} << digits_of<T>;
  } else {
    return static_cast<int64_t>(std::numeric_limits<T>::max());
  }
}

// random_(low, None): from low to the type's maximum; low = -2^63 asks for all 64 bits.
inline bool fill_random_from(Generator& gen, void* out, int64_t n, int dtype, int64_t low) {
  const bool all_bits = low == std::numeric_limits<int64_t>::min();
  const bool wide = dtype == dtype_int64 || dtype == dtype_bfloat16 || dtype == dtype_float32 ||
                    dtype == dtype_float64;
  if (dtype == dtype_uint64 || (all_bits && !wide)) {
    return false;
  }
  return dispatch_real(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    int64_t first = low;
    int64_t last = last_random<T>();
    if constexpr (is_real_float<T>) {
      int64_t unused = last;
      tighten_range<T>(first, unused);
    }
    const uint64_t range = static_cast<uint64_t>(last) - static_cast<uint64_t>(first) + 1;
    write_range<T>(gen, out, n, all_bits ? 0 : range, all_bits ? 0 : first);
  });
}

// randperm: Fisher-Yates forward; lengths whose modulo bias would show use two words, inside out.
template <class T>
inline void write_permutation(Generator& gen, T* out, int64_t n) {
  constexpr int64_t short_length = 0xffffffffll / 20;
  if (n >= short_length) {
    for (int64_t i = 0; i < n; ++i) {
      const int64_t j = static_cast<int64_t>(gen.next64() % static_cast<uint64_t>(i + 1));
      out[i] = out[j];
      out[j] = Element<T>::from(i);
    }
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    out[i] = Element<T>::from(i);
  }
  for (int64_t i = 0; i < n - 1; ++i) {
    std::swap(out[i], out[i + gen.next32() % static_cast<uint32_t>(n - i)]);
  }
}

inline bool fill_randperm(Generator& gen, void* out, int64_t n, int dtype) {
  return dispatch_number(dtype, [&](auto tag) {
    write_permutation(gen, static_cast<typename decltype(tag)::type*>(out), n);
  });
}

// The noise of rrelu in training: a slope of [lower, upper] where x <= 0, else 1 and no draw. The
// bounds are rounded to float32 first, except for float64.
inline bool fill_rrelu_noise(Generator& gen, void* out, int64_t n, int dtype, const void* input,
                             double lower, double upper) {
  return dispatch_float(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const double low = static_cast<Wide<T>>(lower);
    const double width = static_cast<double>(static_cast<Wide<T>>(upper)) - low;
    uint32_t words[2 * fill_chunk];
    int32_t places[fill_chunk + 1];
    for (int64_t start = 0; start < n; start += fill_chunk) {
      const int32_t count = static_cast<int32_t>(std::min(fill_chunk, n - start));
      const T* x = static_cast<const T*>(input) + start;
      T* target = static_cast<T*>(out) + start;
      // Signs cannot be foretold: a branch would cost more than a draw.
      int32_t draws = 0;
      for (int32_t i = 0; i < count; ++i) {
        target[i] = Element<T>::from(1.0);
        places[draws] = i;
        draws += widen(x[i]) <= 0;
      }
      gen.fill_words(words, 2 * draws);
      for (int32_t k = 0; k < draws; ++k) {
        const double u = Generator::to_double(words[2 * k], words[2 * k + 1]);
        target[places[k]] = Element<T>::from(u * width + low);
      }
    }
  });
}

}  // namespace flambeau
