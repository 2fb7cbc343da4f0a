// Plain updates of short rows with one accumulator each, in order. What a row adds to its
// accumulator depends on its gradient alone, and no step depends on a param. So a block of rows
// passes three times: their squares are summed, one row beside another; their accumulators grow one
// after the other; and after all roots of the block are computed together, their params move one
// after the other. A row that repeats sees the update before, and no row waits for the sum, the
// root or the division of another. The loops of rows.hpp are the oracle of the tests.
#pragma once

#include <cstddef>

#include "ahead.hpp"
#include "loops.hpp"
#include "vectors.hpp"

namespace adagrad {
namespace {

#if defined(__GNUC__)
// Rows of one V.
template <class V>
struct OneVector {
  template <class T>
  static constexpr std::size_t dim(const Target<T>&) {
    return sizeof(V) / sizeof(T);
  }

  template <class Form, class T>
  static ADAGRAD_INLINE void move(const Params<T>& p, T* w, const T* g, std::size_t, T d, T root) {
    store(w, advance<Form>(p, load<V>(w), load<V>(g), V{} + d, V{} + root));
  }
};

// Longer rows, by vectors of which the last may overlap the one before. It is read before the
// others are written, so it writes the values that they write where it overlaps.
template <class V>
struct Vectors {
  template <class T>
  static std::size_t dim(const Target<T>& table) {
    return table.dim;
  }

  template <class Form, class T>
  static ADAGRAD_INLINE void move(const Params<T>& p, T* w, const T* g, std::size_t dim, T d,
                                  T root) {
    const V ds = V{} + d, roots = V{} + root;
    const std::size_t last = dim - sizeof(V) / sizeof(T);
    const V last_w = load<V>(w + last);
    for (std::size_t j = 0; j < last; j += sizeof(V) / sizeof(T)) {
      store(w + j, advance<Form>(p, load<V>(w + j), load<V>(g + j), ds, roots));
    }
    store(w + last, advance<Form>(p, last_w, load<V>(g + last), ds, roots));
  }
};

template <class Form, class Row, class T, class Ids>
void each_shared(const Target<T>& table, const Batch<T, Ids>& batch, const Params<T>& params) {
  constexpr std::size_t most = 64;
  const Params<T> p = params;
  const Target<T> t = table;
  const Ahead<T> rows(t);
  const Ids ids = batch.ids;
  const T* const* const scattered = batch.scattered;
  const T* const packed = batch.g;
  const std::size_t n = batch.n, dim = Row::dim(t), ahead = rows.ahead;
  const auto gradient = [=](std::size_t i) {
    return scattered != nullptr ? scattered[i] : packed + i * dim;
  };
  for (std::size_t i = 0; i < n && i < ahead; ++i) rows.ask(id_at(ids, i));
  for (std::size_t begin = 0; begin < n; begin += most) {
    const std::size_t count = n - begin < most ? n - begin : most;
    T d[most], roots[most];
    for (std::size_t k = 0; k < count; ++k) {
      if (begin + k + ahead < n) rows.ask(id_at(ids, begin + k + ahead));
      d[k] = sum_short<Form>(p, gradient(begin + k), t.w, dim);
    }
    for (std::size_t k = 0; k < count; ++k) d[k] = row_statistic<Form>(p, d[k], dim);
    for (std::size_t k = 0; k < count; ++k) {
      d[k] = accumulate_row<Form>(p, t.s[id_at(ids, begin + k) * t.s_stride], d[k]);
    }
    for (std::size_t k = 0; k < count; ++k) roots[k] = root<Form>(p, d[k]);
    for (std::size_t k = 0; k < count; ++k) {
      T* const w = t.w + id_at(ids, begin + k) * t.w_stride;
      Row::template move<Form>(p, w, gradient(begin + k), dim, d[k], roots[k]);
    }
  }
}

// Whether update_shared() is faster than the general loop for rows of that many elements.
template <class T>
inline bool is_short(std::size_t dim) {
  return vector_bytes != 0 && dim * sizeof(T) >= 16 && dim * sizeof(T) <= 2 * vector_bytes;
}

// The way for rows of that length.
template <class Form, class T, class Ids>
void update_shared(const Target<T>& table, const Batch<T, Ids>& batch, const Params<T>& p) {
  using Quad = typename Lanes<T, 16>::type;
  const std::size_t bytes = table.dim * sizeof(T);
  if (bytes == 16) return each_shared<Form, OneVector<Quad>>(table, batch, p);
#if defined(__AVX2__)
  using Oct = typename Lanes<T, 32>::type;
#if defined(__AVX512F__)
  if (bytes == 64)
    return each_shared<Form, OneVector<typename Lanes<T, 64>::type>>(table, batch, p);
#endif
  if (bytes == 32) return each_shared<Form, OneVector<Oct>>(table, batch, p);
  if (bytes > 32) return each_shared<Form, Vectors<Oct>>(table, batch, p);
#endif
  each_shared<Form, Vectors<Quad>>(table, batch, p);
}
#endif

}  // namespace
}  // namespace adagrad
