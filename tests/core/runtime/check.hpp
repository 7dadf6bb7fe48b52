// What the runtime's test drivers share: a check that cannot be compiled out, and a table of named
// tests.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>

#define CHECK(condition)                                                           \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
      std::_Exit(1);                                                               \
    }                                                                              \
  } while (false)

struct Test {
  const char* name;
  void (*run)();
};

// Runs the test named by the first argument; 2 when there is none of that name.
template <int count>
int run_named(const Test (&tests)[count], int argc, char** argv) {
  for (const Test& test : tests) {
    if (argc > 1 && std::strcmp(argv[1], test.name) == 0) {
      test.run();
      std::printf("ok %s\n", test.name);
      return 0;
    }
  }
  return 2;
}
