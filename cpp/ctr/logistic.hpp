// Logistic regression: the margin of an example is the bias plus the sum of w * x over its entries,
// and its gradient in a param is (p - y) * x.
//
// The bias belongs to the last region, and takes no penalty: one would pull all predictions away
// from the base rate.
//
// Order of additions: within a region, w * x is added to 0 entry by entry, and the bias last. The
// margin is the sum of the regions, added to 0 from the first to the last.
//
// With penalties, slots are learned by proximal.hpp instead of a rule.
//
// All loops rely on slots that are below the length of the table, which is checked when Examples
// are made. Slots may repeat within an example; memory needs no alignment beyond that of a float.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "gathered.hpp"
#include "pairs.hpp"
#include "proximal.hpp"
#include "sigmoid.hpp"
#include "types.hpp"

namespace adagrad {
namespace {

// The gradient of the logloss in the margin.
inline float gradient_of(float margin, float y, float weight) {
  return (sigmoid(margin) - y) * weight;
}

inline void gradients(const float* margins, const Targets& targets, std::size_t n, float* g) {
  const float* const y = targets.y;
  const float* const weights = targets.weights;
  // Two loops, because the test for weights would keep one loop from vectorizing.
  if (weights == nullptr) {
    for (std::size_t i = 0; i < n; ++i) g[i] = gradient_of(margins[i], y[i], 1.0f);
  } else {
    for (std::size_t i = 0; i < n; ++i) g[i] = gradient_of(margins[i], y[i], weights[i]);
  }
}

// How many examples ahead entries are prefetched: as many as have the entries of 16 regions.
inline std::size_t examples_ahead(const Units& of) {
  return 1 + 2 * regions / (of.last - of.first);
}

// The weights of entries, read in order.
template <bool proximal>
struct Weights {
  const LinearModel model;
  float operator()(const Examples& x, std::size_t k, std::size_t /*stop*/) const {
    return model.table[2 * std::size_t{x.slots[k]}];
  }
};

// With penalties they are computed together, up to `stop`, which is the end of an example: a step
// between two examples may change them.
template <>
struct Weights<true> {
  const LinearModel model;
  std::size_t begin = 0, end = 0;  // the entries in `computed`
  float computed[64] = {};

  float operator()(const Examples& x, std::size_t k, std::size_t stop) {
    if (k >= end) {
      constexpr std::size_t most = sizeof computed / sizeof computed[0];
      begin = k;
      end = stop - k < most ? stop : k + most;
      const auto slot = [&](std::size_t i) { return std::size_t{x.slots[k + i]}; };
      proximal_weights(model, slot, end - k, computed);
    }
    return computed[k - begin];
  }
};

// The sum over the entries of a region. `stop` is the last entry of the example that is read.
template <bool proximal, bool fixed>
inline float region_sum(const Examples& x, Weights<proximal>& weights, std::size_t example,
                        std::size_t region, std::size_t stop) {
  float sum = 0.0f;
  const std::size_t last = first<fixed>(x, example, region + 1);
  // One accumulator, since the order of the additions is part of the contract.
  for (std::size_t k = first<fixed>(x, example, region); k < last; ++k) {
    const float w = weights(x, k, stop);
    sum += x.values == nullptr ? w : w * x.values[k];
  }
  return sum;
}

// The sums of linear_sums() without the bias, one after the other.
template <bool proximal, bool fixed>
void sums_one_by_one(const LinearModel& model, const Round& round, const Units& of, float* partial,
                     std::size_t stride) {
  const Examples x = *round.x;
  const float* const table = model.table;
  Weights<proximal> weights{model};
  const std::size_t ahead = examples_ahead(of);
  // The example that is summed follows the one that is prefetched at a distance of `ahead`.
  for (std::size_t next = round.begin; next < round.end + ahead; ++next) {
    if (next < round.end) {
      const std::size_t stop = first<fixed>(x, next, of.last);
      for (std::size_t k = first<fixed>(x, next, of.first); k < stop; ++k) {
        ADAGRAD_PREFETCH(table + 2 * std::size_t{x.slots[k]});
      }
    }
    if (next < round.begin + ahead) continue;
    const std::size_t i = next - ahead;
    const std::size_t stop = first<fixed>(x, i, of.last);
    float* const to = partial + (i - round.begin);
    for (std::size_t region = of.first; region < of.last; ++region) {
      to[region * stride] = region_sum<proximal, fixed>(x, weights, i, region, stop);
    }
  }
}

// The same where the lengths of runs vary and there are no penalties.
inline void sums_of_any_shape(const LinearModel& model, const Round& round, const Units& of,
                              float* partial, std::size_t stride) {
#if defined(__GNUC__) && defined(__AVX2__)
  for (std::size_t i = round.begin; i < round.end;) {
    float* const to = partial + (i - round.begin);
    const std::size_t end = sums_of_block(model.table, round, of, i, to, stride);
    const Round one{round.x, i, i + 1};
    if (end == i) sums_one_by_one<false, false>(model, one, of, to, stride);
    i = end == i ? i + 1 : end;
  }
#else
  sums_one_by_one<false, false>(model, round, of, partial, stride);
#endif
}

// Writes the sum over the entries of example i in each region of `of` to
// partial[region * stride + i - begin].
template <bool proximal, bool fixed>
void linear_sums(const LinearModel& model, const Round& round, const Units& of, float* partial,
                 std::size_t stride) {
  if constexpr (proximal) {
    sums_one_by_one<proximal, fixed>(model, round, of, partial, stride);
  } else if constexpr (fixed) {
    round.x->values == nullptr ? sums_of_same_shape<false>(model.table, round, of, partial, stride)
                               : sums_of_same_shape<true>(model.table, round, of, partial, stride);
  } else {
    sums_of_any_shape(model, round, of, partial, stride);
  }
  if (of.last != regions || model.bias == nullptr) return;
  float* const with_bias = partial + (regions - 1) * stride;
  // Examples are independent, and `partial` does not overlap the model.
  for (std::size_t i = 0; i < round.end - round.begin; ++i) with_bias[i] += *model.bias;
}

// sums[i] = the sum of partial[unit * stride + i] over all units, in order, for i < n.
inline void add_units(const float* partial, std::size_t stride, std::size_t units, std::size_t n,
                      float* sums) {
  for (std::size_t i = 0; i < n; ++i) sums[i] = 0.0f;
  // Examples are the inner loop: they are independent, so the loop vectorizes without reordering
  // the additions of any one of them.
  for (std::size_t unit = 0; unit < units; ++unit) {
    for (std::size_t i = 0; i < n; ++i) sums[i] += partial[unit * stride + i];
  }
}

// Instead of a rule: adds gradients up in the accumulators and leaves the params, for a worker
// whose steps are taken elsewhere.
struct Sum {
  static constexpr bool plain = true;
};

// Learns from the gradient g of a coordinate: by a step of the rule, or by adding g up.
template <class Form, class V>
inline void learn(const Params<float>& p, V& w, V g, V& s) {
  if constexpr (std::is_same_v<Form, Sum>) {
    s += g;
  } else {
    update<Form>(p, w, g, s);
  }
}

// Steps n pairs in order. No pair is prefetched: the caller has just read them.
template <class Form>
void step_pairs(float* pairs, const std::uint32_t* ids, const float* g, std::size_t n,
                const Params<float>& p) {
  if constexpr (std::is_same_v<Form, Sum>) {
    for (std::size_t i = 0; i < n; ++i) pairs[2 * std::size_t{ids[i]} + 1] += g[i];
  } else if constexpr (Form::plain) {
    plain_pairs<Form>(pairs, ids, g, n, p);
  } else {
    resident_pairs<Form>(pairs, ids, g, n, p);
  }
}

// Steps n slots in order.
template <class Form>
void step_slots(const LinearModel& model, const std::uint32_t* slots, const float* g, std::size_t n,
                const Params<float>& p) {
  if constexpr (std::is_same_v<Form, Proximal>) {
    proximal_steps(model, slots, g, n, p);
  } else {
    step_pairs<Form>(model.table, slots, g, n, p);
  }
}

// The form of the steps of the bias.
template <class Form>
using OfBias = std::conditional_t<std::is_same_v<Form, Proximal>, General, Form>;

// The params of a step of the bias: those of the rule without its weight decay.
inline Params<float> without_decay(const Params<float>& p) {
  Params<float> of_bias = p;
  of_bias.weight_decay = 0.0f;
  of_bias.decay = WeightDecay::none;
  return of_bias;
}

// Steps the bias by n gradients in order, n <= round_size.
template <class Form>
void step_bias(float* bias, const float* g, std::size_t n, const Params<float>& params) {
  const Params<float> p = without_decay(params);
  if constexpr (Form::plain && !std::is_same_v<Form, Sum>) {
    // Only the sums wait for each other, so the roots and the quotients vectorize.
    float w = bias[0], s = bias[1], sums[round_size], changes[round_size];
    for (std::size_t i = 0; i < n; ++i) sums[i] = s = accumulated<Form>(p, s, g[i]);
    for (std::size_t i = 0; i < n; ++i) changes[i] = step<Form>(p, g[i], sums[i]);
    for (std::size_t i = 0; i < n; ++i) w -= changes[i];
    bias[0] = w;
    bias[1] = s;
  } else {
    constexpr std::uint32_t zeros[round_size] = {};
    step_pairs<Form>(bias, zeros, g, n, p);
  }
}

constexpr std::size_t step_block = 1024;

// Steps the params of the regions `of`; g[i - begin] is the gradient in the margin of example i.
template <class Form, bool fixed>
void linear_steps(const LinearModel& model, const Round& round, const Units& of, const float* g,
                  const Params<float>& params) {
  const Examples x = *round.x;
  const bool all = of.first == 0 && of.last == regions;
  const std::size_t total = first<fixed>(x, x.n, 0);
  const Collector collect(round, of);
  std::uint32_t slots[step_block + most_past];
  float gradients_of[step_block + most_past];
  std::size_t count = 0, first_of_block = first<fixed>(x, round.begin, 0);
  const auto step_collected = [&](std::size_t next) {
    const std::uint32_t* const of_block = all ? x.slots + first_of_block : slots;
    step_slots<Form>(model, of_block, gradients_of, count, params);
    first_of_block = next;
    count = 0;
  };
  // The entries of several examples are collected into blocks, which fill the vectors of
  // step_slots(). A block keeps the order of the entries, so repeated slots are stepped in order.
  // Gradients come from `g` alone, so steps between two entries of an example do not change them.
  for (std::size_t i = round.begin; i < round.end; ++i) {
    const float of_margin = g[i - round.begin];
    const std::size_t last = first<fixed>(x, i, of.last);
    for (std::size_t k = first<fixed>(x, i, of.first); k < last;) {
      if (count == step_block) step_collected(k);
      const std::size_t left = last - k, room = step_block - count;
      const std::size_t n = left < room ? left : room;
      float* const to = gradients_of + count;
      if (x.values == nullptr) {
        collect.fill(of_margin, n, to);
      } else {
        for (std::size_t j = 0; j < n; ++j) to[j] = of_margin * x.values[k + j];
      }
      if (!all) collect(x.slots, {k, k + n}, total, slots + count);
      count += n;
      k += n;
    }
  }
  step_collected(0);
  if (of.last != regions || model.bias == nullptr) return;
  step_bias<OfBias<Form>>(model.bias, g, round.end - round.begin, params);
}

// Rounds of one example each, all regions at once. The bits are those of linear_sums(),
// add_units(), gradients() and linear_steps(), without their partial sums.
template <class Form, bool fixed>
void linear_each(const LinearModel& model, const Round& round, const Targets& targets,
                 const Params<float>& params, float* margins) {
  constexpr std::size_t ahead = 4;
  constexpr bool proximal = std::is_same_v<Form, Proximal>;
  const Examples x = *round.x;
  Weights<proximal> weights{model};
  float g[step_block];
  // An example is prefetched `ahead` examples before its turn. Prefetching early is safe: it reads
  // no value, so steps in between are seen.
  for (std::size_t next = round.begin; next < round.end + ahead; ++next) {
    if (next < round.end) {
      const std::size_t stop = first<fixed>(x, next, regions);
      for (std::size_t k = first<fixed>(x, next, 0); k < stop; ++k) {
        ADAGRAD_PREFETCH(model.table + 2 * std::size_t{x.slots[k]});
      }
    }
    if (next < round.begin + ahead) continue;
    const std::size_t i = next - ahead;
    const std::size_t last = first<fixed>(x, i, regions);
    float margin = 0.0f;
    for (std::size_t region = 0; region < regions; ++region) {
      const float sum = region_sum<proximal, fixed>(x, weights, i, region, last);
      margin += region + 1 == regions && model.bias != nullptr ? sum + *model.bias : sum;
    }
    margins[i - round.begin] = margin;
    const float of_margin =
        gradient_of(margin, targets.y[i - round.begin], weight_of(targets, i - round.begin));
    for (std::size_t k = first<fixed>(x, i, 0); k < last; k += step_block) {
      const std::size_t count = last - k < step_block ? last - k : step_block;
      for (std::size_t j = 0; j < count; ++j) {
        g[j] = x.values == nullptr ? of_margin : of_margin * x.values[k + j];
      }
      step_slots<Form>(model, x.slots + k, g, count, params);
    }
    if (model.bias != nullptr) {
      step_bias<OfBias<Form>>(model.bias, &of_margin, 1, params);
    }
  }
}

// The uncertainty that the accumulators imply (McMahan et al. 2013, section 6): the sum over the
// entries of effective rate times x^2. It bounds how far one more click would move the margin.
template <class Form, bool fixed>
void linear_rates(const LinearModel& model, const Round& round, const Params<float>& params,
                  float* out) {
  const Examples x = *round.x;
  for (std::size_t i = round.begin; i < round.end; ++i) {
    float sum = 0.0f;
    const std::size_t last = first<fixed>(x, i, regions);
    // One accumulator, added to in the order of the entries.
    for (std::size_t k = first<fixed>(x, i, 0); k < last; ++k) {
      const float s = model.table[2 * std::size_t{x.slots[k]} + 1];
      float rate;
      if constexpr (std::is_same_v<Form, Proximal>) {
        rate = params.lr / damped(model.penalties, root_of(model.penalties, s));
      } else {
        rate = step<Form>(params, 1.0f, s);
      }
      sum += x.values == nullptr ? rate : rate * x.values[k] * x.values[k];
    }
    out[i - round.begin] = sum;
  }
}

}  // namespace
}  // namespace adagrad
