// Copies made of pieces, slice by slice.
#pragma once
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "nest.hpp"

namespace flambeau {

// The copy of one piece; the dimension that is sliced is the outermost of its run.
struct PieceRun {
  NestRun run;
  int64_t desc[5];
  int64_t rows;  // of one position of the sliced dimension; 0: a position is an element of one row
};

using PieceRuns = std::vector<PieceRun>;

inline void copy_slice(PieceRun& piece, int64_t begin, int64_t end, int64_t thread) {
  void* args[1] = {&piece.run};
  if (piece.rows > 0) {
    nest_run_rows(args, nullptr, begin * piece.rows, end * piece.rows, thread);
    return;
  }
  const int64_t desc[5] = {end - begin, 0, 0, piece.desc[3], piece.desc[4]};
  void* at[2];
  for (int k = 0; k < 2; ++k)
    at[k] = static_cast<char*>(piece.run.pointers[k]) + begin * desc[3 + k];
  piece.run.kernel(at, desc, 0, 1, thread);
}

// Positions [begin, end) of every piece; desc: positions of a slice. The pieces of a slice are copied
// one after the other, so that the cache lines that they share are still at hand.
inline void copy_slices(void** args, const int64_t* desc, int64_t begin, int64_t end,
                        int64_t thread) {
  for (; begin < end; begin += desc[0]) {
    const int64_t stop = begin + desc[0] < end ? begin + desc[0] : end;
    for (PieceRun& piece : *static_cast<PieceRuns*>(args[0]))
      copy_slice(piece, begin, stop, thread);
  }
}

// Where the transpose of a copy puts one combination of pieces of a plane; strides in elements.
struct PlaneRun {
  int64_t to, from;
  int dims;
  bool first;  // nothing was written there before
  int64_t shape[6], to_strides[6], from_strides[6];
};

struct PlaneRuns {
  std::vector<PlaneRun> runs;
  bool covered = false;  // the first run writes the whole plane
  int64_t to_size, from_step;  // elements from plane to plane

  void note(const PlaneRun& run) {
    runs.push_back(run);
    if (run.first) std::swap(runs.front(), runs.back());
    covered |= run.first;
  }
};

template <typename T>
void add_run(const PlaneRun& run, int d, T* to, const T* from) {
  const int64_t count = run.shape[d], a = run.to_strides[d], b = run.from_strides[d];
  if (d + 1 < run.dims) {
    for (int64_t i = 0; i < count; ++i) add_run(run, d + 1, to + i * a, from + i * b);
  } else if (run.first && a == 1 && b == 1) {
    std::memcpy(to, from, count * sizeof(T));
  } else if (run.first) {
    for (int64_t i = 0; i < count; ++i) to[i * a] = from[i * b];
  } else {
    for (int64_t i = 0; i < count; ++i) to[i * a] += from[i * b];
  }
}

// Planes [begin, end) of args (runs, result, source): every run added, in order.
template <typename T>
void add_planes(void** args, const int64_t*, int64_t begin, int64_t end, int64_t) {
  const PlaneRuns& all = *static_cast<PlaneRuns*>(args[0]);
  for (; begin < end; ++begin) {
    T* to = static_cast<T*>(args[1]) + begin * all.to_size;
    const T* from = static_cast<const T*>(args[2]) + begin * all.from_step;
    if (!all.covered) std::memset(to, 0, all.to_size * sizeof(T));
    for (const PlaneRun& run : all.runs) add_run(run, 0, to + run.to, from + run.from);
  }
}

}  // namespace flambeau
