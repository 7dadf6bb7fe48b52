// Parts of a file read into memory by the pool, each summed while it is in the cache; checksums of
// large memory; names exchanged in one step.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <vector>

#include "crc32.hpp"
#include "pool.hpp"

#if !defined(_WIN32)
#include <fcntl.h>
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#endif

namespace flambeau {

constexpr int64_t kFilePart = int64_t(1) << 18;  // bytes that stay in the cache of one processor

// A run of memory in parts of kFilePart bytes, and their checksums: the first's goes on from
// `before`, the others begin anew.
struct FileRun {
  uint8_t* data;
  int64_t size;
  int descriptor;  // of the file to fill it from, from `offset` on; negative: it is full already
  int64_t offset;
  bool summed;
  uint32_t before;  // the checksum of what comes in front
  std::vector<uint32_t> sums;
  std::atomic<int> error{0};  // errno of a read
  std::atomic<bool> cut_off{false};

  int64_t parts() const noexcept { return (size + kFilePart - 1) / kFilePart; }

  // The checksum of all.
  uint32_t total() const noexcept {
    uint32_t sum = sums.empty() ? before : sums[0];
    if (sums.size() < 2) return sum;
    const uint32_t by_part = crc32_shift(kFilePart);
    for (size_t k = 1; k + 1 < sums.size(); ++k) sum = crc32_join(sum, sums[k], by_part);
    const int64_t last = size - (parts() - 1) * kFilePart;
    return crc32_join(sum, sums.back(), crc32_shift(uint64_t(last)));
  }
};

#if !defined(_WIN32)
inline bool fill_part(FileRun& run, int64_t at, int64_t end) noexcept {
  while (at < end) {
    const ssize_t count = pread(run.descriptor, run.data + at, size_t(end - at), run.offset + at);
    if (count > 0) {
      at += count;
    } else if (count == 0) {
      run.cut_off = true;
      return false;
    } else if (errno != EINTR) {
      run.error = errno;
      return false;
    }
  }
  return true;
}

// The descriptor of a plain file is needed.
constexpr bool kReadsFiles = true;
#else
inline bool fill_part(FileRun&, int64_t, int64_t) noexcept { return false; }
constexpr bool kReadsFiles = false;
#endif

inline void work_on_parts(void** args, const int64_t*, int64_t begin, int64_t end, int64_t) {
  FileRun& run = *static_cast<FileRun*>(args[0]);
  for (; begin < end; ++begin) {
    const int64_t at = begin * kFilePart;
    const int64_t stop = at + kFilePart < run.size ? at + kFilePart : run.size;
    if (run.descriptor >= 0 && !fill_part(run, at, stop)) return;
    if (run.summed) {
      const uint32_t before = begin == 0 ? run.before : 0;
      run.sums[size_t(begin)] = crc32(before, run.data + at, size_t(stop - at));
    }
  }
}

inline void work_on(FileRun& run) {
  if (run.summed) run.sums.resize(size_t(run.parts()));
  void* args[1] = {&run};
  parallel_for(work_on_parts, args, nullptr, run.parts(), 1);
}

// Exchanges the names of two files in one step; false where the system has no way or refuses.
inline bool exchange_names(const char* one, const char* other) noexcept {
#if defined(__linux__) && defined(SYS_renameat2)
  const unsigned exchange = 2;  // RENAME_EXCHANGE, which old headers lack
  return syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, other, exchange) == 0;
#else
  (void)one, (void)other;
  return false;
#endif
}

}  // namespace flambeau
