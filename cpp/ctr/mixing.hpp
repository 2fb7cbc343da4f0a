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
// by at most log 10, times the largest weight of an example if that is above 1: the losses are
// divided by it before they become likelihoods, because the bound holds for weights up to 1.
//
// With forgetting, an example that came H examples ago counts half: the evidence is multiplied by
// lambda = 2^(-1/H) before each example, and P becomes lambda P + (1 - lambda) P_0, so that the
// mixture never stops to learn and never learns faster than at first.
//
// Order of operations: all in double but for margins and exponentials. A sum over u of terms a to f
// is ((a + b) + (c + d)) + (e + f); P u is added from the first to the last.
#pragma once

#include <cstddef>

#include "../adagrad/random.hpp"
#include "eight.hpp"
#include "logistic.hpp"
#include "types.hpp"

namespace adagrad {
namespace {

constexpr std::size_t experts = 5, inputs = experts + 1;

// The diagonal of P at the start.
constexpr double prior_covariance[lanes] = {0.1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.0, 0.0};

// The prior of each prediction: of the experts, then of the mixture.
constexpr float prior_share[lanes] = {0.1f, 0.1f, 0.1f, 0.1f, 0.1f, 0.5f, 0.0f, 0.0f};

inline double sum_of_inputs(const Lanes8<double>& x) {
  double lane[lanes];
  store_eight(lane, x);
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + (lane[4] + lane[5]);
}

// The margin of the mixture, and one step of its weights. z has eight floats.
inline float mix_one(MixingState& state, const float* z, bool has_bias, bool positive, double o,
                     double lambda) {
  double input[lanes] = {};
  for (std::size_t e = 0; e < experts; ++e) {
    const float clipped = z[e] < -30.0f ? -30.0f : z[e] > 30.0f ? 30.0f : z[e];
    input[e] = static_cast<double>(clipped);
  }
  input[experts] = has_bias ? 1.0 : 0.0;
  const Lanes8<double> u = load_eight(input), theta = load_eight(state.theta);
  const float margin = static_cast<float>(sum_of_inputs(theta * u));

  double* const covariance = state.covariance;
  if (lambda != 1.0) {
    for (std::size_t r = 0; r < inputs; ++r) {
      double* const row = covariance + lanes * r;
      for (std::size_t s = 0; s < lanes; ++s) row[s] *= lambda;
      row[r] += (1.0 - lambda) * prior_covariance[r];
    }
  }
  // The covariance is symmetric to the last bit, so its rows serve as columns.
  Lanes8<double> pu = load_eight(covariance) * input[0];
  for (std::size_t s = 1; s < inputs; ++s) {
    pu = pu + load_eight(covariance + lanes * s) * input[s];
  }
  const double quadratic = sum_of_inputs(u * pu);
  const float e = exp_of_minus(magnitude_of(margin));
  const double p = static_cast<double>(sigmoid_from(margin, e));
  const double q = static_cast<double>(sigmoid_from(-margin, e));
  const double oh = o * (p * q), d = 1.0 + oh * quadratic;
  const double of_theta = o * (positive ? q : -p) / d, of_covariance = oh / d;
  store_eight(state.theta, theta + pu * of_theta);
  double gain[lanes];
  store_eight(gain, pu);
  for (std::size_t r = 0; r < inputs; ++r) {
    double* const row = covariance + lanes * r;
    store_eight(row, load_eight(row) - (pu * gain[r]) * of_covariance);
  }
  return margin;
}

// Writes the guarded margin of n <= round_size examples, and that of the mixture, and learns from
// them. z has eight floats for each example; lanes 5 to 7 are overwritten.
inline void mix(MixingState& state, float* z, bool has_bias, const Targets& targets, std::size_t n,
                double lambda, float* mixed, float* guarded) {
  constexpr std::size_t most = lanes * round_size;
  // Of each prediction: the margin towards the label, e^-|m|, its loss, how far it is behind the
  // best one, and the probabilities of the label and of the other one.
  float m[most], e[most], behind[most];
  double loss[most], right[most], wrong[most];
  for (std::size_t i = 0; i < n; ++i) {
    const bool positive = targets.y[i] > 0.0f;
    const double o = static_cast<double>(weight_of(targets, i));
    float* const own = z + lanes * i;
    mixed[i] = own[experts] = mix_one(state, own, has_bias, positive, o, lambda);
    own[6] = own[7] = 0.0f;
    for (std::size_t k = 0; k < lanes; ++k) m[lanes * i + k] = positive ? own[k] : -own[k];
  }
  // These loops are independent of each other and vectorize; a loop of both types would not.
  for (std::size_t j = 0; j < lanes * n; ++j) e[j] = exp_of_minus(magnitude_of(m[j]));
  for (std::size_t j = 0; j < lanes * n; ++j) {
    const double e_j = static_cast<double>(e[j]), m_j = static_cast<double>(m[j]);
    const double likely = 1.0 / (1.0 + e_j), unlikely = e_j * likely;
    right[j] = m_j < 0.0 ? unlikely : likely;
    wrong[j] = m_j < 0.0 ? likely : unlikely;
    loss[j] = m_j < 0.0 ? -m_j : 0.0;
  }
  for (std::size_t j = 0; j < lanes * n; ++j) {
    loss[j] = logarithm(1.0 + static_cast<double>(e[j])) + loss[j];
  }
  for (std::size_t i = 0; i < n; ++i) {
    const double o = static_cast<double>(weight_of(targets, i));
    const double* const of_example = loss + lanes * i;
    double least = state.evidence[0];
    for (std::size_t k = 1; k < inputs; ++k) {
      least = state.evidence[k] < least ? state.evidence[k] : least;
    }
    state.weight += o;
    state.largest_weight = o > state.largest_weight ? o : state.largest_weight;
    for (std::size_t k = 0; k < lanes; ++k) {
      behind[lanes * i + k] =
          static_cast<float>((state.evidence[k] - least) / state.largest_weight);
      state.evidence[k] = lambda * state.evidence[k] + o * of_example[k];
      state.losses[k] += o * of_example[k];
    }
  }
  for (std::size_t j = 0; j < lanes * n; ++j) {
    behind[j] = prior_share[j % lanes] * exp_of_minus(behind[j]);
  }
  for (std::size_t j = 0; j < lanes * n; ++j) {
    right[j] *= static_cast<double>(behind[j]);
    wrong[j] *= static_cast<double>(behind[j]);
  }
  double label[round_size], other[round_size];
  for (std::size_t i = 0; i < n; ++i) {
    label[i] = sum_of_inputs(load_eight(right + lanes * i));
    other[i] = sum_of_inputs(load_eight(wrong + lanes * i));
  }
  // Both sums are above 0 unless every margin with a share is beyond +-87.
  for (std::size_t i = 0; i < n; ++i) {
    const bool usual = label[i] > 1e-300 && other[i] > 1e-300;
    other[i] = usual ? other[i] : 1.0;
    label[i] = usual ? label[i] : -1.0;
  }
  for (std::size_t i = 0; i < n; ++i) {
    const double size = label[i] > 0.0 ? label[i] : 1.0;
    other[i] = logarithm(size) - logarithm(other[i]);
  }
  for (std::size_t i = 0; i < n; ++i) {
    const float towards = static_cast<float>(other[i]);
    guarded[i] = label[i] < 0.0 ? mixed[i] : targets.y[i] > 0.0f ? towards : -towards;
  }
}

}  // namespace
}  // namespace adagrad
