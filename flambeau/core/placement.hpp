// Which processors a worker of the pool may run on.
//
// A woken thread often starts on the processor of the thread that woke it: kernels favour the
// waker's caches, and those of virtual machines may pack threads to let processors idle. There a
// worker waits behind the caller, which is computing, so two threads are no faster than one, for
// milliseconds or for as long as the process lives. So the caller forbids its workers the processor
// that it runs on. The other way round, a worker may stop in the middle of a chunk because somebody
// else has its processor, while the caller waits: then the caller hands over its own.
//
// The rest stays the system's choice, and masks that others set are obeyed.
#pragma once

#include "platform.hpp"

#if defined(__linux__)
#include <time.h>
#endif

namespace flambeau {
namespace platform {

#if defined(__linux__)
// The processor that the calling thread runs on, or -1; some nanoseconds.
inline int current_processor() noexcept { return sched_getcpu(); }

// Whether the calling thread has more than one processor to run on.
inline bool has_a_choice() noexcept {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 1;
}

// Where one worker is allowed to be: what it was granted, and what the pool leaves of that.
class Placement {
 public:
  // Keeps the thread off a processor. Cheap while the thread is not running there, as none is on
  // the caller's own.
  void keep_off(Thread thread, int processor) noexcept {
    if (!learn(thread)) return;
    cpu_set_t wanted = granted_;
    CPU_CLR(size_t(processor), &wanted);
    if (CPU_COUNT(&wanted) == 0) wanted = granted_;  // better there than nowhere
    leave(thread, wanted);
  }

  // Moves the thread to a processor, if it was granted that one.
  void pull_to(Thread thread, int processor) noexcept {
    if (!learn(thread) || !CPU_ISSET(size_t(processor), &granted_)) return;
    cpu_set_t wanted;
    CPU_ZERO(&wanted);
    CPU_SET(size_t(processor), &wanted);
    leave(thread, wanted);
  }

  // Remembers how long the thread has run; ran() tells whether it has since.
  void note(Thread thread) noexcept { noted_ = seconds_run(thread); }
  bool ran(Thread thread) const noexcept { return seconds_run(thread) != noted_; }

  // Before another thread takes this one's place.
  void forget() noexcept { known_ = false; }

 private:
  // Not as it was left: a new thread, or one that somebody else has moved, who is to be obeyed.
  bool learn(Thread thread) noexcept {
    cpu_set_t now;
    if (pthread_getaffinity_np(thread, sizeof now, &now) != 0) return false;
    if (!known_ || !CPU_EQUAL(&now, &left_)) granted_ = left_ = now;
    return known_ = true;
  }

  void leave(Thread thread, const cpu_set_t& wanted) noexcept {
    if (CPU_EQUAL(&wanted, &left_)) return;
    if (pthread_setaffinity_np(thread, sizeof wanted, &wanted) == 0) left_ = wanted;
  }

  static double seconds_run(Thread thread) noexcept {
    clockid_t clock;
    timespec time = {};
    if (pthread_getcpuclockid(thread, &clock) == 0) clock_gettime(clock, &time);
    return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
  }

  cpu_set_t granted_, left_;
  double noted_ = 0;
  bool known_ = false;
};
#else
// Elsewhere threads cannot be kept off a processor, or the system needs no help.
inline int current_processor() noexcept { return -1; }
inline bool has_a_choice() noexcept { return false; }

class Placement {
 public:
  void keep_off(Thread, int) noexcept {}
  void pull_to(Thread, int) noexcept {}
  void note(Thread) noexcept {}
  bool ran(Thread) const noexcept { return true; }
  void forget() noexcept {}
};
#endif

}  // namespace platform
}  // namespace flambeau
