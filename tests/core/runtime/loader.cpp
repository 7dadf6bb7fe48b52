// Drives flambeau/core/loader.hpp; test_runtime_headers.py builds it and runs one command a
// process.
#include "loader.hpp"

#include <chrono>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"

using namespace flambeau;
typedef std::vector<uint8_t> Bytes;
typedef void (*Kernel)(void**, const int64_t*, int64_t, int64_t, int64_t);

static Bytes read_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

static uint16_t machine_of(const Bytes& bytes) {
  uint16_t machine;
  std::memcpy(&machine, &bytes[18], sizeof machine);
  return machine;
}

template <class Function>
static Function function(LoadedObject* object, const char* name) {
  void* found = find_symbol(object, name);
  CHECK(found);
  return reinterpret_cast<Function>(found);
}

extern "C" double triple_it(double x) { return 3 * x; }

static LoadedObject* load_or_die(const Bytes& bytes) {
  std::string error;
  LoadedObject* object = load_object(bytes.data(), bytes.size(), error);
  if (!object) std::fprintf(stderr, "%s\n", error.c_str());
  CHECK(object);
  return object;
}

// Prints what the functions of the test module return; the Python side knows what they should.
static void run(const Bytes& bytes) {
  register_symbol("triple_it", reinterpret_cast<void*>(&triple_it));
  LoadedObject* object = load_or_die(bytes);
  for (int64_t i = 0; i < 8; ++i) {
    double out = 0;
    void* args[] = {&out};
    function<Kernel>(object, "kernel")(args, nullptr, i, i + 1, 0);
    std::printf("kernel %lld %.17g\n", (long long)i, out);
  }
  for (int i = -1; i < 5; ++i) {
    std::printf("choose %d %d\n", i, function<int (*)(int)>(object, "choose")(i));
  }
  std::printf("address %.17g\n",
              function<double (*(*)())(double)>(object, "address_of_exp")()(1.0));
  std::printf("registered %.17g\n", function<double (*)(double)>(object, "call_registered")(2.5));
  std::printf("calls %lld\n", (long long)*function<int64_t*>(object, "calls"));
  std::printf("zeros %lld\n", (long long)function<int64_t*>(object, "zeros")[511]);
  const bool self = function<void**>(object, "table")[0] == find_symbol(object, "kernel");
  std::printf("table %d\n", int(self));
  CHECK(find_symbol(object, "absent") == nullptr && find_symbol(object, "helper") == nullptr);
  unload(object);
}

// Code pages must not be writable, variables not executable.
static void permissions(const Bytes& bytes) {
  register_symbol("triple_it", reinterpret_cast<void*>(&triple_it));
  LoadedObject* object = load_or_die(bytes);
  std::printf("code %p\ndata %p\n", find_symbol(object, "kernel"), find_symbol(object, "calls"));
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) std::printf("%s\n", line.c_str());
  unload(object);
}

// Relocates (never runs) an object and prints its memory, for the Python side to decode.
static void dump(const Bytes& bytes) {
  register_symbol("triple_it", reinterpret_cast<void*>(&triple_it));
  std::string error;
  LoadedObject* object =
      loader_detail::load_for(machine_of(bytes), bytes.data(), bytes.size(), error);
  if (!object) std::fprintf(stderr, "%s\n", error.c_str());
  CHECK(object);
  std::printf("base %llu\n", (unsigned long long)reinterpret_cast<uintptr_t>(object->pages.base));
  for (const auto& symbol : object->symbols) {
    std::printf("symbol %s %llu\n", symbol.first.c_str(),
                (unsigned long long)reinterpret_cast<uintptr_t>(symbol.second));
  }
  for (const char* name : {"exp", "triple_it"}) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(find_external(name));
    std::printf("external %s %llu\n", name, (unsigned long long)address);
  }
  std::printf("memory ");
  for (size_t i = 0; i < object->pages.total; ++i) std::printf("%02x", object->pages.base[i]);
  std::printf("\n");
  unload(object);
}

// Loads what must be refused and prints the error.
static void refuse(const Bytes& bytes) {
  std::string error;
  LoadedObject* object = load_object(bytes.data(), bytes.size(), error);
  CHECK(object == nullptr && !error.empty());
  std::printf("%s\n", error.c_str());
}

static bool try_load(const Bytes& bytes) {
  // An exact-size heap copy, so that the sanitizer sees any read beyond the end.
  std::string error;
  const uint16_t machine = bytes.size() > 20 ? machine_of(bytes) : 0;
  LoadedObject* object = loader_detail::load_for(machine, bytes.data(), bytes.size(), error);
  CHECK((object == nullptr) == !error.empty());
  if (object) find_symbol(object, "kernel");
  unload(object);
  return object != nullptr;
}

// Overwrites a field of 1, 2, 4 or 8 bytes with a value that tends to hurt.
static void mutate(Bytes* bytes, std::mt19937_64* random) {
  const size_t width = size_t(1) << ((*random)() % 4);
  const uint64_t size = bytes->size();
  const uint64_t values[] = {
      0,         1,          size,   size - 1, size + 1,    ~uint64_t(0),      1u << 31,
      0xfffffff, 0x7fffffff, 0xfff1, 64,       (*random)(), uint64_t(1) << 63, (*random)() % size};
  const uint64_t value = values[(*random)() % (sizeof values / sizeof values[0])];
  // Half of the time in the header and the section table, where every field steers the loader.
  uint64_t table;
  std::memcpy(&table, &(*bytes)[40], sizeof table);
  uint64_t at = (*random)() % size;
  if ((*random)() % 2 && table < size) at = (*random)() % 3 ? table + at % (size - table) : at % 64;
  at &= ~uint64_t(width - 1);
  if (at + width <= size) std::memcpy(&(*bytes)[at], &value, width);
}

static void fuzz(const Bytes& original, int rounds) {
  register_symbol("triple_it", reinterpret_cast<void*>(&triple_it));
  std::mt19937_64 random(12345);
  int loaded = 0;
  for (int i = 0; i < rounds; ++i) {
    Bytes bytes = original;
    for (int k = 0, count = 1 + int(random() % 3); k < count; ++k) mutate(&bytes, &random);
    loaded += try_load(bytes);
  }
  for (size_t length = 0; length < original.size(); length += 1 + length / 100) {
    CHECK(!try_load(Bytes(original.begin(), original.begin() + long(length))));
  }
  std::printf("fuzzed %d, of which loaded %d\n", rounds, loaded);
}

// One AArch64 relocation: instruction before, S + A, P, and the instruction after (0: must be
// refused).
struct Encoding {
  uint32_t type, before;
  uint64_t target, place;
  uint32_t after;
};

static void aarch64_encodings() {
  using namespace elf::aarch64;
  const uint64_t at = 0x100000;
  const Encoding table[] = {
      {kCall26, 0x94000000, at + 4, at, 0x94000001},              // bl .+4
      {kJump26, 0x14000000, at - 4, at, 0x17ffffff},              // b .-4
      {kCall26, 0x94000000, at + (1 << 27) - 4, at, 0x95ffffff},  // furthest
      {kCall26, 0x94000000, at + (1 << 27), at, 0},
      {kCall26, 0x94000000, at + 2, at, 0},
      {kAdrPage21, 0x90000000, at + 0x1abc, at + 0xffc, 0xb0000000},  // adrp x0, +1 page
      {kAdrPage21, 0x90000000, at - 1, at, 0xf0ffffe0},               // adrp x0, -1 page
      {kAdrPage21, 0x90000000, at + (uint64_t(1) << 32) - 1, at, 0xf07fffe0},
      {kAdrPage21, 0x90000000, at + (uint64_t(1) << 32), at, 0},
      {kAdrPrel21, 0x10000000, at + 5, at, 0x30000020},   // adr x0, .+5
      {kAddLo12, 0x91000000, 0x7123, at, 0x91048c00},     // add x0, x0, #0x123
      {kLoad8Lo12, 0x39400000, 0x7fff, at, 0x397ffc00},   // ldrb w0, [x0, #0xfff]
      {kLoad16Lo12, 0x79400000, 0x7002, at, 0x79400400},  // ldrh w0, [x0, #2]
      {kLoad16Lo12, 0x79400000, 0x7001, at, 0},
      {kLoad32Lo12, 0xb9400000, 0x7008, at, 0xb9400800},   // ldr w0, [x0, #8]
      {kLoad64Lo12, 0xf9400000, 0x7008, at, 0xf9400400},   // ldr x0, [x0, #8]
      {kLoad128Lo12, 0x3dc00000, 0x7010, at, 0x3dc00400},  // ldr q0, [x0, #16]
      {kLoad128Lo12, 0x3dc00000, 0x7008, at, 0},
      {kLoadPrel19, 0x58000000, at + 8, at, 0x58000040},    // ldr x0, .+8
      {kTestBranch14, 0x36000000, at + 4, at, 0x36000020},  // tbz w0, #0, .+4
      {kTestBranch14, 0x36000000, at + (1 << 15), at, 0},
      {kCondBranch19, 0xb4000000, at - 4, at, 0xb4ffffe0},  // cbz x0, .-4
      {kMovG0, 0xd2800000, 0x1234, at, 0xd2824680},         // movz x0, #0x1234
      {kMovG0, 0xd2800000, 0x11234, at, 0},
      {kMovG0Nc, 0xf2800000, 0x51234, at, 0xf2824680},  // movk x0, #0x1234
      {kMovG1Nc, 0xf2a00000, 0x512340000, at, 0xf2a24680},
      {kMovG3, 0xd2e00000, uint64_t(0x1234) << 48, at, 0xd2e24680},
      {kPrel32, 0xffffffff, at - 16, at, 0xfffffff0},
      {kAbs32, 0, 0x12345678, at, 0x12345678},
      {kAbs32, 0, uint64_t(1) << 32, at, 0},
      {999, 0, 0, at, 0},
  };
  for (const Encoding& e : table) {
    uint32_t word = e.before;
    uint8_t* memory = reinterpret_cast<uint8_t*>(&word);
    elf::Patch patch{e.type, memory, 4, e.place, e.target - 8, 8, 0, 0, false};
    bool refused = false;
    try {
      apply(patch);
    } catch (const elf::Malformed&) {
      refused = true;
    }
    if (refused != (e.after == 0) || (!refused && word != e.after)) {
      std::fprintf(stderr, "type %u gives %08x for %08x\n", e.type, word, e.after);
    }
    CHECK(refused == (e.after == 0) && (refused || word == e.after));
  }
  uint8_t small[3] = {};
  try {
    apply(elf::Patch{kCall26, small, 3, at, at, 0, 0, 0, false});
    CHECK(!"a relocation across the end of its section must be refused");
  } catch (const elf::Malformed&) {
  }
}

// Microseconds to load an object, find its kernel and unload it; the best of several runs.
static void speed(const Bytes& bytes) {
  register_symbol("triple_it", reinterpret_cast<void*>(&triple_it));
  double best = 1e9;
  for (int run = 0; run < 20; ++run) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 50; ++i) unload(load_or_die(bytes));
    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - start;
    if (time.count() / 50 < best) best = time.count() / 50;
  }
  std::printf("%.2f\n", best);
}

int main(int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "";
  if (command == "encodings") return aarch64_encodings(), 0;
  if (argc < 3) return 2;
  const Bytes bytes = read_file(argv[2]);
  if (command == "run") return run(bytes), 0;
  if (command == "permissions") return permissions(bytes), 0;
  if (command == "dump") return dump(bytes), 0;
  if (command == "refuse") return refuse(bytes), 0;
  if (command == "fuzz") return fuzz(bytes, std::atoi(argv[3])), 0;
  if (command == "speed") return speed(bytes), 0;
  return 2;
}
