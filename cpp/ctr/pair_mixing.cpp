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
  const double moved = of_theta * quadratic, distance = moved < 0.0 ? -moved : moved;
  const double bounded = distance > largest_move ? of_theta * (largest_move / distance) : of_theta;
  for (std::size_t r = 0; r < inputs; ++r) {
    state.theta[r] += bounded * pu[r];
    double* const row = state.covariance + inputs * r;
    for (std::size_t s = 0; s < inputs; ++s) row[s] -= of_covariance * (pu[r] * pu[s]);
  }
  return margin;
}

// -log(e^-x[0] + e^-x[1]), also where both powers are below the smallest number.
double minus_log_sum(const double (&x)[2]) {
  const double least = x[0] < x[1] ? x[0] : x[1], most = x[0] < x[1] ? x[1] : x[0];
  const float apart = static_cast<float>(most - least);
  return least - logarithm(1.0 + static_cast<double>(exp_of_minus(apart)));
}

}  // namespace

void mix_pairs(PairMixingState& state, const PairMargins& of, bool has_bias, const Targets& targets,
               std::size_t n, double lambda, bool learns, float* margins) {
  for (std::size_t i = 0; i < n; ++i) {
    const bool is_positive = targets.y[i] > 0.0f;
    const double o = static_cast<double>(weight_of(targets, i));
    const double u[inputs] = {clipped(of.linear[i]), clipped(of.pairs[i]), has_bias ? 1.0 : 0.0};
    const float choices[2] = {of.guarded[i], mix_one(state, u, is_positive, o, lambda, learns)};
    if (learns && o > state.largest_weight) state.largest_weight = o;
    double* const evidence = state.evidence;
    const double least = evidence[1] < evidence[0] ? evidence[1] : evidence[0];
    // Minus the logarithm of the probability of each label, times the share of the prediction.
    double one[2], zero[2];
    for (std::size_t k = 0; k < 2; ++k) {
      const float z = choices[k], size = magnitude_of(z);
      const double near = logarithm(1.0 + static_cast<double>(exp_of_minus(size)));
      const double far = near + static_cast<double>(size);
      const double behind = (evidence[k] - least) / state.largest_weight;
      one[k] = behind + (z < 0.0f ? far : near);
      zero[k] = behind + (z < 0.0f ? near : far);
      if (!learns) continue;
      const double loss = is_positive == (z < 0.0f) ? far : near;
      evidence[k] = lambda * evidence[k] + o * loss;
      state.losses[k] += o * loss;
    }
    if (learns) state.weight += o;
    margins[i] = static_cast<float>(minus_log_sum(zero) - minus_log_sum(one));
  }
}

}  // namespace adagrad
