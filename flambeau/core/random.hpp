// The CPU random generator: MT19937 with PyTorch's seeding, draw order, normal cache and state
// layout, so that the same seed gives the same stream.
//
// Build with -ffp-contract=off: these headers say where a multiply-add is fused (std::fma) and
// where it is not, and a compiler that fuses more (arm64 does by default) changes last bits. Define
// FLAMBEAU_RANDOM_PLAIN to leave out the AVX2 code; the numbers stay the same.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string>

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "vector_loops.hpp"

namespace flambeau {

constexpr size_t generator_state_size = 5056;
constexpr uint64_t default_generator_seed = 67280421310721ull;

// One stream of 32-bit words (a "word" below) plus the second half of the last Box-Muller pair.
// Reading and setting the state lock; the draws do not: whoever may share a generator holds lock()
// around a fill (random_interface.hpp does).
class Generator {
 public:
  explicit Generator(uint64_t seed = default_generator_seed) { manual_seed(seed); }

  std::mutex& lock() const { return lock_; }

  // Only the low 32 bits of the seed reach the stream; all 64 are kept for initial_seed().
  void manual_seed(uint64_t seed) {
    const std::lock_guard<std::mutex> guard(lock_);
    seed_ = seed;
    words_[0] = static_cast<uint32_t>(seed);
    for (uint32_t j = 1; j < word_count; ++j) {
      const uint32_t previous = words_[j - 1];
      words_[j] = 1812433253u * (previous ^ (previous >> 30)) + j;
    }
    left_ = 1;
    next_ = 0;
    has_normal_ = false;
  }

  uint64_t initial_seed() const {
    const std::lock_guard<std::mutex> guard(lock_);
    return seed_;
  }

  uint32_t next32() {
    if (left_ == 1) {
      twist();
    }
    --left_;
    return temper(words_[next_++]);
  }

  // The first word drawn is the high half.
  uint64_t next64() {
    const uint64_t high = next32();
    return (high << 32) | next32();
  }

  // Uniform in [0, 1) from the low 24 bits of one word.
  float next_float() { return static_cast<float>(next32() & 0xFFFFFFu) * 0x1p-24f; }

  // Uniform in [0, 1) from the low 53 bits of two words.
  double next_double() {
    const uint32_t high = next32();
    return to_double(high, next32());
  }

  static double to_double(uint32_t high, uint32_t low) {
    constexpr uint64_t mask = (uint64_t{1} << 53) - 1;
    const uint64_t both = (uint64_t{high} << 32) | low;
    return static_cast<double>(static_cast<int64_t>(both & mask)) * 0x1p-53;
  }

  // Standard normal by Box-Muller; the sine half waits in the generator for the next caller.
  double next_normal() {
    if (has_normal_) {
      has_normal_ = false;
      return normal_;
    }
    constexpr double two_pi = 6.283185307179586476925286766559;
    const double angle = two_pi * next_double();
    const double radius = std::sqrt(-2.0 * std::log1p(-next_double()));
    normal_ = radius * std::sin(angle);
    has_normal_ = true;
    return radius * std::cos(angle);
  }

  // Writes `count` words, equal to `count` calls of next32() but tempered in one vector loop.
  void fill_words(uint32_t* out, int64_t count) {
    while (count > 0) {
      if (left_ == 1) {
        twist();
      }
      const int64_t step = std::min<int64_t>(count, left_ - 1);
      const uint32_t* source = words_ + next_;
      run_loop([=]() FLAMBEAU_ALWAYS_INLINE {
        for (int64_t i = 0; i < step; ++i) {
          out[i] = temper(source[i]);
        }
      });
      next_ += static_cast<uint32_t>(step);
      left_ -= static_cast<int32_t>(step);
      out += step;
      count -= step;
    }
  }

  // Layout (little endian): 0 u64 seed, 8 i32 left, 12 i32 seeded, 16 u64 next, 24 u64[624] words,
  // 5024 f64 cached normal, 5040 i32 cached normal is valid; every other byte is zero.
  void get_state(uint8_t out[generator_state_size]) const {
    const std::lock_guard<std::mutex> guard(lock_);
    std::memset(out, 0, generator_state_size);
    store(out, 0, seed_);
    store(out, 8, left_);
    store(out, 12, int32_t{1});
    store(out, 16, uint64_t{next_});
    for (size_t j = 0; j < word_count; ++j) {
      store(out, 24 + 8 * j, uint64_t{words_[j]});
    }
    if (has_normal_) {
      store(out, 5024, normal_);
      store(out, 5040, int32_t{1});
    }
  }

  // Restores what get_state wrote; on false, `error` says why and nothing has changed.
  bool set_state(const uint8_t* bytes, size_t size, std::string& error) {
    if (size != generator_state_size) {
      error =
          "Expected a CPUGeneratorImplState of size 5056 but found the input RNG state size to "
          "be " +
          std::to_string(size);
      return false;
    }
    const auto left = load<int32_t>(bytes, 8);
    const auto next = load<uint64_t>(bytes, 16);
    // Any other pair of counters would read outside the words.
    const bool fresh = left == 1 && next == 0;
    const bool counters_agree =
        next >= 1 && next <= word_count && left == 625 - static_cast<int32_t>(next);
    if (load<int32_t>(bytes, 12) != 1 || !(fresh || counters_agree)) {
      error = "Invalid mt19937 state";
      return false;
    }
    const std::lock_guard<std::mutex> guard(lock_);
    seed_ = load<uint64_t>(bytes, 0);
    left_ = left;
    next_ = static_cast<uint32_t>(next);
    for (size_t j = 0; j < word_count; ++j) {
      words_[j] = static_cast<uint32_t>(load<uint64_t>(bytes, 24 + 8 * j));
    }
    has_normal_ = load<int32_t>(bytes, 5040) != 0;
    normal_ = load<double>(bytes, 5024);
    return true;
  }

 private:
  static constexpr uint32_t word_count = 624;
  static constexpr uint32_t middle = 397;

  mutable std::mutex lock_;
  uint64_t seed_;
  int32_t left_;   // 1 when the words are used up: then 625 - next_, or a fresh seed
  uint32_t next_;  // the next word to temper
  bool has_normal_;
  double normal_ = 0.0;
  uint32_t words_[word_count];

  template <class T>
  static T load(const uint8_t* bytes, size_t offset) {
    T value;
    std::memcpy(&value, bytes + offset, sizeof(T));
    return value;
  }

  template <class T>
  static void store(uint8_t* bytes, size_t offset, T value) {
    std::memcpy(bytes + offset, &value, sizeof(T));
  }

  FLAMBEAU_ALWAYS_INLINE static inline uint32_t temper(uint32_t word) {
    word ^= word >> 11;
    word ^= (word << 7) & 0x9d2c5680u;
    word ^= (word << 15) & 0xefc60000u;
    return word ^ (word >> 18);
  }

  FLAMBEAU_ALWAYS_INLINE static inline uint32_t mix(uint32_t upper, uint32_t lower) {
    const uint32_t joined = (upper & 0x80000000u) | (lower & 0x7fffffffu);
    return (joined >> 1) ^ ((0u - (lower & 1u)) & 0x9908b0dfu);
  }

  void twist() {
    uint32_t* s = words_;
    run_loop([=]() FLAMBEAU_ALWAYS_INLINE {
      constexpr uint32_t back = word_count - middle;
      for (uint32_t i = 0; i < back; ++i) {
        s[i] = s[i + middle] ^ mix(s[i], s[i + 1]);
      }
      for (uint32_t i = back; i < word_count - 1; ++i) {
        s[i] = s[i - back] ^ mix(s[i], s[i + 1]);
      }
      s[word_count - 1] = s[middle - 1] ^ mix(s[word_count - 1], s[0]);
    });
    left_ = word_count + 1;
    next_ = 0;
  }
};

}  // namespace flambeau
