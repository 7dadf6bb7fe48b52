// Drives flambeau/core/allocator.hpp; test_runtime_headers.py builds it and runs one named test a
// process.
#include "allocator.hpp"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "check.hpp"

using namespace flambeau;

static const size_t kMiB = size_t(1) << 20;

struct Live {
  unsigned char* p;
  size_t bytes;
  unsigned char mark;
};

static Live obtain(size_t bytes, unsigned char mark) {
  Live live{static_cast<unsigned char*>(allocate(bytes)), bytes, mark};
  CHECK(live.p && reinterpret_cast<uintptr_t>(live.p) % 64 == 0);
  std::memset(live.p, mark, bytes);
  return live;
}

static void give_back(const Live& live) {
  for (size_t i = 0; i < live.bytes; i += i < 256 ? 1 : 509) CHECK(live.p[i] == live.mark);
  if (live.bytes) CHECK(live.p[live.bytes - 1] == live.mark);
  release(live.p, live.bytes);
}

static void test_alignment() {
  for (size_t bytes = 0; bytes <= 5000; ++bytes) give_back(obtain(bytes, 7));
  for (size_t bytes = 4096; bytes <= 8 * kMiB; bytes *= 2) {
    for (size_t extra : {size_t(0), size_t(1), bytes / 4, bytes / 4 + 1, bytes - 1}) {
      give_back(obtain(bytes + extra, 9));
    }
  }
  CHECK(allocated_bytes() == 0);
  void* large = allocate(4 * kMiB);
#if defined(__linux__)
  CHECK((reinterpret_cast<uintptr_t>(large) + 64) % (2 * kMiB) == 0);
#endif
  CHECK(allocated_bytes() == int64_t(4 * kMiB));
  release(large, 4 * kMiB);
  void* storage = allocate(4 * kMiB + 64);  // data of 4 MiB behind a header: no larger class
  CHECK(storage == large && allocated_bytes() == int64_t(4 * kMiB));
  release(storage, 4 * kMiB + 64);
  release(nullptr, 100);
}

// Every size lies in a class that holds it and wastes at most a quarter.
static void test_size_classes() {
  int previous = -1;
  for (size_t bytes = 4097; bytes < (size_t(1) << 45); bytes += bytes / 97 + 1) {
    size_t capacity;
    const int cls = allocator_detail::size_class(bytes, &capacity);
    CHECK(capacity >= bytes && capacity <= bytes + bytes / 4);
    CHECK(cls == previous || cls == previous + 1);
    previous = cls;
    size_t same, next;
    CHECK(allocator_detail::size_class(capacity, &same) == cls && same == capacity);
    CHECK(allocator_detail::size_class(capacity + 1, &next) == cls + 1);
    CHECK(next <= capacity + capacity / 4);
  }
}

static void test_reuse() {
  for (size_t bytes :
       {size_t(40), size_t(4096), size_t(5000), size_t(100000), 3 * kMiB, 40 * kMiB}) {
    void* first = allocate(bytes);
    release(first, bytes);
    CHECK(allocate(bytes) == first);
    release(first, bytes);
  }
  empty_cache();
  CHECK(cached_bytes() == 0);
  void* larger = allocate(20 * kMiB);
  release(larger, 20 * kMiB);
  CHECK(allocate(16 * kMiB) == larger);  // 25 % larger: reused
  CHECK(allocated_bytes() == int64_t(20 * kMiB));
  release(larger, 16 * kMiB);
  void* other = allocate(12 * kMiB);  // 67 % larger: not
  CHECK(other != larger);
  release(other, 12 * kMiB);
}

static void test_no_overlap() {
  std::mt19937 random(1);
  std::vector<Live> live;
  for (int i = 0; i < 20000; ++i) {
    if (live.size() > 300 || (!live.empty() && random() % 3 == 0)) {
      std::swap(live[random() % live.size()], live.back());
      give_back(live.back());
      live.pop_back();
    } else {
      const size_t bytes = random() % (size_t(1) << (1 + random() % 19));
      live.push_back(obtain(bytes, (unsigned char)random()));
    }
    if (i % 5000 == 4999) empty_cache();  // must spare what is live
  }
  for (const Live& block : live) give_back(block);
  empty_cache();
  CHECK(allocated_bytes() == 0 && cached_bytes() == 0);
}

static void test_impossible_sizes() {
  const auto start = std::chrono::steady_clock::now();
  give_back(obtain(100, 1));
  const int64_t before = allocated_bytes();
  for (size_t bytes : {SIZE_MAX, SIZE_MAX - 63, size_t(PTRDIFF_MAX), size_t(PTRDIFF_MAX) + 1,
                       size_t(1) << 62, size_t(1) << 50, platform::backing_bytes() + 1}) {
    CHECK(allocate(bytes) == nullptr);
  }
  CHECK(allocated_bytes() == before);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(2));
  give_back(obtain(5 * kMiB, 1));
}

// Together, blocks may not exceed what the machine can back either. None of them is touched.
static void test_total_is_bounded() {
  const size_t piece = platform::backing_bytes() / 8;
  std::vector<void*> blocks;
  while (void* p = allocate(piece)) {
    blocks.push_back(p);
    CHECK(blocks.size() <= 8);
  }
  CHECK(blocks.size() >= 4);
  for (void* p : blocks) release(p, piece);
  CHECK(allocated_bytes() == 0);
  release(allocate(piece), piece);
}

// Started with FLAMBEAU_CACHE_BYTES=33554432.
static void test_bound() {
  std::vector<void*> blocks;
  for (int i = 0; i < 20; ++i) blocks.push_back(allocate(4 * kMiB));
  for (void* p : blocks) release(p, 4 * kMiB);
  CHECK(cached_bytes() == int64_t(32 * kMiB));
  // A new shape displaces the stale one instead of being refused.
  void* fresh = allocate(10 * kMiB);
  release(fresh, 10 * kMiB);
  CHECK(cached_bytes() <= int64_t(32 * kMiB) && cached_bytes() >= int64_t(28 * kMiB));
  CHECK(allocate(10 * kMiB) == fresh);
  release(fresh, 10 * kMiB);
  release(allocate(48 * kMiB), 48 * kMiB);  // larger than the bound: everything goes, this too
  CHECK(cached_bytes() == 0);
}

static size_t mapped_bytes() {
  unsigned long pages = 0;
  FILE* file = std::fopen("/proc/self/statm", "r");
  CHECK(file && std::fscanf(file, "%lu", &pages) == 1);
  std::fclose(file);
  return pages * size_t(sysconf(_SC_PAGESIZE));
}

// With room for one large block only, a second size is had by giving back the cached first.
static void test_pressure() {
  const size_t room = mapped_bytes() + 300 * kMiB;
  const rlimit limit{room, room};
  CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
  void* first = allocate(180 * kMiB);
  CHECK(first);
  CHECK(allocate(250 * kMiB) == nullptr);  // nothing cached could help
  release(first, 180 * kMiB);
  void* second = allocate(250 * kMiB);
  CHECK(second && cached_bytes() == 0);
  release(second, 250 * kMiB);
}

static void test_statistics() {
  CHECK(allocated_bytes() == 0 && peak_bytes() == 0);
  void* small = allocate(65);
  CHECK(allocated_bytes() == 128);
  void* large = allocate(8 * kMiB);
  CHECK(allocated_bytes() == int64_t(8 * kMiB) + 128 && peak_bytes() == allocated_bytes());
  release(large, 8 * kMiB);
  CHECK(allocated_bytes() == 128 && peak_bytes() == int64_t(8 * kMiB) + 128);
  CHECK(cached_bytes() >= int64_t(8 * kMiB));
  reset_peak();
  CHECK(peak_bytes() == 128);
  release(small, 65);
  empty_cache();
  CHECK(allocated_bytes() == 0 && cached_bytes() == 0 && peak_bytes() == 128);
}

// Threads allocate, pass blocks to one another through a shared shelf, and release what they find.
static void exchange_blocks(int thread, int rounds, std::mutex* mutex, std::vector<Live>* shelf) {
  std::mt19937 random(thread);
  for (int i = 0; i < rounds; ++i) {
    Live mine = obtain(random() % (size_t(1) << (1 + random() % 14)), (unsigned char)random());
    {
      std::lock_guard<std::mutex> guard(*mutex);
      shelf->push_back(mine);
      std::swap(shelf->back(), (*shelf)[random() % shelf->size()]);
      if (shelf->size() < 50) continue;
      mine = shelf->back();
      shelf->pop_back();
    }
    give_back(mine);
    if (i % 1000 == 999) empty_cache();
  }
}

static void test_threads() {
  std::mutex mutex;
  std::vector<Live> shelf;
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) threads.emplace_back(exchange_blocks, t, 4000, &mutex, &shelf);
  for (std::thread& thread : threads) thread.join();
  for (const Live& block : shelf) give_back(block);
  CHECK(allocated_bytes() == 0);
}

static void test_fork() {
  std::atomic<bool> stop{false};
  std::thread user([&stop] {
    while (!stop) {
      for (size_t bytes : {size_t(40), size_t(3000), size_t(20000)})
        release(allocate(bytes), bytes);
    }
  });
  for (int i = 0; i < 50; ++i) {
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      alarm(60);  // a lock left locked would hang here
      for (int k = 0; k < 100; ++k) give_back(obtain(size_t(1) << (k % 20), 3));
      std::_Exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  stop = true;
  user.join();
}

// Prints nanoseconds of an allocate-release pair: the best of several runs, as the machine is
// shared.
static void test_speed() {
  for (size_t bytes : {size_t(40), size_t(4096), size_t(5000), size_t(1000000), 64 * kMiB}) {
    double best = 1e9;
    for (int run = 0; run < 20; ++run) {
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < 20000; ++i) {
        void* volatile p = allocate(bytes);
        release(p, bytes);
      }
      const std::chrono::duration<double, std::nano> time =
          std::chrono::steady_clock::now() - start;
      best = std::min(best, time.count() / 20000);
    }
    std::printf("%zu %.2f\n", bytes, best);
  }
}

int main(int argc, char** argv) {
  static const Test tests[] = {
      {"alignment", test_alignment},
      {"size_classes", test_size_classes},
      {"reuse", test_reuse},
      {"no_overlap", test_no_overlap},
      {"impossible_sizes", test_impossible_sizes},
      {"total_is_bounded", test_total_is_bounded},
      {"bound", test_bound},
      {"pressure", test_pressure},
      {"statistics", test_statistics},
      {"threads", test_threads},
      {"fork", test_fork},
      {"speed", test_speed},
  };
  return run_named(tests, argc, argv);
}
