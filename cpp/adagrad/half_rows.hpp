// The loops over rows of a table in 16 bits: rows are loaded exactly to float, updated by the loops
// for floats, and rounded stochastically on the way back. An update that is small beside its param
// is then not lost but made with some probability, and is right on average.
//
// The random bits depend on the seed, the step, the row and the element. If a row may be updated
// several times in a call, they also depend on the position of the occurrence. So the result does
// not depend on the threads. Rows may begin at any byte, and ids may repeat unless a loop says
// otherwise; w, s and words of a HalfScratch are aligned to their types.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "half.hpp"
#include "pooling.hpp"
#include "random.hpp"
#include "rows.hpp"

namespace adagrad {
namespace {

inline std::size_t state_size(const HalfTable& t) { return t.row_state ? 1 : t.dim; }

inline char* state_of(const HalfTable& t, char* row) { return row + 2 * t.dim; }

inline void load_state(const HalfTable& t, char* row, float* s, std::size_t n) {
  if (t.half_state) {
    load_half(t.type, state_of(t, row), s, n);
  } else {
    std::memcpy(s, state_of(t, row), n * sizeof(float));
  }
}

// words[j] belongs to element j; a row's only accumulator has the word after the last.
inline void store_state(const HalfTable& t, const float* s, char* row, std::size_t n,
                        const std::uint32_t* words) {
  if (t.half_state) {
    const std::uint32_t* const of_state = words + (t.row_state ? t.dim : 0);
    store_stochastic(t.type, s, state_of(t, row), n, of_state, RandomBits::high);
  } else {
    std::memcpy(state_of(t, row), s, n * sizeof(float));
  }
}

// Distinct rows of one element, a block at a time: gathered, converted, updated and rounded by
// loops that vectorize, and scattered. A repeated id would lose an update.
template <class Form, class Id>
std::size_t visit_half_scalars(const HalfTable& table, const Batch<float, const Id*>& batch,
                               const Params<float>& p) {
  const HalfTable t = table;
  const auto row_of = [&](std::size_t i) { return t.memory + id_at(batch.ids, i) * t.stride; };
  std::size_t skips = 0;
  for (std::size_t start = 0; start < batch.n; start += block) {
    const std::size_t n = batch.n - start < block ? batch.n - start : block;
    for (std::size_t i = start + n; i < start + n + block && i < batch.n; ++i) {
      ADAGRAD_PREFETCH(row_of(i));
      ADAGRAD_PREFETCH(row_of(i) + t.stride - 1);
    }
    std::uint16_t w_stored[block], s_stored[block];
    float w[block], s[block];
    std::uint32_t w_words[block], s_words[block];
    for (std::size_t k = 0; k < n; ++k) {
      const char* const row = row_of(start + k);
      std::memcpy(w_stored + k, row, 2);
      t.half_state ? std::memcpy(s_stored + k, row + 2, 2) : std::memcpy(s + k, row + 2, 4);
      const std::uint64_t key = row_key(t.key, id_at(batch.ids, start + k));
      w_words[k] = word(key, 0);
      s_words[k] = t.row_state ? word(key, 1) : w_words[k];
    }
    const float* const g = batch.g + start;
    load_half(t.type, w_stored, w, n);
    if (t.half_state) load_half(t.type, s_stored, s, n);
    dense<Form>(w, g, s, n, p);
    store_stochastic(t.type, w, w_stored, n, w_words, RandomBits::low);
    if (t.half_state) store_stochastic(t.type, s, s_stored, n, s_words, RandomBits::high);
    for (std::size_t k = 0; k < n; ++k) {
      char* const row = row_of(start + k);
      std::memcpy(row, w_stored + k, 2);
      t.half_state ? std::memcpy(row + 2, s_stored + k, 2) : std::memcpy(row + 2, s + k, 4);
    }
    if (!Form::plain && p.skip_nonfinite) skips += count_nonfinite(g, n);
  }
  return skips;
}

template <class Form, class Id>
std::size_t visit_half_rows(const HalfTable& table, const Batch<float, const Id*>& batch,
                            const Params<float>& params, Visit visit, const HalfScratch& scratch) {
  constexpr std::size_t line = 64;
  const HalfTable t = table;
  const Params<float> p = params;
  const bool is_scalar = t.dim == 1 && batch.scattered == nullptr;
  if (is_scalar && batch.distinct && visit == Visit::update) {
    return visit_half_scalars<Form>(table, batch, p);
  }
  const std::size_t dim = t.dim, state = state_size(t),
                    reach = t.stride < 8 * line ? t.stride : 8 * line;
  const std::size_t ahead = batch.scattered == nullptr ? rows_ahead(reach / line + 1)
                            : t.stride <= 128          ? 24
                                                       : 8;
  std::size_t skips = 0;
  for (std::size_t i = 0; i < batch.n; ++i) {
    if (i + ahead < batch.n) {
      const char* const row = t.memory + id_at(batch.ids, i + ahead) * t.stride;
      for (std::size_t j = 0; j < reach; j += line) ADAGRAD_PREFETCH(row + j);
      ADAGRAD_PREFETCH(row + reach - 1);
    }
    const float* const g = batch.scattered != nullptr ? batch.scattered[i] : batch.g + i * dim;
    if (!Form::plain && p.skip_nonfinite && count_nonfinite(g, dim) != 0) {
      ++skips;
      continue;
    }
    const std::size_t id = id_at(batch.ids, i);
    char* const row = t.memory + id * t.stride;
    load_half(t.type, row, scratch.w, dim);
    load_state(t, row, scratch.s, state);
    update_row<Form>(p, scratch.w, g, scratch.s, dim, t.row_state, visit);
    std::uint64_t key = row_key(t.key, id);
    if (batch.by_position) {
      key = occurrence_key(key, batch.positions != nullptr ? batch.positions[i] : i);
    }
    fill_words(key, 0, scratch.words, dim + 1);
    if (visit != Visit::accumulate) {
      store_stochastic(t.type, scratch.w, row, dim, scratch.words, RandomBits::low);
    }
    if (visit != Visit::advance) store_state(t, scratch.s, row, state, scratch.words);
  }
  return skips;
}

// As decay_rows(), with rounding.
inline void decay_half_rows(const HalfTable& t, std::size_t first, std::size_t last,
                            const Params<float>& p, const HalfScratch& scratch) {
  for (std::size_t id = first; id < last; ++id) {
    char* const row = t.memory + id * t.stride;
    load_half(t.type, row, scratch.w, t.dim);
    for (std::size_t j = 0; j < t.dim; ++j) scratch.w[j] = decayed(p, scratch.w[j]);
    fill_words(row_key(t.key, id), 0, scratch.words, t.dim);
    store_stochastic(t.type, scratch.w, row, t.dim, scratch.words, RandomBits::low);
  }
}

// As fade_rows(), with rounding.
inline void fade_half_rows(const HalfTable& t, std::size_t first, std::size_t last, float gamma,
                           float floor, const HalfScratch& scratch) {
  const std::size_t n = state_size(t);
  for (std::size_t id = first; id < last; ++id) {
    char* const row = t.memory + id * t.stride;
    load_state(t, row, scratch.s, n);
    for (std::size_t j = 0; j < n; ++j) scratch.s[j] = faded(scratch.s[j], gamma, floor);
    fill_words(row_key(t.key, id), 0, scratch.words, t.dim + 1);
    store_state(t, scratch.s, row, n, scratch.words);
  }
}

// Initial rows are rounded to nearest: no updates accumulate here that a bias could spoil.
inline void initialise_half_rows(const HalfTable& t, const Start& start, std::size_t first,
                                 std::size_t last, const HalfScratch& scratch) {
  const std::size_t n = state_size(t);
  for (std::size_t j = 0; j < n; ++j) scratch.s[j] = static_cast<float>(start.accumulator);
  for (std::size_t id = first; id < last; ++id) {
    char* const row = t.memory + id * t.stride;
    if (start.random) {
      initialise(start.distribution, start.key, id * t.dim, start.scale, scratch.w, t.dim);
      store_nearest(t.type, scratch.w, row, t.dim);
    }
    if (t.half_state) {
      store_nearest(t.type, scratch.s, state_of(t, row), n);
    } else {
      std::memcpy(state_of(t, row), scratch.s, n * sizeof(float));
    }
  }
}

template <class Id>
void gather_half_rows(const HalfTable& t, const Id* ids, std::size_t n, float* out) {
  constexpr std::size_t line = 64;
  const std::size_t reach = 2 * t.dim < 8 * line ? 2 * t.dim : 8 * line;
  const std::size_t ahead = rows_ahead(reach / line + 1);
  for (std::size_t i = 0; i < n; ++i) {
    if (i + ahead < n) {
      const char* const row = t.memory + id_at(ids, i + ahead) * t.stride;
      for (std::size_t j = 0; j < reach; j += line) ADAGRAD_PREFETCH(row + j);
      ADAGRAD_PREFETCH(row + reach - 1);
    }
    load_half(t.type, t.memory + id_at(ids, i) * t.stride, out + i * t.dim, t.dim);
  }
}

// As pool_bags().
template <class Id>
void pool_half_bags(const HalfTable& t, const Bags<float, Id>& bags, std::size_t all,
                    std::size_t first, std::size_t last) {
  constexpr std::size_t line = 64, most = 64;
  const std::size_t reach = 2 * t.dim < 8 * line ? 2 * t.dim : 8 * line;
  const std::size_t ahead = rows_ahead(reach / line + 1);
  for (std::size_t b = first; b < last; ++b) {
    const std::size_t begin = bags.offsets[b], end = bags.offsets[b + 1];
    for (std::size_t i = begin + ahead; i < end + ahead && i < all; ++i) {
      const char* const row = t.memory + id_at(bags.ids, i) * t.stride;
      for (std::size_t j = 0; j < reach; j += line) ADAGRAD_PREFETCH(row + j);
    }
    for (std::size_t j = 0; j < t.dim; j += most) {
      const std::size_t width = t.dim - j < most ? t.dim - j : most;
      float sum[most] = {}, x[most];
      for (std::size_t i = begin; i < end; ++i) {
        load_half(t.type, t.memory + id_at(bags.ids, i) * t.stride + 2 * j, x, width);
        for (std::size_t k = 0; k < width; ++k) {
          const float term = bags.weights != nullptr ? bags.weights[i] * x[k] : x[k];
          sum[k] = i == begin ? term : sum[k] + term;
        }
      }
      const float count = static_cast<float>(end - begin);
      for (std::size_t k = 0; k < width; ++k) {
        bags.out[b * t.dim + j + k] = bags.mean && begin != end ? sum[k] / count : sum[k];
      }
    }
  }
}

}  // namespace
}  // namespace adagrad
