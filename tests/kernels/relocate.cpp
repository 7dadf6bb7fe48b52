// Relocates an object for AArch64 on any machine; a message, or nullptr when all went well.
#include <cstring>
#include <string>

#include "loader.hpp"

extern "C" const char* relocate_for_aarch64(const uint8_t* bytes, size_t size) {
  static std::string error;
  error.clear();
  flambeau::LoadedObject* object =
      flambeau::loader_detail::load_for(flambeau::elf::kAarch64, bytes, size, error);
  if (object == nullptr) return error.empty() ? "no message" : error.c_str();
  flambeau::unload(object);
  return nullptr;
}
