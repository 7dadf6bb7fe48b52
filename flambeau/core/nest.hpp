// Loop nests: broadcasting, dimension order, coalescing, and running a kernel over the outer dimensions.
#pragma once
#include <cstdint>

#include "pool.hpp"

namespace flambeau {

constexpr int kMaxDims = 64;
constexpr int kMaxOperands = 12;

// The iteration space of one op call. Dimension 0 is the outermost until `order` sorts them innermost first.
struct Nest {
  int operands = 0;
  int dims = 0;
  int64_t shape[kMaxDims];
  int64_t strides[kMaxOperands][kMaxDims];  // bytes
  int perm[kMaxDims];                       // sorted position -> original dimension
};

// Sorts the dimensions innermost first by the operands' strides; ambiguous pairs keep their order.
// `first` is the first operand that has strides (outputs still to be allocated come before it).
inline void nest_order(Nest& n, int first) noexcept {
  int d = n.dims;
  for (int i = 0; i < d; ++i) n.perm[i] = d - 1 - i;
  auto compare = [&](int a, int b) {
    for (int k = first; k < n.operands; ++k) {
      int64_t sa = n.strides[k][a], sb = n.strides[k][b];
      if (sa == 0 || sb == 0) continue;
      if (sa < 0) sa = -sa;
      if (sb < 0) sb = -sb;
      if (sa != sb) return sa < sb ? -1 : 1;
      if (n.shape[a] > n.shape[b]) return 1;
    }
    return 0;
  };
  for (int i = 1; i < d; ++i) {
    int moving = i;
    for (int j = i - 1; j >= 0; --j) {
      int c = compare(n.perm[j], n.perm[moving]);
      if (c > 0) {
        int t = n.perm[j];
        n.perm[j] = n.perm[moving];
        n.perm[moving] = t;
        moving = j;
      } else if (c < 0) {
        break;
      }
    }
  }
}

// Applies perm: afterwards dimension 0 is the innermost.
inline void nest_permute(Nest& n) noexcept {
  int64_t old[kMaxDims];
  for (int i = 0; i < n.dims; ++i) old[i] = n.shape[i];
  for (int i = 0; i < n.dims; ++i) n.shape[i] = old[n.perm[i]];
  for (int k = 0; k < n.operands; ++k) {
    for (int i = 0; i < n.dims; ++i) old[i] = n.strides[k][i];
    for (int i = 0; i < n.dims; ++i) n.strides[k][i] = old[n.perm[i]];
  }
}

// Merges dimensions [begin, end) (innermost first) that every operand walks as one; the new end.
inline int nest_coalesce(Nest& n, int begin, int end) noexcept {
  int last = begin;
  for (int i = begin; i < end; ++i) {
    if (n.shape[i] == 1) continue;
    if (last > begin) {
      int p = last - 1;
      bool merge = true;
      for (int k = 0; k < n.operands && merge; ++k)
        merge = n.strides[k][i] == n.strides[k][p] * n.shape[p];
      if (merge) {
        n.shape[p] *= n.shape[i];
        continue;
      }
    }
    if (last != i) {
      n.shape[last] = n.shape[i];
      for (int k = 0; k < n.operands; ++k) n.strides[k][last] = n.strides[k][i];
    }
    ++last;
  }
  return last;
}

// A kernel over rows, repeated over outer dimensions.
struct NestRun {
  kernel_fn kernel;
  const int64_t* desc;
  int operands;
  void* pointers[kMaxOperands];
  int64_t rows;
  int64_t span;   // elements of a row in one piece: rows that are long and few are cut
  int64_t pieces;  // of a row
  int outer;  // number of outer dimensions, innermost first
  int64_t shape[kMaxDims];
  int64_t strides[kMaxOperands][kMaxDims];
};

inline void nest_run_rows(void** args, const int64_t*, int64_t begin, int64_t end, int64_t thread) {
  auto* run = static_cast<NestRun*>(args[0]);
  void* at[kMaxOperands];
  while (begin < end) {
    int64_t index = begin / run->rows, row = begin % run->rows;
    int64_t stop = row + (end - begin) < run->rows ? row + (end - begin) : run->rows;
    for (int k = 0; k < run->operands; ++k) at[k] = run->pointers[k];
    for (int d = 0; d < run->outer; ++d) {
      int64_t i = index % run->shape[d];
      index /= run->shape[d];
      for (int k = 0; k < run->operands; ++k)
        at[k] = static_cast<char*>(at[k]) + i * run->strides[k][d];
    }
    run->kernel(at, run->desc, row, stop, thread);
    begin += stop - row;
  }
}

// The same for pieces [begin, end) of cut rows.
inline void nest_run_pieces(void** args, const int64_t*, int64_t begin, int64_t end,
                            int64_t thread) {
  const NestRun& run = *static_cast<NestRun*>(args[0]);
  NestRun piece = run;
  int64_t desc[1 + 2 * kMaxOperands];
  void* piece_args[1] = {&piece};
  piece.desc = desc;
  for (int k = 0; k < 2 * run.operands; ++k) desc[1 + k] = run.desc[1 + k];
  for (; begin < end; ++begin) {
    const int64_t row = begin / run.pieces, first = begin % run.pieces * run.span;
    desc[0] = first + run.span < run.desc[0] ? run.span : run.desc[0] - first;
    for (int k = 0; k < run.operands; ++k)
      piece.pointers[k] = static_cast<char*>(run.pointers[k]) + first * run.desc[2 + 2 * k];
    nest_run_rows(piece_args, nullptr, row, row + 1, thread);
  }
}

// Runs all rows, in parallel when there is enough work; grain counts rows.
inline void nest_run(NestRun& run, int64_t grain) {
  int64_t total = run.rows;
  for (int d = 0; d < run.outer; ++d) total *= run.shape[d];
  void* args[1] = {&run};
  if (run.outer == 0) {
    if (total <= grain)
      run.kernel(run.pointers, run.desc, 0, total, 0);
    else
      parallel_for(run.kernel, run.pointers, run.desc, total, grain);
    return;
  }
  if (total <= grain)
    nest_run_rows(args, nullptr, 0, total, 0);
  else
    parallel_for(nest_run_rows, args, nullptr, total, grain);
}

// The same for a `nest` kernel, whose rows may also be cut; grain counts elements.
inline void nest_run_elements(NestRun& run, int64_t grain) {
  const int64_t inner = run.desc[0] > 0 ? run.desc[0] : 1;
  int64_t total = run.rows;
  for (int d = 0; d < run.outer; ++d) total *= run.shape[d];
  if (inner <= grain || total >= 4 * get_num_threads()) {
    const int64_t rows = grain / inner;
    nest_run(run, rows > 0 ? rows : 1);
    return;
  }
  run.span = (grain / 2 + 1023) / 1024 * 1024;
  run.pieces = (inner - 1) / run.span + 1;
  void* args[1] = {&run};
  parallel_for(nest_run_pieces, args, nullptr, total * run.pieces, 1);
}

}  // namespace flambeau
