// What the runtime needs from the operating system to run threads: pauses, sleeping on a word,
// counting processors, starting workers. Linux, macOS and Windows; x86-64 and arm64.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <thread>

#if defined(_WIN32)
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <process.h>
#include <windows.h>
#else
#include <pthread.h>
#include <signal.h>
#endif
#if defined(__linux__)
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <condition_variable>
#include <mutex>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace flambeau {
namespace platform {

constexpr int kMaxProcessors = 256;
constexpr size_t kWorkerStack = size_t(8) << 20;
constexpr auto kSpinTime = std::chrono::microseconds(80);
constexpr auto kNapTime = std::chrono::microseconds(500);

inline void relax() noexcept {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__) && !defined(_MSC_VER)
  __asm__ __volatile__("isb");  // "yield" is a no-op on most cores; isb really pauses
#else
  std::this_thread::yield();
#endif
}

// A 32-bit word that threads can sleep on. wait() may return early: callers test the word in a
// loop.
class Event {
 public:
  std::atomic<uint32_t> word{0};

#if defined(__linux__)
  void wait(uint32_t seen) noexcept {
    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
  }
  // For kNapTime at most.
  void nap(uint32_t seen) noexcept {
    const timespec limit = {0, std::chrono::nanoseconds(kNapTime).count()};
    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, seen, &limit, nullptr, 0);
  }
  void wake(int count) noexcept {
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
  }
#else
  void wait(uint32_t seen) noexcept {
    std::unique_lock<std::mutex> lock(mutex_);
    while (word.load() == seen) changed_.wait(lock);
  }
  void nap(uint32_t seen) noexcept {
    std::unique_lock<std::mutex> lock(mutex_);
    if (word.load() == seen) changed_.wait_for(lock, kNapTime);
  }
  void wake(int) noexcept {
    // Taking the lock closes the gap between a sleeper's test of the word and its going to sleep.
    {
      std::lock_guard<std::mutex> lock(mutex_);
    }
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
#endif
};

// For sections of a few nanoseconds. The holder may have been descheduled: then waiters yield.
class SpinLock {
 public:
  void lock() noexcept {
    for (int spins = 0; held_.exchange(true, std::memory_order_acquire);) {
      while (held_.load(std::memory_order_relaxed)) {
        ++spins < 64 ? relax() : std::this_thread::yield();
      }
    }
  }
  void unlock() noexcept { held_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> held_{false};
};

class Guard {
 public:
  explicit Guard(SpinLock& lock) noexcept : lock_(lock) { lock_.lock(); }
  ~Guard() { lock_.unlock(); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  SpinLock& lock_;
};

// Spins until word differs from seen, for a limited time; false when time ran out.
inline bool spin_until_changed(const std::atomic<uint32_t>& word, uint32_t seen, bool may_spin,
                               std::chrono::microseconds limit = kSpinTime) noexcept {
  if (word.load(std::memory_order_acquire) != seen) return true;
  if (!may_spin) return false;  // on one core the thread we wait for needs the processor
  const auto deadline = std::chrono::steady_clock::now() + limit;
  do {
    for (int i = 0; i < 32; ++i) {
      if (word.load(std::memory_order_acquire) != seen) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return false;
}

#if defined(__linux__)
// Processors granted by the container's quota ("cpu.max" holds "quota period"), or a large number.
inline int quota_processors() noexcept {
  long long quota = 0, period = 0;
  FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "re");
  if (!file) return kMaxProcessors;
  const int fields = std::fscanf(file, "%lld %lld", &quota, &period);  // "max" leaves fields == 0
  std::fclose(file);
  if (fields != 2 || quota <= 0 || period <= 0) return kMaxProcessors;
  const long long whole = (quota + period - 1) / period;
  return whole < kMaxProcessors ? int(whole) : kMaxProcessors;
}
#endif

// Processors this process may use: the affinity mask where there is one.
inline int usable_processors() noexcept {
  int count = int(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
  const int quota = quota_processors();
  if (quota < count) count = quota;
#elif defined(_WIN32)
  DWORD_PTR process = 0, machine = 0;
  if (GetProcessAffinityMask(GetCurrentProcess(), &process, &machine) && process) {
    int bits = 0;
    for (; process; process &= process - 1) ++bits;
    if (bits < count) count = bits;
  }
#endif
  return count < 1 ? 1 : count > kMaxProcessors ? kMaxProcessors : count;
}

// Bytes of the cache that a processor shares with its neighbours; a usual size where the system
// does not tell. (sysconf adds up those of the whole socket.)
inline int64_t last_cache_bytes() noexcept {
  long kilobytes = 0;
#if defined(__linux__)
  if (FILE* file = std::fopen("/sys/devices/system/cpu/cpu0/cache/index3/size", "re")) {
    if (std::fscanf(file, "%ldK", &kilobytes) != 1) kilobytes = 0;
    std::fclose(file);
  }
#endif
  return (kilobytes > 0 ? kilobytes : 32 << 10) * int64_t(1024);
}

// A joinable thread with an 8 MB stack (the main thread's usual size; some systems give workers 512
// KB).
#if defined(_WIN32)
typedef HANDLE Thread;
typedef unsigned(__stdcall* ThreadEntry)(void*);
#define FLAMBEAU_THREAD_RESULT unsigned __stdcall

inline bool start_thread(ThreadEntry entry, void* argument, Thread* thread) noexcept {
  const unsigned flags = STACK_SIZE_PARAM_IS_A_RESERVATION;
  *thread = reinterpret_cast<HANDLE>(
      _beginthreadex(nullptr, kWorkerStack, entry, argument, flags, nullptr));
  return *thread != nullptr;
}

inline void join_thread(Thread thread) noexcept {
  WaitForSingleObject(thread, INFINITE);
  CloseHandle(thread);
}
#else
typedef pthread_t Thread;
typedef void* (*ThreadEntry)(void*);
#define FLAMBEAU_THREAD_RESULT void*

inline bool start_thread(ThreadEntry entry, void* argument, Thread* thread) noexcept {
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return false;
  pthread_attr_setstacksize(&attributes, kWorkerStack);
  // Ctrl-C and friends belong to the main thread; faults must stay visible to crash reporters.
  sigset_t blocked, before;
  sigfillset(&blocked);
  for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&blocked, fault);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  const bool started = pthread_create(thread, &attributes, entry, argument) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  return started;
}

inline void join_thread(Thread thread) noexcept { pthread_join(thread, nullptr); }
#endif

}  // namespace platform
}  // namespace flambeau
