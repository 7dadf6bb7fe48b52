// Storage: a reference-counted block of memory that tensors view. Counted under the GIL.
#pragma once
#include <Python.h>

#include <cstddef>
#include <cstdint>

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

inline void storage_drop(Storage* s) noexcept {
  if (s && --s->references == 0) {
    PyObject* owner = s->owner;
    if (s->data_block) release(s->data, s->data_block);
    release(s, s->block);
    Py_XDECREF(owner);
  }
}

// Grows or shrinks in place: the data moves to a block of its own, the header stays.
inline bool storage_resize(Storage* s, size_t bytes) noexcept {
  if (bytes <= s->bytes && !s->owner) {
    s->bytes = bytes;
    return true;
  }
  char* moved = static_cast<char*>(allocate(bytes ? bytes : 1));
  if (!moved) return false;
  for (size_t i = 0, n = s->bytes < bytes ? s->bytes : bytes; i < n; ++i) moved[i] = s->data[i];
  if (s->data_block) release(s->data, s->data_block);
  s->data = moved;
  s->data_block = bytes ? bytes : 1;
  s->bytes = bytes;
  return true;
}

}  // namespace flambeau
