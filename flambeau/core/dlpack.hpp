// The structures of the DLPack exchange protocol, version 1 and before.
#pragma once
#include <Python.h>

#include <cstdint>
#include <new>

namespace flambeau {

struct DlDevice {
  int32_t type;  // 1: the CPU
  int32_t id;
};

struct DlDataType {
  uint8_t code;  // 0 int, 1 unsigned, 2 float, 4 bfloat, 5 complex, 6 bool
  uint8_t bits;
  uint16_t lanes;
};

struct DlTensor {
  void* data;
  DlDevice device;
  int32_t ndim;
  DlDataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; null: row-major
  uint64_t byte_offset;
};

struct DlManaged {
  DlTensor tensor;
  void* context;
  void (*deleter)(DlManaged*);
};

struct DlManagedVersioned {
  uint32_t major;
  uint32_t minor;
  void* context;
  void (*deleter)(DlManagedVersioned*);
  uint64_t flags;  // 1: read-only, 2: a copy
  DlTensor tensor;
};

// What an exported tensor owns: the object that keeps the memory, sizes and strides behind it.
struct DlExport {
  DlManaged plain;
  DlManagedVersioned versioned;
  PyObject* owner;
  int64_t sizes[128];
};

inline void drop_export(DlExport* e) noexcept {
  PyGILState_STATE state = PyGILState_Ensure();  // the consumer may release from any thread
  Py_XDECREF(e->owner);
  PyGILState_Release(state);
  delete e;
}

inline void delete_plain(DlManaged* m) noexcept { drop_export(static_cast<DlExport*>(m->context)); }
inline void delete_versioned(DlManagedVersioned* m) noexcept { drop_export(static_cast<DlExport*>(m->context)); }

inline DlExport* new_export(PyObject* owner) noexcept {
  auto* e = new (std::nothrow) DlExport();
  if (!e) return nullptr;
  Py_INCREF(owner);
  e->owner = owner;
  e->plain.context = e;
  e->plain.deleter = delete_plain;
  e->versioned.major = 1;
  e->versioned.minor = 0;
  e->versioned.context = e;
  e->versioned.deleter = delete_versioned;
  return e;
}

// Capsules that nobody consumed release what they hold.
inline void destroy_capsule(PyObject* capsule) noexcept {
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  if (PyCapsule_IsValid(capsule, "dltensor")) {
    auto* m = static_cast<DlManaged*>(PyCapsule_GetPointer(capsule, "dltensor"));
    if (m->deleter) m->deleter(m);
  } else if (PyCapsule_IsValid(capsule, "dltensor_versioned")) {
    auto* m = static_cast<DlManagedVersioned*>(PyCapsule_GetPointer(capsule, "dltensor_versioned"));
    if (m->deleter) m->deleter(m);
  }
  PyErr_Restore(type, value, trace);
}

}  // namespace flambeau
