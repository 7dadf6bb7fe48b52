// Pages for machine code. They are never writable and executable at once: written first, then
// sealed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(_WIN32)
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif
#if defined(__APPLE__)
#include <TargetConditionals.h>
#include <libkern/OSCacheControl.h>
#include <pthread.h>
#endif

namespace flambeau {
namespace platform {

inline size_t page_bytes() noexcept {
#if defined(_WIN32)
  SYSTEM_INFO info;
  GetSystemInfo(&info);
  return info.dwPageSize;
#else
  return size_t(sysconf(_SC_PAGESIZE));
#endif
}

// One mapping: [base, base + code) becomes read-execute when sealed, [base + code, base + total)
// stays read-write. Both sizes are whole pages; total > 0.
struct CodePages {
  uint8_t* base = nullptr;
  size_t code = 0;
  size_t total = 0;
};

// Some systems grant executable pages only when asked at mapping time, and make them writable per
// thread.
#if defined(__APPLE__) && defined(__aarch64__)
constexpr bool kJitMapping = true;
inline void set_jit_writable(bool writable) noexcept { pthread_jit_write_protect_np(!writable); }
#else
constexpr bool kJitMapping = false;
inline void set_jit_writable(bool) noexcept {}
#endif

// Zeroed pages, writable by this thread until seal_code(). base is nullptr when refused.
inline CodePages map_code(size_t code, size_t data) noexcept {
  CodePages pages;
  const size_t total = code + data;
#if defined(_WIN32)
  void* base = VirtualAlloc(nullptr, total, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  if (!base) return pages;
#else
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
  int access = PROT_READ | PROT_WRITE;
#if defined(__APPLE__) && defined(__aarch64__)
  flags |= MAP_JIT;
  access |= PROT_EXEC;
#endif
  void* base = mmap(nullptr, total, access, flags, -1, 0);
  if (base == MAP_FAILED) return pages;
  if (kJitMapping && data > 0) {
    // Variables must stay writable after sealing, so they cannot live in the jit mapping itself.
    void* tail = static_cast<uint8_t*>(base) + code;
    const int fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    if (mmap(tail, data, PROT_READ | PROT_WRITE, fixed, -1, 0) == MAP_FAILED) {
      munmap(base, total);
      return pages;
    }
  }
#endif
  pages.base = static_cast<uint8_t*>(base);
  pages.code = code;
  pages.total = total;
  set_jit_writable(true);
  return pages;
}

// Makes the code part executable and no longer writable.
inline bool seal_code(const CodePages& pages) noexcept {
  set_jit_writable(false);
  if (pages.code == 0) return true;
#if defined(_WIN32)
  DWORD before;
  if (!VirtualProtect(pages.base, pages.code, PAGE_EXECUTE_READ, &before)) return false;
  FlushInstructionCache(GetCurrentProcess(), pages.base, pages.code);
#elif defined(__APPLE__)
  if (!kJitMapping && mprotect(pages.base, pages.code, PROT_READ | PROT_EXEC) != 0) return false;
  sys_icache_invalidate(pages.base, pages.code);
#else
  if (mprotect(pages.base, pages.code, PROT_READ | PROT_EXEC) != 0) return false;
  char* first = reinterpret_cast<char*>(pages.base);
  __builtin___clear_cache(first, first + pages.code);
#endif
  return true;
}

inline void unmap_code(const CodePages& pages) noexcept {
  if (!pages.base) return;
  set_jit_writable(false);
#if defined(_WIN32)
  VirtualFree(pages.base, 0, MEM_RELEASE);
#else
  munmap(pages.base, pages.total);
#endif
}

}  // namespace platform
}  // namespace flambeau
