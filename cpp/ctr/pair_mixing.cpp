#include "../adagrad/random.hpp"
#include "models.hpp"
#include "sigmoid.hpp"

namespace adagrad {
namespace {

constexpr std::size_t inputs = 3;
constexpr double prior_covariance[inputs] = {0.03, 0.3, 0.01};  // the diagonal of P at the start

// A NaN counts as -30: pairs without normalization may overflow.
double clipped(float margin) {
  return static_cast<double>(margin > -30.0f ? margin < 30.0f ? margin : 30.0f : -30.0f);
}

float mix_one(PairMixingState& state, const double (&u)[inputs], bool positive, double o,
              double lambda, bool learns) {
  const double* const theta = state.theta;
  const double total = (theta[0] * u[0] + theta[1] * u[1]) + theta[2] * u[2];
  const float margin = static_cast<float>(total);
  if (!learns) return margin;
  double pu[inputs];
  for (std::size_t r = 0; r < inputs; ++r) {
    double* const row = state.covariance + inputs * r;
    if (lambda != 1.0) {
      for (std::size_t s = 0; s < inputs; ++s) row[s] *= lambda;
      row[r] += (1.0 - lambda) * prior_covariance[r];
    }
    pu[r] = (row[0] * u[0] + row[1] * u[1]) + row[2] * u[2];
  }
  const double quadratic = (u[0] * pu[0] + u[1] * pu[1]) + u[2] * pu[2];
  const double p = static_cast<double>(sigmoid(margin));
  const double q = static_cast<double>(sigmoid(-margin));
  const double oh = o * (p * q), d = 1.0 + oh * quadratic;
  const double of_theta = o * (positive ? q : -p) / d, of_covariance = oh / d;
  for (std::size_t r = 0; r < inputs; ++r) {
    state.theta[r] += of_theta * pu[r];
    double* const row = state.covariance + inputs * r;
    for (std::size_t s = 0; s < inputs; ++s) row[s] -= of_covariance * (pu[r] * pu[s]);
  }
  return margin;
}

}  // namespace

void mix_pairs(PairMixingState& state, const PairMargins& of, bool has_bias, const Targets& targets,
               std::size_t n, double lambda, bool learns, float* margins) {
  for (std::size_t i = 0; i < n; ++i) {
    const bool is_positive = targets.y[i] > 0.0f;
    const double o = targets.weights == nullptr ? 1.0 : static_cast<double>(targets.weights[i]);
    const double u[inputs] = {clipped(of.linear[i]), clipped(of.pairs[i]), has_bias ? 1.0 : 0.0};
    const float choices[2] = {of.guarded[i], mix_one(state, u, is_positive, o, lambda, learns)};
    if (learns && o > state.largest_weight) state.largest_weight = o;
    double* const evidence = state.evidence;
    const std::size_t better = evidence[1] < evidence[0] ? 1 : 0;
    const double least = evidence[better];
    double one = 0.0, zero = 0.0;
    for (std::size_t k = 0; k < 2; ++k) {
      const float z = choices[k], size = magnitude_of(z);
      const double e = static_cast<double>(exp_of_minus(size));
      const float behind = static_cast<float>((evidence[k] - least) / state.largest_weight);
      const double share = static_cast<double>(exp_of_minus(behind));
      one += share * sigmoid_from(z, e);
      zero += share * sigmoid_from(-z, e);
      if (!learns) continue;
      const bool wrong = is_positive == (z < 0.0f);
      const double loss = logarithm(1.0 + e) + (wrong ? static_cast<double>(size) : 0.0);
      evidence[k] = lambda * evidence[k] + o * loss;
      state.losses[k] += o * loss;
    }
    if (learns) state.weight += o;
    // Both are above 0 unless every margin with a share is beyond +-87.
    const bool usual = one > 1e-300 && zero > 1e-300;
    margins[i] = usual ? static_cast<float>(logarithm(one) - logarithm(zero)) : choices[better];
  }
}

}  // namespace adagrad
