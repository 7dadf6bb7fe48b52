// Small blocks: 64-byte steps up to 4 KiB, cut from 64 KiB slabs and kept in one free list per
// size.
#pragma once

#include <cstddef>
#include <cstdint>

#include "system_memory.hpp"

namespace flambeau {
namespace allocator_detail {

constexpr size_t kSmallest = 64, kLargestSmall = 4096;
constexpr size_t kSlabBytes = size_t(64) << 10;

// Free lists of small blocks. Not thread-safe: the allocator calls it under its lock, except for
// obtain_slab and return_slabs, which talk to the system.
class SmallBlocks {
 public:
  // 64 bytes at the start of every slab. The free count is used only by collect_slabs.
  struct alignas(64) Slab {
    Slab* next;
    uint32_t capacity, free;
  };

  static int class_of(size_t bytes) noexcept {
    return bytes == 0 ? 0 : int((bytes - 1) / kSmallest);
  }
  static int64_t bytes_of(int cls) noexcept { return int64_t(cls + 1) * int64_t(kSmallest); }

  int64_t live_bytes() const noexcept { return live_; }
  int64_t slab_bytes() const noexcept { return slabs_; }

  // A block of the class, or nullptr when its list is empty.
  void* take(int cls) noexcept {
    Free* block = lists_[cls];
    if (!block) return nullptr;
    lists_[cls] = block->next;
    live_ += bytes_of(cls);
    return block;
  }

  void put(void* p, int cls) noexcept {
    Free* block = static_cast<Free*>(p);
    block->next = lists_[cls];
    lists_[cls] = block;
    live_ -= bytes_of(cls);
  }

  // Aligned to its own size, so that a block's slab is found by masking its address.
  static Slab* obtain_slab() noexcept {
    return static_cast<Slab*>(platform::heap_allocate(kSlabBytes, kSlabBytes));
  }

  void add_slab(Slab* slab, int cls) noexcept {
    const size_t bytes = size_t(bytes_of(cls));
    slab->capacity = uint32_t((kSlabBytes - sizeof(Slab)) / bytes);
    char* first = reinterpret_cast<char*>(slab + 1);
    for (uint32_t i = slab->capacity; i-- > 0;) {  // backwards: blocks are then taken in order
      Free* block = reinterpret_cast<Free*>(first + i * bytes);
      block->next = lists_[cls];
      lists_[cls] = block;
    }
    slabs_ += int64_t(slab->capacity * bytes);
  }

  // Takes the slabs that are wholly free out of the lists and returns their chain.
  Slab* collect_slabs() noexcept {
    Slab* chain = nullptr;
    for (int cls = 0; cls < kClasses; ++cls) collect_class(cls, &chain);
    return chain;
  }

  static void return_slabs(Slab* chain) noexcept {
    while (chain) {
      Slab* next = chain->next;
      platform::heap_free(chain);
      chain = next;
    }
  }

 private:
  static constexpr int kClasses = int(kLargestSmall / kSmallest);
  struct Free {
    Free* next;
  };

  static Slab* slab_of(Free* block) noexcept {
    const uintptr_t inside = reinterpret_cast<uintptr_t>(block) & (kSlabBytes - 1);
    return reinterpret_cast<Slab*>(reinterpret_cast<char*>(block) - inside);
  }

  // Counts the free blocks of each slab only here, so that taking and putting blocks never has to.
  void collect_class(int cls, Slab** chain) noexcept {
    for (Free* block = lists_[cls]; block; block = block->next) slab_of(block)->free = 0;
    for (Free* block = lists_[cls]; block; block = block->next) ++slab_of(block)->free;
    Free** link = &lists_[cls];
    while (Free* block = *link) {
      Slab* slab = slab_of(block);
      if (slab->free < slab->capacity) {
        link = &block->next;
        continue;
      }
      *link = block->next;
      if (static_cast<void*>(block) != slab + 1) continue;  // its first block stands for the slab
      slabs_ -= int64_t(slab->capacity) * bytes_of(cls);
      slab->next = *chain;
      *chain = slab;
    }
  }

  Free* lists_[kClasses] = {};
  int64_t live_ = 0, slabs_ = 0;  // bytes of blocks in use, of all blocks
};

}  // namespace allocator_detail
}  // namespace flambeau
