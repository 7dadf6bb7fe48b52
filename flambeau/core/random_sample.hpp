// Random numbers whose distribution is given element by element: multinomial, Poisson, gamma,
// Dirichlet, binomial. Arithmetic is in double and unfused except where a step names the type T.
#pragma once

#include <functional>
#include <numeric>
#include <vector>

#include "random_fill.hpp"

namespace flambeau {

// A matrix of weights, row by row, or column by column when `transposed`.
struct MultinomialShape {
  int64_t rows;
  int64_t categories;
  int64_t samples;
  bool transposed;

  int64_t offset(int64_t row, int64_t category) const {
    return transposed ? category * rows + row : row * categories + category;
  }
};

// Finds the first of n ascending numbers that is not less than u, or the last, for u in [0, 1): a
// table says where to begin for each n-th part of the interval, so few are looked at.
template <class W>
class GuidedSearch {
 public:
  explicit GuidedSearch(const std::vector<W>& sums) : sums_(sums), begin_(sums.size()) {
    const int64_t n = static_cast<int64_t>(sums.size());
    int64_t i = 0;
    for (int64_t part = 0; part < n; ++part) {
      while (i < n - 1 && static_cast<double>(sums[i]) * n < part) ++i;
      begin_[part] = static_cast<int32_t>(i);
    }
  }

  int64_t operator()(double u) const {
    const int64_t n = static_cast<int64_t>(sums_.size());
    const int64_t part = static_cast<int64_t>(u * n);
    int64_t i = begin_[part < n ? part : n - 1];
    while (i > 0 && !(sums_[i - 1] < u)) --i;  // the table is rounded
    const int64_t near = i + kNear < n - 1 ? i + kNear : n - 1;
    while (i < near && sums_[i] < u) ++i;
    if (i < near || i == n - 1) return i;
    return std::lower_bound(sums_.begin() + i, sums_.end() - 1, u) - sums_.begin();
  }

 private:
  static constexpr int64_t kNear = 8;
  const std::vector<W>& sums_;
  std::vector<int32_t> begin_;  // there are at most 2^24 categories
};

// One uniform per sample, looked up in the running sum of the row (summed left to right in T).
template <class T>
inline void draw_with_replacement(Generator& gen, const T* weights, const MultinomialShape& shape,
                                  int64_t* out) {
  std::vector<Wide<T>> sums(static_cast<size_t>(shape.categories));
  for (int64_t row = 0; row < shape.rows; ++row) {
    Wide<T> total = 0;
    for (int64_t i = 0; i < shape.categories; ++i) {
      total += widen(weights[shape.offset(row, i)]);
      sums[i] = total;
    }
    for (Wide<T>& sum : sums) {
      sum /= total;
    }
    sums.back() = 1;
    if (4 * shape.samples < shape.categories) {  // not worth a table
      for (int64_t i = 0; i < shape.samples; ++i) {
        const double u = gen.next_double();
        *out++ = std::lower_bound(sums.begin(), sums.end() - 1, u) - sums.begin();
      }
      continue;
    }
    const GuidedSearch<Wide<T>> find(sums);
    for (int64_t i = 0; i < shape.samples; ++i) *out++ = find(gen.next_double());
  }
}

// A category and its place in the race; NaN (0 / 0) is ahead of every number, as in a maximum.
template <class S>
struct Racer {
  S score;
  int64_t category;

  friend bool operator<(const Racer& a, const Racer& b) {  // "a comes before b"
    return (std::isnan(a.score) && !std::isnan(b.score)) || a.score > b.score;
  }
};

// Puts the `samples` leaders first, in order. Equal scores keep no order of their own, so PyTorch's
// choice among them shows only with its choice of algorithm and the same standard library.
template <class S>
inline void put_leaders_first(std::vector<Racer<S>>& racers, int64_t samples) {
  const auto begin = racers.begin();
  if (samples == 1) {
    std::swap(*begin, *std::min_element(begin, racers.end()));
  } else if (samples * 64 <= static_cast<int64_t>(racers.size())) {
    std::partial_sort(begin, begin + samples, racers.end());
  } else {
    std::nth_element(begin, begin + samples - 1, racers.end());
    std::sort(begin, begin + samples - 1);
  }
}

// An exponential race: the largest weight / Exp(1) come first.
template <class T>
inline void draw_without_replacement(Generator& gen, const T* weights,
                                     const MultinomialShape& shape, int dtype, int64_t* out) {
  const int64_t count = shape.rows * shape.categories;
  std::vector<T> times(static_cast<size_t>(count));
  fill_exponential(gen, times.data(), count, dtype, 1.0);
  std::vector<Racer<Wide<T>>> racers(static_cast<size_t>(shape.categories));
  for (int64_t row = 0; row < shape.rows; ++row) {
    for (int64_t i = 0; i < shape.categories; ++i) {
      const int64_t at = shape.offset(row, i);
      racers[i] = {widen(Element<T>::from(widen(weights[at]) / widen(times[at]))), i};
    }
    put_leaders_first(racers, shape.samples);
    for (int64_t i = 0; i < shape.samples; ++i) {
      *out++ = racers[i].category;
    }
  }
}

// multinomial: rows x samples category numbers. Without replacement, samples <= categories; one
// sample is drawn by the race either way.
inline bool fill_multinomial(Generator& gen, int64_t* out, const void* weights, int dtype,
                             const MultinomialShape& shape, bool replacement) {
  if (shape.rows <= 0 || shape.categories <= 0 || shape.samples <= 0) {
    return true;
  }
  return dispatch_float(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* typed = static_cast<const T*>(weights);
    if (replacement && shape.samples > 1) {
      draw_with_replacement(gen, typed, shape, out);
    } else {
      draw_without_replacement(gen, typed, shape, dtype, out);
    }
  });
}

// Below rate 10: multiply uniforms until the product is at most exp(-rate) (Knuth).
inline double next_small_poisson(Generator& gen, double rate) {
  const double limit = std::exp(-rate);
  double product = 1.0;
  double count = -1.0;
  do {
    product *= gen.next_double();
    count += 1.0;
  } while (product > limit);
  return count;
}

// Transformed rejection PTRS: W. Hoermann, The transformed rejection method for generating Poisson
// random variables, 1993.
inline double next_large_poisson(Generator& gen, double rate) {
  const double log_rate = std::log(rate);
  const double b = 0.931 + 2.53 * std::sqrt(rate);
  const double a = -0.059 + 0.02483 * b;
  const double inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
  const double quick = 0.9277 - 3.6224 / (b - 2.0);
  for (;;) {
    const double u = gen.next_double() - 0.5;
    const double v = gen.next_double();
    const double us = 0.5 - std::fabs(u);
    const double k = std::floor((2.0 * a / us + b) * u + rate + 0.43);
    if (us >= 0.07 && v <= quick) {
      return k;
    }
    if (k < 0.0 || (us < 0.013 && v > us)) {
      continue;
    }
    const double left = std::log(v) + std::log(inverse_alpha) - std::log(a / (us * us) + b);
    if (left <= -rate + k * log_rate - std::lgamma(k + 1.0)) {
      return k;
    }
  }
}

inline double next_poisson(Generator& gen, double rate) {
  if (rate == 0.0 || std::isnan(rate)) {
    return rate;
  }
  return rate < 10.0 ? next_small_poisson(gen, rate) : next_large_poisson(gen, rate);
}

// poisson(rates): rates and result share the dtype.
inline bool fill_poisson(Generator& gen, void* out, int64_t n, int dtype, const void* rates) {
  return dispatch_float(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* rate = static_cast<const T*>(rates);
    write_each<T>(out, n, [&] { return next_poisson(gen, static_cast<double>(widen(*rate++))); });
  });
}

// Gamma(alpha, 1): G. Marsaglia and W. Tsang, A simple method for generating gamma variables, 2000,
// boosted by one uniform below alpha = 1. `d` and 1 / alpha are rounded to T; the constants to
// float.
template <class T>
inline double next_gamma(Generator& gen, T alpha) {
  double scale = 1.0;
  if (alpha < T{1}) {
    if (alpha == T{0}) {
      return 0.0;
    }
    scale = std::pow(1.0 - gen.next_double(), static_cast<double>(T{1} / alpha));
    alpha += T{1};
  }
  const double d = static_cast<double>(alpha - static_cast<T>(1.0f / 3.0f));
  if (!(d > 0.0)) {
    return std::numeric_limits<double>::quiet_NaN();  // the loop below would not end
  }
  const double c = 1.0 / std::sqrt(9.0 * d);
  for (;;) {
    double x, y;
    do {
      x = gen.next_normal();
      y = 1.0 + c * x;
    } while (y <= 0.0);
    const double v = y * y * y;
    const double u = 1.0 - gen.next_double();
    const double xx = x * x;
    if (u < 1.0 - static_cast<double>(0.0331f) * xx * xx ||
        std::log(u) < 0.5 * xx + d * (1.0 - v + std::log(v))) {
      return scale * d * v;
    }
  }
}

// _standard_gamma(alpha), float32 and float64: never below the smallest normal number.
inline bool fill_standard_gamma(Generator& gen, void* out, int64_t n, int dtype,
                                const void* alphas) {
  return dispatch_wide_float(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* alpha = static_cast<const T*>(alphas);
    write_each<T>(out, n, [&] {
      const T value = static_cast<T>(next_gamma(gen, *alpha++));
      return value < std::numeric_limits<T>::min() ? std::numeric_limits<T>::min() : value;
    });
  });
}

// Sum of a contiguous row in the order of PyTorch's reductions: 16 lanes, whose sums of a power of
// two of elements are carried to the next of 4 levels (which keeps rounding errors small).
inline double sum_row(const double* x, int64_t n) {
  constexpr int lanes = 16, vector = 4, levels = 4;
  const int64_t steps = n / lanes;
  int bits = 0;  // ceil(log2(steps))
  while ((int64_t{1} << bits) < steps) {
    ++bits;
  }
  const int power = std::max(4, bits / levels);
  const int64_t mask = (int64_t{1} << power) - 1;
  double sums[levels][lanes] = {};
  for (int64_t step = 1; step <= steps; ++step, x += lanes) {
    std::transform(x, x + lanes, sums[0], sums[0], std::plus<double>());
    for (int level = 1; level < levels && (step & (mask << ((level - 1) * power))) == 0; ++level) {
      std::transform(sums[level - 1], sums[level - 1] + lanes, sums[level], sums[level],
                     std::plus<double>());
      std::fill_n(sums[level - 1], lanes, 0.0);
    }
  }
  double* total = sums[0];
  for (int level = 1; level < levels; ++level) {
    std::transform(sums[level], sums[level] + lanes, total, total, std::plus<double>());
  }
  const double* end = x + n % lanes;
  for (; end - x >= vector; x += vector) {
    std::transform(x, x + vector, total, total, std::plus<double>());
  }
  for (int lane = vector; lane < lanes; ++lane) {
    total[lane % vector] += total[lane];
  }
  return std::accumulate(total, total + vector, std::accumulate(x, end, 0.0));
}

// _sample_dirichlet(alpha) along a last axis of `categories`: n / categories rows of gammas in
// double, each divided by its sum, kept inside (0, 1).
inline bool fill_dirichlet(Generator& gen, void* out, int64_t n, int dtype, const void* alphas,
                           int64_t categories) {
  return dispatch_wide_float(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* alpha = static_cast<const T*>(alphas);
    const T low = std::numeric_limits<T>::min();
    const T high = T{1} - std::numeric_limits<T>::epsilon() / 2;
    // All rows are drawn before any is divided: `gammas` keeps them in double.
    std::vector<double> gammas(static_cast<size_t>(std::max<int64_t>(n, 0)));
    for (double& gamma : gammas) {
      gamma = std::max(next_gamma(gen, static_cast<double>(*alpha++)),
                       std::numeric_limits<double>::min());
    }
    for (int64_t row = 0; row < n; row += categories) {
      const double total = sum_row(&gammas[row], categories);
      for (int64_t i = row; i < row + categories; ++i) {
        const T share = static_cast<T>(gammas[i] / total);
        static_cast<T*>(out)[i] = std::min(high, std::max(low, share));
      }
    }
  });
}

// log k! minus Stirling's formula, tabulated below 10.
inline double stirling_tail(double k) {
  static const double table[] = {0.0810614667953272,  0.0413406959554092, 0.0276779256849983,
                                 0.02079067210376509, 0.0166446911898211, 0.0138761288230707,
                                 0.0118967099458917,  0.0104112652619720, 0.00925546218271273,
                                 0.00833056343336287};
  if (k < 10.0) {
    return table[k > 0.0 ? static_cast<int>(k) : 0];
  }
  const double square = (k + 1.0) * (k + 1.0);
  return (1.0 / 12 - (1.0 / 360 - 1.0 / 1260 / square) / square) / (k + 1.0);
}

// n p < 10: geometric gaps between successes, counted until they pass n.
template <class T>
inline T next_binomial_by_gaps(Generator& gen, T n, T p) {
  const double log_failure = static_cast<double>(std::log1p(-p));
  const double last = static_cast<double>(n);
  double position = 0.0;
  T successes = 0;
  for (;; successes += 1) {
    position += std::ceil(std::log(gen.next_double()) / log_failure);
    if (position > last) {
      return successes;
    }
  }
}

// Transformed rejection BTRS: W. Hoermann, The generation of binomial random variates, 1993.
template <class T>
inline T next_binomial_by_rejection(Generator& gen, T n, T p) {
  const T one = 1;
  const double deviation = static_cast<double>(std::sqrt(n * p * (one - p)));
  const double b = 1.15 + 2.53 * deviation;
  const double a = -0.0873 + 0.0248 * b + 0.01 * static_cast<double>(p);
  const double c = static_cast<double>(n * p) + 0.5;
  const double quick = 0.92 - 4.2 / b;
  const double odds = static_cast<double>(p / (one - p));
  const double alpha = (2.83 + 5.1 / b) * deviation;
  const double mode = static_cast<double>(std::floor((n + one) * p));
  const double count = static_cast<double>(n);
  for (;;) {
    const double u = gen.next_double() - 0.5;
    const double v = gen.next_double();
    const double us = 0.5 - std::fabs(u);
    const T k = static_cast<T>(std::floor((2.0 * a / us + b) * u + c));
    if (k < T{0} || k > n) {
      continue;
    }
    if (us >= 0.07 && v <= quick) {
      return k;
    }
    const double wide_k = static_cast<double>(k);
    const double rest = static_cast<double>(n - k);
    const double rest_and_one = static_cast<double>(n - k + one);
    const double bound =
        (mode + 0.5) * std::log((mode + 1.0) / (odds * (count - mode + 1.0))) +
        static_cast<double>(n + one) * std::log((count - mode + 1.0) / rest_and_one) +
        (wide_k + 0.5) * std::log(odds * rest_and_one / static_cast<double>(k + one)) +
        stirling_tail(mode) + stirling_tail(count - mode) - stirling_tail(wide_k) -
        stirling_tail(rest);
    if (std::log(v * alpha / (a / (us * us) + b)) <= bound) {
      return k;
    }
  }
}

template <class T>
inline T next_binomial(Generator& gen, T n, T p) {
  if (std::isnan(n) || std::isnan(p)) {
    return std::numeric_limits<T>::quiet_NaN();
  }
  if (n <= T{0} || p <= T{0}) {
    return T{0};
  }
  if (p >= T{1} || std::isinf(n)) {
    return n;
  }
  if (p > T(0.5)) {
    return n - next_binomial(gen, n, static_cast<T>(1.0 - static_cast<double>(p)));
  }
  return n * p >= T{10} ? next_binomial_by_rejection(gen, n, p) : next_binomial_by_gaps(gen, n, p);
}

// binomial(counts, probabilities), float32 and float64: the three share the dtype.
inline bool fill_binomial(Generator& gen, void* out, int64_t n, int dtype, const void* counts,
                          const void* probabilities) {
  return dispatch_wide_float(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* count = static_cast<const T*>(counts);
    const T* p = static_cast<const T*>(probabilities);
    write_each<T>(out, n, [&] { return next_binomial(gen, *count++, *p++); });
  });
}

}  // namespace flambeau
