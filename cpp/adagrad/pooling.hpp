// The loops that read rows of a table: gathering them, and summing them by bags (an embedding bag
// in the words of deep learning). No row is copied on the way to its sum. Ids may repeat; rows need
// no alignment beyond that of T.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rows.hpp"

namespace adagrad {
namespace {

constexpr std::size_t pooled_lines = 8;  // of a row that are prefetched; the hardware follows

// The sum of n rows of `vectors` vectors each, in registers: the first row is copied, the others
// are added in order. Rows are prefetched `ahead` of their turn, up to `left` ids from `ids` on.
template <class V, std::size_t vectors, class T, class Id>
inline void sum_bag(const Target<T>& table, const Id* ids, const T* weights, std::size_t n,
                    std::size_t left, T count, T* out) {
  constexpr std::size_t lanes = sizeof(V) / sizeof(T), dim = lanes * vectors;
  constexpr std::size_t line = 64 / sizeof(T);
  const std::size_t ahead = rows_ahead(dim / line + 1);
  V sum[vectors];
  for (std::size_t i = 0; i < n; ++i) {
    if (i + ahead < left) {
      const T* const next = table.w + id_at(ids, i + ahead) * table.w_stride;
      for (std::size_t j = 0; j < dim; j += line) ADAGRAD_PREFETCH(next + j);
      ADAGRAD_PREFETCH(next + dim - 1);  // a line more, unless rows start with one
    }
    const T* const row = table.w + id_at(ids, i) * table.w_stride;
    for (std::size_t k = 0; k < vectors; ++k) {
      V x = load<V>(row + k * lanes);
      if (weights != nullptr) x = weights[i] * x;
      sum[k] = i == 0 ? x : sum[k] + x;
    }
  }
  for (std::size_t k = 0; k < vectors; ++k) {
    if (count != T(0)) sum[k] = sum[k] / count;
    store(out + k * lanes, sum[k]);
  }
}

// The same for rows of any length, with the sum in `out`, which stays in L1.
template <class T, class Id>
inline void sum_long_bag(const Target<T>& table, const Id* ids, const T* weights, std::size_t n,
                         std::size_t left, T count, T* ADAGRAD_RESTRICT out) {
  constexpr std::size_t line = 64 / sizeof(T), most = pooled_lines * line;
  const std::size_t dim = table.dim, reach = dim < most ? dim : most;
  const std::size_t ahead = rows_ahead(reach / line + 1);
  for (std::size_t i = 0; i < n; ++i) {
    if (i + ahead < left) {
      const T* const next = table.w + id_at(ids, i + ahead) * table.w_stride;
      for (std::size_t j = 0; j < reach; j += line) ADAGRAD_PREFETCH(next + j);
      ADAGRAD_PREFETCH(next + reach - 1);
    }
    const T* const row = table.w + id_at(ids, i) * table.w_stride;
    const T weight = weights != nullptr ? weights[i] : T(1);
    if (i == 0) {
      for (std::size_t j = 0; j < dim; ++j) out[j] = weight * row[j];
    } else {
      for (std::size_t j = 0; j < dim; ++j) out[j] += weight * row[j];
    }
  }
  for (std::size_t j = 0; count != T(0) && j < dim; ++j) out[j] = out[j] / count;
}

// The sums or means of bags [first, last). There are `all` ids in all bags.
template <class T, class Id>
void pool_bags(const Target<T>& table, const Bags<T, Id>& bags, std::size_t all, std::size_t first,
               std::size_t last) {
  const std::size_t dim = table.dim;
  for (std::size_t b = first; b < last; ++b) {
    const std::size_t begin = bags.offsets[b], n = bags.offsets[b + 1] - begin, left = all - begin;
    T* const out = bags.out + b * dim;
    const Id* const ids = bags.ids + begin;
    const T* const weights = bags.weights == nullptr ? nullptr : bags.weights + begin;
    const T count = bags.mean ? static_cast<T>(n) : T(0);
    if (n == 0) {
      for (std::size_t j = 0; j < dim; ++j) out[j] = T(0);
      continue;
    }
#if defined(__GNUC__)
    if constexpr (vector_bytes >= 32) {
      using V = typename Lanes<T, 32>::type;
      using Half = typename Lanes<T, 16>::type;
      constexpr std::size_t lanes = 32 / sizeof(T);
      switch (dim) {
        case lanes / 2: sum_bag<Half, 1>(table, ids, weights, n, left, count, out); continue;
        case lanes: sum_bag<V, 1>(table, ids, weights, n, left, count, out); continue;
        case 2 * lanes: sum_bag<V, 2>(table, ids, weights, n, left, count, out); continue;
        case 4 * lanes: sum_bag<V, 4>(table, ids, weights, n, left, count, out); continue;
        case 8 * lanes: sum_bag<V, 8>(table, ids, weights, n, left, count, out); continue;
        default: break;
      }
    }
#endif
    sum_long_bag(table, ids, weights, n, left, count, out);
  }
}

// out + i * dim = row ids[i].
template <class T, class Id>
void gather_rows(const Target<T>& table, const Id* ids, std::size_t n, T* out) {
  constexpr std::size_t line = 64 / sizeof(T), most = pooled_lines * line;
  const std::size_t dim = table.dim, stride = table.w_stride, reach = dim < most ? dim : most;
  const std::size_t ahead = rows_ahead(reach / line + 1);
  for (std::size_t i = 0; i < n; ++i) {
    if (i + ahead < n) {
      const T* const row = table.w + id_at(ids, i + ahead) * stride;
      for (std::size_t j = 0; j < reach; j += line) ADAGRAD_PREFETCH(row + j);
      ADAGRAD_PREFETCH(row + reach - 1);
    }
    const T* const row = table.w + id_at(ids, i) * stride;
    for (std::size_t j = 0; j < dim; ++j) out[i * dim + j] = row[j];
  }
}

}  // namespace
}  // namespace adagrad
