// Plain updates of rows of a vector and more, in order, by vectors as wide as the instruction set
// has. Compilers do not vectorize loops over rows of a few elements, and the time of a root and a
// division does not depend on how much of a vector is used. So rows that are a half or a quarter of
// a vector share one, a row of a little more than half takes one alone, and in longer ones the last
// vector overlaps the one before it. The loops of rows.hpp are the oracle of the tests.
#pragma once

#include <cstddef>
#include <type_traits>

#include "ahead.hpp"
#include "loops.hpp"
#include "vectors.hpp"

namespace adagrad {
namespace {

#if defined(__GNUC__)
// One row, of V and more. The last vector of params and of accumulators is read before the others
// are written, so it writes the values that they write where it overlaps. Gradients are read in
// order: the hardware would not follow them otherwise.
template <class V>
struct Overlapping {
  static constexpr std::size_t rows = 1;

  template <class Form, class T, class At>
  static ADAGRAD_INLINE void update(const Params<T>& p, std::size_t dim, At at) {
    constexpr std::size_t lanes = sizeof(V) / sizeof(T);
    const auto row = at(0);
    const std::size_t last = dim - lanes;
    V last_w = load<V>(row.w + last), last_s = load<V>(row.s + last);
    for (std::size_t j = 0; j < last; j += lanes) {
      V w = load<V>(row.w + j), s = load<V>(row.s + j);
      adagrad::update<Form>(p, w, load<V>(row.g + j), s);
      store(row.w + j, w);
      store(row.s + j, s);
    }
    adagrad::update<Form>(p, last_w, load<V>(row.g + last), last_s);
    store(row.w + last, last_w);
    store(row.s + last, last_s);
  }
};

#if defined(__AVX2__)
// One row of more than Half and less than two of it, whose halves overlap.
template <class Half>
struct Folded {
  static constexpr std::size_t rows = 1;

  template <class Form, class T, class At>
  static ADAGRAD_INLINE void update(const Params<T>& p, std::size_t dim, At at) {
    const auto row = at(0);
    const std::size_t last = dim - sizeof(Half) / sizeof(T);
    const auto both = [last](const T* x) { return join(load<Half>(x), load<Half>(x + last)); };
    auto w = both(row.w), s = both(row.s);
    adagrad::update<Form>(p, w, both(row.g), s);
    write(row.w, last, w);
    write(row.s, last, s);
  }

 private:
  template <class T, class V>
  static ADAGRAD_INLINE void write(T* to, std::size_t last, V x) {
    store(to, low_half(x));
    store(to + last, high_half(x));
  }
};

// One, two or four rows of one Part each. Their accumulators grow one after the other, then their
// steps are computed together, and their params move one after the other: a row that repeats sees
// the update before, because under a plain rule no step depends on a param.
template <class Part, std::size_t parts>
struct Together {
  static constexpr std::size_t rows = parts;

  template <class Form, class T, class At>
  static ADAGRAD_INLINE void update(const Params<T>& p, std::size_t, At at) {
    const auto h = joined(at, std::integral_constant<std::size_t, 0>(),
                          [](auto row) { return load<Part>(row.g); });
    const auto d = joined(at, std::integral_constant<std::size_t, 0>(), [&](auto row) {
      const Part s = accumulated<Form>(p, load<Part>(row.s), load<Part>(row.g));
      store(row.s, s);
      return s;
    });
    move(at, std::integral_constant<std::size_t, 0>(), step<Form>(p, h, d));
  }

 private:
  // The values of f at rows [first, first + count), side by side.
  template <std::size_t count = parts, class At, class F, std::size_t first>
  static ADAGRAD_INLINE auto joined(At at, std::integral_constant<std::size_t, first>, F f) {
    if constexpr (count == 1) {
      return f(at(first));
    } else {
      const auto a = joined<count / 2>(at, std::integral_constant<std::size_t, first>(), f);
      const auto b =
          joined<count / 2>(at, std::integral_constant<std::size_t, first + count / 2>(), f);
      return join(a, b);
    }
  }

  template <std::size_t count = parts, class At, class V, std::size_t first>
  static ADAGRAD_INLINE void move(At at, std::integral_constant<std::size_t, first>, V change) {
    if constexpr (count == 1) {
      const auto row = at(first);
      store(row.w, load<Part>(row.w) - change);
    } else {
      move<count / 2>(at, std::integral_constant<std::size_t, first>(), low_half(change));
      move<count / 2>(at, std::integral_constant<std::size_t, first + count / 2>(),
                      high_half(change));
    }
  }
};
#endif

template <class T>
struct Row {
  T *w, *s;
  const T* g;
};

// All rows, as many at a time as Way takes; those that are left by `update_row`.
template <class Form, class Way, class T, class Ids>
void each_row(const Target<T>& table, const Batch<T, Ids>& batch, const Params<T>& params) {
  const Params<T> p = params;
  const Target<T> t = table;
  const Ahead<T> rows(t);
  const Ids ids = batch.ids;
  const T* const* const scattered = batch.scattered;
  const T* const packed = batch.g;
  const std::size_t n = batch.n, dim = t.dim, ahead = rows.ahead, asked = n < ahead ? 0 : n - ahead;
  const std::size_t whole = n - n % Way::rows;
  const auto row = [=](std::size_t i) {
    const std::size_t id = id_at(ids, i);
    return Row<T>{t.w + id * t.w_stride, t.s + id * t.s_stride,
                  scattered != nullptr ? scattered[i] : packed + i * dim};
  };
  for (std::size_t i = 0; i < n && i < ahead; ++i) rows.ask(id_at(ids, i));
  for (std::size_t i = 0; i < whole; i += Way::rows) {
    for (std::size_t k = i; k < i + Way::rows && k < asked; ++k) rows.ask(id_at(ids, k + ahead));
    Way::template update<Form>(p, dim, [=](std::size_t k) { return row(i + k); });
  }
  for (std::size_t i = whole; i < n; ++i) {
    const Row<T> one = row(i);
    update_elements<Form>(p, one.w, one.g, one.s, dim);
  }
}

// Whether update_plain() knows rows of that many elements.
template <class T>
inline bool is_wide(std::size_t dim) {
  return vector_bytes != 0 && dim * sizeof(T) >= 16;
}

// The way for rows of that length, of at least 16 bytes.
template <class Form, class T, class Ids>
void update_plain(const Target<T>& table, const Batch<T, Ids>& batch, const Params<T>& p) {
  using Whole = typename Lanes<T, widest_bytes>::type;
#if defined(__AVX2__)
  constexpr std::size_t lanes = widest_bytes / sizeof(T);
  const std::size_t dim = table.dim;
  if (dim == lanes) return each_row<Form, Together<Whole, 1>>(table, batch, p);
  if (dim < lanes) {
    using Half = typename Lanes<T, widest_bytes / 2>::type;
    if (dim > lanes / 2) return each_row<Form, Folded<Half>>(table, batch, p);
    if (dim == lanes / 2) return each_row<Form, Together<Half, 2>>(table, batch, p);
    if constexpr (widest_bytes >= 64) {
      using Quarter = typename Lanes<T, widest_bytes / 4>::type;
      if (dim > lanes / 4) return each_row<Form, Folded<Quarter>>(table, batch, p);
      return each_row<Form, Together<Quarter, 4>>(table, batch, p);
    }
  }
#endif
  each_row<Form, Overlapping<Whole>>(table, batch, p);
}
#endif

}  // namespace
}  // namespace adagrad
