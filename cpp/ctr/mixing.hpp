// The online mixture of five margins, and its guard.
//
// The mixture is a logistic regression of the label on u = (z_1 .. z_5, 1), the margins of the
// experts clipped to +-30, by one step of an online Newton method per round. With the weight o of
// an example:
//
//     p = sigmoid(theta . u),  h = p (1 - p)
//     Lambda += sum of o h u u',    d = Lambda^-1 sum of o (y - p) u
//     theta += d / max(1, largest |d . u| / 4)
//
// where the sums, and the largest, are over the examples of the round. theta may be negative: no
// expert alone is the model. A step moves no margin by more than 4: Newton's method alone has no
// bound where a label is a surprise, because h is small there, and weights may be large.
//
// The guard predicts the average of the five experts and the mixture, each weighted by its prior
// and by the likelihood that it gave to the labels so far (Vovk, "Aggregating strategies", COLT
// 1990). Its total loss exceeds that of the mixture by at most log 2 nats, and that of any expert
// by at most log 10, times the largest weight of an example if that is above 1: the losses are
// divided by it before they become likelihoods, because the bound holds for weights up to 1.
//
// With forgetting, an example that came H examples ago counts half: the evidence is multiplied by
// lambda = 2^(-1/H) for each example, and Lambda becomes lambda Lambda + (1 - lambda) Lambda_0, so
// that the mixture never stops learning and never learns faster than at first.
//
// Order of operations: all in double but for margins and exponentials. A sum over u of terms a to f
// is ((a + b) + (c + d)) + (e + f); sums over examples start with Lambda, or with 0. The equations
// are solved by the decomposition L D L', column by column.
#pragma once

#include <cstddef>

#include "../adagrad/random.hpp"
#include "eight.hpp"
#include "logistic.hpp"
#include "types.hpp"

namespace adagrad {
namespace {

constexpr std::size_t inputs = experts + 1;

// The diagonal of Lambda at the start.
constexpr double prior_precision[inputs] = {10.0, 10.0, 10.0, 10.0, 10.0, 100.0};

// The prior of each prediction: of the experts, then of the mixture.
constexpr float prior_share[lanes] = {0.1f, 0.1f, 0.1f, 0.1f, 0.1f, 0.5f, 0.0f, 0.0f};

inline double sum_of_inputs(const Lanes8<double>& x) {
  double lane[lanes];
  store_eight(lane, x);
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + (lane[4] + lane[5]);
}

// The solution x of precision x = b. The precision is symmetric, with rows of eight; x has zeros in
// the places that are to spare.
inline Lanes8<double> solution(const double* precision, const double* b) {
  constexpr double least = prior_precision[0];
  double l[inputs][inputs], d[inputs], x[lanes] = {};
  for (std::size_t j = 0; j < inputs; ++j) {
    d[j] = precision[lanes * j + j];
    for (std::size_t k = 0; k < j; ++k) d[j] -= l[j][k] * l[j][k] * d[k];
    // Without rounding d is no less: Lambda only grows. Huge weights may round it away.
    d[j] = d[j] > least ? d[j] : least;
    for (std::size_t i = j + 1; i < inputs; ++i) {
      l[i][j] = precision[lanes * i + j];
      for (std::size_t k = 0; k < j; ++k) l[i][j] -= l[i][k] * l[j][k] * d[k];
      l[i][j] /= d[j];
    }
  }
  for (std::size_t i = 0; i < inputs; ++i) {
    x[i] = b[i];
    for (std::size_t k = 0; k < i; ++k) x[i] -= l[i][k] * x[k];
  }
  for (std::size_t i = inputs; i-- > 0;) {
    x[i] /= d[i];
    for (std::size_t k = i + 1; k < inputs; ++k) x[i] -= l[k][i] * x[k];
  }
  return load_eight(x);
}

// Learns how to mix the inputs u of n examples, whose labels had the probabilities `right`.
inline void learn_mixing(MixingState& state, const double* u, const double* right,
                         const double* wrong, const Targets& targets, std::size_t n,
                         double lambda) {
  if (lambda != 1.0) {
    double kept = 1.0;
    for (std::size_t i = 0; i < n; ++i) kept *= lambda;
    for (std::size_t r = 0; r < inputs; ++r) {
      double* const row = state.precision + lanes * r;
      for (std::size_t s = 0; s < lanes; ++s) row[s] *= kept;
      row[r] += (1.0 - kept) * prior_precision[r];
    }
  }
  Lanes8<double> sum{}, precision[inputs];
  for (std::size_t r = 0; r < inputs; ++r) precision[r] = load_eight(state.precision + lanes * r);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t at = lanes * i, mixed = at + experts;
    const double o = static_cast<double>(weight_of(targets, i));
    const double g = targets.y[i] > 0.0f ? o * wrong[mixed] : -(o * wrong[mixed]);
    const double h = o * (right[mixed] * wrong[mixed]);
    const Lanes8<double> input = load_eight(u + at);
    sum = sum + input * g;
    // h (u_r u_s), so that the precision is symmetric to the last bit.
    for (std::size_t r = 0; r < inputs; ++r) precision[r] = precision[r] + input * u[at + r] * h;
  }
  double b[lanes];
  store_eight(b, sum);
  for (std::size_t r = 0; r < inputs; ++r) store_eight(state.precision + lanes * r, precision[r]);
  const Lanes8<double> step = solution(state.precision, b);
  double most = largest_move;
  for (std::size_t i = 0; i < n; ++i) {
    const double moved = sum_of_inputs(step * load_eight(u + lanes * i));
    const double distance = moved < 0.0 ? -moved : moved;
    most = distance > most ? distance : most;
  }
  store_eight(state.theta, load_eight(state.theta) + step * (largest_move / most));
}

constexpr std::int32_t is_expert[lanes] = {-1, -1, -1, -1, -1, 0, 0, 0};
constexpr std::int32_t is_mixture[lanes] = {0, 0, 0, 0, 0, -1, 0, 0};

// The inputs of the mixture: the margins of the experts, clipped, and the constant.
inline Eight inputs_of(const float* margins, bool has_bias) {
  float clipped[lanes];
  for (std::size_t k = 0; k < lanes; ++k) {
    clipped[k] = margins[k] < -30.0f ? -30.0f : margins[k] > 30.0f ? 30.0f : margins[k];
  }
  const Eight constant = joined(all(has_bias ? 1.0f : 0.0f), Eight{}, load_mask(is_mixture));
  return joined(load_eight(clipped), constant, load_mask(is_expert));
}

// Writes the guarded margin of n <= round_size examples, and that of the mixture, and learns from
// them. z has eight floats for each example; lanes 5 to 7 are overwritten.
inline void mix(MixingState& state, float* z, bool has_bias, const Targets& targets, std::size_t n,
                double lambda, float* mixed, float* guarded) {
  constexpr std::size_t most = lanes * round_size;
  // Of each prediction: the margin towards the label, e^-|m|, its loss, how far it is behind the
  // best one, and the probabilities of the label and of the other one.
  float m[most], e[most], behind[most];
  double u[most], loss[most], right[most], wrong[most];
  // Whole vectors are written and read: one that is read after its lanes were written waits.
  for (std::size_t i = 0; i < n; ++i)
    store_eight(m + lanes * i, inputs_of(z + lanes * i, has_bias));
  for (std::size_t j = 0; j < lanes * n; ++j) u[j] = static_cast<double>(m[j]);
  for (std::size_t i = 0; i < n; ++i) {
    const double total = sum_of_inputs(load_eight(state.theta) * load_eight(u + lanes * i));
    mixed[i] = static_cast<float>(total);
  }
  for (std::size_t i = 0; i < n; ++i) {
    const Eight own = load_eight(z + lanes * i);
    const Eight of_all =
        joined(own, joined(all(mixed[i]), Eight{}, load_mask(is_mixture)), load_mask(is_expert));
    store_eight(z + lanes * i, of_all);
    store_eight(m + lanes * i, targets.y[i] > 0.0f ? of_all : of_all * -1.0f);
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
  learn_mixing(state, u, right, wrong, targets, n, lambda);
  double distance[most], weight = state.weight, largest = state.largest_weight;
  Lanes8<double> evidence = load_eight(state.evidence), losses = load_eight(state.losses);
  for (std::size_t i = 0; i < n; ++i) {
    const double o = static_cast<double>(weight_of(targets, i));
    double lane[lanes];
    store_eight(lane, evidence);
    double least = lane[0];
    for (std::size_t k = 1; k < inputs; ++k) least = lane[k] < least ? lane[k] : least;
    weight += o;
    largest = o > largest ? o : largest;
    for (std::size_t k = 0; k < lanes; ++k) {
      distance[lanes * i + k] = (lane[k] - least) / largest;
    }
    const Lanes8<double> lost = load_eight(loss + lanes * i) * o;
    evidence = evidence * lambda + lost;
    losses = losses + lost;
  }
  store_eight(state.evidence, evidence);
  store_eight(state.losses, losses);
  state.weight = weight;
  state.largest_weight = largest;
  for (std::size_t j = 0; j < lanes * n; ++j) behind[j] = static_cast<float>(distance[j]);
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
