// The random fills behind one call: a request names the fill and carries its parameters, so that a
// binding (random.pxi) needs one declaration. This is also where a generator gets locked.
#pragma once

#include "random_sample.hpp"

namespace flambeau {

enum RandomKind : int {
  random_uniform,           // numbers: low, high
  random_normal,            // numbers: mean, std; integers: contiguous
  random_normal_block,      // numbers: mean, std
  random_normal_serial,     // numbers: mean, std
  random_exponential,       // numbers: rate
  random_geometric,         // numbers: p
  random_cauchy,            // numbers: median, sigma
  random_log_normal,        // numbers: mean, std
  random_bernoulli,         // numbers: p
  random_bernoulli_tensor,  // integers: probabilities address, probabilities dtype
  random_random,            // no parameters
  random_random_from,       // integers: low
  random_randint,           // integers: low, high
  random_randperm,          // no parameters
  random_rrelu_noise,       // numbers: lower, upper; integers: input address
  random_multinomial,       // integers: weights address, rows, categories, samples,
                            // replacement, transposed (dtype is the weights'; out is int64)
  random_poisson,           // integers: rates address
  random_standard_gamma,    // integers: alphas address
  random_dirichlet,         // integers: alphas address, categories
  random_binomial           // integers: counts address, probabilities address
};

struct RandomRequest {
  int kind = 0;
  void* out = nullptr;
  int64_t n = 0;
  int dtype = 0;
  double numbers[2] = {};
  int64_t integers[6] = {};

  const void* address(int index) const {
    return reinterpret_cast<const void*>(static_cast<intptr_t>(integers[index]));
  }
};

inline bool fill_requested_multinomial(Generator& gen, const RandomRequest& request) {
  const int64_t* i = request.integers;
  const MultinomialShape shape{i[1], i[2], i[3], i[5] != 0};
  return fill_multinomial(gen, static_cast<int64_t*>(request.out), request.address(0),
                          request.dtype, shape, i[4] != 0);
}

// Runs the request under the generator's lock. False: no such kind, or not for this dtype.
inline bool run_random_request(Generator& gen, const RandomRequest& request) {
  const std::lock_guard<std::mutex> guard(gen.lock());
  void* out = request.out;
  const int64_t n = request.n;
  const int dtype = request.dtype;
  const double a = request.numbers[0];
  const double b = request.numbers[1];
  const int64_t* i = request.integers;
  switch (request.kind) {
    case random_uniform: return fill_uniform(gen, out, n, dtype, a, b);
    case random_normal: return fill_normal(gen, out, n, dtype, a, b, i[0] != 0);
    case random_normal_block: return fill_normal_block(gen, out, n, dtype, a, b);
    case random_normal_serial: return fill_normal_serial(gen, out, n, dtype, a, b);
    case random_exponential: return fill_exponential(gen, out, n, dtype, a);
    case random_geometric: return fill_geometric(gen, out, n, dtype, a);
    case random_cauchy: return fill_cauchy(gen, out, n, dtype, a, b);
    case random_log_normal: return fill_log_normal(gen, out, n, dtype, a, b);
    case random_bernoulli: return fill_bernoulli_scalar(gen, out, n, dtype, a);
    case random_bernoulli_tensor:
      return fill_bernoulli_tensor(gen, out, n, dtype, request.address(0), static_cast<int>(i[1]));
    case random_random: return fill_random(gen, out, n, dtype);
    case random_random_from: return fill_random_from(gen, out, n, dtype, i[0]);
    case random_randint: return fill_randint(gen, out, n, dtype, i[0], i[1]);
    case random_randperm: return fill_randperm(gen, out, n, dtype);
    case random_rrelu_noise: return fill_rrelu_noise(gen, out, n, dtype, request.address(0), a, b);
    case random_multinomial: return fill_requested_multinomial(gen, request);
    case random_poisson: return fill_poisson(gen, out, n, dtype, request.address(0));
    case random_standard_gamma: return fill_standard_gamma(gen, out, n, dtype, request.address(0));
    case random_dirichlet: return fill_dirichlet(gen, out, n, dtype, request.address(0), i[1]);
    case random_binomial:
      return fill_binomial(gen, out, n, dtype, request.address(0), request.address(1));
    default: return false;
  }
}

inline uint32_t draw_word(Generator& gen) {
  const std::lock_guard<std::mutex> guard(gen.lock());
  return gen.next32();
}

inline uint64_t draw_long_word(Generator& gen) {
  const std::lock_guard<std::mutex> guard(gen.lock());
  return gen.next64();
}

}  // namespace flambeau
