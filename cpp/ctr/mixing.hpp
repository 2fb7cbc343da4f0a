// The online mixture of five margins, and its guard.
//
// The mixture is a logistic regression of the label on u = (z_1 .. z_5, 1), the margins of the
// experts clipped to +-30, by one step of the diagonal-free online Newton method per example:
//
//     p = sigmoid(theta . u),  h = p (1 - p)
//     theta += o P u (y - p) / (1 + o h u'Pu),    P -= o h (Pu)(Pu)' / (1 + o h u'Pu)
//
// with the weight o of the example. theta may be negative: no expert alone is the model.
//
// The guard predicts the average of the five experts and the mixture, each weighted by its prior
// and by the likelihood that it gave to the labels so far (Vovk, "Aggregating strategies", COLT
// 1990). Its total loss exceeds that of the mixture by at most log 2 nats, and that of any expert
// by at most log 10.
//
// With forgetting, an example that came H examples ago counts half: the evidence is multiplied by
// lambda = 2^(-1/H) before each example, and P becomes lambda P + (1 - lambda) P_0, so that the
// mixture never stops to learn and never learns faster than at first.
//
// Order of operations: all in double but for margins and exponentials. Sums over u are added from
// the first to the last.
#pragma once

#include <cstddef>

#include "../adagrad/random.hpp"
#include "sigmoid.hpp"
#include "types.hpp"

namespace adagrad {
namespace {

constexpr std::size_t experts = 5, inputs = experts + 1;

// The diagonal of P at the start.
constexpr double prior_covariance[lanes] = {0.1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.0, 0.0};

// The prior of each prediction: of the experts, then of the mixture.
constexpr float prior_share[lanes] = {0.1f, 0.1f, 0.1f, 0.1f, 0.1f, 0.5f, 0.0f, 0.0f};

// The margin of the mixture, and one step of its weights. z has eight floats.
inline float mix_one(MixingState& state, const float* z, bool has_bias, bool positive, double o,
                     double lambda) {
  double u[lanes] = {}, pu[lanes];
  for (std::size_t e = 0; e < experts; ++e) {
    const float clipped = z[e] < -30.0f ? -30.0f : z[e] > 30.0f ? 30.0f : z[e];
    u[e] = static_cast<double>(clipped);
  }
  u[experts] = has_bias ? 1.0 : 0.0;
  double total = state.theta[0] * u[0];
  for (std::size_t r = 1; r < inputs; ++r) total += state.theta[r] * u[r];
  const float margin = static_cast<float>(total);

  double* const covariance = state.covariance;
  if (lambda != 1.0) {
    for (std::size_t r = 0; r < inputs; ++r) {
      double* const row = covariance + lanes * r;
      for (std::size_t s = 0; s < lanes; ++s) row[s] *= lambda;
      row[r] += (1.0 - lambda) * prior_covariance[r];
    }
  }
  // The covariance is symmetric to the last bit, so its rows serve as columns.
  for (std::size_t r = 0; r < lanes; ++r) pu[r] = covariance[r] * u[0];
  for (std::size_t s = 1; s < inputs; ++s) {
    for (std::size_t r = 0; r < lanes; ++r) pu[r] += covariance[lanes * s + r] * u[s];
  }
  double quadratic = u[0] * pu[0];
  for (std::size_t r = 1; r < inputs; ++r) quadratic += u[r] * pu[r];
  const double p = static_cast<double>(sigmoid(margin));
  const double q = static_cast<double>(sigmoid(-margin));
  const double oh = o * (p * q), d = 1.0 + oh * quadratic;
  const double of_theta = o * (positive ? q : -p) / d, of_covariance = oh / d;
  for (std::size_t r = 0; r < lanes; ++r) state.theta[r] += of_theta * pu[r];
  for (std::size_t r = 0; r < inputs; ++r) {
    double* const row = covariance + lanes * r;
    for (std::size_t s = 0; s < lanes; ++s) row[s] -= of_covariance * (pu[r] * pu[s]);
  }
  return margin;
}

// Writes the guarded margin of n <= round_size examples, and that of the mixture, and learns from
// them. z has eight floats for each example; lanes 5 to 7 are overwritten.
inline void mix(MixingState& state, float* z, bool has_bias, const Targets& targets, std::size_t n,
                double lambda, float* mixed, float* guarded) {
  constexpr std::size_t most = round_size;
  const float* const y = targets.y;
  float behind[lanes * most];
  double positive[lanes * most], negative[lanes * most], loss[lanes * most];
  for (std::size_t i = 0; i < n; ++i) {
    const double o = targets.weights == nullptr ? 1.0 : static_cast<double>(targets.weights[i]);
    float* const own = z + lanes * i;
    mixed[i] = own[experts] = mix_one(state, own, has_bias, y[i] > 0.0f, o, lambda);
    own[6] = own[7] = 0.0f;
  }
  // Independent of each other, so these loops vectorize.
  for (std::size_t i = 0; i < n; ++i) {
    const bool is_positive = y[i] > 0.0f;
    for (std::size_t j = lanes * i; j < lanes * (i + 1); ++j) {
      const float size = magnitude_of(z[j]);
      const double e = static_cast<double>(exp_of_minus(size));
      const bool wrong = is_positive == (z[j] < 0.0f);
      positive[j] = sigmoid_from(z[j], e);
      negative[j] = sigmoid_from(-z[j], e);
      loss[j] = logarithm(1.0 + e) + (wrong ? static_cast<double>(size) : 0.0);
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    const double o = targets.weights == nullptr ? 1.0 : static_cast<double>(targets.weights[i]);
    double least = state.evidence[0];
    for (std::size_t k = 1; k < inputs; ++k) {
      least = state.evidence[k] < least ? state.evidence[k] : least;
    }
    state.weight += o;
    for (std::size_t k = 0; k < inputs; ++k) {
      behind[lanes * i + k] = static_cast<float>(state.evidence[k] - least);
      state.evidence[k] = lambda * state.evidence[k] + o * loss[lanes * i + k];
      state.losses[k] += o * loss[lanes * i + k];
    }
    behind[lanes * i + 6] = behind[lanes * i + 7] = 0.0f;
  }
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t k = 0; k < lanes; ++k) {
      const std::size_t j = lanes * i + k;
      const double share = static_cast<double>(prior_share[k] * exp_of_minus(behind[j]));
      positive[j] *= share;
      negative[j] *= share;
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    const double* const of_one = positive + lanes * i;
    const double* const of_zero = negative + lanes * i;
    double one = of_one[0], zero = of_zero[0];
    for (std::size_t k = 1; k < inputs; ++k) {
      one += of_one[k];
      zero += of_zero[k];
    }
    // Both are above 0 unless every margin with a share is beyond +-87.
    const bool usual = one > 1e-300 && zero > 1e-300;
    guarded[i] = usual ? static_cast<float>(logarithm(one) - logarithm(zero)) : mixed[i];
  }
}

}  // namespace
}  // namespace adagrad
