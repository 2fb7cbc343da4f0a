// The quality of predictions in constant memory: sums, and one histogram of margins per class, from
// which the AUC follows.
#pragma once

#include <cstddef>

#include "../adagrad/random.hpp"
#include "sigmoid.hpp"
#include "types.hpp"

namespace adagrad {
namespace {

inline std::size_t bin_of(float margin) {
  const float place = (margin + 16.0f) * 1024.0f;
  // A NaN is counted in the first bin, because it is not above 0.
  return place > 0.0f ? place < 32767.0f ? static_cast<std::size_t>(place) : bins - 1 : 0;
}

// Adds n predictions. The sums are added in the order of the examples, so they do not depend on how
// examples are divided into calls.
inline void tally(const float* margins, const Targets& targets, std::size_t n, Tally& to) {
  constexpr std::size_t most = 64;
  const float* const y = targets.y;
  const float* const weights = targets.weights;
  double loss[most], predicted[most];
  for (std::size_t start = 0; start < n; start += most) {
    const std::size_t count = n - start < most ? n - start : most;
    // Independent per example, so this loop vectorizes; the ordered sums follow in a second loop.
    for (std::size_t i = 0; i < count; ++i) {
      const float m = margins[start + i], size = magnitude_of(m);
      const double e = static_cast<double>(exp_of_minus(size));
      // log(1 + e^-m) for a positive, log(1 + e^m) for a negative; NaN if m is not finite.
      const bool wrong = (y[start + i] > 0.0f) == (m < 0.0f);
      loss[i] = logarithm(1.0 + e) + (wrong ? static_cast<double>(size) : 0.0) +
                static_cast<double>(m - m);
      predicted[i] = sigmoid_from(m, e);
    }
    for (std::size_t i = 0; i < count; ++i) {
      const double weight = weights == nullptr ? 1.0 : static_cast<double>(weights[start + i]);
      const bool positive = y[start + i] > 0.0f;
      to.weight += weight;
      to.positive += positive ? weight : 0.0;
      to.loss += weight * loss[i];
      to.predicted += weight * predicted[i];
      (positive ? to.positives : to.negatives)[bin_of(margins[start + i])] += weight;
    }
  }
}

}  // namespace
}  // namespace adagrad
