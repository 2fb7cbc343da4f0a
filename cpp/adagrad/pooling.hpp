// Reading rows of a table: gathering them, and summing them by bags (what deep learning calls an
// embedding bag). No row is copied on the way to its sum.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rows.hpp"

namespace adagrad {

// Bags of rows: bag b is ids[offsets[b] ... offsets[b + 1]), and its sum or mean goes to
// out + b * dim.
template <class T, class Id>
struct Bags {
  const Id* ids;
  const std::size_t* offsets;
  const T* weights;  // a factor for each id, or null
  T* out;
  bool mean;
};

namespace {

// Elements j to j + lanes * vectors of a bag's sum, which stay in registers: the first row is taken
// as it is, the others are added in order.
template <class V, std::size_t vectors, class T, class Id>
inline void sum_columns(const Target<T>& table, const Id* ids, const T* weights, std::size_t n,
                        T count, std::size_t j, T* out) {
  constexpr std::size_t lanes = sizeof(V) / sizeof(T);
  V sum[vectors];
  for (std::size_t i = 0; i < n; ++i) {
    const T* const row = table.w + id_at(ids, i) * table.w_stride + j;
    for (std::size_t k = 0; k < vectors; ++k) {
      V x = load<V>(row + k * lanes);
      if (weights != nullptr) x = weights[i] * x;
      sum[k] = i == 0 ? x : sum[k] + x;
    }
  }
  for (std::size_t k = 0; k < vectors; ++k) {
    if (count != T(0)) sum[k] = sum[k] / count;
    store(out + j + k * lanes, sum[k]);
  }
}

template <class V, std::size_t vectors, class T, class Id>
inline std::size_t sum_columns_while(const Target<T>& table, const Id* ids, const T* weights,
                                     std::size_t n, T count, std::size_t j, T* out) {
  constexpr std::size_t width = vectors * sizeof(V) / sizeof(T);
  for (; j + width <= table.dim; j += width) {
    sum_columns<V, vectors>(table, ids, weights, n, count, j, out);
  }
  return j;
}

// Bags [first, last) of `all` ids. Rows are asked for some bags ahead, as in wide_rows.
template <class T, class Id>
void pool_bags(const Target<T>& table, const Bags<T, Id>& bags, std::size_t all, std::size_t first,
               std::size_t last) {
  constexpr std::size_t line = 64 / sizeof(T), most = 8 * line;
  const std::size_t dim = table.dim, ahead = dim <= 16 ? 32 : 16;
  const std::size_t reach = dim < most ? dim : most;
  for (std::size_t b = first; b < last; ++b) {
    const std::size_t begin = bags.offsets[b], n = bags.offsets[b + 1] - begin;
    for (std::size_t i = begin + ahead; i < begin + n + ahead && i < all; ++i) {
      const T* const row = table.w + id_at(bags.ids, i) * table.w_stride;
      for (std::size_t j = 0; j < reach; j += line) ADAGRAD_PREFETCH(row + j);
      ADAGRAD_PREFETCH(row + reach - 1);
    }
    T* const out = bags.out + b * dim;
    const Id* const ids = bags.ids + begin;
    const T* const weights = bags.weights == nullptr ? nullptr : bags.weights + begin;
    const T count = bags.mean ? static_cast<T>(n) : T(0);
    std::size_t j = 0;
    if (n == 0) {
      for (; j < dim; ++j) out[j] = T(0);
      continue;
    }
#if defined(__GNUC__)
    if constexpr (vector_bytes >= 32) {
      using V = typename Lanes<T, 32>::type;
      j = sum_columns_while<V, 4>(table, ids, weights, n, count, j, out);
      j = sum_columns_while<V, 1>(table, ids, weights, n, count, j, out);
    }
    if constexpr (vector_bytes >= 16) {
      using V = typename Lanes<T, 16>::type;
      j = sum_columns_while<V, 1>(table, ids, weights, n, count, j, out);
    }
#endif
    sum_columns_while<T, 1>(table, ids, weights, n, count, j, out);
  }
}

// out + i * dim = row ids[i].
template <class T, class Id>
void gather_rows(const Target<T>& table, const Id* ids, std::size_t n, T* out) {
  constexpr std::size_t line = 64 / sizeof(T), most = 8 * line;
  const std::size_t dim = table.dim, stride = table.w_stride, ahead = dim <= 16 ? 32 : 16;
  const std::size_t reach = dim < most ? dim : most;
  for (std::size_t i = 0; i < n; ++i) {
    if (i + ahead < n) {
      const T* const row = table.w + id_at(ids, i + ahead) * stride;
      for (std::size_t j = 0; j < reach; j += line) ADAGRAD_PREFETCH(row + j);
    }
    const T* const row = table.w + id_at(ids, i) * stride;
    for (std::size_t j = 0; j < dim; ++j) out[i * dim + j] = row[j];
  }
}

}  // namespace
}  // namespace adagrad
