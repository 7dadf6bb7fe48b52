// Reading a relocatable ELF64 file that may be truncated or hostile: every table is located by
// checked arithmetic before it is touched, and records are copied out, so nothing depends on
// alignment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace flambeau {
namespace elf {

struct FileHeader {
  uint8_t ident[16];
  uint16_t type, machine;
  uint32_t version;
  uint64_t entry, program_offset, section_offset;
  uint32_t flags;
  uint16_t header_size, program_entry, program_count, section_entry, section_count, name_section;
};
struct Section {
  uint32_t name, type;
  uint64_t flags, address, offset, size;
  uint32_t link, info;
  uint64_t alignment, entry_size;
};
struct Symbol {
  uint32_t name;
  uint8_t info, other;
  uint16_t section;
  uint64_t value, size;
};
struct Relocation {
  uint64_t offset, info;
  int64_t addend;
  uint32_t type() const noexcept { return uint32_t(info); }
  uint32_t symbol() const noexcept { return uint32_t(info >> 32); }
};
static_assert(sizeof(FileHeader) == 64 && sizeof(Section) == 64, "ELF64 layout");
static_assert(sizeof(Symbol) == 24 && sizeof(Relocation) == 24, "ELF64 layout");

constexpr uint16_t kRelocatable = 1;
constexpr uint16_t kX86_64 = 62, kAarch64 = 183;
constexpr uint32_t kSymbolTable = 2, kStringTable = 3, kRela = 4, kNoBits = 8, kRel = 9;
constexpr uint64_t kWrite = 1, kAlloc = 2, kExecute = 4, kThreadLocal = 0x400;
constexpr uint16_t kUndefined = 0, kFirstReserved = 0xff00, kAbsolute = 0xfff1;

// Thrown inside the loader only; load_object turns it into its error string.
struct Malformed : std::runtime_error {
  explicit Malformed(const std::string& what) : std::runtime_error("object code: " + what) {}
};

inline std::string quote(const std::string& name) { return "'" + name + "'"; }

// The file's bytes, with checked access.
class Reader {
 public:
  Reader(const uint8_t* bytes, size_t size) noexcept : bytes_(bytes), size_(size) {}

  const uint8_t* range(uint64_t offset, uint64_t length, const char* what) const {
    if (offset > size_ || length > size_ - offset) {
      throw Malformed(std::string("truncated: ") + what + " at offset " + std::to_string(offset) +
                      " with " + std::to_string(length) + " bytes lies beyond the end, " +
                      std::to_string(size_));
    }
    return bytes_ + offset;
  }

  template <class Record>
  std::vector<Record> table(uint64_t offset, uint64_t length, const char* what) const {
    const uint8_t* first = range(offset, length, what);  // before a hostile length costs memory
    std::vector<Record> records(size_t(length / sizeof(Record)));
    if (!records.empty()) std::memcpy(records.data(), first, records.size() * sizeof(Record));
    return records;
  }

 private:
  const uint8_t* bytes_;
  uint64_t size_;
};

// A parsed file: its sections, its one symbol table and the names of both.
class File {
 public:
  File(const uint8_t* bytes, size_t size, uint16_t machine) : reader_(bytes, size) {
    const FileHeader header = read_header(machine);
    const uint64_t length = uint64_t(header.section_count) * sizeof(Section);
    sections_ = reader_.table<Section>(header.section_offset, length, "section table");
    for (uint32_t i = 0; i < sections_.size(); ++i) {
      if (sections_[i].type != kSymbolTable) continue;
      if (symbol_table_ != 0) throw Malformed("more than one symbol table");
      symbol_table_ = i;
      symbols_ = reader_.table<Symbol>(sections_[i].offset, sections_[i].size, "symbol table");
      names_ = section(sections_[i].link, "names of symbols");
    }
    section_names_ = section(header.name_section, "names of sections");
  }

  const std::vector<Section>& sections() const noexcept { return sections_; }
  const std::vector<Symbol>& symbols() const noexcept { return symbols_; }

  const Section& section(uint32_t index, const char* what) const {
    if (index >= sections_.size()) {
      throw Malformed(std::string(what) + ": no section " + std::to_string(index));
    }
    return sections_[index];
  }

  const Symbol& symbol(uint32_t index) const {
    if (index >= symbols_.size()) throw Malformed("no symbol " + std::to_string(index));
    return symbols_[index];
  }

  std::string name_of(const Symbol& symbol) const { return text(names_, symbol.name); }
  std::string name_of(const Section& section) const { return text(section_names_, section.name); }

  const uint8_t* contents(const Section& section) const {
    return reader_.range(section.offset, section.size, "section");
  }

  std::vector<Relocation> relocations(const Section& section) const {
    if (section.link != symbol_table_) throw Malformed("relocations name an unknown symbol table");
    return reader_.table<Relocation>(section.offset, section.size, "relocations");
  }

 private:
  FileHeader read_header(uint16_t machine) const {
    FileHeader header;
    std::memcpy(&header, reader_.range(0, sizeof header, "header"), sizeof header);
    static const uint8_t expected[7] = {0x7f, 'E', 'L', 'F', 2, 1, 1};  // 64 bits, little endian
    if (std::memcmp(header.ident, expected, sizeof expected) != 0) throw Malformed("not ELF64");
    if (header.type != kRelocatable) throw Malformed("not a relocatable file");
    if (header.machine != machine) {
      throw Malformed("made for machine " + std::to_string(header.machine) + ", this is " +
                      std::to_string(machine) + ": clear the kernel cache");
    }
    if (header.section_entry != sizeof(Section)) throw Malformed("unknown section record size");
    return header;
  }

  std::string text(const Section& table, uint32_t offset) const {
    if (table.type != kStringTable) throw Malformed("names are not in a string table");
    const char* first = reinterpret_cast<const char*>(contents(table));
    if (offset >= table.size) throw Malformed("name beyond its string table");
    const size_t most = size_t(table.size - offset);
    const void* end = std::memchr(first + offset, 0, most);
    if (!end) throw Malformed("name without an end");
    return std::string(first + offset, static_cast<const char*>(end));
  }

  Reader reader_;
  std::vector<Section> sections_;
  std::vector<Symbol> symbols_;
  Section names_{}, section_names_{};
  uint32_t symbol_table_ = 0;
};

}  // namespace elf
}  // namespace flambeau
