// Drives flambeau/core/pool.hpp; test_runtime_headers.py builds it and runs one named test a
// process.
#include "pool.hpp"

#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "check.hpp"

using flambeau::get_num_threads;
using flambeau::parallel_for;
using flambeau::set_num_threads;
typedef std::chrono::steady_clock Clock;

// args: uint8 visits per index, Watch. desc: n, grain, threads.
struct Watch {
  std::atomic<int> calls{0};
  std::atomic<bool> busy[flambeau::kMaxThreads] = {};
};

static void visit(void** args, const int64_t* desc, int64_t begin, int64_t end, int64_t thread) {
  uint8_t* visits = static_cast<uint8_t*>(args[0]);
  Watch* watch = static_cast<Watch*>(args[1]);
  const int64_t n = desc[0], grain = desc[1];
  CHECK(0 <= begin && begin < end && end <= n);
  CHECK(begin % grain == 0 && (end == n || end % grain == 0));
  CHECK(0 <= thread && thread < desc[2]);
  CHECK(!watch->busy[thread].exchange(true));  // an index belongs to one thread at a time
  watch->calls++;
  for (int64_t i = begin; i < end; ++i) ++visits[i];
  watch->busy[thread] = false;
}

static void check_once(int64_t n, int64_t grain, int threads, int limit = 0) {
  std::vector<uint8_t> visits(size_t(n), 0);
  Watch watch;
  void* args[] = {visits.data(), &watch};
  const int64_t desc[] = {n, grain, limit ? limit : threads};
  parallel_for(visit, args, desc, n, grain, limit);
  for (uint8_t v : visits) CHECK(v == 1);
  if (n == 0) CHECK(watch.calls == 0);
  if (n > 0 && (n <= grain || threads == 1)) CHECK(watch.calls == 1);
}

static void test_ranges() {
  for (int threads : {1, 2, 3, 4, 7, 16}) {
    set_num_threads(threads);
    CHECK(get_num_threads() == threads);
    for (int64_t n : {0, 1, 2, 3, 7, 64, 1000, 4097, 100003}) {
      for (int64_t grain : {1, 2, 3, 64, 1000, 4097, 200000}) check_once(n, grain, threads);
    }
  }
}

static void test_limit() {
  set_num_threads(8);
  for (int limit = 1; limit <= 8; ++limit) {
    for (int i = 0; i < 200; ++i) check_once(1000, 10, 8, limit);
  }
}

static void test_bounds() {
  set_num_threads(0);
  CHECK(get_num_threads() == 1);
  set_num_threads(1 << 20);
  CHECK(get_num_threads() == flambeau::kMaxThreads);
  set_num_threads(4);
  check_once(10, 1, 4);
  void* args[] = {nullptr};
  parallel_for(nullptr, args, nullptr, -5, 1);  // nothing to do: the kernel must not be called
}

static std::atomic<int> arrived{0};
static bool wait_for_arrivals(int count) {
  const auto deadline = Clock::now() + std::chrono::seconds(20);
  while (arrived.load() < count) {
    if (Clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}
// Finishes only when as many threads as there are chunks are inside at once.
static void meet(void**, const int64_t* desc, int64_t, int64_t, int64_t) {
  arrived++;
  CHECK(wait_for_arrivals(int(desc[0])));
}

static void check_meeting(int threads) {
  arrived = 0;
  void* args[] = {nullptr};
  const int64_t desc[] = {threads};
  parallel_for(meet, args, desc, threads, 1);
}

static void test_really_parallel() {
  for (int threads : {2, 3, 5, 12, 4, 2}) {
    set_num_threads(threads);
    for (int i = 0; i < 20; ++i) check_meeting(threads);
    usleep(5000);  // workers fall asleep
    check_meeting(threads);
  }
}

static void outer(void** args, const int64_t* desc, int64_t begin, int64_t end, int64_t) {
  std::atomic<int64_t>* total = static_cast<std::atomic<int64_t>*>(args[0]);
  auto inner = [](void** inner_args, const int64_t*, int64_t b, int64_t e, int64_t thread) {
    CHECK(thread == 0);  // alone in its job
    *static_cast<std::atomic<int64_t>*>(inner_args[0]) += e - b;
  };
  for (int64_t i = begin; i < end; ++i) {
    void* inner_args[] = {total};
    parallel_for(inner, inner_args, desc, 100, 10);
  }
}

static void test_nested() {
  set_num_threads(4);
  for (int i = 0; i < 200; ++i) {
    std::atomic<int64_t> total{0};
    void* args[] = {&total};
    parallel_for(outer, args, nullptr, 16, 1);
    CHECK(total == 1600);
  }
}

static void test_many_callers() {
  set_num_threads(4);
  std::vector<std::thread> callers;
  for (int t = 0; t < 8; ++t) {
    callers.emplace_back([t] {
      for (int i = 0; i < 1000; ++i) check_once(100 + 37 * t + i % 50, 1 + i % 20, 4);
    });
  }
  for (std::thread& caller : callers) caller.join();
}

static void test_resize_while_running() {
  std::atomic<bool> stop{false};
  std::thread changer([&stop] {
    for (int n = 1; !stop; n = n % 9 + 1) {
      set_num_threads(n);
      usleep(50);
    }
  });
  // desc[2] bounds the thread index: with limit 9 no concurrent change may exceed it.
  for (int i = 0; i < 4000; ++i) check_once(500 + i % 100, 1 + i % 13, 9, 9);
  stop = true;
  changer.join();
}

static void test_oversubscribed() {
  set_num_threads(64);
  for (int i = 0; i < 500; ++i) check_once(6400, 10, 64);
}

static double cpu_seconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void test_idle_burns_nothing() {
  set_num_threads(4);
  check_meeting(4);
  const double before = cpu_seconds();
  usleep(500000);
  CHECK(cpu_seconds() - before < 0.1);
}

// In the child: the pool must work, workers included, whatever the parent's threads were doing.
static void run_child() {
  alarm(60);
  for (int i = 0; i < 20; ++i) check_once(1000, 7, get_num_threads());
  check_meeting(get_num_threads());
  std::_Exit(0);
}

static void check_fork() {
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) run_child();
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_fork() {
  set_num_threads(3);
  check_once(1000, 7, 3);
  check_fork();  // idle pool
  std::atomic<bool> stop{false};
  std::thread user([&stop] {
    while (!stop) check_once(5000, 7, 3);
  });
  for (int i = 0; i < 25; ++i) check_fork();  // in the middle of jobs
  stop = true;
  user.join();
  check_once(1000, 7, 3);
}

#if defined(__linux__)
typedef std::vector<int> Processors;

static Processors mask() {
  cpu_set_t set;
  CHECK(sched_getaffinity(0, sizeof set, &set) == 0);
  Processors found;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &set)) found.push_back(i);
  }
  return found;
}

static void move_to(const Processors& processors, pid_t thread = 0) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int i : processors) CPU_SET(i, &set);
  CHECK(sched_setaffinity(thread, sizeof set, &set) == 0);
}

// args: Visitor. Both threads are inside at once; the worker does something there.
struct Visitor {
  void (*visit)(void*);
  void* argument;
};
static void meet_and_visit(void** args, const int64_t*, int64_t, int64_t, int64_t thread) {
  const Visitor* visitor = static_cast<Visitor*>(args[0]);
  if (thread == 1) visitor->visit(visitor->argument);
  arrived++;
  CHECK(wait_for_arrivals(2));
}
static void in_worker(void (*visit)(void*), void* argument) {
  arrived = 0;
  Visitor visitor{visit, argument};
  void* args[] = {&visitor};
  parallel_for(meet_and_visit, args, nullptr, 2, 1);
}
static Processors worker_mask() {
  Processors found;
  in_worker([](void* argument) { *static_cast<Processors*>(argument) = mask(); }, &found);
  return found;
}

static void test_workers_leave_the_callers_processor() {
  const Processors all = mask();
  set_num_threads(2);
  check_meeting(2);  // the worker was started with the whole mask
  int moved = 0;
  for (int round = 0; round < 200; ++round) {
    const int before = sched_getcpu();
    const Processors workers = worker_mask();
    CHECK(mask() == all);
    CHECK(workers.size() == std::max(all.size() - 1, size_t(1)));
    for (int i : workers) moved += i == before;  // the caller, between two instructions
    if (round % 3 == 0) usleep(1000);            // the worker falls asleep
  }
  CHECK(moved < 100 || all.size() == 1);
}

// Bound to one processor, as one thread of the process or with all of them.
static void test_a_bound_caller_moves_nobody() {
  const Processors all = mask();
  set_num_threads(2);
  const Processors workers = worker_mask();
  for (int here : all) {
    move_to({here});
    for (int i = 0; i < 20; ++i) CHECK(worker_mask() == workers);
    usleep(1000);
    CHECK(worker_mask() == workers);
  }
}

// args: int, rounds in which the worker, standing still in its chunk, came to the caller's processor.
static void stand_still(void** args, const int64_t*, int64_t, int64_t, int64_t thread) {
  arrived++;
  CHECK(wait_for_arrivals(2));
  if (thread == 0) return;
  const Processors before = mask();
  for (int i = 0; i < 200; ++i) {
    const Processors now = mask();
    if (now.size() == 1 && now != before) {
      ++*static_cast<int*>(args[0]);
      return;
    }
    usleep(1000);
  }
}

static void test_a_waiting_caller_gives_its_processor() {
  const Processors all = mask();
  set_num_threads(2);
  int pulled = 0;
  for (int i = 0; i < 20; ++i) {
    arrived = 0;
    void* args[] = {&pulled};
    parallel_for(stand_still, args, nullptr, 2, 1);
    CHECK(mask() == all);
    const Processors workers = worker_mask();  // and leaves it again
    CHECK(workers.size() == std::max(all.size() - 1, size_t(1)));
  }
  CHECK(pulled > 0 || all.size() == 1);
}

// The whole process is moved; of several processors, the worker still leaves one to the caller.
static void test_a_mask_set_by_others_is_obeyed() {
  const Processors all = mask();
  pid_t worker = 0;
  set_num_threads(2);
  in_worker([](void* found) { *static_cast<pid_t*>(found) = pid_t(syscall(SYS_gettid)); }, &worker);
  for (size_t count : {size_t(1), all.size() / 2, all.size() - 1}) {
    const Processors some(all.begin(), all.begin() + std::max(count, size_t(1)));
    move_to(some);
    move_to(some, worker);
    for (int i = 0; i < 20; ++i) {
      for (int k : worker_mask()) CHECK(std::count(some.begin(), some.end(), k) == 1);
    }
  }
}
#endif

// argv[2]: what get_num_threads() must say, given the environment the test was started with.
static int expected_threads = 0;
static void test_default_threads() { CHECK(get_num_threads() == expected_threads); }

int main(int argc, char** argv) {
  if (argc > 2) expected_threads = std::atoi(argv[2]);
  static const Test tests[] = {
      {"ranges", test_ranges},
      {"limit", test_limit},
      {"bounds", test_bounds},
      {"really_parallel", test_really_parallel},
      {"nested", test_nested},
      {"many_callers", test_many_callers},
      {"resize_while_running", test_resize_while_running},
      {"oversubscribed", test_oversubscribed},
      {"idle_burns_nothing", test_idle_burns_nothing},
      {"fork", test_fork},
#if defined(__linux__)
      {"workers_leave_the_callers_processor", test_workers_leave_the_callers_processor},
      {"a_bound_caller_moves_nobody", test_a_bound_caller_moves_nobody},
      {"a_waiting_caller_gives_its_processor", test_a_waiting_caller_gives_its_processor},
      {"a_mask_set_by_others_is_obeyed", test_a_mask_set_by_others_is_obeyed},
#endif
      {"default_threads", test_default_threads},
  };
  return run_named(tests, argc, argv);
}
