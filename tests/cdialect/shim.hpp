// Runs the CUDA text of the C dialect on the CPU: a block's threads are coroutines of one system thread.
//
// A thread runs until it waits at a barrier; when all threads of the block wait at the same one, they go
// on. Anything else (a thread that ended, two different barriers) is an error with the place's line.
#pragma once
#define CUDA_SHIM 1
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#define __device__
#define __forceinline__ inline
#define __shared__ static
struct ShimIndex {
  unsigned x;
};
static ShimIndex threadIdx, blockIdx, blockDim, gridDim;

static inline unsigned __float_as_uint(float f) { unsigned u; memcpy(&u, &f, 4); return u; }
static inline float __uint_as_float(unsigned u) { float f; memcpy(&f, &u, 4); return f; }
static inline long long __double_as_longlong(double d) { long long i; memcpy(&i, &d, 8); return i; }
static inline double __longlong_as_double(long long i) { double d; memcpy(&d, &i, 8); return d; }

// Half precision by integer arithmetic: not every host compiler has _Float16.
static inline float f32_of_half(unsigned short h) {
  const unsigned sign = (h & 0x8000u) << 16, exponent = (h >> 10) & 31u, fraction = h & 0x3ffu;
  if (exponent == 0) {
    const float size = ldexpf((float)fraction, -24);
    return sign ? -size : size;
  }
  const unsigned high = exponent == 31 ? 255u : exponent + 112u;
  return __uint_as_float(sign | (high << 23) | (fraction << 13));
}

static inline unsigned short half_of_f32(float f) {
  const unsigned short sign = (unsigned short)((__float_as_uint(f) >> 16) & 0x8000u);
  const float size = fabsf(f);
  if (f != f) return sign | 0x7e00u;
  if (size >= 65520.0f) return sign | 0x7c00u;
  if (size < 6.103515625e-05f) return sign | (unsigned short)nearbyintf(ldexpf(size, 24));
  int exponent;
  const float mantissa = frexpf(size, &exponent);  // in [1/2, 1)
  const unsigned rounded = (unsigned)nearbyintf(ldexpf(mantissa, 11));  // may carry into the exponent
  return sign | (unsigned short)(((unsigned)(exponent + 13) << 10) + rounded);
}

namespace shim {

enum class State { ready, waiting, done };

struct Thread {
  ucontext_t context;
  State state;
  int line;
  std::vector<char> stack;
};

static std::vector<Thread> threads;
static ucontext_t scheduler;
static unsigned current;
static void (*body)(void*);
static void* argument;
static char message[200];
constexpr size_t STACK = 256 << 10;

static inline void become(unsigned t) { current = t; threadIdx.x = t; }

static inline void wait(int line) {
  Thread& own = threads[current];
  own.state = State::waiting;
  own.line = line;
  swapcontext(&own.context, &scheduler);
}

static void enter() {
  body(argument);
  threads[current].state = State::done;
  setcontext(&scheduler);
}

static void start(Thread& t) {
  t.stack.resize(STACK);
  t.state = State::ready;
  getcontext(&t.context);
  t.context.uc_stack.ss_sp = t.stack.data();
  t.context.uc_stack.ss_size = t.stack.size();
  t.context.uc_link = nullptr;
  makecontext(&t.context, enter, 0);
}

// One block to its end; false and a message if its threads do not meet at the same barriers.
static bool run_meeting(bool backwards) {
  const unsigned count = blockDim.x;
  if (threads.size() < count) threads.resize(count);
  for (unsigned t = 0; t < count; t++) start(threads[t]);
  for (;;) {
    unsigned done = 0;
    for (unsigned k = 0; k < count; k++) {
      const unsigned t = backwards ? count - 1 - k : k;
      become(t);
      swapcontext(&scheduler, &threads[t].context);
      done += threads[t].state == State::done;
    }
    if (done == count) return true;
    for (unsigned t = 0; t < count; t++) {
      if (threads[t].state == State::done || threads[t].line != threads[0].line) {
        snprintf(message, sizeof message, "threads 0 and %u part at the barrier of line %d", t, threads[0].line);
        return false;
      }
    }
  }
}

static bool run_apart(bool backwards) {
  for (unsigned k = 0; k < blockDim.x; k++) {
    become(backwards ? blockDim.x - 1 - k : k);
    body(argument);
  }
  return true;
}

template <class... A, size_t... I>
static void call(void (*f)(A...), void** values, std::index_sequence<I...>) {
  f(*static_cast<A*>(values[I])...);
}

template <class... A>
static const char* launch(void (*f)(A...), unsigned blocks, unsigned count, int meets, int backwards, void** values) {
  struct Call { void (*f)(A...); void** values; } one{f, values};
  body = [](void* p) { auto* c = static_cast<Call*>(p); call(c->f, c->values, std::index_sequence_for<A...>{}); };
  argument = &one;
  gridDim.x = blocks;
  blockDim.x = count;
  for (unsigned k = 0; k < blocks; k++) {
    blockIdx.x = backwards ? blocks - 1 - k : k;
    if (!(meets ? run_meeting(backwards) : run_apart(backwards))) return message;
  }
  return nullptr;
}

}  // namespace shim

#define __syncthreads() shim::wait(__LINE__)
#define END_KERNEL(name)                                                                               \
  extern "C" const char* launch_##name(unsigned blocks, unsigned count, int meets, int backwards, void** v) { \
    return shim::launch(name, blocks, count, meets, backwards, v);                                     \
  }
