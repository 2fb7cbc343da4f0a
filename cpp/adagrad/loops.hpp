// The loops over coordinates that lie side by side: a dense array, or one row of a table, with one
// accumulator per element or one per row. Loops over rows that are named by id are in rows.hpp, the
// loops of the click learners in ctr/. All of them apply the formulas of rules.hpp.
//
// Callers have checked all arguments: nothing here allocates, throws, prints or reads out of
// bounds. w, g and s of a loop are disjoint unless it says otherwise, each aligned to its type and
// no more. The loops are plain C++ that the compiler vectorizes; a test disassembles them to see
// that it did.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "rules.hpp"

namespace adagrad {
namespace {

template <class Form, class T>
inline bool skipped(const Params<T>& p, T g) {
  return !Form::plain && p.skip_nonfinite && !is_finite(g);
}

// The accumulator that divides this coordinate's step.
template <class Form, class T, class V>
inline V dividing(const Params<T>& p, V w, V g, V s) {
  return divisor<Form>(p, s, accumulated<Form>(p, s, gradient<Form>(p, g, w)));
}

template <class Form, class T, class V>
inline void update(const Params<T>& p, V& w, V g, V& s, V d, V root) {
  const V h = gradient<Form>(p, g, w);
  const V n = accumulated<Form>(p, s, h);
  const V moved = advance<Form>(p, w, h, d, root);
  if constexpr (Form::plain) {
    w = moved;
    s = n;
  } else {
    const bool skip = skipped<Form>(p, g);
    w = skip ? w : moved;
    s = skip ? s : n;
  }
}

template <class Form, class T, class V>
inline void update(const Params<T>& p, V& w, V g, V& s) {
  const V d = dividing<Form>(p, w, g, s);
  update<Form>(p, w, g, s, d, root<Form>(p, d));
}

// The parts of the update of a coordinate that `visit` names.
template <class Form, Visit visit, class T>
inline void apply(const Params<T>& p, T& w, T g, T& s) {
  if constexpr (visit == Visit::update) {
    update<Form>(p, w, g, s);
  } else if constexpr (visit == Visit::accumulate) {
    s = accumulated<Form>(p, s, gradient<Form>(p, g, w));
  } else {
    w = advance<Form>(p, w, gradient<Form>(p, g, w), s, root<Form>(p, s));
  }
}

constexpr std::size_t block = 64;

template <class Form, class T>
void dense(T* ADAGRAD_RESTRICT w, const T* ADAGRAD_RESTRICT g, T* ADAGRAD_RESTRICT s, std::size_t n,
           const Params<T>& params) {
  if constexpr (std::is_same_v<Form, General>) {
    with_evaluation(params.evaluation, [=, &params](auto evaluation) {
      dense<GeneralWith<evaluation()>>(w, g, s, n, params);
    });
    return;
  }
  const Params<T> p = params;  // a copy that no store through w or s can alias
  if constexpr (Form::plain) {
    for (std::size_t i = 0; i < n; ++i) update<Form>(p, w[i], g[i], s[i]);
  } else if constexpr (!std::is_same_v<Form, General>) {
    // Three short loops over a block, each of which vectorizes. A single loop with every option
    // does not, and the digits of the power have to be outermost.
    for (std::size_t start = 0; start < n; start += block) {
      const std::size_t count = n - start < block ? n - start : block;
      T d[block], x[block];
      for (std::size_t i = 0; i < count; ++i) {
        d[i] = dividing<Form>(p, w[start + i], g[start + i], s[start + i]);
      }
      for (std::size_t i = 0; i < count; ++i) x[i] = radicand(p, d[i]);
      raise(p.power, x, count);
      for (std::size_t i = 0; i < count; ++i) {
        update<Form>(p, w[start + i], g[start + i], s[start + i], d[i], x[i]);
      }
    }
  }
}

template <class T>
std::size_t count_nonfinite(const T* g, std::size_t n) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < n; ++i) count += is_finite(g[i]) ? 0 : 1;
  return count;
}

// Sums of up to 128 statistics in eight lanes, longer rows halved at a multiple of eight: the order
// of NumPy's own pairwise summation, so that the mean of a row equals (h * h).mean() with ==.
constexpr std::size_t sum_lanes = 8, sum_leaf = 128;

inline std::size_t pairwise_half(std::size_t n) { return n / 2 - n / 2 % sum_lanes; }

// Of up to sum_leaf elements. The lanes are a vector where one holds them: g++ 12 makes none of an
// array.
template <class Form, class T>
ADAGRAD_INLINE T sum_short(const Params<T>& p, const T* g, const T* w, std::size_t n) {
  const auto at = [&](std::size_t i) { return statistic<Form>(p, gradient<Form>(p, g[i], w[i])); };
  const auto folded = [](const auto& x) {
    return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
  };
  const std::size_t whole = n - n % sum_lanes;
  T sum = T(0);
#if defined(__GNUC__)
  if constexpr (Form::plain && sum_lanes * sizeof(T) <= widest_bytes) {
    using V = typename Lanes<T, sum_lanes * sizeof(T)>::type;
    if (whole != 0) {
      V lane = statistic<Form>(p, load<V>(g));
      for (std::size_t i = sum_lanes; i < whole; i += sum_lanes) {
        lane += statistic<Form>(p, load<V>(g + i));
      }
      sum = folded(lane);
    }
    for (std::size_t i = whole; i < n; ++i) sum += at(i);
    return sum;
  }
#endif
  if (whole != 0) {
    T lane[sum_lanes];
    for (std::size_t j = 0; j < sum_lanes; ++j) lane[j] = at(j);
    for (std::size_t i = sum_lanes; i < whole; i += sum_lanes) {
      for (std::size_t j = 0; j < sum_lanes; ++j) lane[j] += at(i + j);
    }
    sum = folded(lane);
  }
  for (std::size_t i = whole; i < n; ++i) sum += at(i);
  return sum;
}

template <class Form, class T>
T sum_statistic(const Params<T>& p, const T* g, const T* w, std::size_t n) {
  if (n <= sum_leaf) return sum_short<Form>(p, g, w, n);
  const std::size_t half = pairwise_half(n);
  return sum_statistic<Form>(p, g, w, half) + sum_statistic<Form>(p, g + half, w + half, n - half);
}

// A NaN counts as larger than any number, as in NumPy's max().
template <class T>
inline T larger(T a, T b) {
  return b > a || b != b ? b : a;
}

// n is at least 1.
template <class Form, class T>
T max_statistic(const Params<T>& p, const T* g, const T* w, std::size_t n) {
  T most = statistic<Form>(p, gradient<Form>(p, g[0], w[0]));
  for (std::size_t i = 1; i < n; ++i) {
    most = larger(most, statistic<Form>(p, gradient<Form>(p, g[i], w[i])));
  }
  return most;
}

template <class Form, class T>
inline bool takes_max(const Params<T>& p) {
  return !Form::plain && p.row_statistic == RowStatistic::max;
}

// The sum of a row's statistics, or the largest of them if the rule takes that.
template <class Form, class T>
inline T fold_statistic(const Params<T>& p, const T* g, const T* w, std::size_t n) {
  return takes_max<Form>(p) ? max_statistic<Form>(p, g, w, n) : sum_statistic<Form>(p, g, w, n);
}

// The statistic of a row, from its folded elements: their mean, or the largest; for `count` whether
// any of them is not zero.
template <class Form, class T>
inline T row_statistic(const Params<T>& p, T folded, std::size_t dim) {
  if (!Form::plain && p.statistic == Statistic::count) return folded > T(0) ? T(1) : T(0);
  return takes_max<Form>(p) ? folded : folded / static_cast<T>(dim);
}

template <class Form, class T>
T row_statistic(const Params<T>& p, const T* g, const T* w, std::size_t dim) {
  return row_statistic<Form>(p, fold_statistic<Form>(p, g, w, dim), dim);
}

// Adds a row's statistic to its accumulator, and returns the one that divides the row's step.
template <class Form, class T>
inline T accumulate_row(const Params<T>& p, T& s, T a) {
  const T before = s;
  s = accumulate<Form>(p, before, a);
  return divisor<Form>(p, before, s);
}

// Steps a row, or a part of one, whose accumulator is d and has that root.
template <class Form, class T>
inline void advance_row(const Params<T>& p, T* ADAGRAD_RESTRICT w, const T* ADAGRAD_RESTRICT g,
                        std::size_t n, T d, T root) {
  if constexpr (Form::plain) {
    for (std::size_t j = 0; j < n; ++j) w[j] = advance<Form>(p, w[j], g[j], d, root);
  } else {
    with_evaluation(p.evaluation, [&](auto evaluation) {
      using With = GeneralWith<evaluation()>;
      for (std::size_t j = 0; j < n; ++j) {
        w[j] = advance<With>(p, w[j], gradient<With>(p, g[j], w[j]), d, root);
      }
    });
  }
}

#if defined(__GNUC__)
// Updates the elements of a row from the j-th on by vectors of the given size as long as they fill
// one, and returns the first element that is left. Written by hand because g++ 12 does not
// vectorize loops over rows of 4, 8 or 16 elements. Rows may begin at any address.
template <class Form, std::size_t bytes, class T>
inline std::size_t update_lanes(const Params<T>& p, T* w, const T* g, T* s, std::size_t dim,
                                std::size_t j) {
  using V = typename Lanes<T, bytes>::type;
  for (; j + bytes / sizeof(T) <= dim; j += bytes / sizeof(T)) {
    V params = load<V>(w + j), accumulators = load<V>(s + j);
    update<Form>(p, params, load<V>(g + j), accumulators);
    store(w + j, params);
    store(s + j, accumulators);
  }
  return j;
}
#endif

// One row with one accumulator per element, under a plain rule.
template <class Form, class T>
inline void update_elements(const Params<T>& p, T* w, const T* g, T* s, std::size_t dim) {
  std::size_t j = 0;
#if defined(__GNUC__)
  if constexpr (vector_bytes >= 32) j = update_lanes<Form, 32>(p, w, g, s, dim, j);
  if constexpr (vector_bytes >= 16) j = update_lanes<Form, 16>(p, w, g, s, dim, j);
#endif
  for (; j < dim; ++j) update<Form>(p, w[j], g[j], s[j]);
}

// The update of one row, or the parts of it that `visit` names.
template <class Form, class T>
inline void update_row(const Params<T>& p, T* ADAGRAD_RESTRICT w, const T* ADAGRAD_RESTRICT g,
                       T* ADAGRAD_RESTRICT s, std::size_t dim, bool row_state, Visit visit) {
  if (row_state) {
    T d = *s;
    if (visit != Visit::advance) d = accumulate_row<Form>(p, *s, row_statistic<Form>(p, g, w, dim));
    if (visit == Visit::accumulate) return;
    advance_row<Form>(p, w, g, dim, d, root<Form>(p, d));
  } else if (visit == Visit::accumulate) {
    for (std::size_t j = 0; j < dim; ++j) apply<Form, Visit::accumulate>(p, w[j], g[j], s[j]);
  } else if (visit == Visit::advance) {
    for (std::size_t j = 0; j < dim; ++j) apply<Form, Visit::advance>(p, w[j], g[j], s[j]);
  } else if constexpr (Form::plain) {
    update_elements<Form>(p, w, g, s, dim);
  } else {
    dense<Form>(w, g, s, dim, p);
  }
}

}  // namespace
}  // namespace adagrad
