// The caching allocator behind every storage.
//
// Three kinds of block, all 64-byte aligned (one cache line, one AVX-512 register):
//  - small: up to 4 KiB, in 64-byte steps, cut from 64 KiB slabs; a list pop, a few nanoseconds;
//  - medium: below 2 MiB, in quarter powers of two, from the C heap;
//  - large: from 2 MiB, in quarter powers of two, mapped, huge pages asked for.
//
// The first 64 bytes of a medium or large block are where a storage has its header; they come before
// what is counted and aligned, so that data of 2^k bytes fills its class and its huge pages exactly
// instead of spilling into the next ones.
//
// A freed block goes to the list of its size class and is handed out again, pages warm: first touch
// of 64 MB costs 24 ms in small pages, 5 in huge ones, and 2 when the pages are already there.
// Medium and large lists are kept below a bound; beyond it the block unused for longest is given
// back first, so a program whose shapes change does not fill the cache with sizes that it no longer
// uses.
//
// Every function may be called from any thread; one spin lock guards the lists and is never held
// during a system call.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "platform.hpp"
#include "small_blocks.hpp"
#include "system_memory.hpp"

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#endif

namespace flambeau {
namespace allocator_detail {

using platform::Guard;
using platform::heap_allocate;
using platform::heap_free;

constexpr size_t kAlign = 64;
constexpr size_t kLead = 64;  // bytes of a block in front of its class's capacity
constexpr size_t kLarge = platform::kHugePage;
constexpr int kClasses = (63 - 12) * 4 + 1;

inline int floor_log2(uint64_t x) noexcept {
#if defined(_MSC_VER) && !defined(__clang__)
  unsigned long bit;
  _BitScanReverse64(&bit, x);
  return int(bit);
#else
  return 63 - __builtin_clzll(x);
#endif
}

// Class of a medium or large block: 4 KiB < bytes <= PTRDIFF_MAX; *capacity is bytes rounded up to
// it.
inline int size_class(size_t bytes, size_t* capacity) noexcept {
  const int exponent = floor_log2(bytes - 1);  // bytes lies in (2^exponent, 2^(exponent + 1)]
  const size_t step = size_t(1) << (exponent - 2);
  *capacity = (bytes + step - 1) & ~(step - 1);
  return (exponent - 12) * 4 + int(*capacity / step) - 5;
}

// 64 bytes in front of every medium and large block.
struct alignas(kAlign) Header {
  Header* newer;  // neighbours in the list of its class while cached
  Header* older;
  uint64_t stamp;   // when it was released
  size_t capacity;  // bytes after the header and the lead
  int size_class;
  bool mapped;  // by map_huge, else from the heap
};
static_assert(sizeof(Header) == kAlign, "data must stay aligned");

class Allocator {
 public:
  // Never destroyed: tensors may outlive every static object of the process.
  static Allocator& instance() noexcept {
    alignas(64) static unsigned char storage[sizeof(Allocator)];
    static Allocator* allocator = new (storage) Allocator();
    return *allocator;
  }

  void* allocate(size_t bytes) noexcept {
    if (bytes <= kLargestSmall) return allocate_small(SmallBlocks::class_of(bytes));
    if (bytes > backing_) return nullptr;
    size_t capacity;
    const size_t used = bytes > kLargestSmall + kLead ? bytes - kLead : kLargestSmall + 1;
    const int cls = size_class(used, &capacity);
    if (Header* block = take_cached(cls)) return block + 1;
    Header* block = fits_backing(capacity) ? obtain(cls, capacity, used) : nullptr;
    if (!block) {
      empty_cache();
      if (!fits_backing(capacity) || !(block = obtain(cls, capacity, used))) return nullptr;
    }
    Guard guard(lock_);
    hand_out(block);
    return block + 1;
  }

  void release(void* p, size_t bytes) noexcept {
    if (!p) return;
    if (bytes <= kLargestSmall) {
      Guard guard(lock_);
      return small_.put(p, SmallBlocks::class_of(bytes));
    }
    Header* block = static_cast<Header*>(p) - 1;
    Header* surplus = nullptr;
    {
      Guard guard(lock_);
      block_live_ -= int64_t(block->capacity);
      push(block);
      while (block_cached_ > bound_) {
        Header* oldest = pop_oldest();
        oldest->older = surplus;
        surplus = oldest;
      }
    }
    give_back(surplus);
  }

  void empty_cache() noexcept {
    Header* surplus = nullptr;
    SmallBlocks::Slab* slabs;
    {
      Guard guard(lock_);
      for (List& list : lists_) {
        while (Header* block = list.newest) {
          unlink(block);
          block->older = surplus;
          surplus = block;
        }
      }
      slabs = small_.collect_slabs();
    }
    give_back(surplus);
    SmallBlocks::return_slabs(slabs);
  }

  int64_t cached_bytes() noexcept {
    Guard guard(lock_);
    return cached();
  }
  int64_t allocated_bytes() noexcept {
    Guard guard(lock_);
    return allocated();
  }
  int64_t peak_bytes() noexcept {
    Guard guard(lock_);
    return peak_;
  }
  void reset_peak() noexcept {
    Guard guard(lock_);
    peak_ = allocated();
  }

 private:
  struct List {
    Header* newest = nullptr;
    Header* oldest = nullptr;
  };

  Allocator() noexcept : backing_(platform::backing_bytes()) {
    if (backing_ > size_t(PTRDIFF_MAX) / 2) backing_ = size_t(PTRDIFF_MAX) / 2;
    bound_ = int64_t(backing_ / 4);
    if (const char* text = std::getenv("FLAMBEAU_CACHE_BYTES")) {
      char* end = nullptr;
      const long long bytes = std::strtoll(text, &end, 10);
      if (end != text && bytes >= 0) bound_ = bytes;
    }
#if !defined(_WIN32)
    // Holding the lock across fork gives the child whole lists and a lock that nobody else holds.
    pthread_atfork([] { instance().lock_.lock(); }, [] { instance().lock_.unlock(); },
                   [] { instance().lock_.unlock(); });
#endif
  }

  // The counters, read and written under the lock.
  int64_t allocated() const noexcept { return small_.live_bytes() + block_live_; }
  int64_t cached() const noexcept {
    return small_.slab_bytes() - small_.live_bytes() + block_cached_;
  }
  void note_peak() noexcept {
    if (allocated() > peak_) peak_ = allocated();
  }

  bool fits_backing(size_t capacity) noexcept {
    Guard guard(lock_);
    return int64_t(capacity) <= int64_t(backing_) - allocated() - cached();
  }

  void* allocate_small(int cls) noexcept {
    Guard guard(lock_);
    void* block = small_.take(cls);
    if (!block) block = refill_small(cls);
    note_peak();
    return block;
  }

  // Called with the lock held; drops it while asking the system.
  void* refill_small(int cls) noexcept {
    lock_.unlock();
    SmallBlocks::Slab* slab = SmallBlocks::obtain_slab();
    if (!slab) {
      empty_cache();
      slab = SmallBlocks::obtain_slab();
    }
    lock_.lock();
    if (slab) small_.add_slab(slab, cls);
    return small_.take(cls);  // without a slab: another thread may have put a block meanwhile
  }

  // A cached block of this class or of the next, at most 25 % larger.
  Header* take_cached(int cls) noexcept {
    Guard guard(lock_);
    Header* block = lists_[cls].newest;
    if (!block) block = lists_[cls + 1].newest;
    if (!block) return nullptr;
    unlink(block);
    hand_out(block);
    return block;
  }

  void hand_out(Header* block) noexcept {
    block_live_ += int64_t(block->capacity);
    note_peak();
  }

  void push(Header* block) noexcept {
    List& list = lists_[block->size_class];
    block->stamp = ++clock_;
    block->newer = nullptr;
    block->older = list.newest;
    (list.newest ? list.newest->newer : list.oldest) = block;
    list.newest = block;
    block_cached_ += int64_t(block->capacity);
  }

  void unlink(Header* block) noexcept {
    List& list = lists_[block->size_class];
    (block->newer ? block->newer->older : list.newest) = block->older;
    (block->older ? block->older->newer : list.oldest) = block->newer;
    block_cached_ -= int64_t(block->capacity);
  }

  Header* pop_oldest() noexcept {
    Header* oldest = nullptr;
    for (const List& list : lists_) {
      if (list.oldest && (!oldest || list.oldest->stamp < oldest->stamp)) oldest = list.oldest;
    }
    unlink(oldest);
    return oldest;
  }

  static Header* obtain(int cls, size_t capacity, size_t used) noexcept {
    if (capacity >= kLarge) {
      // Header and lead sit at the end of the small page in front of the huge ones.
      if (void* data = platform::map_huge(capacity, used)) {
        return new (static_cast<char*>(data) - kLead - sizeof(Header))
            Header{nullptr, nullptr, 0, capacity, cls, true};
      }
    }
    void* base = heap_allocate(kAlign, sizeof(Header) + kLead + capacity);
    return base ? new (base) Header{nullptr, nullptr, 0, capacity, cls, false} : nullptr;
  }

  // Returns a chain (linked by older) of blocks to the system.
  static void give_back(Header* block) noexcept {
    while (block) {
      Header* next = block->older;
      char* data = reinterpret_cast<char*>(block + 1) + kLead;
      block->mapped ? platform::unmap_huge(data, block->capacity) : heap_free(block);
      block = next;
    }
  }

  platform::SpinLock lock_;
  SmallBlocks small_;
  List lists_[kClasses + 1];
  uint64_t clock_ = 0;
  int64_t block_live_ = 0, block_cached_ = 0;  // bytes of medium and large blocks: in use, kept
  int64_t peak_ = 0;
  size_t backing_;
  int64_t bound_;  // most bytes kept in lists_
};

// Made while the module loads, when no thread can yet be inside: a fork in the middle of the first
// instance() would leave the child waiting for a thread that it does not have.
inline Allocator& made_at_load = Allocator::instance();

}  // namespace allocator_detail

// 64-byte aligned memory of at least bytes (0 is allowed), uninitialised; nullptr when it cannot be
// had.
inline void* allocate(size_t bytes) noexcept {
  return allocator_detail::Allocator::instance().allocate(bytes);
}

// Gives p back; bytes is what allocate was asked for. p may be nullptr.
inline void release(void* p, size_t bytes) noexcept {
  allocator_detail::Allocator::instance().release(p, bytes);
}

// Returns every unused block to the system.
inline void empty_cache() noexcept { allocator_detail::Allocator::instance().empty_cache(); }

// Bytes kept for reuse, in use, and most in use since reset_peak(); all counted in size classes.
inline int64_t cached_bytes() noexcept {
  return allocator_detail::Allocator::instance().cached_bytes();
}
inline int64_t allocated_bytes() noexcept {
  return allocator_detail::Allocator::instance().allocated_bytes();
}
inline int64_t peak_bytes() noexcept {
  return allocator_detail::Allocator::instance().peak_bytes();
}
inline void reset_peak() noexcept { allocator_detail::Allocator::instance().reset_peak(); }

}  // namespace flambeau
