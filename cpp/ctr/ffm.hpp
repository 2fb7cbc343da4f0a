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
// the same memory if a slot is paired with itself). Pairs that touch different memory may be
// visited in any order, with the same result.
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

// What a block will visit in a later example: the params, which its sums read, or the
// accumulators, which only its steps read. Each half of a row is prefetched by the loop that needs
// it, a few lines at a time, spread over the work on this example: there is room for some tens of
// lines on their way, and while there is none, nothing else is loaded.
struct HalvesAhead {
  const float* table[2];                         // of the entries on either side
  std::size_t row[2], half[2], next[2], end[2];  // lengths in floats, and entries
  std::size_t at_a_time;
  std::uintptr_t line, stop;  // what is left of a half
};

inline HalvesAhead halves_ahead(const FieldModel& model, const Examples& x, std::size_t example,
                                PairBlock pairs, bool accumulators, std::size_t times) {
  if (example >= x.n || times == 0) return {};
  const EntriesOfBlock e = entries_of(model, x, example, pairs);
  const std::size_t in_a = e.end_a - e.begin_a;
  const std::size_t in_b = pairs.a != pairs.b ? e.end_b - e.begin_b : 0;
  const std::size_t of_a = model.widths[pairs.b], of_b = model.widths[pairs.a];
  const std::size_t lines = (in_a * of_a + in_b * of_b) / 16 + in_a + in_b;
  return {{model.tables[pairs.b] + (accumulators ? of_a : 0),
           model.tables[pairs.a] + (accumulators ? of_b : 0)},
          {2 * of_a, 2 * of_b},
          {of_a, of_b},
          {e.begin_a, e.begin_b},
          {e.end_a, e.begin_b + in_b},
          (lines + times - 1) / times,
          0,
          0};
}

ADAGRAD_INLINE void prefetch_some(const Examples& x, HalvesAhead& ahead) {
  constexpr std::uintptr_t bytes = 64;
  for (std::size_t r = 0; r < ahead.at_a_time; ++r) {
    if (ahead.line >= ahead.stop) {
      const std::size_t side = ahead.next[0] < ahead.end[0] ? 0 : 1;
      if (ahead.next[side] == ahead.end[side]) return;
      const float* const from = ahead.table[side] + ahead.row[side] * x.slots[ahead.next[side]++];
      ahead.line = reinterpret_cast<std::uintptr_t>(from) / bytes * bytes;
      ahead.stop = reinterpret_cast<std::uintptr_t>(from + ahead.half[side]);
    }
    ADAGRAD_PREFETCH(reinterpret_cast<const char*>(ahead.line));
    ahead.line += bytes;
  }
}

// Entries of part b, as each entry of part a meets them.
struct Others {
  static constexpr std::size_t most = 256;
  std::size_t begin = 0, end = 0;
  float* row[most];           // in the table of part a
  std::uint32_t place[most];  // of their factors in a row of the table of part b
  float value[most];
};

// Sees to it that entry n, and as many as possible of those before `stop`, are among `others`.
inline void meet(const FieldModel& model, const Examples& x, PairBlock pairs, std::size_t start,
                 std::size_t n, std::size_t stop, Others& others) {
  if (others.begin <= n && n < others.end) return;
  float* const table = model.tables[pairs.a];
  const std::size_t length = 2 * model.widths[pairs.a];
  others.begin = n;
  others.end = stop - n < Others::most ? stop : n + Others::most;
  for (std::size_t e = others.begin; e < others.end; ++e) {
    others.row[e - n] = table + length * x.slots[e];
    others.place[e - n] = model.places[x.fields[e - start]];
    others.value[e - n] = value_of(x, e);
  }
}

// Adds the sums of the entries m .. m + rows - 1 of part a, for L::width factors from f on, to
// `lanes`. Each of these sums is a chain of additions, so several are computed at once.
template <std::size_t rows, class V>
inline void add_rows(const FieldModel& model, const Examples& x, PairBlock pairs,
                     const EntriesOfBlock& e, std::size_t m, std::size_t f, Others& others,
                     HalvesAhead& ahead, V& lanes) {
  const float* of[rows];
  std::size_t by[rows];
  V sum[rows] = {};
  for (std::size_t r = 0; r < rows; ++r) {
    of[r] = model.tables[pairs.b] + 2 * model.widths[pairs.b] * x.slots[m + r] + f;
    by[r] = model.places[x.fields[m + r - e.start]] + f;
  }
  std::size_t n = e.begin_b;
  if (pairs.a == pairs.b) {
    // The entries of these rows, each of which is paired with those before it.
    for (n = m + 1; n < m + rows; ++n) {
      meet(model, x, pairs, e.start, n, e.end_b, others);
      const std::size_t k = n - others.begin;
      for (std::size_t r = 0; r < n - m; ++r) {
        sum[r] +=
            load<V>(of[r] + others.place[k]) * load<V>(others.row[k] + by[r]) * others.value[k];
      }
    }
  }
  while (n < e.end_b) {
    meet(model, x, pairs, e.start, n, e.end_b, others);
    const std::size_t first = n - others.begin, last = others.end - others.begin;
    for (std::size_t k = first; k < last; ++k) {
      prefetch_some(x, ahead);
      const float* const row = others.row[k];
      const std::size_t place = others.place[k];
      const float value = others.value[k];
      for (std::size_t r = 0; r < rows; ++r) {
        sum[r] += load<V>(of[r] + place) * load<V>(row + by[r]) * value;
      }
    }
    n = others.end;
  }
  for (std::size_t r = 0; r < rows; ++r) lanes += sum[r] * value_of(x, m + r);
}

// Writes the sum over the pairs of example i to partial[i - begin].
template <class L>
void pair_sums(const FieldModel& model, const Round& round, PairBlock pairs, float* partial) {
  using V = typename L::type;
  constexpr std::size_t rows = 4;
  const Examples x = *round.x;
  const std::size_t k = L::factors(model.factors);
  for (std::size_t i = round.begin; i < round.end; ++i) {
    const EntriesOfBlock e = entries_of(model, x, i, pairs);
    const std::size_t in_a = e.end_a - e.begin_a, in_b = e.end_b - e.begin_b;
    const std::size_t times = in_a * in_b / (pairs.a == pairs.b ? 2 * rows : rows) + 1;
    HalvesAhead ahead = halves_ahead(model, x, i + 2, pairs, false, times);
    Others others;
    float sum = 0.0f;
    // Factors are the outer loop, so that the sums of a lane stay in registers. k is a multiple of
    // L::width.
    for (std::size_t f = 0; f < k; f += L::width) {
      V lanes{};
      std::size_t m = e.begin_a;
      for (; m + rows <= e.end_a; m += rows) {
        add_rows<rows>(model, x, pairs, e, m, f, others, ahead, lanes);
      }
      for (; m < e.end_a; ++m) add_rows<1>(model, x, pairs, e, m, f, others, ahead, lanes);
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

// Steps the factors v of a pair, whose accumulators are s_m and s_n floats behind.
template <class Form, class L>
inline void step_pair(const Params<float>& p, std::size_t factors, float* v_m, std::size_t s_m,
                      float* v_n, std::size_t s_n, float c) {
  using V = typename L::type;
  // Both gradients are computed before either step. v_n is loaded again after v_m is stored: they
  // are the same memory if a slot is paired with itself.
  if constexpr (L::times > 1) {
    if (v_m != v_n) {
      const V of_m = load<V>(v_m), of_n = load<V>(v_n);
      auto w = joined(of_m, of_n), s = joined(load<V>(v_m + s_m), load<V>(v_n + s_n));
      learn<Form>(p, w, c * joined(of_n, of_m), s);
      store(v_m, low_half(w));
      store(v_m + s_m, low_half(s));
      store(v_n, high_half(w));
      store(v_n + s_n, high_half(s));
      return;
    }
  }
  const std::size_t k = L::factors(factors);
  for (std::size_t f = 0; f < k; f += L::width) {
    V w = load<V>(v_m + f), s = load<V>(v_m + s_m + f);
    const V g_m = c * load<V>(v_n + f), g_n = c * w;
    learn<Form>(p, w, g_m, s);
    store(v_m + f, w);
    store(v_m + s_m + f, s);
    w = load<V>(v_n + f);
    s = load<V>(v_n + s_n + f);
    learn<Form>(p, w, g_n, s);
    store(v_n + f, w);
    store(v_n + s_n + f, s);
  }
}

// The rows of the entries of a part, by place.
struct Places {
  static constexpr std::size_t most = 256;
  float* row[most];
  std::size_t n, to_accumulators;
};

// Whether the pairs of a part's entries touch different memory and fill tiles: the part has one
// entry for each of its fields, and no two share a slot. If so, `of` has their rows in the table of
// part `other`.
inline bool find_places(const FieldModel& model, const Examples& x, std::size_t example,
                        std::size_t part, std::size_t other, std::size_t start, Places& of) {
  const std::size_t each = regions / model.parts, length = 2 * model.widths[other];
  const std::size_t begin = first(x, example, part * each);
  const std::size_t end = first(x, example, (part + 1) * each);
  of.n = model.widths[part] / model.factors;
  of.to_accumulators = model.widths[other];
  if (end - begin != of.n || of.n > Places::most) return false;
  for (std::size_t place = 0; place < of.n; ++place) of.row[place] = nullptr;
  for (std::size_t region = part * each; region < (part + 1) * each; ++region) {
    const std::size_t stop = first(x, example, region + 1);
    for (std::size_t e = first(x, example, region); e < stop; ++e) {
      for (std::size_t later = e + 1; later < stop; ++later) {
        if (x.slots[e] == x.slots[later]) return false;
      }
      float*& row = of.row[model.places[x.fields[e - start]] / model.factors];
      if (row != nullptr) return false;
      row = model.tables[other] + length * x.slots[e];
    }
  }
  return true;
}

// Steps the pairs of L::times entries of a from place `at_a` on with as many of b. Each vector has
// the factors of one entry for all fields of the other side: those of a cache line.
template <class Form, class L>
inline void step_tile(const Params<float>& p, const Places& a, std::size_t at_a, const Places& b,
                      std::size_t at_b, float c) {
  using V = typename Lanes<float, widest_bytes>::type;
  constexpr std::size_t n = L::times, k = L::width;
  V of_a[n], of_b[n], for_a[n], for_b[n];
  for (std::size_t r = 0; r < n; ++r) {
    of_a[r] = for_b[r] = load<V>(a.row[at_a + r] + k * at_b);
    of_b[r] = for_a[r] = load<V>(b.row[at_b + r] + k * at_a);
  }
  transpose(for_a);
  transpose(for_b);
  const auto step_row = [&](float* v, std::size_t to_s, V w, V other) {
    V s = load<V>(v + to_s);
    learn<Form>(p, w, c * other, s);
    store(v, w);
    store(v + to_s, s);
  };
  for (std::size_t r = 0; r < n; ++r) {
    step_row(a.row[at_a + r] + k * at_b, a.to_accumulators, of_a[r], for_a[r]);
    step_row(b.row[at_b + r] + k * at_a, b.to_accumulators, of_b[r], for_b[r]);
  }
}

// Steps pairs that all touch different memory, so that their order does not matter, in tiles. Each
// cache line is then visited once; in the order of the entries, once for each factor vector in it.
template <class Form, class L>
inline void step_tiles(const Examples& x, const Params<float>& p, const Places& a, const Places& b,
                       bool within, float c, HalvesAhead& ahead) {
  constexpr std::size_t n = L::times, k = L::width;
  const std::size_t whole_a = a.n / n * n, whole_b = b.n / n * n;
  for (std::size_t at_a = 0; at_a < whole_a; at_a += n) {
    for (std::size_t at_b = within ? at_a + n : 0; at_b < whole_b; at_b += n) {
      for (std::size_t r = 0; r < n; ++r) prefetch_some(x, ahead);
      step_tile<Form, L>(p, a, at_a, b, at_b, c);
    }
  }
  const auto step_with = [&](std::size_t m, std::size_t begin, std::size_t end) {
    for (std::size_t o = begin; o < end; ++o) {
      step_pair<Form, L>(p, k, a.row[m] + k * o, a.to_accumulators, b.row[o] + k * m,
                         b.to_accumulators, c);
    }
  };
  // The pairs that fill no tile.
  for (std::size_t m = 0; m < a.n; ++m) {
    prefetch_some(x, ahead);
    if (m >= whole_a) {
      step_with(m, within ? m + 1 : 0, b.n);
    } else {
      if (within) step_with(m, m + 1, m / n * n + n);
      step_with(m, whole_b, b.n);
    }
  }
}

// Steps the factors of a block; g[i - begin] is the gradient in the margin of example i.
template <class Form, class L>
void pair_steps(const FieldModel& model, const Round& round, PairBlock pairs, const float* scales,
                const float* g, const Params<float>& params) {
  const Examples x = *round.x;
  const Params<float> p = params;
  const bool within = pairs.a == pairs.b;
  float* const table_b = model.tables[pairs.b];
  const std::size_t width_a = model.widths[pairs.a], width_b = model.widths[pairs.b];
  for (std::size_t i = round.begin; i < round.end; ++i) {
    const EntriesOfBlock e = entries_of(model, x, i, pairs);
    const std::size_t in_a = e.end_a - e.begin_a, in_b = e.end_b - e.begin_b;
    const float of_example = g[i - round.begin] * scales[i - round.begin];
    if constexpr (L::times > 1) {
      Places a, b;
      if (x.values == nullptr && find_places(model, x, i, pairs.a, pairs.b, e.start, a) &&
          (within || find_places(model, x, i, pairs.b, pairs.a, e.start, b))) {
        const std::size_t times = in_a * in_b / (within ? 2 * L::times : L::times) + 1;
        HalvesAhead ahead = halves_ahead(model, x, i + 1, pairs, true, times);
        step_tiles<Form, L>(x, p, a, within ? a : b, within, of_example, ahead);
        continue;
      }
    }
    HalvesAhead ahead = halves_ahead(model, x, i + 1, pairs, true, in_a * in_b / (within ? 2 : 1));
    Others others;
    for (std::size_t m = e.begin_a; m < e.end_a; ++m) {
      float* const of_m = table_b + 2 * width_b * x.slots[m];
      const std::size_t by = model.places[x.fields[m - e.start]];
      const float of_entry = of_example * value_of(x, m);
      for (std::size_t n = within ? m + 1 : e.begin_b; n < e.end_b; n = others.end) {
        meet(model, x, pairs, e.start, n, e.end_b, others);
        const std::size_t last = others.end - others.begin;
        for (std::size_t k = n - others.begin; k < last; ++k) {
          prefetch_some(x, ahead);
          step_pair<Form, L>(p, model.factors, of_m + others.place[k], width_b, others.row[k] + by,
                             width_a, of_entry * others.value[k]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace adagrad
