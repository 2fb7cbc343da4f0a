// Logistic regression: the margin of an example is the bias plus the sum of w * x over its entries,
// its gradient in a param is (p - y) * x.
//
// The table holds a pair (w, s) for each slot; the bias has a pair of its own, which belongs to the
// last region.
//
// Order of additions: within a region w * x is added to 0 entry by entry, the bias last; the margin
// adds the sums of the regions, from the first to the last, to 0.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../adagrad/rows.hpp"
#include "examples.hpp"
#include "sigmoid.hpp"

namespace adagrad {

struct LinearModel {
  float* table;
  float* bias;  // null where there is none
  float l1;
};

// Examples [begin, end) of x, whose margins are worked out on params that do not move.
struct Round {
  const Examples* x;
  std::size_t begin, end;
};

namespace {

// Of the logloss in the margin.
inline float gradient_of(float margin, float y, float weight) {
  return (sigmoid(margin) - y) * weight;
}

// How many examples ahead the cache lines of their entries are asked for: those of 16 regions.
inline std::size_t examples_ahead(const Units& of) {
  return 1 + 2 * regions / (of.last - of.first);
}

template <bool fixed>
inline float region_sum(const Examples& x, const float* table, std::size_t example,
                        std::size_t region) {
  float sum = 0.0f;
  const std::size_t last = first<fixed>(x, example, region + 1);
  for (std::size_t k = first<fixed>(x, example, region); k < last; ++k) {
    const float w = table[2 * std::size_t{x.slots[k]}];
    sum += x.values == nullptr ? w : w * x.values[k];
  }
  return sum;
}

// partial[region * apart + i - begin]: the sum of each example's entries in one of the regions.
template <bool fixed>
void linear_sums(const LinearModel& model, const Round& round, const Units& of, float* partial,
                 std::size_t apart) {
  const Examples x = *round.x;
  const float* const table = model.table;
  const std::size_t ahead = examples_ahead(of);
  for (std::size_t next = round.begin; next < round.end + ahead; ++next) {
    if (next < round.end) {
      const std::size_t stop = first<fixed>(x, next, of.last);
      for (std::size_t k = first<fixed>(x, next, of.first); k < stop; ++k) {
        ADAGRAD_PREFETCH(table + 2 * std::size_t{x.slots[k]});
      }
    }
    if (next < round.begin + ahead) continue;
    const std::size_t i = next - ahead;
    float* const to = partial + (i - round.begin);
    for (std::size_t region = of.first; region < of.last; ++region) {
      to[region * apart] = region_sum<fixed>(x, table, i, region);
    }
  }
  if (of.last != regions || model.bias == nullptr) return;
  float* const with_bias = partial + (regions - 1) * apart;
  for (std::size_t i = 0; i < round.end - round.begin; ++i) with_bias[i] += *model.bias;
}

// The sums of n examples over units, whose own lie `apart` floats from one another.
inline void add_units(const float* partial, std::size_t apart, std::size_t units, std::size_t n,
                      float* sums) {
  for (std::size_t i = 0; i < n; ++i) sums[i] = 0.0f;
  for (std::size_t unit = 0; unit < units; ++unit) {
    for (std::size_t i = 0; i < n; ++i) sums[i] += partial[unit * apart + i];
  }
}

// How far a gradient of 1 moves a param, divided by the accumulator d.
template <class Form, class T>
inline T effective_rate(const Params<T>& p, T d) {
  const T rate = quotient<Form>(p, T(1), root<Form>(p, d));
  return Form::evaluation == Evaluation::quotient_first ? p.lr * rate : rate;
}

// Composite mirror descent for an L1 penalty (Duchi et al. 2011, equation 24): the param moves
// towards 0 by l1 times its own rate, and stops there.
template <class T>
inline T shrunk(T w, T by) {
  const T size = (w < T(0) ? -w : w) - by;
  return size > T(0) ? (w < T(0) ? -size : size) : T(0);
}

// Steps in order of n coordinates that were read a moment ago.
template <class Form>
void step_pairs(float* pairs, const std::uint32_t* ids, const float* g, std::size_t n, float l1,
                const Params<float>& p) {
  if (l1 == 0.0f) {
    resident_pairs<Form>(pairs, ids, g, n, p);
    return;
  }
  for (std::size_t i = 0; i < n; ++i) {
    if (skipped<Form>(p, g[i])) continue;
    float* const w = pairs + 2 * std::size_t{ids[i]};
    const float d = dividing<Form>(p, w[0], g[i], w[1]);
    update<Form>(p, w[0], g[i], w[1], d, root<Form>(p, d));
    w[0] = shrunk(w[0], l1 * effective_rate<Form>(p, d));
  }
}

constexpr std::size_t step_block = 1024;
constexpr std::uint32_t zeros[step_block] = {};

// g[i - begin] is the gradient in example i's margin.
template <class Form, bool fixed>
void linear_steps(const LinearModel& model, const Round& round, const Units& of, const float* g,
                  const Params<float>& params) {
  const Examples x = *round.x;
  std::uint32_t slots[step_block];
  float gradients[step_block];
  std::size_t count = 0;
  for (std::size_t i = round.begin; i < round.end; ++i) {
    const float of_margin = g[i - round.begin];
    const std::size_t last = first<fixed>(x, i, of.last);
    for (std::size_t k = first<fixed>(x, i, of.first); k < last; ++k) {
      if (count == step_block) {
        step_pairs<Form>(model.table, slots, gradients, count, model.l1, params);
        count = 0;
      }
      slots[count] = x.slots[k];
      gradients[count++] = x.values == nullptr ? of_margin : of_margin * x.values[k];
    }
  }
  step_pairs<Form>(model.table, slots, gradients, count, model.l1, params);
  if (of.last != regions || model.bias == nullptr) return;
  for (std::size_t i = round.begin; i < round.end; i += step_block) {
    const std::size_t left = round.end - i;
    step_pairs<Form>(model.bias, zeros, g + (i - round.begin),
                     left < step_block ? left : step_block, 0.0f, params);
  }
}

// Rounds of one example each, without what rounds of many need: the same bits.
template <class Form, bool fixed>
void linear_each(const LinearModel& model, const Round& round, const float* y, const float* weights,
                 const Params<float>& params, float* margins) {
  constexpr std::size_t ahead = 4;
  const Examples x = *round.x;
  float g[step_block];
  for (std::size_t next = round.begin; next < round.end + ahead; ++next) {
    if (next < round.end) {
      const std::size_t stop = first<fixed>(x, next, regions);
      for (std::size_t k = first<fixed>(x, next, 0); k < stop; ++k) {
        ADAGRAD_PREFETCH(model.table + 2 * std::size_t{x.slots[k]});
      }
    }
    if (next < round.begin + ahead) continue;
    const std::size_t i = next - ahead;
    float margin = 0.0f;
    for (std::size_t region = 0; region < regions; ++region) {
      const float sum = region_sum<fixed>(x, model.table, i, region);
      margin += region + 1 == regions && model.bias != nullptr ? sum + *model.bias : sum;
    }
    margins[i - round.begin] = margin;
    const float of_margin = gradient_of(margin, y[i - round.begin],
                                        weights == nullptr ? 1.0f : weights[i - round.begin]);
    const std::size_t last = first<fixed>(x, i, regions);
    for (std::size_t k = first<fixed>(x, i, 0); k < last; k += step_block) {
      const std::size_t count = last - k < step_block ? last - k : step_block;
      for (std::size_t j = 0; j < count; ++j) {
        g[j] = x.values == nullptr ? of_margin : of_margin * x.values[k + j];
      }
      step_pairs<Form>(model.table, x.slots + k, g, count, model.l1, params);
    }
    if (model.bias != nullptr) step_pairs<Form>(model.bias, zeros, &of_margin, 1, 0.0f, params);
  }
}

// What the accumulators know (McMahan et al. 2013, section 6): the sum over the entries of their
// effective rates times x^2, which bounds how far one more click would move the margin.
template <class Form, bool fixed>
void linear_rates(const LinearModel& model, const Round& round, const Params<float>& params,
                  float* out) {
  const Examples x = *round.x;
  for (std::size_t i = round.begin; i < round.end; ++i) {
    float sum = 0.0f;
    const std::size_t last = first<fixed>(x, i, regions);
    for (std::size_t k = first<fixed>(x, i, 0); k < last; ++k) {
      const float rate = effective_rate<Form>(params, model.table[2 * std::size_t{x.slots[k]} + 1]);
      sum += x.values == nullptr ? rate : rate * x.values[k] * x.values[k];
    }
    out[i - round.begin] = sum;
  }
}

}  // namespace
}  // namespace adagrad
