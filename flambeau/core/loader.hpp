// A relocating loader for cached object code: 10 us a kernel, where a JIT linker takes 200 to 300.
//
// The compiler emits ELF64 on every system (the target's environment is "elf"), for x86-64 or
// AArch64, small code model, position independent. An object becomes one mapping:
//
//   [ code and constants | slots ]  read-execute once sealed     (slots: see relocate.hpp)
//   [ variables                  ]  read-write
//
// so everything inside is in reach of everything else, and externals are reached through slots.
// Bytes come from a disk cache and are not trusted to be whole: a bad file is an error message,
// never a crash. (What whole code then does when it runs is outside the loader's power; the cache
// guards its files itself.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "code_memory.hpp"
#include "elf64.hpp"
#include "relocate.hpp"
#include "symbols.hpp"

namespace flambeau {

struct LoadedObject {
  platform::CodePages pages;
  std::unordered_map<std::string, void*> symbols;

  LoadedObject() = default;
  LoadedObject(const LoadedObject&) = delete;
  LoadedObject& operator=(const LoadedObject&) = delete;
  ~LoadedObject() { platform::unmap_code(pages); }
};

namespace loader_detail {

#if defined(__aarch64__) || defined(_M_ARM64)
constexpr uint16_t kHostMachine = elf::kAarch64;
#else
constexpr uint16_t kHostMachine = elf::kX86_64;
#endif

constexpr uint64_t kMostBytes = uint64_t(256) << 20;
constexpr uint64_t kNotLoaded = ~uint64_t(0);

class Loader {
 public:
  Loader(const uint8_t* bytes, size_t size, uint16_t machine)
      : file_(bytes, size, machine), machine_(machine), object_(new LoadedObject) {}

  std::unique_ptr<LoadedObject> load() {
    place_sections();
    find_slots();
    map_pages();
    copy_sections();
    write_slots();
    relocate_all();
    export_symbols();
    if (!platform::seal_code(object_->pages))
      throw elf::Malformed("pages cannot be made executable");
    return std::move(object_);
  }

 private:
  // Unwind tables are of no use: nothing in a kernel throws, and they are never registered.
  bool is_loaded(const elf::Section& section) const {
    return (section.flags & elf::kAlloc) && file_.name_of(section) != ".eh_frame";
  }

  // Gives every loaded section its offset: first what is never written, then (on new pages)
  // variables.
  void place_sections() {
    offsets_.assign(file_.sections().size(), kNotLoaded);
    code_bytes_ = place_group(false);
    data_bytes_ = place_group(true);
  }

  uint64_t place_group(bool writable) {
    uint64_t end = 0;
    for (size_t i = 0; i < offsets_.size(); ++i) {
      const elf::Section& section = file_.sections()[i];
      if (!is_loaded(section) || bool(section.flags & elf::kWrite) != writable) continue;
      check_section(section, writable);
      const uint64_t alignment = section.alignment ? section.alignment : 1;
      offsets_[i] = (end + alignment - 1) & ~(alignment - 1);
      end = offsets_[i] + section.size;
      if (end > kMostBytes) throw elf::Malformed("sections are larger than 256 MiB");
    }
    return end;
  }

  static void check_section(const elf::Section& section, bool writable) {
    const uint64_t alignment = section.alignment;
    if (alignment & (alignment - 1)) throw elf::Malformed("alignment is no power of two");
    if (alignment > 4096) throw elf::Malformed("alignment is more than a page");
    if (section.size > kMostBytes) throw elf::Malformed("section is larger than 256 MiB");
    if (section.flags & elf::kThreadLocal) throw elf::Malformed("thread-local variables");
    if (writable && (section.flags & elf::kExecute)) {
      throw elf::Malformed("section is both writable and executable");
    }
  }

  template <class Visit>
  void each_relocation(Visit visit) const {
    for (const elf::Section& section : file_.sections()) {
      if (section.type != elf::kRela && section.type != elf::kRel) continue;
      if (section.info >= offsets_.size() || offsets_[section.info] == kNotLoaded) continue;
      if (section.type == elf::kRel) throw elf::Malformed("relocations without addends");
      for (const elf::Relocation& relocation : file_.relocations(section)) {
        visit(section.info, relocation);
      }
    }
  }

  bool wants_slot(uint32_t type) const noexcept {
    return machine_ == elf::kX86_64 ? elf::x86_64::wants_slot(type)
                                    : elf::aarch64::wants_slot(type);
  }

  // One slot per symbol that is external or reached through the offset table, after the constants.
  void find_slots() {
    slot_of_.assign(file_.symbols().size(), kNotLoaded);
    slots_begin_ = (code_bytes_ + elf::kSlotBytes - 1) & ~(elf::kSlotBytes - 1);
    code_bytes_ = slots_begin_;
    each_relocation([this](uint32_t, const elf::Relocation& relocation) {
      const elf::Symbol& symbol = file_.symbol(relocation.symbol());
      uint64_t& slot = slot_of_[relocation.symbol()];
      const bool needed = is_external(symbol) || wants_slot(relocation.type());
      if (!needed || slot != kNotLoaded) return;
      slot = code_bytes_;
      code_bytes_ += elf::kSlotBytes;
    });
  }

  void map_pages() {
    const uint64_t page = platform::page_bytes();
    const uint64_t code = (code_bytes_ + page - 1) / page * page;
    const uint64_t data = (data_bytes_ + page - 1) / page * page;
    if (code + data == 0) throw elf::Malformed("nothing to load");
    object_->pages = platform::map_code(size_t(code), size_t(data));
    if (!object_->pages.base) throw elf::Malformed("no memory for code");
    for (size_t i = 0; i < offsets_.size(); ++i) {  // variables follow the code
      if (offsets_[i] != kNotLoaded && (file_.sections()[i].flags & elf::kWrite))
        offsets_[i] += code;
    }
  }

  uint8_t* memory(uint64_t offset) const noexcept { return object_->pages.base + offset; }
  uint64_t address(uint64_t offset) const noexcept {
    return reinterpret_cast<uintptr_t>(object_->pages.base) + offset;
  }

  void copy_sections() {
    for (size_t i = 0; i < offsets_.size(); ++i) {
      const elf::Section& section = file_.sections()[i];
      if (offsets_[i] == kNotLoaded || section.type == elf::kNoBits || section.size == 0) continue;
      std::memcpy(memory(offsets_[i]), file_.contents(section), size_t(section.size));
    }
  }

  void write_slots() {
    for (uint32_t i = 0; i < slot_of_.size(); ++i) {
      if (slot_of_[i] == kNotLoaded) continue;
      uint8_t* slot = memory(slot_of_[i]);
      machine_ == elf::kX86_64 ? elf::x86_64::write_stub(slot) : elf::aarch64::write_stub(slot);
      const uint64_t target = address_of(file_.symbol(i));
      std::memcpy(slot + elf::kSlotAddress, &target, sizeof target);
    }
  }

  static bool is_external(const elf::Symbol& symbol) noexcept {
    return symbol.section == elf::kUndefined;
  }

  uint64_t address_of(const elf::Symbol& symbol) const {
    if (symbol.section == elf::kAbsolute) return symbol.value;
    if (is_external(symbol)) return external_address(symbol);
    const elf::Section& section = file_.section(symbol.section, "symbol");
    if (symbol.section >= elf::kFirstReserved || offsets_[symbol.section] == kNotLoaded) {
      throw elf::Malformed("symbol in a section that is not loaded");
    }
    if (symbol.value > section.size) throw elf::Malformed("symbol beyond the end of its section");
    return address(offsets_[symbol.section] + symbol.value);
  }

  uint64_t external_address(const elf::Symbol& symbol) const {
    const std::string name = file_.name_of(symbol);
    // The null symbol stands for no symbol; the table's own name is resolved by its relocation
    // types.
    if (name.empty()) return 0;
    if (name == "_GLOBAL_OFFSET_TABLE_") return address(slots_begin_);
    void* found = find_external(name);
    if (!found) throw elf::Malformed("unknown external symbol " + elf::quote(name));
    return reinterpret_cast<uintptr_t>(found);
  }

  void relocate_all() {
    each_relocation([this](uint32_t target, const elf::Relocation& relocation) {
      const elf::Section& section = file_.sections()[target];
      if (relocation.offset > section.size) throw elf::Malformed("relocation beyond its section");
      const uint64_t offset = offsets_[target] + relocation.offset;
      const elf::Symbol& symbol = file_.symbol(relocation.symbol());
      const uint64_t slot = slot_of_[relocation.symbol()];
      elf::Patch patch;
      patch.type = relocation.type();
      patch.memory = memory(offset);
      patch.room = section.size - relocation.offset;
      patch.place = address(offset);
      patch.symbol = address_of(symbol);
      patch.addend = uint64_t(relocation.addend);
      patch.slot = slot == kNotLoaded ? 0 : address(slot);
      patch.slots = address(slots_begin_);
      patch.external = is_external(symbol);
      machine_ == elf::kX86_64 ? elf::x86_64::apply(patch) : elf::aarch64::apply(patch);
    });
  }

  void export_symbols() {
    for (const elf::Symbol& symbol : file_.symbols()) {
      const bool local = (symbol.info >> 4) == 0;
      if (local || is_external(symbol) || symbol.section >= elf::kFirstReserved) continue;
      if (symbol.section >= offsets_.size() || offsets_[symbol.section] == kNotLoaded) continue;
      object_->symbols[file_.name_of(symbol)] =
          reinterpret_cast<void*>(uintptr_t(address_of(symbol)));
    }
  }

  elf::File file_;
  uint16_t machine_;
  std::unique_ptr<LoadedObject> object_;
  std::vector<uint64_t> offsets_;  // of sections, from the mapping's base
  std::vector<uint64_t> slot_of_;  // of symbols
  uint64_t code_bytes_ = 0, data_bytes_ = 0, slots_begin_ = 0;
};

// Loads for a machine that need not be this one (tests look at the patched words; such code cannot
// run).
inline LoadedObject* load_for(uint16_t machine, const uint8_t* bytes, size_t size,
                              std::string& error) noexcept {
  try {
    return Loader(bytes, size, machine).load().release();
  } catch (const std::exception& problem) {  // Malformed, or out of memory
    try {
      error = problem.what();
    } catch (const std::exception&) {
      error.clear();
    }
    return nullptr;
  }
}

}  // namespace loader_detail

// Maps and relocates object code for this machine; nullptr with a message in error when it is
// malformed.
inline LoadedObject* load_object(const uint8_t* bytes, size_t size, std::string& error) noexcept {
  return loader_detail::load_for(loader_detail::kHostMachine, bytes, size, error);
}

// The address of a function or variable that the object exports, or nullptr.
inline void* find_symbol(LoadedObject* object, const char* name) noexcept {
  try {
    const auto found = object->symbols.find(name);
    return found == object->symbols.end() ? nullptr : found->second;
  } catch (const std::exception&) {  // no memory for the key
    return nullptr;
  }
}

// Unmaps the object; nothing of it may be running or called later.
inline void unload(LoadedObject* object) noexcept { delete object; }

}  // namespace flambeau
