// How good predictions were, in constant memory: sums, and a histogram of margins that ranks them.
#pragma once

#include <cstddef>

#include "../adagrad/random.hpp"
#include "sigmoid.hpp"

namespace adagrad {

// A margin's bin: 1/1024 wide, those beyond +-16 in the outermost.
constexpr std::size_t bins = 32768;

struct Tally {
  double weight, positive, loss, predicted;  // sums over examples, each times its weight
  double* negatives;                         // weight in each bin
  double* positives;
};

namespace {

inline std::size_t bin_of(float margin) {
  const float place = (margin + 16.0f) * 1024.0f;
  // A NaN is in the first bin, as it is not above 0.
  return place > 0.0f ? place < 32767.0f ? static_cast<std::size_t>(place) : bins - 1 : 0;
}

// In the order of the examples, so that sums do not depend on how many a call has.
inline void tally(const float* margins, const float* y, const float* weights, std::size_t n,
                  Tally& to) {
  constexpr std::size_t most = 64;
  double loss[most], predicted[most];
  for (std::size_t start = 0; start < n; start += most) {
    const std::size_t count = n - start < most ? n - start : most;
    for (std::size_t i = 0; i < count; ++i) {
      const float m = margins[start + i], size = m < 0.0f ? -m : m;
      const double e = static_cast<double>(exp_of_minus(size));
      // log(1 + e^-m) for a positive, log(1 + e^m) for a negative
      const bool wrong = (y[start + i] > 0.0f) == (m < 0.0f);
      loss[i] = logarithm(1.0 + e) + (wrong ? static_cast<double>(size) : 0.0) +
                static_cast<double>(m - m);
      predicted[i] = (m < 0.0f ? e : 1.0) / (1.0 + e);
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
