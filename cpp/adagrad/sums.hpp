// Sums of rows of gradients that are named by position, as those of a repeated id are. Rows are
// added in order, and need no alignment beyond that of T.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "portability.hpp"
#include "vectors.hpp"

namespace adagrad {
namespace {

// The widest vector that sums are made in.
#if defined(__GNUC__) && defined(__AVX512F__)
constexpr std::size_t sum_bytes = 64;
#else
constexpr std::size_t sum_bytes = vector_bytes;
#endif

#if defined(__GNUC__)
// Sums `vectors` vectors of columns from the j-th on, in registers: the first row is copied, the
// others are added in order. n is at least 1.
template <std::size_t bytes, std::size_t vectors, class T, class Position>
inline void sum_columns(const T* g, const Position* at, std::size_t n, std::size_t dim,
                        std::size_t j, T* to) {
  using V = typename Lanes<T, bytes>::type;
  constexpr std::size_t lanes = bytes / sizeof(T);
  V sum[vectors];
  for (std::size_t k = 0; k < vectors; ++k) {
    sum[k] = load<V>(g + std::size_t{at[0]} * dim + j + k * lanes);
  }
  for (std::size_t i = 1; i < n; ++i) {
    const T* const row = g + std::size_t{at[i]} * dim + j;
    for (std::size_t k = 0; k < vectors; ++k) sum[k] += load<V>(row + k * lanes);
  }
  for (std::size_t k = 0; k < vectors; ++k) store(to + j + k * lanes, sum[k]);
}

// Sums the columns from the j-th on by vectors of the given size as long as they fill one; returns
// the first column that is left. The widest vectors leave less than one, so each narrower size is
// used at most once.
template <std::size_t bytes, class T, class Position>
inline std::size_t sum_by(const T* g, const Position* at, std::size_t n, std::size_t dim,
                          std::size_t j, T* to) {
  constexpr std::size_t lanes = bytes / sizeof(T);
  if constexpr (bytes == sum_bytes) {
    for (; j + 8 * lanes <= dim; j += 8 * lanes) sum_columns<bytes, 8>(g, at, n, dim, j, to);
    if (j + 4 * lanes <= dim) {
      sum_columns<bytes, 4>(g, at, n, dim, j, to);
      j += 4 * lanes;
    }
    if (j + 2 * lanes <= dim) {
      sum_columns<bytes, 2>(g, at, n, dim, j, to);
      j += 2 * lanes;
    }
  }
  if (j + lanes <= dim) {
    sum_columns<bytes, 1>(g, at, n, dim, j, to);
    j += lanes;
  }
  return j;
}
#endif

// to[0..dim) = the sum of n >= 1 rows of gradients, added in order: the i-th is g + at[i] * dim.
// `to` must not overlap them.
template <class T, class Position>
void sum_rows(const T* g, const Position* at, std::size_t n, std::size_t dim,
              T* ADAGRAD_RESTRICT to) {
  std::size_t j = 0;
#if defined(__GNUC__)
  if constexpr (sum_bytes >= 64) j = sum_by<64>(g, at, n, dim, j, to);
  if constexpr (sum_bytes >= 32) j = sum_by<32>(g, at, n, dim, j, to);
  if constexpr (sum_bytes >= 16) j = sum_by<16>(g, at, n, dim, j, to);
#endif
  if (j == dim) return;
  // The columns that fill no vector. Each column is summed in the order of the rows, as above.
  const T* const first = g + std::size_t{at[0]} * dim;
  for (std::size_t c = j; c < dim; ++c) to[c] = first[c];
  for (std::size_t i = 1; i < n; ++i) {
    const T* const row = g + std::size_t{at[i]} * dim;
    for (std::size_t c = j; c < dim; ++c) to[c] += row[c];
  }
}

// to[j...] = row[j...], or += if the row is added, by vectors of the given size; see sum_by().
template <std::size_t bytes, bool adds, class T>
inline std::size_t put_by(const T* row, std::size_t dim, std::size_t j, T* to) {
  using V = typename Lanes<T, bytes>::type;
  constexpr std::size_t lanes = bytes / sizeof(T);
  for (; j + lanes <= dim; j += lanes) {
    const V x = load<V>(row + j);
    store(to + j, adds ? load<V>(to + j) + x : x);
  }
  return j;
}

// Copies the row of gradients at each position to the sum of the number in slots, or adds it; the
// number of the i-th is i if slots are null. Numbers may repeat, so rows are added one by one.
template <bool adds, std::size_t known, class T, class Position>
inline void put_rows(const T* g, const Position* at, const std::uint32_t* slots, std::size_t n,
                     std::size_t length, T* ADAGRAD_RESTRICT sums) {
  constexpr std::size_t line = 64 / sizeof(T), ahead = 24;
  const std::size_t dim = known != 0 ? known : length;
  for (std::size_t i = 0; i < n; ++i) {
    if (i + ahead < n) {
      const T* const next = g + std::size_t{at[i + ahead]} * dim;
      for (std::size_t j = 0; j < dim; j += line) ADAGRAD_PREFETCH(next + j);
    }
    const T* const row = g + std::size_t{at[i]} * dim;
    T* const to = sums + (adds ? std::size_t{slots[i]} : i) * dim;
    std::size_t j = 0;
#if defined(__GNUC__)
    if constexpr (sum_bytes >= 64) j = put_by<64, adds>(row, dim, j, to);
    if constexpr (sum_bytes >= 32) j = put_by<32, adds>(row, dim, j, to);
    if constexpr (sum_bytes >= 16) j = put_by<16, adds>(row, dim, j, to);
#endif
    for (; j < dim; ++j) to[j] = adds ? to[j] + row[j] : row[j];
  }
}

// The sums of `count` rows that are numbered: sums + k * dim is that of number k, whose first row
// of gradients is g + first[k] * dim. The row g + at[r] * dim belongs to the number of[r], for r
// below `repeats`. Rows are added in order. `sums` must not overlap `g`.
template <class T, class Position>
void add_rows(const T* g, const Position* first, std::size_t count, const Position* at,
              const std::uint32_t* of, std::size_t repeats, std::size_t dim, T* sums) {
  const auto add = [=](auto known) {
    put_rows<false, known()>(g, first, nullptr, count, dim, sums);
    put_rows<true, known()>(g, at, of, repeats, dim, sums);
  };
  switch (dim) {
    case 4: return add(std::integral_constant<std::size_t, 4>());
    case 8: return add(std::integral_constant<std::size_t, 8>());
    case 16: return add(std::integral_constant<std::size_t, 16>());
    default: return add(std::integral_constant<std::size_t, 0>());
  }
}

}  // namespace
}  // namespace adagrad
