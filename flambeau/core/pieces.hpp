// Copies made of pieces, slice by slice.
#pragma once
#include <cstdint>
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

}  // namespace flambeau
