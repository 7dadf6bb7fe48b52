// How far apart the cores are on which the caller and a worker run.
//
// Cores that share a cache hand a line over in some 50 ns, there and back; others, as of two chiplets
// or sockets, take 300, and a virtual machine may move from one state to the other at any moment.
// What hurts then is to write what another core has read: each such store waits for the other cache
// to let the line go (measured: 2 GB/s). Stores past the caches do not (27 GB/s). So kernels that
// make for other threads what these read next are told the distance and choose their stores.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "pool.hpp"

namespace flambeau {
namespace distance_detail {

typedef std::chrono::steady_clock Clock;

constexpr auto kLookEvery = std::chrono::milliseconds(20);  // a look takes 1 to 8 us
constexpr auto kPatience = std::chrono::microseconds(8);
constexpr auto kFar = std::chrono::nanoseconds(180);
constexpr uint32_t kRounds = 10;

struct alignas(64) Ball {
  std::atomic<uint32_t> throws;
};
struct Look {
  Ball ball;
  std::atomic<int64_t> best;  // nanoseconds of the quickest round; 0 where none was completed
};

// Chunk 0 throws the ball and chunk 1 throws it back, if another thread has that.
inline void play(void** args, const int64_t*, int64_t begin, int64_t end, int64_t) {
  Look& look = *static_cast<Look*>(args[0]);
  if (end - begin != 1) return;  // alone
  const Clock::time_point start = Clock::now();
  Clock::time_point thrown = start;
  for (uint32_t round = 0; round < kRounds; ++round) {
    const uint32_t mine = 2 * round + uint32_t(begin);
    for (uint32_t spins = 0; look.ball.throws.load(std::memory_order_acquire) != mine; ++spins) {
      if (spins % 64 == 63 && Clock::now() - start > kPatience) return;
    }
    if (begin == 0) {
      const Clock::time_point now = Clock::now();
      const int64_t took = std::chrono::nanoseconds(now - thrown).count();
      const int64_t best = look.best.load(std::memory_order_relaxed);
      if (round > 1 && (best == 0 || took < best)) look.best.store(took, std::memory_order_relaxed);
      thrown = now;
    }
    look.ball.throws.store(mine + 1, std::memory_order_release);
  }
}

struct Distance {
  int64_t far = 0;  // kernels read it: 1 where a line takes long
  bool fixed = false;
  Clock::time_point next;
};

inline Distance& distance() noexcept {
  static Distance found;
  return found;
}

}  // namespace distance_detail

// Tells whether the threads' cores are far apart, looking again now and then: 0 or 1. Callers hold
// the interpreter's lock; jobs of other threads may be under way.
inline const int64_t* cores_far_apart() noexcept {
  using namespace distance_detail;
  Distance& known = distance();
  if (known.fixed || get_num_threads() < 2) return &known.far;
  const Clock::time_point now = Clock::now();
  if (now < known.next) return &known.far;
  known.next = now + kLookEvery;
  Look look = {};
  void* args[1] = {&look};
  parallel_for(play, args, nullptr, 2, 1, 2);
  if (const int64_t best = look.best.load()) known.far = best > std::chrono::nanoseconds(kFar).count();
  return &known.far;
}

// For tests: 0 or 1 from now on; -1 looks again.
inline void fix_distance(int far) noexcept {
  distance_detail::distance().fixed = far >= 0;
  distance_detail::distance().next = {};
  if (far >= 0) distance_detail::distance().far = far;
}

}  // namespace flambeau
