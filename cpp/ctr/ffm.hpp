// Field-aware factorization machines (Juan, Zhuang, Chin and Lin, RecSys 2016, equation 4). Each
// slot has k factors for each field that it may be paired with, and the margin of an example is
//
//     [bias + sum w x] + r sum_{i < j} <v_{i, f_j}, v_{j, f_i}> x_i x_j
//
// over all pairs of its entries, including pairs within one field. r is 1 or, with instance
// normalization, 1 / sum x^2, so that the pairs are those of x / |x|. The linear part, which libffm
// does not have, is that of logistic.hpp and is not normalized. The gradient of a pair in
// v_{i, f_j} is (p - y) r x_i x_j v_{j, f_i}.
//
// The fields are divided into P parts. A part owns whole regions of the slots: regions
// [8 b / P, 8 (b + 1) / P) hold the slots of part b. Each part has a table. In the table of part b,
// the row of a slot is [v | s] for the fields of part b, with k floats per field in each half. The
// pairs of the entries of part a with those of part b therefore read and write table b at slots of
// part a, and table a at slots of part b. Such a block of pairs is a unit: no two blocks share
// memory.
//
// Order of operations. The blocks are (0, 0), (0, 1), .. (0, P - 1), (1, 1) and so on. Within a
// block, each entry i of part a is paired, in order, with the entries j of part b (within one part,
// with those after i). For each lane (factor), (v_i * v_j) * x_j is added to 0 over the j; that sum
// times x_i is added to 0 over the i; and the lanes are added to 0 from the first to the last. The
// margin is the linear one (or 0) plus r times the sum of the blocks, which are added to 0. The
// steps of a block visit the pairs in the same order. With c = ((g * r) * x_i) * x_j, both
// gradients, c * v_j and c * v_i, are computed first; then v_i takes its step, then v_j (which is
// the same memory if a slot is paired with itself).
//
// All loops rely on slots below the length of the tables and on fields whose part owns the region
// of their slot. Rows need no alignment; slots may repeat.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lanes.hpp"
#include "logistic.hpp"

namespace adagrad {
namespace {

// The rows that a block will visit in a later example. They are prefetched a few at a time, spread
// over the work on this example.
struct RowsAhead {
  const float* table[2];
  std::size_t length[2], next[2], end[2];
  std::size_t at_a_time;
};

inline RowsAhead rows_of_block(const FieldModel& model, const Examples& x, std::size_t example,
                               PairBlock pairs, std::size_t times) {
  const EntriesOfBlock e = entries_of(model, x, example, pairs);
  const bool two = pairs.a != pairs.b;
  const std::size_t rows = e.end_a - e.begin_a + (two ? e.end_b - e.begin_b : 0);
  return {{model.tables[pairs.b], model.tables[pairs.a]},
          {2 * model.widths[pairs.b], 2 * model.widths[pairs.a]},
          {e.begin_a, e.begin_b},
          {e.end_a, two ? e.end_b : e.begin_b},
          times == 0 ? 0 : (rows + times - 1) / times};
}

inline void prefetch_some(const Examples& x, RowsAhead& ahead) {
  for (std::size_t r = 0; r < ahead.at_a_time; ++r) {
    const std::size_t side = ahead.next[0] < ahead.end[0] ? 0 : 1;
    if (ahead.next[side] == ahead.end[side]) return;
    const std::size_t length = ahead.length[side];
    const float* const row = ahead.table[side] + length * x.slots[ahead.next[side]++];
    for (std::size_t j = 0; j < length; j += 16) ADAGRAD_PREFETCH(row + j);
  }
}

// Writes the sum over the pairs of example i to partial[i - begin].
template <class L>
void pair_sums(const FieldModel& model, const Round& round, PairBlock pairs, float* partial) {
  using V = typename L::type;
  const Examples x = *round.x;
  const std::size_t k = L::factors(model.factors);
  const float* const table_a = model.tables[pairs.a];
  const float* const table_b = model.tables[pairs.b];
  const std::size_t row_a = 2 * model.widths[pairs.a], row_b = 2 * model.widths[pairs.b];
  for (std::size_t i = round.begin; i < round.end; ++i) {
    const EntriesOfBlock e = entries_of(model, x, i, pairs);
    const std::uint16_t* const fields = x.fields;
    RowsAhead ahead{};
    if (i + 1 < round.end) ahead = rows_of_block(model, x, i + 1, pairs, e.end_a - e.begin_a);
    float sum = 0.0f;
    // Factors are the outer loop, so that the sums of a lane stay in registers. k is a multiple of
    // L::width.
    for (std::size_t f = 0; f < k; f += L::width) {
      V lanes{};
      for (std::size_t m = e.begin_a; m < e.end_a; ++m) {
        prefetch_some(x, ahead);
        const float* const of_m = table_b + row_b * x.slots[m] + f;
        const float* const by_m = table_a + model.places[fields[m - e.start]] + f;
        V row{};
        for (std::size_t n = pairs.a == pairs.b ? m + 1 : e.begin_b; n < e.end_b; ++n) {
          row += load<V>(of_m + model.places[fields[n - e.start]]) *
                 load<V>(by_m + row_a * x.slots[n]) * value_of(x, n);
        }
        lanes += row * value_of(x, m);
      }
      sum = add_lanes(sum, lanes);
    }
    partial[i - round.begin] = sum;
  }
}

// Writes the margins, and r of example i to scales[i - begin]. In `partial`, the sums of the
// `linear_units` units of the linear part come before those of the blocks.
inline void pair_margins(const FieldModel& model, const Round& round, const float* partial,
                         std::size_t stride, std::size_t linear_units, float* scales,
                         float* margins) {
  const Examples x = *round.x;
  const std::size_t n = round.end - round.begin;
  add_units(partial, stride, linear_units, n, margins);
  add_units(partial + linear_units * stride, stride, count_blocks(model.parts), n, scales);
  for (std::size_t i = 0; i < n; ++i) {
    const float r = model.normalized ? reciprocal_of_squares(x, round.begin + i) : 1.0f;
    margins[i] += r * scales[i];
    scales[i] = r;
  }
}

// Steps the factors of a block; g[i - begin] is the gradient in the margin of example i.
template <class Form, class L>
void pair_steps(const FieldModel& model, const Round& round, PairBlock pairs, const float* scales,
                const float* g, const Params<float>& params) {
  using V = typename L::type;
  const Examples x = *round.x;
  const Params<float> p = params;
  const std::size_t k = L::factors(model.factors);
  float* const table_a = model.tables[pairs.a];
  float* const table_b = model.tables[pairs.b];
  const std::size_t width_a = model.widths[pairs.a], width_b = model.widths[pairs.b];
  for (std::size_t i = round.begin; i < round.end; ++i) {
    const EntriesOfBlock e = entries_of(model, x, i, pairs);
    const std::uint16_t* const fields = x.fields;
    RowsAhead ahead{};
    // Only after the last example: the sums of this round have just read the rows of the others.
    if (i + 1 == round.end && i + 1 < x.n) {
      ahead = rows_of_block(model, x, i + 1, pairs, e.end_a - e.begin_a);
    }
    const float of_example = g[i - round.begin] * scales[i - round.begin];
    for (std::size_t m = e.begin_a; m < e.end_a; ++m) {
      prefetch_some(x, ahead);
      float* const of_m = table_b + 2 * width_b * x.slots[m];
      float* const by_m = table_a + model.places[fields[m - e.start]];
      const float of_entry = of_example * value_of(x, m);
      for (std::size_t n = pairs.a == pairs.b ? m + 1 : e.begin_b; n < e.end_b; ++n) {
        float* const v_m = of_m + model.places[fields[n - e.start]];
        float* const v_n = by_m + 2 * width_a * x.slots[n];
        const float c = of_entry * value_of(x, n);
        // Both gradients are computed before either step. v_n is loaded again after v_m is stored:
        // they are the same memory if a slot is paired with itself.
        for (std::size_t f = 0; f < k; f += L::width) {
          V w = load<V>(v_m + f), s = load<V>(v_m + width_b + f);
          const V g_m = c * load<V>(v_n + f), g_n = c * w;
          learn<Form>(p, w, g_m, s);
          store(v_m + f, w);
          store(v_m + width_b + f, s);
          w = load<V>(v_n + f);
          s = load<V>(v_n + width_a + f);
          learn<Form>(p, w, g_n, s);
          store(v_n + f, w);
          store(v_n + width_a + f, s);
        }
      }
    }
  }
}

}  // namespace
}  // namespace adagrad
