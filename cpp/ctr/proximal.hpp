// Slots that are learned by FTRL-proximal (McMahan et al., "Ad Click Prediction: a View from the
// Trenches", KDD 2013, algorithm 1, with one rate for all steps): L1 and L2 penalties.
//
// A slot keeps (z, s) instead of (w, s), from (0, initial_accumulator) on. Wherever its weight is
// read, it is
//
//     q = sqrt(s + eps_inside)
//     w = 0 if |z| <= lr * l1, else -sign(z) * ((|z| - lr * l1) / (q + (eps_outside + lr * l2)))
//
// and a step by a gradient g is
//
//     n = s + g * g
//     z = (z + lr * g) - (sqrt(n + eps_inside) - q) * w
//     s = n
//
// Each operation is rounded once, as written; lr * l1 and eps_outside + lr * l2 once per model.
// This z is lr times that of the paper: without l1, another lr then leaves the weights as they are.
// With l1 = l2 = 0 this is AdaGrad, up to rounding.
//
// Slots that are distinct are read, and stepped, as many at a time as fill a vector. A formula
// takes a float or a vector (V is either), with the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "../adagrad/rows.hpp"
#include "types.hpp"

namespace adagrad {
namespace {

// Instead of a rule: FTRL-proximal steps.
struct Proximal {
  static constexpr bool plain = true;
};

// The root of an accumulator.
template <class V>
inline V root_of(const Penalties& p, V s) {
  return square_root(s + p.eps_inside);
}

// What divides a weight, and the rate of a step.
template <class V>
inline V damped(const Penalties& p, V root) {
  return root + p.damping;
}

// A NaN stays.
template <class V>
inline V weight(const Penalties& p, V z, V root) {
  const V zero{};
  const V size = (z < zero ? -z : z) - p.threshold;
  const V w = size / damped(p, root);
  return size <= zero ? zero : z < zero ? w : -w;
}

// One step by a gradient g.
template <class V>
inline void step_slot(const Penalties& p, float lr, V& z, V g, V& s) {
  const V before = root_of(p, s), w = weight(p, z, before);
  s += g * g;
  z = (z + lr * g) - (root_of(p, s) - before) * w;
}

#if defined(__GNUC__)
// A vector, or a float without vectors.
using Slots = std::conditional_t<vector_bytes == 0, float,
                                 Lanes<float, vector_bytes == 0 ? 16 : vector_bytes>::type>;
template <class V>
constexpr std::size_t lanes_of = sizeof(V) / sizeof(float);

// Row 0 of the slots' pairs is z, row 1 is s.
template <class V, class F>
inline V gathered(const float* table, F slot, std::size_t row) {
  return each_lane<V>([&](std::size_t i) { return table[2 * slot(i) + row]; },
                      std::make_index_sequence<lanes_of<V>>());
}

template <std::size_t n>
inline bool are_distinct(const std::uint32_t* slots) {
  bool repeated = false;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < i; ++j) repeated |= slots[i] == slots[j];
  }
  return !repeated;
}
#else
using Slots = float;
#endif

// weights[i] = the weight of slot(i), for i < n.
template <class V = Slots, class F>
inline void proximal_weights(const LinearModel& model, F slot, std::size_t n, float* weights) {
  const Penalties p = model.penalties;
  const float* const table = model.table;
  std::size_t i = 0;
#if defined(__GNUC__)
  if constexpr (!std::is_same_v<V, float>) {
    for (; i + lanes_of<V> <= n; i += lanes_of<V>) {
      const auto from_i = [&](std::size_t k) { return slot(i + k); };
      const V root = root_of(p, gathered<V>(table, from_i, 1));
      store(weights + i, weight(p, gathered<V>(table, from_i, 0), root));
    }
  }
#endif
  for (; i < n; ++i) {
    const float* const pair = table + 2 * slot(i);
    weights[i] = weight(p, pair[0], root_of(p, pair[1]));
  }
}

// Steps n slots in order; they may repeat.
template <class V = Slots>
inline void proximal_steps(const LinearModel& model, const std::uint32_t* slots, const float* g,
                           std::size_t n, const Params<float>& params) {
  const Penalties p = model.penalties;
  const float lr = params.lr;
  const bool skip = params.skip_nonfinite;
  float* const table = model.table;
  std::size_t i = 0;
  while (i < n) {
#if defined(__GNUC__)
    if constexpr (!std::is_same_v<V, float>) {
      constexpr std::size_t lanes = lanes_of<V>;
      if (!skip && i + lanes <= n && are_distinct<lanes>(slots + i)) {
        const auto from_i = [&](std::size_t k) { return std::size_t{slots[i + k]}; };
        V z = gathered<V>(table, from_i, 0), s = gathered<V>(table, from_i, 1);
        step_slot(p, lr, z, load<V>(g + i), s);
        for (std::size_t k = 0; k < lanes; ++k) {
          float* const pair = table + 2 * from_i(k);
          pair[0] = z[k];
          pair[1] = s[k];
        }
        i += lanes;
        continue;
      }
    }
#endif
    float* const pair = table + 2 * std::size_t{slots[i]};
    if (!skip || is_finite(g[i])) step_slot(p, lr, pair[0], g[i], pair[1]);
    ++i;
  }
}

}  // namespace
}  // namespace adagrad
