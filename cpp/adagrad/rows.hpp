// The loops over rows of a table that are named by id, in order. loops.hpp updates a row, by the
// formulas of rules.hpp; the loops here decide which memory is prefetched, and when.
//
// Ids are in range. They may repeat unless a loop says otherwise: updates are made in order, and
// each sees the one before. w and s do not overlap g or the ids; rows need no alignment beyond that
// of T.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "ahead.hpp"
#include "loops.hpp"
#include "plain_rows.hpp"
#include "random.hpp"
#include "shared_rows.hpp"
#include "vectors.hpp"

namespace adagrad {
namespace {

// Decoupled weight decay of rows [first, last), for rules that also decay rows without a gradient.
template <class T>
void decay_rows(const Target<T>& table, std::size_t first, std::size_t last,
                const Params<T>& params) {
  const Params<T> p = params;
  const bool packed = table.w_stride == table.dim;
  const std::size_t runs = packed ? 1 : last - first;
  const std::size_t length = packed ? (last - first) * table.dim : table.dim;
  for (std::size_t i = 0; i < runs; ++i) {
    T* const w = table.w + (first + i) * table.w_stride;
    for (std::size_t j = 0; j < length; ++j) w[j] = decayed(p, w[j]);
  }
}

// Forgetting in long streams: a factor on an accumulator, down to a floor. A NaN stays.
template <class T>
inline T faded(T s, T gamma, T floor) {
  const T x = gamma * s;
  return x < floor ? floor : x;
}

template <class T>
void fade_rows(const Target<T>& table, std::size_t first, std::size_t last, T gamma, T floor) {
  const std::size_t n = table.row_state ? 1 : table.dim;
  for (std::size_t id = first; id < last; ++id) {
    T* const s = table.s + id * table.s_stride;
    for (std::size_t j = 0; j < n; ++j) s[j] = faded(s[j], gamma, floor);
  }
}

template <class T>
void initialise_rows(const Target<T>& table, const Start& start, std::size_t first,
                     std::size_t last) {
  constexpr std::size_t most = 256;
  const std::size_t dim = table.dim, n = table.row_state ? 1 : dim;
  for (std::size_t id = first; id < last; ++id) {
    T* const s = table.s + id * table.s_stride;
    for (std::size_t j = 0; j < n; ++j) s[j] = static_cast<T>(start.accumulator);
  }
  if (!start.random) return;
  // By runs of coordinates that may span rows, because short rows would not fill a vector.
  T run[most];
  std::size_t id = first, j = 0;
  for (std::uint64_t c = std::uint64_t{first} * dim; c < std::uint64_t{last} * dim; c += most) {
    const std::uint64_t left = std::uint64_t{last} * dim - c;
    const std::size_t count = left < most ? static_cast<std::size_t>(left) : most;
    initialise(start.distribution, start.key, c, start.scale, run, count);
    for (std::size_t k = 0; k < count; ++k) {
      table.w[id * table.w_stride + j] = run[k];
      if (++j == dim) {
        ++id;
        j = 0;
      }
    }
  }
}

// One coordinate. It is one element apart from the next, or two if w and s are interleaved.
template <class Form, Visit visit, std::size_t stride, class T>
inline void scalar_row(const Params<T>& p, T* w, T* s, std::size_t id, T g) {
  T param = w[stride * id], accumulator = s[stride * id];
  apply<Form, visit>(p, param, g, accumulator);
  if constexpr (visit == Visit::accumulate) {
    s[stride * id] = accumulator;
  } else if constexpr (visit == Visit::advance) {
    w[stride * id] = param;
  } else if constexpr (stride == 2) {
    store_pair(w + stride * id, param, accumulator);
  } else {
    w[stride * id] = param;
    s[stride * id] = accumulator;
  }
}

// Rows of one element. Nothing is prefetched if they are `resident` in the cache.
template <class Form, Visit visit, std::size_t stride, bool resident = false, class T, class Ids>
std::size_t scalar_rows(const Target<T>& table, const Batch<T, Ids>& batch,
                        const Params<T>& params) {
  const Params<T> p = params;  // a copy that no store through w or s can alias
  T* const w = table.w;
  T* const s = table.s;
  const std::size_t ahead = resident ? 0 : rows_ahead(stride == 1 ? 2 : 1);
  std::size_t skips = 0;
  for (std::size_t next = 0; next < batch.n + ahead; ++next) {
    if (!resident && next < batch.n) {
      const std::size_t id = id_at(batch.ids, next);
      if (stride == 2 || visit != Visit::accumulate) ADAGRAD_PREFETCH(w + stride * id);
      if (stride == 1) ADAGRAD_PREFETCH(s + id);
    }
    if (next < ahead) continue;
    const std::size_t i = next - ahead;
    if (skipped<Form>(p, batch.g[i])) {
      ++skips;
      continue;
    }
    scalar_row<Form, visit, stride>(p, w, s, id_at(batch.ids, i), batch.g[i]);
  }
  return skips;
}

#if defined(__GNUC__)
template <class V, class F, std::size_t... k>
inline V each_lane(F f, std::index_sequence<k...>) {
  return V{f(k)...};
}

// Plain updates of as many coordinates at a time as fill a vector: their accumulators grow one by
// one, their steps are computed together, and their params move one by one. So ids may repeat, and
// a repeated id does not wait for the root and the division of the one before. The caller has
// checked that ids are below the number of rows; `g` needs no alignment beyond that of T.
template <class Form, std::size_t stride, bool resident = false, class T, class Ids>
void vector_rows(const Target<T>& table, const Batch<T, Ids>& batch, const Params<T>& params) {
  using V = typename Lanes<T, vector_bytes>::type;
  constexpr std::size_t lanes = vector_bytes / sizeof(T);
  const Params<T> p = params;
  T* const w = table.w;
  T* const s = table.s;
  const std::size_t ahead = resident ? 0 : rows_ahead(stride == 1 ? 2 : 1);
  const std::size_t whole = batch.n / lanes * lanes;
  for (std::size_t next = 0; next < whole + ahead; next += lanes) {
    for (std::size_t k = next; k < next + lanes && next < whole && !resident; ++k) {
      ADAGRAD_PREFETCH(w + stride * id_at(batch.ids, k));
      if (stride == 1) ADAGRAD_PREFETCH(s + id_at(batch.ids, k));
    }
    if (next < ahead) continue;
    const std::size_t i = next - ahead;
    const V h = load<V>(batch.g + i), a = statistic<Form>(p, h);
    const auto grown = [&](std::size_t k) {
      T& x = s[stride * id_at(batch.ids, i + k)];
      return x = accumulate<Form>(p, x, a[k]);
    };
    const V d = each_lane<V>(grown, std::make_index_sequence<lanes>());
    const V change = step<Form>(p, h, d);
    for (std::size_t k = 0; k < lanes; ++k) w[stride * id_at(batch.ids, i + k)] -= change[k];
  }
  const Batch<T, Ids> rest{
      batch.ids + whole, batch.g + whole, nullptr, nullptr, batch.n - whole, true, false};
  scalar_rows<Form, Visit::update, stride, resident>(table, rest, p);
}
#endif

// Updates interleaved pairs in order. They are not prefetched: the caller has just read them.
template <class Form, class T, class Ids>
std::size_t resident_pairs(T* pairs, const Ids ids, const T* g, std::size_t n, const Params<T>& p) {
  const Target<T> table{pairs, pairs + 1, 2, 2, 1, false};
  const Batch<T, Ids> batch{ids, g, nullptr, nullptr, n, false, false};
#if defined(__GNUC__)
  if constexpr (Form::plain && vector_bytes != 0) {
    vector_rows<Form, 2, true>(table, batch, p);
    return 0;
  }
#endif
  return scalar_rows<Form, Visit::update, 2, true>(table, batch, p);
}

// Rows of any length, under any rule.
template <class Form, class T, class Ids>
std::size_t wide_rows(const Target<T>& table, const Batch<T, Ids>& batch, const Params<T>& params,
                      Visit visit) {
  const Params<T> p = params;
  const Ahead<T> rows(table);
  const std::size_t dim = table.dim;
  std::size_t skips = 0;
  for (std::size_t next = 0; next < batch.n + rows.ahead; ++next) {
    if (next < batch.n) rows.ask(id_at(batch.ids, next));
    if (next < rows.ahead) continue;
    const std::size_t i = next - rows.ahead;
    const T* const g = batch.scattered != nullptr ? batch.scattered[i] : batch.g + i * dim;
    if (!Form::plain && p.skip_nonfinite && count_nonfinite(g, dim) != 0) {
      ++skips;
      continue;
    }
    const std::size_t id = id_at(batch.ids, i);
    update_row<Form>(p, table.w + id * table.w_stride, g, table.s + id * table.s_stride, dim,
                     table.row_state, visit);
  }
  return skips;
}

template <class Form, std::size_t stride, class T, class Ids>
std::size_t visit_scalars(const Target<T>& table, const Batch<T, Ids>& batch, const Params<T>& p,
                          Visit visit) {
  switch (visit) {
    case Visit::accumulate: return scalar_rows<Form, Visit::accumulate, stride>(table, batch, p);
    case Visit::advance: return scalar_rows<Form, Visit::advance, stride>(table, batch, p);
    default: return scalar_rows<Form, Visit::update, stride>(table, batch, p);
  }
}

// Returns how many rows on_nonfinite="skip" left alone.
template <class Form, class T, class Ids>
std::size_t visit_rows(const Target<T>& table, const Batch<T, Ids>& batch, const Params<T>& p,
                       Visit visit) {
  if constexpr (!std::is_same_v<Ids, EveryRow>) {
    if (table.dim == 1 && batch.scattered == nullptr) {
      const bool interleaved = table.s == table.w + 1 && table.w_stride == 2;
#if defined(__GNUC__)
      if constexpr (Form::plain && vector_bytes != 0) {
        if (visit == Visit::update && !table.whole_pairs) {
          interleaved ? vector_rows<Form, 2>(table, batch, p)
                      : vector_rows<Form, 1>(table, batch, p);
          return 0;
        }
      }
#endif
      if (interleaved) return visit_scalars<Form, 2>(table, batch, p, visit);
      return visit_scalars<Form, 1>(table, batch, p, visit);
    }
#if defined(__GNUC__)
    if constexpr (Form::plain && vector_bytes != 0) {
      if (visit == Visit::update && !table.row_state && is_wide<T>(table.dim)) {
        update_plain<Form>(table, batch, p);
        return 0;
      }
      if (visit == Visit::update && table.row_state && is_short<T>(table.dim)) {
        update_shared<Form>(table, batch, p);
        return 0;
      }
    }
#endif
  }
  return wide_rows<Form>(table, batch, p, visit);
}

}  // namespace
}  // namespace adagrad
