// Memory from the operating system: the C heap with an alignment, huge-page mappings, and how much
// there can ever be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if defined(_WIN32)
#include <malloc.h>
#else
#include <sys/mman.h>
#endif
#if defined(__linux__)
#include <sys/sysinfo.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif
namespace flambeau {
namespace platform {

constexpr size_t kSmallPage = 4096;
constexpr size_t kHugePage = size_t(2) << 20;

#if defined(_WIN32)
inline void* heap_allocate(size_t align, size_t bytes) noexcept {
  return _aligned_malloc(bytes, align);
}
inline void heap_free(void* p) noexcept { _aligned_free(p); }
#else
inline void* heap_allocate(size_t align, size_t bytes) noexcept {
  void* p = nullptr;
  return posix_memalign(&p, align, bytes) == 0 ? p : nullptr;
}
inline void heap_free(void* p) noexcept { std::free(p); }
#endif

// Bytes the machine (or the container) could ever back: the line between a large tensor and a
// mistake. Without it an overcommitting kernel would grant a terabyte and kill the process at the
// first touch.
inline size_t backing_bytes() noexcept {
#if defined(__linux__)
  struct sysinfo info;
  if (sysinfo(&info) != 0) return PTRDIFF_MAX;
  size_t memory = size_t(info.totalram) * info.mem_unit;
  unsigned long long granted = 0;
  if (FILE* file = std::fopen("/sys/fs/cgroup/memory.max", "re")) {  // holds a number or "max"
    if (std::fscanf(file, "%llu", &granted) == 1 && granted > 0 && granted < memory)
      memory = size_t(granted);
    std::fclose(file);
  }
  return memory + size_t(info.totalswap) * info.mem_unit;
#elif defined(__APPLE__)
  uint64_t memory = 0;
  size_t length = sizeof memory;
  if (sysctlbyname("hw.memsize", &memory, &length, nullptr, 0) != 0) return PTRDIFF_MAX;
  return size_t(memory) * 2;  // swap files grow on demand there
#else
  MEMORYSTATUSEX status;
  status.dwLength = sizeof status;
  return GlobalMemoryStatusEx(&status) ? size_t(status.ullTotalPageFile) : size_t(PTRDIFF_MAX);
#endif
}

#if defined(__linux__)
// Maps bytes of memory that start on a huge page, with one small page in front of them for a
// header; nullptr when refused. Freed by unmap_huge with the same bytes. Of these the first `used`
// are asked for: a last huge page of which they would fill less than half stays small pages.
inline void* map_huge(size_t bytes, size_t used) noexcept {
  const size_t reserved = bytes + kHugePage + kSmallPage;
  void* start = mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return nullptr;
  char* low = static_cast<char*>(start);
  const uintptr_t above = reinterpret_cast<uintptr_t>(low) + kSmallPage + kHugePage - 1;
  char* data = low + ((above & ~uintptr_t(kHugePage - 1)) - reinterpret_cast<uintptr_t>(low));
  char* first = data - kSmallPage;
  char* end = data + bytes;
  if (first > low) munmap(low, size_t(first - low));
  if (low + reserved > end) munmap(end, size_t(low + reserved - end));
  const size_t huge = (used + kHugePage / 2 - 1) / kHugePage * kHugePage;
  madvise(data, huge < bytes ? huge : bytes, MADV_HUGEPAGE);  // advice: a kernel without huge pages refuses, harmlessly
  return data;
}

inline void unmap_huge(void* data, size_t bytes) noexcept {
  munmap(static_cast<char*>(data) - kSmallPage, bytes + kSmallPage);
}
#else
// No explicit huge pages: the caller uses the heap.
inline void* map_huge(size_t, size_t) noexcept { return nullptr; }
inline void unmap_huge(void*, size_t) noexcept {}
#endif

}  // namespace platform
}  // namespace flambeau
