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

// Rows made of a row of each of several arrays, one after the other.
struct JoinedRows {
  char* to;
  int64_t row_bytes = 0, width = 0;  // width: the bytes of every part's rows, or -1
  std::vector<std::pair<const char*, int64_t>> parts;  // where its rows are, and their bytes

  void add(const char* rows, int64_t bytes) {
    if (bytes == 0) return;
    width = parts.empty() || width == bytes ? bytes : -1;
    parts.emplace_back(rows, bytes);
    row_bytes += bytes;
  }
};

// Every part's rows are one T.
template <typename T>
void interleave(const JoinedRows& all, int64_t begin, int64_t end) {
  const int64_t count = static_cast<int64_t>(all.parts.size());
  for (; begin < end; begin += 512) {  // of the result stay in the nearest cache
    const int64_t stop = begin + 512 < end ? begin + 512 : end;
    for (int64_t k = 0; k < count; ++k) {
      const T* from = reinterpret_cast<const T*>(all.parts[k].first);
      T* to = reinterpret_cast<T*>(all.to) + k;
      for (int64_t i = begin; i < stop; ++i) to[i * count] = from[i];
    }
  }
}

inline void copy_16(char* to, const char* from) {
  int64_t words[2];
  std::memcpy(words, from, 16);
  std::memcpy(to, words, 16);
}

// Copies of 16 bytes or less write 16 where `loose`, for the next to mend; calls of memcpy take longer.
template <bool loose>
char* join_row(const JoinedRows& all, int64_t row, char* to) {
  for (const auto& [rows, bytes] : all.parts) {
    const char* from = rows + row * bytes;
    if (loose && bytes <= 16) {
      copy_16(to, from);
    } else if (bytes < 16 || bytes > 256) {
      std::memcpy(to, from, bytes);
    } else {
      for (int64_t i = 0; i < bytes - 16; i += 16) copy_16(to + i, from + i);
      copy_16(to + bytes - 16, from + bytes - 16);
    }
    to += bytes;
  }
  return to;
}

inline void join_rows(void** args, const int64_t*, int64_t begin, int64_t end, int64_t) {
  const JoinedRows& all = *static_cast<JoinedRows*>(args[0]);
  if (all.width == 1) return interleave<int8_t>(all, begin, end);
  if (all.width == 2) return interleave<int16_t>(all, begin, end);
  if (all.width == 4) return interleave<int32_t>(all, begin, end);
  if (all.width == 8) return interleave<int64_t>(all, begin, end);
  char* to = all.to + begin * all.row_bytes;
  // The last 16 rows of every part and of the result have 16 bytes or more.
  for (; begin < end - 16; ++begin) to = join_row<true>(all, begin, to);
  for (; begin < end; ++begin) to = join_row<false>(all, begin, to);
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
