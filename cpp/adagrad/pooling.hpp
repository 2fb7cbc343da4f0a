// The loops that read rows of a table: gathering them, and summing them by bags (an embedding bag
// in the words of deep learning). No row is copied on the way to its sum. Ids may repeat; rows need
// no alignment beyond that of T.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "rows.hpp"

namespace adagrad {
namespace {

#if defined(__GNUC__)
// Calls f(V()) with the widest vector that a row of `dim` elements fills.
template <class T, class F>
inline auto with_vector(std::size_t dim, F f) {
  constexpr std::size_t lanes = widest_bytes / sizeof(T);
  if (dim == 1) return f(T());
  if (dim >= lanes) return f(typename Lanes<T, widest_bytes>::type());
  if constexpr (widest_bytes >= 64) {
    if (dim >= lanes / 2) return f(typename Lanes<T, widest_bytes / 2>::type());
  }
  if constexpr (widest_bytes >= 32 && sizeof(T) == sizeof(float)) {
    if (dim * sizeof(T) >= 16) return f(typename Lanes<T, 16>::type());
  }
  return f(typename Lanes<T, 2 * sizeof(T)>::type());
}

// The sums or means of bags [first, last), each in as many registers as a row takes. The last
// vector of a row may overlap the one before it. The first row of a bag is copied, the others are
// added in order.
template <class V, std::size_t vectors, bool plain, class T, class Id>
void sum_bags(const Target<T>& table, const Bags<T, Id>& bags, std::size_t all, std::size_t first,
              std::size_t last) {
  constexpr std::size_t lanes = sizeof(V) / sizeof(T);
  const T* const w = table.w;
  const std::size_t stride = table.w_stride, dim = table.dim, rest = dim - lanes;
  const RowBytes run(w, stride * sizeof(T), dim * sizeof(T));
  const std::size_t ahead = rows_ahead(run.lines), asked = all < ahead ? 0 : all - ahead;
  const Id* const ids = bags.ids;
  const T* const weights = bags.weights;
  const std::size_t* const offsets = bags.offsets;
  const bool mean = bags.mean;
  std::size_t i = offsets[first];
  for (std::size_t k = i; k < all && k < i + ahead; ++k) run.ask(w + id_at(ids, k) * stride);
  const auto take = [=](V* row, std::size_t at) {
    if (at < asked) run.ask(w + id_at(ids, at + ahead) * stride);
    const T* const from = w + id_at(ids, at) * stride;
    for (std::size_t k = 0; k < vectors; ++k) {
      row[k] = load<V>(from + (k + 1 == vectors ? rest : k * lanes));
      if (!plain && weights != nullptr) row[k] = weights[at] * row[k];
    }
  };
  T* out = bags.out + first * dim;
  for (std::size_t b = first; b < last; ++b, out += dim) {
    const std::size_t begin = i, end = offsets[b + 1];
    V sum[vectors] = {}, row[vectors];
    if (begin != end) take(sum, i++);
    for (; i < end; ++i) {
      take(row, i);
      for (std::size_t k = 0; k < vectors; ++k) sum[k] = sum[k] + row[k];
    }
    if (!plain && mean && begin != end) {
      for (std::size_t k = 0; k < vectors; ++k) sum[k] = sum[k] / static_cast<T>(end - begin);
    }
    for (std::size_t k = 0; k < vectors; ++k) {
      store(out + (k + 1 == vectors ? rest : k * lanes), sum[k]);
    }
  }
}
#endif

// The same for rows of any length, with the sum in `out`, which stays in L1.
template <class T, class Id>
void sum_long_bags(const Target<T>& table, const Bags<T, Id>& bags, std::size_t all,
                   std::size_t first, std::size_t last) {
  const std::size_t dim = table.dim, stride = table.w_stride;
  const RowBytes run(table.w, stride * sizeof(T), dim * sizeof(T));
  const std::size_t ahead = rows_ahead(run.lines);
  for (std::size_t b = first; b < last; ++b) {
    const std::size_t begin = bags.offsets[b], end = bags.offsets[b + 1];
    T* const ADAGRAD_RESTRICT out = bags.out + b * dim;
    if (begin == end) {
      for (std::size_t j = 0; j < dim; ++j) out[j] = T(0);
      continue;
    }
    for (std::size_t i = begin; i < end; ++i) {
      if (i + ahead < all) run.ask(table.w + id_at(bags.ids, i + ahead) * stride);
      const T* const row = table.w + id_at(bags.ids, i) * stride;
      const T weight = bags.weights != nullptr ? bags.weights[i] : T(1);
      if (i == begin) {
        for (std::size_t j = 0; j < dim; ++j) out[j] = weight * row[j];
      } else {
        for (std::size_t j = 0; j < dim; ++j) out[j] += weight * row[j];
      }
    }
    const T count = static_cast<T>(end - begin);
    for (std::size_t j = 0; bags.mean && j < dim; ++j) out[j] = out[j] / count;
  }
}

#if defined(__GNUC__)
// Sums by the fewest vectors V that make up a row. Returns false if those are too many registers.
template <class V, std::size_t vectors = 1, class T, class Id>
bool sum_by(const Target<T>& table, const Bags<T, Id>& bags, std::size_t all, std::size_t first,
            std::size_t last) {
  constexpr std::size_t most = std::is_same_v<V, T> ? 1 : sizeof(V) == widest_bytes ? 8 : 2;
  if (table.dim * sizeof(T) <= vectors * sizeof(V)) {
    if (bags.mean || bags.weights != nullptr) {
      sum_bags<V, vectors, false>(table, bags, all, first, last);
    } else {
      sum_bags<V, vectors, true>(table, bags, all, first, last);
    }
    return true;
  }
  if constexpr (vectors < most) {
    return sum_by<V, vectors + 1>(table, bags, all, first, last);
  } else {
    return false;
  }
}
#endif

// The sums or means of bags [first, last). There are `all` ids in all bags.
template <class T, class Id>
void pool_bags(const Target<T>& table, const Bags<T, Id>& bags, std::size_t all, std::size_t first,
               std::size_t last) {
  if (table.dim == 0) return;
#if defined(__GNUC__)
  if constexpr (vector_bytes != 0) {
    const bool summed = with_vector<T>(
        table.dim, [&](auto v) { return sum_by<decltype(v)>(table, bags, all, first, last); });
    if (summed) return;
  }
#endif
  sum_long_bags(table, bags, all, first, last);
}

#if defined(__GNUC__)
// Copies a row of V and more; the last vector may overlap the one before it.
template <class V, class T>
inline void copy_row(const T* from, std::size_t dim, T* to) {
  constexpr std::size_t lanes = sizeof(V) / sizeof(T);
  const std::size_t last = dim - lanes;
  for (std::size_t j = 0; j < last; j += lanes) store(to + j, load<V>(from + j));
  store(to + last, load<V>(from + last));
}
#endif

// out + i * dim = row ids[i]; copy(from, to) copies one.
template <class T, class Id, class Dim, class Copy>
inline void gather_by(const Target<T>& table, const Id* ids, std::size_t n, Dim dim, T* out,
                      Copy copy) {
  const T* const w = table.w;
  const std::size_t stride = table.w_stride;
  const RowBytes run(w, stride * sizeof(T), dim * sizeof(T));
  const std::size_t ahead = rows_ahead(run.lines), asked = n < ahead ? 0 : n - ahead;
  for (std::size_t i = 0; i < n && i < ahead; ++i) run.ask(w + id_at(ids, i) * stride);
  std::size_t i = 0;
  for (; i < asked; ++i) {
    run.ask(w + id_at(ids, i + ahead) * stride);
    copy(w + id_at(ids, i) * stride, out + i * dim);
  }
  for (; i < n; ++i) copy(w + id_at(ids, i) * stride, out + i * dim);
}

template <class T, class Id>
void gather_rows(const Target<T>& table, const Id* ids, std::size_t n, T* out) {
  const std::size_t dim = table.dim;
  if (dim == 0) return;
#if defined(__GNUC__)
  if constexpr (vector_bytes != 0) {
    return with_vector<T>(dim, [&](auto v) {
      using V = decltype(v);
      constexpr std::size_t lanes = sizeof(V) / sizeof(T);
      const auto gather = [&](auto known) {
        gather_by(table, ids, n, known, out,
                  [=](const T* from, T* to) { copy_row<V>(from, known, to); });
      };
      if (dim == lanes) return gather(std::integral_constant<std::size_t, lanes>());
      gather(dim);
    });
  }
#endif
  gather_by(table, ids, n, dim, out, [=](const T* from, T* to) {
    for (std::size_t j = 0; j < dim; ++j) to[j] = from[j];
  });
}

}  // namespace
}  // namespace adagrad
