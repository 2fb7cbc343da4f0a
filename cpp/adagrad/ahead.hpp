// Asking for rows of a table before their turn.
#pragma once

#include <cstddef>
#include <cstdint>

#include "portability.hpp"
#include "types.hpp"

namespace adagrad {
namespace {

inline std::size_t id_at(EveryRow, std::size_t i) { return i; }

template <class Id>
inline std::size_t id_at(const Id* ids, std::size_t i) {
  return static_cast<std::size_t>(ids[i]);
}

// Rows are prefetched so early that this many cache lines are on their way. Fewer leave the memory
// idle (docs/benchmarks.md); these fill a quarter of a small L1.
constexpr std::size_t lines_ahead = 128;

inline std::size_t rows_ahead(std::size_t lines_of_row) {
  const std::size_t rows = lines_ahead / lines_of_row;
  return rows < 8 ? 8 : rows;
}

// A run of bytes at the same place of every row. Its first 16 cache lines are prefetched; the
// hardware follows from there.
struct RowBytes {
  std::size_t reach;  // the bytes to ask for; 0 for none
  std::size_t lines;  // that they take, where the run begins with one
  bool straddles;     // some rows take a line more

  RowBytes(const void* first, std::size_t stride, std::size_t bytes)
      : reach(bytes < 1024 ? bytes : 1024), lines((reach + 63) / 64) {
    const std::uintptr_t start = reinterpret_cast<std::uintptr_t>(first);
    const bool on_lines = stride % 64 == 0 || 64 % stride == 0;
    straddles = !on_lines || start % (stride % 64 == 0 ? 64 : stride) != 0 ||
                start % 64 + reach > 64 * lines;
  }

  // A macro would do too, but not a plain function: see ADAGRAD_INLINE.
  ADAGRAD_INLINE void ask(const void* at) const {
    const char* const run = static_cast<const char*>(at);
    ADAGRAD_PREFETCH(run);
    for (std::size_t k = 1; k < lines; ++k) ADAGRAD_PREFETCH(run + 64 * k);
    if (straddles) ADAGRAD_PREFETCH(run + reach - 1);
  }
};

// Params and accumulators of a row, which are one run if they are interleaved.
template <class T>
struct Ahead {
  const T *w, *s;
  std::size_t w_stride, s_stride;
  bool interleaved;
  RowBytes first, second;
  std::size_t ahead;  // how many rows before its turn a row is asked for

  explicit Ahead(const Target<T>& t)
      : w(t.w), s(t.s), w_stride(t.w_stride), s_stride(t.s_stride), interleaved(t.s == t.w + t.dim),
        first(t.w, t.w_stride * sizeof(T),
              (t.dim + (interleaved ? (t.row_state ? 1 : t.dim) : 0)) * sizeof(T)),
        second(t.s, t.s_stride * sizeof(T), (t.row_state ? 1 : t.dim) * sizeof(T)),
        ahead(rows_ahead(first.lines + (interleaved ? 0 : second.lines))) {}

  ADAGRAD_INLINE void ask(std::size_t id) const {
    first.ask(w + id * w_stride);
    if (!interleaved) second.ask(s + id * s_stride);
  }
};

}  // namespace
}  // namespace adagrad
