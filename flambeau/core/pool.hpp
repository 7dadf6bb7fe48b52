// One thread pool for every kernel of the process.
//
// A job is a range [0, n) cut into chunks. Each thread owns a contiguous run of chunks, described
// by one 64-bit *ticket*; a thread drains its own ticket first (the same thread touches the same
// memory from one op to the next, so caches stay warm) and then steals from the others. The calling
// thread takes part, so a job always finishes even when no worker ever gets a processor.
//
// Why late workers are harmless: claiming a chunk is one compare-and-swap on a ticket, and a ticket
// carries the number of its job. A worker that slept through the end of a job finds every ticket
// drained or renumbered; its swap fails and it touches nothing. For the same reason the caller
// waits for *chunks* to be finished and never for workers to check out.
//
// A second caller (another Python thread, or a kernel that calls parallel_for itself) does not wait
// for the first: it runs its own range serially, so no combination of callers can deadlock.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <new>

#include "placement.hpp"
#include "platform.hpp"

namespace flambeau {

// A generated kernel: args are buffers, desc sizes and strides, [begin, end) the chunk, and thread
// an index below the number of threads of the job (for workspace that belongs to one thread).
typedef void (*kernel_fn)(void** args, const int64_t* desc, int64_t begin, int64_t end,
                          int64_t thread);

constexpr int kMaxThreads = platform::kMaxProcessors;

namespace pool_detail {

using platform::Event;
using platform::spin_until_changed;

typedef std::chrono::steady_clock Clock;

constexpr auto kGlance = std::chrono::microseconds(10);
constexpr auto kWatch = std::chrono::microseconds(20);  // a thread that runs has run meanwhile
constexpr auto kMoveEvery = std::chrono::microseconds(40);  // a worker; moving one takes about 2

inline int default_threads(int processors) noexcept {
  for (const char* name : {"FLAMBEAU_NUM_THREADS", "OMP_NUM_THREADS"}) {
    const char* text = std::getenv(name);
    const long asked =
        text ? std::strtol(text, nullptr, 10) : 0;  // "4,2": the outermost level counts
    if (asked > 0) return asked < processors ? int(asked) : processors;
  }
  return processors;
}

class Pool {
 public:
  Pool() noexcept
      : processors_(platform::usable_processors()), wanted_(default_threads(processors_)) {
#if !defined(_WIN32)
    pthread_atfork(nullptr, nullptr, [] { instance().reset_in_child(); });
#endif
  }

  // Never destroyed: workers may still be asleep on its words while the process exits.
  static Pool& instance() noexcept {
    alignas(64) static unsigned char storage[sizeof(Pool)];
    static Pool* pool = new (storage) Pool();
    return *pool;
  }

  int threads() const noexcept { return wanted_.load(std::memory_order_relaxed); }

  // Takes effect at the next job: threads are started and stopped only by the thread that owns the
  // pool.
  void set_threads(int n) noexcept {
    wanted_.store(n < 1 ? 1 : n > kMaxThreads ? kMaxThreads : n, std::memory_order_relaxed);
  }

  void run(kernel_fn f, void** args, const int64_t* desc, int64_t n, int64_t grain,
           int limit) noexcept {
    if (n <= 0) return;
    if (grain < 1) grain = 1;
    const int wanted = threads();
    const int threads = limit > 0 && limit < wanted ? limit : wanted;
    if (threads < 2 || n <= grain || busy_.exchange(true, std::memory_order_acquire)) {
      f(args, desc, 0, n, 0);
      return;
    }
    if (workers_ != wanted - 1) resize(wanted - 1);
    keep_workers_off(platform::current_processor());
    const int64_t chunks = publish(f, args, desc, n, grain, threads);
    work(0);
    await(uint32_t(chunks));
    busy_.store(false, std::memory_order_release);
  }

 private:
  // A ticket, from the high end: job number (36 bits), end of the run (14 bits), next chunk (14
  // bits).
  static constexpr int kIndexBits = 14;
  static constexpr uint64_t kIndexMask = (uint64_t(1) << kIndexBits) - 1;
  struct alignas(64) Ticket {
    std::atomic<uint64_t> value{0};
    std::atomic<bool> owner_works{false};
  };
  // Written by the caller, read by workers *before* their claim is confirmed, hence atomic members.
  struct alignas(64) Job {
    std::atomic<kernel_fn> f{nullptr};
    std::atomic<void**> args{nullptr};
    std::atomic<const int64_t*> desc{nullptr};
    std::atomic<int64_t> n{0}, grain{1};
    std::atomic<int> parts{0};    // tickets in use
    std::atomic<int> threads{0};  // ids of at least this do not take part
  };
  struct Start {
    Pool* pool;
    int id;
    uint32_t seen;
  };

  int64_t publish(kernel_fn f, void** args, const int64_t* desc, int64_t n, int64_t grain,
                  int threads) noexcept {
    // Chunk numbers have 14 bits: coarsen by whole multiples so that boundaries stay multiples of
    // grain.
    int64_t chunks = (n - 1) / grain + 1;
    const int64_t most = int64_t(kIndexMask);
    if (chunks > most) {
      grain *= (chunks - 1) / most + 1;
      chunks = (n - 1) / grain + 1;
    }
    const int parts = threads < chunks ? threads : int(chunks);
    done_.word.store(0, std::memory_order_relaxed);
    job_.f.store(f, std::memory_order_relaxed);
    job_.args.store(args, std::memory_order_relaxed);
    job_.desc.store(desc, std::memory_order_relaxed);
    job_.n.store(n, std::memory_order_relaxed);
    job_.grain.store(grain, std::memory_order_relaxed);
    job_.parts.store(parts, std::memory_order_relaxed);
    job_.threads.store(threads, std::memory_order_relaxed);
    const uint64_t number = ++number_ << (2 * kIndexBits);
    for (int t = 0; t < parts; ++t) {
      const uint64_t first = uint64_t(chunks * t / parts),
                     last = uint64_t(chunks * (t + 1) / parts);
      tickets_[t].value.store(number | last << kIndexBits | first, std::memory_order_release);
    }
    // Wake no more than can help; but with a limit below the pool's size, the workers that wake
    // first may be those that must not take part, so wake all.
    announce(threads > workers_ && chunks <= workers_ ? int(chunks) - 1 : workers_);
    return chunks;
  }

  // Before workers are woken: where they must not start. Costs nothing while the caller stays; where
  // callers on many processors take turns, a few percent of the time. A caller bound to one
  // processor may be so with the whole process: then nobody is moved.
  void keep_workers_off(int processor) noexcept {
    if (processor == avoided_) return;
    const Clock::time_point now = Clock::now();
    if (now < next_move_) return;
    next_move_ = now + kMoveEvery * workers_;
    avoided_ = processor;
    if (processor < 0 || !platform::has_a_choice()) return;
    for (int id = 1; id <= workers_; ++id) placements_[id].keep_off(handles_[id], processor);
  }

  void announce(int count) noexcept {
    ready_.word.fetch_add(1);  // sequentially consistent: pairs with the sleeper's count below
    if (sleepers_.load() > 0) ready_.wake(count);
  }

  // Claims and runs chunks until none is left; id is the thread's index in the job.
  void work(int id) noexcept {
    const int parts = job_.parts.load(std::memory_order_relaxed);
    tickets_[id].owner_works.store(true, std::memory_order_relaxed);
    for (int k = 0; k < parts; ++k) {
      const uint32_t ran = drain((id + k) % parts, id);
      if (ran == 0) continue;
      done_.word.fetch_add(ran);
      if (caller_sleeps_.load()) done_.wake(1);
    }
    tickets_[id].owner_works.store(false, std::memory_order_relaxed);
  }

  uint32_t drain(int owner, int id) noexcept {
    std::atomic<uint64_t>& ticket = tickets_[owner].value;
    uint32_t ran = 0;
    for (;;) {
      uint64_t seen = ticket.load(std::memory_order_acquire);
      const int64_t next = int64_t(seen & kIndexMask);
      if (next >= int64_t(seen >> kIndexBits & kIndexMask)) return ran;
      // These may belong to a newer job than the ticket just read; then the swap below fails.
      const kernel_fn f = job_.f.load(std::memory_order_relaxed);
      void** args = job_.args.load(std::memory_order_relaxed);
      const int64_t* desc = job_.desc.load(std::memory_order_relaxed);
      const int64_t n = job_.n.load(std::memory_order_relaxed);
      const int64_t grain = job_.grain.load(std::memory_order_relaxed);
      if (id >= job_.threads.load(std::memory_order_relaxed)) return ran;
      if (!ticket.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel)) continue;
      const int64_t begin = next * grain;
      f(args, desc, begin, n - begin < grain ? n : begin + grain, id);
      ++ran;
    }
  }

  // Waits until every chunk is done: watches for a while, then naps, and looks between the naps
  // whether a worker stands still.
  void await(uint32_t chunks) noexcept {
    const bool may_spin = processors_ > 1;
    for (uint32_t done, last = ~chunks; (done = load_done()) != chunks; last = done) {
      if (done != last && spin_until_changed(done_.word, done, may_spin, kGlance)) continue;
      for_those_at_work([this](int id) { placements_[id].note(handles_[id]); });
      if (done == last) {
        caller_sleeps_.store(true);
        if (done_.word.load() == done) done_.nap(done);
        caller_sleeps_.store(false);
      } else {
        spin_until_changed(done_.word, done, may_spin, kWatch);
      }
      if (load_done() == done) pull_workers(platform::current_processor());
    }
  }

  uint32_t load_done() const noexcept { return done_.word.load(std::memory_order_acquire); }

  // Hands the processor of the caller, which is about to sleep, to workers that wait for one.
  void pull_workers(int processor) noexcept {
    if (processor < 0 || !platform::has_a_choice()) return;
    for_those_at_work([this, processor](int id) {
      if (placements_[id].ran(handles_[id])) return;
      placements_[id].pull_to(handles_[id], processor);
      avoided_ = -1;
      next_move_ = {};  // away from here again before the next job
    });
  }

  template <class F>
  void for_those_at_work(F f) noexcept {
    for (int id = 1; id <= workers_; ++id) {
      if (tickets_[id].owner_works.load(std::memory_order_relaxed)) f(id);
    }
  }

  void serve(int id, uint32_t seen) noexcept {
    for (;;) {
      while (!spin_until_changed(ready_.word, seen, processors_ > 1)) {
        sleepers_.fetch_add(1);
        if (ready_.word.load() == seen) ready_.wait(seen);
        sleepers_.fetch_sub(1);
      }
      seen = ready_.word.load(std::memory_order_acquire);
      if (id > keep_.load(std::memory_order_acquire)) return;
      work(id);
    }
  }

  // Brings the number of workers to count (or to as many as the system grants). Caller owns busy_.
  void resize(int count) noexcept {
    const int before = workers_;
    keep_.store(count, std::memory_order_release);
    if (before > count) announce(before);
    for (; workers_ > count; --workers_) platform::join_thread(handles_[workers_]);
    while (workers_ < count && start(workers_ + 1)) placements_[++workers_].forget();
    avoided_ = -1;
    next_move_ = {};
  }

  bool start(int id) noexcept {
    Start* info = new (std::nothrow) Start{this, id, ready_.word.load()};
    if (info && platform::start_thread(enter, info, &handles_[id])) return true;
    delete info;
    return false;  // out of threads: the job still finishes with those there are
  }

  static FLAMBEAU_THREAD_RESULT enter(void* pointer) {
    const Start info = *static_cast<Start*>(pointer);
    delete static_cast<Start*>(pointer);
    info.pool->serve(info.id, info.seen);
    return 0;
  }

  // Only the forking thread exists in the child: forget the workers and whatever job they were in.
  void reset_in_child() noexcept {
    new (&ready_) Event();
    new (&done_) Event();
    for (Ticket& ticket : tickets_) {
      ticket.value.store(0, std::memory_order_relaxed);
      ticket.owner_works.store(false, std::memory_order_relaxed);
    }
    sleepers_.store(0);
    caller_sleeps_.store(false);
    workers_ = 0;
    avoided_ = -1;
    busy_.store(false);
  }

  const int processors_;
  std::atomic<int> wanted_;
  int workers_ = 0;      // started, ids 1..workers_; guarded by busy_, like number_ and handles_
  uint64_t number_ = 0;  // of the current job
  int avoided_ = -1;     // the processor that workers are kept off
  Clock::time_point next_move_;
  std::atomic<int> keep_{0};  // workers with a larger id leave
  platform::Thread handles_[kMaxThreads] = {};
  platform::Placement placements_[kMaxThreads];
  alignas(64) std::atomic<bool> busy_{false};
  alignas(64) Event ready_;  // changes when there is a job
  std::atomic<int> sleepers_{0};
  alignas(64) Event done_;  // chunks finished
  std::atomic<bool> caller_sleeps_{false};
  Job job_;
  Ticket tickets_[kMaxThreads];
};

// Made while the module loads, when no thread can yet be inside: a fork in the middle of the first
// instance() would leave the child waiting for a thread that it does not have. Workers start later,
// with the first job.
inline Pool& made_at_load = Pool::instance();

}  // namespace pool_detail

// Threads that jobs of this thread may use when it has a bound of its own; 0 when it has none.
inline thread_local int own_thread_limit = 0;

// Runs f over [0, n) in chunks whose boundaries are multiples of grain; serially (one call, thread
// 0) when n <= grain, with one thread, or while another job is running. limit > 0 bounds the thread
// indices: pass the count used to size per-thread workspace, so that a concurrent set_num_threads
// cannot outgrow it.
inline void parallel_for(kernel_fn f, void** args, const int64_t* desc, int64_t n, int64_t grain,
                         int limit = 0) noexcept {
  const int own = own_thread_limit;
  if (own > 0 && (limit <= 0 || own < limit)) limit = own;
  pool_detail::Pool::instance().run(f, args, desc, n, grain, limit);
}

// Threads a job may use, the caller included. Default: usable processors, or fewer where
// FLAMBEAU_NUM_THREADS or OMP_NUM_THREADS asks for fewer.
inline int get_num_threads() noexcept {
  const int own = own_thread_limit, all = pool_detail::Pool::instance().threads();
  return own > 0 && own < all ? own : all;
}

// Clamped to 1..kMaxThreads; may exceed the number of processors.
inline void set_num_threads(int n) noexcept { pool_detail::Pool::instance().set_threads(n); }

// Bounds the jobs of the calling thread alone; 0 lifts the bound.
inline void set_own_thread_limit(int n) noexcept { own_thread_limit = n; }

}  // namespace flambeau
