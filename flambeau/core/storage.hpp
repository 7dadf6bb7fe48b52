// Storage: a reference-counted block of memory that tensors view. Counted under the GIL.
#pragma once
#include <Python.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "allocator.hpp"

namespace flambeau {

struct Storage {
  int64_t references;
  int64_t version;   // bumped by every in-place write; views share it
  char* data;        // behind this header, or memory that owner keeps alive
  size_t bytes;
  PyObject* owner;   // keeps foreign memory alive; null for our own
  size_t block;      // what to release; 0 once the data moved to a block of its own
  size_t data_block; // size of that block of its own
  int64_t flags;
};
static_assert(sizeof(Storage) <= 64, "the header must leave the data 64-byte aligned");

constexpr size_t kHeader = 64;
constexpr int64_t kReadOnly = 1;

inline Storage* storage_new(size_t bytes) noexcept {
  if (bytes > SIZE_MAX / 2) return nullptr;
  auto* s = static_cast<Storage*>(allocate(bytes + kHeader));
  if (!s) return nullptr;
  s->references = 1;
  s->version = 0;
  s->data = reinterpret_cast<char*>(s) + kHeader;
  s->bytes = bytes;
  s->owner = nullptr;
  s->block = bytes + kHeader;
  s->data_block = 0;
  s->flags = 0;
  return s;
}

// Memory of somebody else, kept alive by owner (a new reference is taken).
inline Storage* storage_borrow(void* data, size_t bytes, PyObject* owner) noexcept {
  Storage* s = storage_new(0);
  if (!s) return nullptr;
  s->data = static_cast<char*>(data);
  s->bytes = bytes;
  Py_XINCREF(owner);
  s->owner = owner;
  return s;
}

// Ends each block that storage_resize allocates: the block that it replaced while views still used it.
struct Replaced {
  char* data;
  size_t block;
};

inline Replaced& replaced_by(char* data, size_t block) noexcept {
  return *reinterpret_cast<Replaced*>(data + block - sizeof(Replaced));
}

inline void release_blocks(char* data, size_t block) noexcept {
  while (block) {
    const Replaced older = replaced_by(data, block);
    release(data, block);
    data = older.data;
    block = older.block;
  }
}

inline void storage_drop(Storage* s) noexcept {
  if (s && --s->references == 0) {
    PyObject* owner = s->owner;
    release_blocks(s->data, s->data_block);
    release(s, s->block);
    Py_XDECREF(owner);
  }
}

// Grows or shrinks in place: the data moves to a block of its own, the header stays. Other tensors
// over the storage keep seeing the block they know, which lives as long as the storage.
inline bool storage_resize(Storage* s, size_t bytes) noexcept {
  if (bytes <= s->bytes && !s->owner) {
    s->bytes = bytes;
    return true;
  }
  if (bytes > SIZE_MAX / 2) return false;
  const size_t block = (bytes + 15) / 16 * 16 + sizeof(Replaced);
  char* moved = static_cast<char*>(allocate(block));
  if (!moved) return false;
  std::memcpy(moved, s->data, s->bytes < bytes ? s->bytes : bytes);
  Replaced& older = replaced_by(moved, block);
  older = Replaced{nullptr, 0};
  if (s->data_block && s->references > 1) {
    older = Replaced{s->data, s->data_block};
  } else if (s->data_block) {
    older = replaced_by(s->data, s->data_block);
    release(s->data, s->data_block);
  }
  s->data = moved;
  s->data_block = block;
  s->bytes = bytes;
  return true;
}

}  // namespace flambeau
