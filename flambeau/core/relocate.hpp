// Patching one place in loaded code, for the relocation types that LLVM emits for x86-64 and
// AArch64 (System V ABI supplement, AMD64 1.0, table 4.9; ELF for the Arm 64-bit Architecture,
// section 5.7).
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "elf64.hpp"

namespace flambeau {
namespace elf {

// Every symbol that is external or reached through a global offset table owns one 16-byte slot in
// the code: a jump through an address, then that address. The slot itself is a stub that reaches
// any distance; its second half is the symbol's entry in the offset table.
constexpr uint64_t kSlotBytes = 16;
constexpr uint64_t kSlotAddress = 8;

// All addresses are as seen by the running code. Sums wrap (hostile addends) and are range-checked
// after.
struct Patch {
  uint32_t type;
  uint8_t* memory;  // where to write
  uint64_t room;    // bytes left in the section from there
  uint64_t place;   // P: the address of memory
  uint64_t symbol;  // S
  uint64_t addend;  // A
  uint64_t slot;    // address of the symbol's slot, 0 if it has none
  uint64_t slots;   // address of the first slot: what code calls the offset table
  bool external;
};

template <class T>
inline T peek(const Patch& p) {
  if (p.room < sizeof(T)) throw Malformed("relocation beyond the end of its section");
  T value;
  std::memcpy(&value, p.memory, sizeof value);
  return value;
}

template <class T>
inline void poke(const Patch& p, T value) {
  if (p.room < sizeof(T)) throw Malformed("relocation beyond the end of its section");
  std::memcpy(p.memory, &value, sizeof value);
}

inline bool fits_signed(uint64_t value, int bits) noexcept {
  const int64_t v = int64_t(value), half = int64_t(1) << (bits - 1);
  return v >= -half && v < half;
}

[[noreturn]] inline void fail(const Patch& p, const char* why) {
  throw Malformed("relocation type " + std::to_string(p.type) + ": " + why);
}

inline uint64_t slot_of(const Patch& p) {
  if (p.slot == 0) fail(p, "its symbol has no slot");
  return p.slot;
}

// Distance to the symbol; to its stub when it is external and out of reach.
inline uint64_t branch_distance(const Patch& p, int bits) {
  uint64_t distance = p.symbol + p.addend - p.place;
  if (p.external && !fits_signed(distance, bits)) distance = slot_of(p) + p.addend - p.place;
  if (!fits_signed(distance, bits)) fail(p, "target out of range");
  return distance;
}

namespace x86_64 {

enum Type : uint32_t {
  kNone = 0,
  k64 = 1,
  kPc32 = 2,
  kPlt32 = 4,
  kGotPcRel = 9,
  k32 = 10,
  k32S = 11,
  kPc64 = 24,
  kGotOff64 = 25,
  kGotPc32 = 26,
  kGot64 = 27,
  kGotPc64 = 29,
  kGotPcRelX = 41,
  kRexGotPcRelX = 42,
};

inline bool wants_slot(uint32_t type) noexcept {
  return type == kGotPcRel || type == kGotPcRelX || type == kRexGotPcRelX || type == kGot64;
}

inline void write_stub(uint8_t* slot) noexcept {
  static const uint8_t jump[kSlotAddress] = {0xff, 0x25, 2, 0, 0, 0, 0xcc, 0xcc};  // jmp *2(%rip)
  std::memcpy(slot, jump, sizeof jump);
}

inline void poke_signed32(const Patch& p, uint64_t value) {
  if (!fits_signed(value, 32))
    fail(p, "value needs more than 32 bits: emit position-independent code");
  poke<uint32_t>(p, uint32_t(value));
}

inline void apply(const Patch& p) {
  const uint64_t absolute = p.symbol + p.addend;
  switch (p.type) {
    case kNone:
      return;
    case k64:
      return poke<uint64_t>(p, absolute);
    case kPc64:
      return poke<uint64_t>(p, absolute - p.place);
    case kPc32:
    case kPlt32:
      return poke<uint32_t>(p, uint32_t(branch_distance(p, 32)));
    case k32:
      if (absolute >> 32) fail(p, "address above 4 GiB: emit position-independent code");
      return poke<uint32_t>(p, uint32_t(absolute));
    case k32S:
      return poke_signed32(p, absolute);
    case kGotPcRel:
    case kGotPcRelX:
    case kRexGotPcRelX:
      return poke_signed32(p, slot_of(p) + kSlotAddress + p.addend - p.place);
    case kGot64:
      return poke<uint64_t>(p, slot_of(p) + kSlotAddress - p.slots + p.addend);
    case kGotOff64:
      return poke<uint64_t>(p, absolute - p.slots);
    case kGotPc32:
      return poke_signed32(p, p.slots + p.addend - p.place);
    case kGotPc64:
      return poke<uint64_t>(p, p.slots + p.addend - p.place);
    default:
      fail(p, "not supported on x86-64");
  }
}

}  // namespace x86_64

namespace aarch64 {

enum Type : uint32_t {
  kNone = 0,
  kNone256 = 256,
  kAbs64 = 257,
  kAbs32 = 258,
  kPrel64 = 260,
  kPrel32 = 261,
  kMovG0 = 263,
  kMovG0Nc = 264,
  kMovG1 = 265,
  kMovG1Nc = 266,
  kMovG2 = 267,
  kMovG2Nc = 268,
  kMovG3 = 269,
  kLoadPrel19 = 273,
  kAdrPrel21 = 274,
  kAdrPage21 = 275,
  kAdrPage21Nc = 276,
  kAddLo12 = 277,
  kLoad8Lo12 = 278,
  kTestBranch14 = 279,
  kCondBranch19 = 280,
  kJump26 = 282,
  kCall26 = 283,
  kLoad16Lo12 = 284,
  kLoad32Lo12 = 285,
  kLoad64Lo12 = 286,
  kLoad128Lo12 = 299,
  kGotPage21 = 311,
  kGotLoad64Lo12 = 312,
  kPlt32 = 314,
};

inline bool wants_slot(uint32_t type) noexcept {
  return type == kGotPage21 || type == kGotLoad64Lo12;
}

inline void write_stub(uint8_t* slot) noexcept {
  static const uint32_t jump[2] = {0x58000050, 0xd61f0200};  // ldr x16, .+8; br x16
  std::memcpy(slot, jump, sizeof jump);
}

// Puts the low bits of value into the instruction, from bit shift on.
inline void insert(const Patch& p, uint64_t value, int bits, int shift) {
  const uint32_t mask = ((uint32_t(1) << bits) - 1) << shift;
  poke<uint32_t>(p, (peek<uint32_t>(p) & ~mask) | (uint32_t(value << shift) & mask));
}

// A branch or literal load: distance in words.
inline void insert_words(const Patch& p, uint64_t distance, int bits, int shift) {
  if (distance & 3) fail(p, "target is not a multiple of 4 away");
  insert(p, distance >> 2, bits, shift);
}

// ADR and ADRP keep the low two bits of their immediate apart.
inline void insert_adr(const Patch& p, uint64_t value) {
  if (!fits_signed(value, 21)) fail(p, "target out of range");
  insert(p, value & 3, 2, 29);
  insert(p, value >> 2, 19, 5);
}

inline uint64_t page(uint64_t address) noexcept { return address & ~uint64_t(4095); }
inline uint64_t page_distance(uint64_t target, uint64_t place) noexcept {
  return uint64_t(int64_t(page(target) - page(place)) >> 12);
}

// The offset of a load or store within its page, in units of 1 << log2_size.
inline void insert_offset(const Patch& p, uint64_t target, int log2_size) {
  const uint64_t offset = target & 4095;
  if (offset & ((uint64_t(1) << log2_size) - 1)) fail(p, "target is not aligned to the access");
  insert(p, offset >> log2_size, 12, 10);
}

inline void apply_load(const Patch& p, uint64_t target, int log2_size) {
  if (p.external) fail(p, "external variables are reached through the offset table only");
  insert_offset(p, target, log2_size);
}

inline void apply_mov(const Patch& p, uint64_t value, int group, bool checked) {
  if (checked && group < 3 && value >> (16 * (group + 1))) fail(p, "value out of range");
  insert(p, value >> (16 * group) & 0xffff, 16, 5);
}

inline void apply(const Patch& p) {
  const uint64_t absolute = p.symbol + p.addend;
  // An address taken in two halves must be the stub's in both, or the symbol's in both.
  const uint64_t paged = p.external ? p.slot + p.addend : absolute;
  switch (p.type) {
    case kNone:
    case kNone256:
      return;
    case kAbs64:
      return poke<uint64_t>(p, absolute);
    case kAbs32:
      if (absolute >> 32) fail(p, "address above 4 GiB");
      return poke<uint32_t>(p, uint32_t(absolute));
    case kPrel64:
      return poke<uint64_t>(p, absolute - p.place);
    case kPrel32:
    case kPlt32:
      return poke<uint32_t>(p, uint32_t(branch_distance(p, 32)));
    case kMovG0:
    case kMovG1:
    case kMovG2:
    case kMovG3:
      return apply_mov(p, absolute, int(p.type - kMovG0) / 2, true);
    case kMovG0Nc:
    case kMovG1Nc:
    case kMovG2Nc:
      return apply_mov(p, absolute, int(p.type - kMovG0Nc) / 2, false);
    case kLoadPrel19:
      return insert_words(p, branch_distance(p, 21), 19, 5);
    case kAdrPrel21:
      return insert_adr(p, branch_distance(p, 21));
    case kAdrPage21:
    case kAdrPage21Nc:
      return insert_adr(p, page_distance(paged, p.place));
    case kAddLo12:
      return insert(p, paged & 4095, 12, 10);
    case kLoad8Lo12:
      return apply_load(p, paged, 0);
    case kLoad16Lo12:
      return apply_load(p, paged, 1);
    case kLoad32Lo12:
      return apply_load(p, paged, 2);
    case kLoad64Lo12:
      return apply_load(p, paged, 3);
    case kLoad128Lo12:
      return apply_load(p, paged, 4);
    case kTestBranch14:
      return insert_words(p, branch_distance(p, 16), 14, 5);
    case kCondBranch19:
      return insert_words(p, branch_distance(p, 21), 19, 5);
    case kJump26:
    case kCall26:
      return insert_words(p, branch_distance(p, 28), 26, 0);
    case kGotPage21:
      return insert_adr(p, page_distance(slot_of(p) + kSlotAddress + p.addend, p.place));
    case kGotLoad64Lo12:
      return insert_offset(p, slot_of(p) + kSlotAddress + p.addend, 3);
    default:
      fail(p, "not supported on AArch64");
  }
}

}  // namespace aarch64
}  // namespace elf
}  // namespace flambeau
