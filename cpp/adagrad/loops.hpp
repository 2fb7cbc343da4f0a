// The only update loops: a dense array, rows of a table with one accumulator per element, rows with
// one accumulator per row. They visit coordinates; every formula they apply stands in rules.hpp.
//
// Callers have checked all arguments: nothing here allocates, throws, prints or reads out of
// bounds. The loops are plain C++ that the compiler vectorises; a test disassembles them to see
// that it did.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rules.hpp"

namespace adagrad {

// The parts of an update that a visit to a row applies: both, or one pass of the "each" policy.
enum class Visit : std::uint8_t { update, accumulate, advance };

// n rows of a table: ids[i] names the row of w and s that receives the gradient g[i * dim ...].
template <class T, class Ids>
struct Rows {
  T* w;
  T* s;
  Ids ids;
  const T* g;
  std::size_t n;
  std::size_t dim;
  bool row_state;  // s has one element per row, not dim
};

// The ids of a table that is visited whole, in order.
struct EveryRow {};

namespace {

inline std::size_t id_at(EveryRow, std::size_t i) { return i; }

template <class Id>
inline std::size_t id_at(const Id* ids, std::size_t i) {
  return static_cast<std::size_t>(ids[i]);
}

template <class Form, class T>
inline bool lagged(const Params<T>& p) {
  return !Form::plain && p.lagged;
}

template <class Form, class T>
inline bool skipped(const Params<T>& p, T g) {
  return !Form::plain && p.skip_nonfinite && !is_finite(g);
}

// The accumulator that divides this coordinate's step.
template <class Form, class T>
inline T dividing(const Params<T>& p, T w, T g, T s) {
  return lagged<Form>(p) ? s : accumulate<Form>(p, s, statistic<Form>(p, gradient<Form>(p, g, w)));
}

template <class Form, class T>
inline void update(const Params<T>& p, T& w, T g, T& s, T d, T root) {
  const T h = gradient<Form>(p, g, w);
  const T n = accumulate<Form>(p, s, statistic<Form>(p, h));
  const T moved = advance<Form>(p, w, h, d, root);
  const bool skip = skipped<Form>(p, g);
  w = skip ? w : moved;
  s = skip ? s : n;
}

template <class Form, class T>
inline void update(const Params<T>& p, T& w, T g, T& s) {
  const T d = dividing<Form>(p, w, g, s);
  update<Form>(p, w, g, s, d, root<Form>(p, d));
}

// The parts of the update of a coordinate that `visit` names.
template <class Form, Visit visit, class T>
inline void apply(const Params<T>& p, T& w, T g, T& s) {
  if constexpr (visit == Visit::update) {
    update<Form>(p, w, g, s);
  } else if constexpr (visit == Visit::accumulate) {
    s = accumulate<Form>(p, s, statistic<Form>(p, gradient<Form>(p, g, w)));
  } else {
    w = advance<Form>(p, w, gradient<Form>(p, g, w), s, root<Form>(p, s));
  }
}

constexpr std::size_t block = 64;

template <class Form, class T>
void dense(T* ADAGRAD_RESTRICT w, const T* ADAGRAD_RESTRICT g, T* ADAGRAD_RESTRICT s, std::size_t n,
           const Params<T>& params) {
  const Params<T> p = params;  // a copy that no store through w or s can alias
  if constexpr (Form::plain) {
    for (std::size_t i = 0; i < n; ++i) update<Form>(p, w[i], g[i], s[i]);
  } else {
    // In three short loops over a block, each of which vectorises; one loop with every option does
    // not, and the digits of the power need to be outermost.
    for (std::size_t start = 0; start < n; start += block) {
      const std::size_t count = n - start < block ? n - start : block;
      T d[block], x[block];
      for (std::size_t i = 0; i < count; ++i) {
        d[i] = dividing<Form>(p, w[start + i], g[start + i], s[start + i]);
      }
      for (std::size_t i = 0; i < count; ++i) x[i] = d[i] + p.eps_inside;
      raise(p.power, x, count);
      for (std::size_t i = 0; i < count; ++i) {
        update<Form>(p, w[start + i], g[start + i], s[start + i], d[i], x[i]);
      }
    }
  }
}

// Decoupled weight decay of every param, for rules that decay rows without a gradient too.
template <class T>
void decay_all(T* w, std::size_t n, const Params<T>& params) {
  const Params<T> p = params;
  for (std::size_t i = 0; i < n; ++i) w[i] = decayed(p, w[i]);
}

template <class T>
std::size_t count_nonfinite(const T* g, std::size_t n) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < n; ++i) count += is_finite(g[i]) ? 0 : 1;
  return count;
}

// Sums of up to 128 statistics in eight lanes, longer rows halved at a multiple of eight: the order
// of NumPy's own pairwise summation, so that the mean of a row equals (h * h).mean() with ==.
template <class Form, class T>
T sum_statistic(const Params<T>& p, const T* g, const T* w, std::size_t n) {
  constexpr std::size_t lanes = 8, leaf = 128;
  const auto at = [&](std::size_t i) { return statistic<Form>(p, gradient<Form>(p, g[i], w[i])); };
  if (n > leaf) {
    const std::size_t half = n / 2 - n / 2 % lanes;
    return sum_statistic<Form>(p, g, w, half) +
           sum_statistic<Form>(p, g + half, w + half, n - half);
  }
  T sum = T(0);
  std::size_t i = 0;
  if (n >= lanes) {
    T lane[lanes];
    for (std::size_t j = 0; j < lanes; ++j) lane[j] = at(j);
    for (i = lanes; i + lanes <= n; i += lanes) {
      for (std::size_t j = 0; j < lanes; ++j) lane[j] += at(i + j);
    }
    sum = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
  }
  for (; i < n; ++i) sum += at(i);
  return sum;
}

// One statistic for a row: the mean over its elements, or for `count` whether any is not zero.
template <class Form, class T>
T row_statistic(const Params<T>& p, const T* g, const T* w, std::size_t dim) {
  const T sum = sum_statistic<Form>(p, g, w, dim);
  if (!Form::plain && p.statistic == Statistic::count) return sum > T(0) ? T(1) : T(0);
  return Form::limit ? g[0] : sum / static_cast<T>(dim);
}

// w and s of one row; `visit` names the parts of the update that are applied.
template <class Form, class T>
inline void update_row(const Params<T>& p, T* ADAGRAD_RESTRICT w, const T* ADAGRAD_RESTRICT g,
                       T* ADAGRAD_RESTRICT s, std::size_t dim, bool row_state, Visit visit) {
  if (row_state) {
    T d = *s;
    if (visit != Visit::advance) {
      *s = accumulate<Form>(p, d, row_statistic<Form>(p, g, w, dim));
      if (!lagged<Form>(p)) d = *s;
    }
    if (visit == Visit::accumulate) return;
    const T r = root<Form>(p, d);
    for (std::size_t j = 0; j < dim; ++j) {
      w[j] = advance<Form>(p, w[j], gradient<Form>(p, g[j], w[j]), d, r);
    }
  } else if (visit == Visit::accumulate) {
    for (std::size_t j = 0; j < dim; ++j) apply<Form, Visit::accumulate>(p, w[j], g[j], s[j]);
  } else if (visit == Visit::advance) {
    for (std::size_t j = 0; j < dim; ++j) apply<Form, Visit::advance>(p, w[j], g[j], s[j]);
  } else {
    dense<Form>(w, g, s, dim, p);
  }
}

// Rows of one element, in order. A row's cache lines are asked for 32 ids ahead: further ahead they
// start to be evicted again, nearer they are not there yet (bench/rows.py).
template <class Form, Visit visit, class T, class Ids>
std::size_t scalar_rows(const Rows<T, Ids>& rows, const Params<T>& params) {
  constexpr std::size_t ahead = 32;
  const Params<T> p = params;
  T* const w = rows.w;
  T* const s = rows.s;
  std::size_t skips = 0;
  for (std::size_t i = 0; i < rows.n; ++i) {
    if (i + ahead < rows.n) {
      const std::size_t next = id_at(rows.ids, i + ahead);
      if (visit != Visit::accumulate) ADAGRAD_PREFETCH(w + next);
      ADAGRAD_PREFETCH(s + next);
    }
    if (skipped<Form>(p, rows.g[i])) {
      ++skips;
      continue;
    }
    const std::size_t id = id_at(rows.ids, i);
    apply<Form, visit>(p, w[id], rows.g[i], s[id]);
  }
  return skips;
}

// Rows of any length, in order. Short rows are asked for further ahead than long ones, and of rows
// longer than eight cache lines the first eight: the hardware follows from there. This stands in
// the loop because g++ 12 deletes calls of a function that does nothing but prefetch.
template <class Form, class T, class Ids>
std::size_t wide_rows(const Rows<T, Ids>& rows, const Params<T>& p, Visit visit) {
  constexpr std::size_t line = 64 / sizeof(T), most = 8 * line;
  const std::size_t dim = rows.dim, state_dim = rows.row_state ? 1 : dim;
  const std::size_t ahead = dim <= 16 ? 24 : 8, reach = dim < most ? dim : most;
  std::size_t skips = 0;
  for (std::size_t i = 0; i < rows.n; ++i) {
    if (i + ahead < rows.n) {
      const std::size_t next = id_at(rows.ids, i + ahead);
      for (std::size_t j = 0; j < reach; j += line) {
        ADAGRAD_PREFETCH(rows.w + next * dim + j);
        if (j < state_dim) ADAGRAD_PREFETCH(rows.s + next * state_dim + j);
      }
    }
    const T* g = rows.g + i * dim;
    if (!Form::plain && p.skip_nonfinite && count_nonfinite(g, dim) != 0) {
      ++skips;
      continue;
    }
    const std::size_t id = id_at(rows.ids, i);
    update_row<Form>(p, rows.w + id * dim, g, rows.s + id * state_dim, dim, rows.row_state, visit);
  }
  return skips;
}

// The number of rows that on_nonfinite="skip" left alone.
template <class Form, class T, class Ids>
std::size_t visit_rows(const Rows<T, Ids>& rows, const Params<T>& p, Visit visit) {
  if (rows.dim == 1) {
    switch (visit) {
      case Visit::accumulate: return scalar_rows<Form, Visit::accumulate>(rows, p);
      case Visit::advance: return scalar_rows<Form, Visit::advance>(rows, p);
      default: return scalar_rows<Form, Visit::update>(rows, p);
    }
  }
  return wide_rows<Form>(rows, p, visit);
}

template <Evaluation E, class T, class F>
auto with_evaluation(const Params<T>& p, F f) {
  return is_plain(p) ? f(Plain<E>{}) : f(General<E>{});
}

// Calls f with the Form that covers the params.
template <class T, class F>
auto with_form(const Params<T>& p, F f) {
  switch (p.evaluation) {
    case Evaluation::rate_first: return with_evaluation<Evaluation::rate_first>(p, f);
    case Evaluation::quotient_first: return with_evaluation<Evaluation::quotient_first>(p, f);
    default: return with_evaluation<Evaluation::product_first>(p, f);
  }
}

}  // namespace
}  // namespace adagrad
