// Five linear learners, the experts, that learn side by side from the same examples. mixing.hpp
// combines their margins.
//
// Inputs have no scale: m is the root of the mean square of the n values that are not 0 and that a
// slot has seen, this one included, and an expert's weight w is that of x' = x / m. It stays when m
// changes. (The largest |x| instead of m gives typical values of a skewed column too little
// weight.)
//
// The first four experts are AdaGrad with a rate eta, a start s0 and a power q. With the margin z
// of an expert, the label y, the weight o of the example, the number t of examples and the sum N of
// 1 + |x'|^2 over them:
//
//     g = o (sigmoid(z) - y),  c = sqrt(t / N)
//     r_j = eta c / (s0 + S_j + (g x'_j)^2)^q,    K = r_bias + sum_j r_j x'_j^2
//     z+ solves z+ = z - o K (sigmoid(z+) - y)
//     w_j -= r_j x'_j o (sigmoid(z+) - y),   S_j += (g x'_j)^2
//
// The step is implicit (Kulis and Bartlett, "Implicit Online Learning", ICML 2010): it is taken
// with the gradient at the new margin, so that no rate overshoots. The fifth expert is Bayesian,
// with a variance v_j = 1 / (1 / v_0 + A_j) of each weight and the same step with r = v;
//
//     h = o max(p+ (1 - p+), p (1 - p) / 2),   A_j += x'_j^2 h / (1 + h K)
//
// With u = sigmoid(-m) the residual of an example of margin m = +-z, z+ is found from its residual
// rho = |sigmoid(z+) - y|: the root of rho - sigmoid(-(m + o K rho)), by three steps of Newton's
// method from -m / (o K), bounded to [0, 1]. From there the method approaches the root from one
// side only.
//
// Forgetting: an accumulator is a sum in which an example counts `scale` times as much as the first
// one; divided by the scale, it is a sum with weights that halve in a half-life.
//
// Memory: a row is [w_1 .. w_5, m, n, 0 | S_1 .. S_4, A, 0, 0, 0]. The row of the bias has x' = 1.
//
// The rows of the next round are prefetched while this one computes.
//
// A round has five steps: (1) every region sums w x' and x'^2; (2) the margins, gradients and c of
// the examples; (3) every region computes r of its entries, and its part of K; (4) the residuals;
// (5) every region steps its rows in the order of the examples. Rows change in step (5) only, but
// for m and n, which change in step (1); where all values are 1, they change in step (5).
//
// Order of operations: within a region, terms are added to 0 entry by entry; regions are added to 0
// from the first to the last, and the bias last. A term of (1) is w * x', one of (3) is r * (x' *
// x'). r is (eta * c) / root(s0 + (S + gain * (x' * x')) * (1 / scale)) with gain = (g * g) *
// scale. A step is w + (r * x') * d with d = +-(o * rho), and S + gain * (x' * x').
//
// All loops rely on slots below the length of the table. Slots may repeat.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "eight.hpp"
#include "logistic.hpp"
#include "mixing.hpp"
#include "runs.hpp"

namespace adagrad {
namespace {

constexpr std::size_t size_lane = 5, count_lane = 6;  // of m and n

constexpr float expert_rate[lanes] = {0.5f, 0.25f, 2.0f, 1.0f, 0.0f, 0.0f, 0.0f, 0.0f};
constexpr float fixed_rate[lanes] = {0.0f, 0.0f, 0.0f, 0.0f, 1.0f, 0.0f, 0.0f, 0.0f};
constexpr float slot_start[lanes] = {1.0f, 0.01f, 0.01f, 1.0f, 10.0f, 1.0f, 1.0f, 1.0f};
constexpr float bias_start[lanes] = {1.0f, 0.01f, 0.01f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f};
constexpr float is_adaptive[lanes] = {1.0f, 1.0f, 1.0f, 1.0f, 0.0f, 0.0f, 0.0f, 0.0f};
constexpr float is_bayesian[lanes] = {0.0f, 0.0f, 0.0f, 0.0f, 1.0f, 0.0f, 0.0f, 0.0f};
constexpr std::int32_t is_size[lanes] = {0, 0, 0, 0, 0, -1, 0, 0};
constexpr std::int32_t is_weight[lanes] = {-1, -1, -1, -1, -1, 0, 0, 0};
constexpr float one_each[lanes] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 1.0f, 0.0f};

inline Eight eight(const float (&of)[lanes]) { return load_eight(of); }

inline Eight rates_of(const Eight& s, const Eight& gain, const Eight& start, const Eight& rate,
                      float inverse) {
  const Eight d = start + (s + gain) * inverse;
  return rate / first_roots(d);
}

// Calls f with the regions that are prefetched and visited at a time: one of them, or all where
// loops of varying lengths mispredict more branches than a few prefetches at a time are worth.
template <bool fixed, class F>
ADAGRAD_INLINE void by_pieces(const Units& of, F f) {
  constexpr std::size_t regions_of_piece = fixed ? 1 : regions;
  for (std::size_t first = of.first; first < of.last; first += regions_of_piece) {
    const std::size_t end = first + regions_of_piece;
    f(Units{first, end < of.last ? end : of.last});
  }
}

// Prefetches the rows of a part of the entries that an example has in some regions, if there is
// such an example.
template <bool fixed>
ADAGRAD_INLINE void prefetch_rows(const MixtureModel& model, const Examples& x, std::size_t i,
                                  const Units& of, std::size_t part, std::size_t parts) {
  if (i >= x.n) return;
  const std::size_t begin = first<fixed>(x, i, of.first), n = first<fixed>(x, i, of.last) - begin;
  const std::size_t stop = begin + n * (part + 1) / parts;
  for (std::size_t k = begin + n * part / parts; k < stop; ++k) {
    ADAGRAD_PREFETCH(model.table + mixture_row * x.slots[k]);
  }
}

// x' for the m of a row.
inline float own_value(const float* row, float x) {
  return row[size_lane] > 0.0f ? x / row[size_lane] : 0.0f;
}

// Counts a value in m and n, in double: squares of 2^48 and of 2^-100 are no special cases. With
// values of 1, m is 1 to the last bit. n stays at 2^24.
inline void count_value(float* row, float x) {
  if (x == 0.0f) return;
  const float n = row[count_lane] += 1.0f;
  const double size = static_cast<double>(row[size_lane]), value = static_cast<double>(x);
  const double mean = size * size + (value * value - size * size) / static_cast<double>(n);
  row[size_lane] = static_cast<float>(std::sqrt(mean));
}

template <bool fixed, bool scaled>
void mixture_sums(const MixtureModel& model, const MixtureEntries& entries, const Units& of,
                  float* partial, std::size_t stride) {
  const Round& round = *entries.round;
  const Examples x = *round.x;
  // Later rounds are prefetched by the steps of the one before.
  for (std::size_t i = 0; round.begin == 0 && i < round.end; ++i) {
    prefetch_rows<fixed>(model, x, i, of, 0, 1);
  }
  for (std::size_t i = round.begin; i < round.end; ++i) {
    float* const to = partial + lanes * (i - round.begin);
    for (std::size_t region = of.first; region < of.last; ++region) {
      Eight sum{};
      float squares = 0.0f;
      const std::size_t begin = first<fixed>(x, i, region);
      const std::size_t last = first<fixed>(x, i, region + 1);
      for (std::size_t k = begin; k < last; ++k) {
        float* const row = model.table + mixture_row * x.slots[k];
        if constexpr (scaled) {
          const float value = value_of(x, k);
          count_value(row, value);
          const float own = entries.values[k - entries.first] = own_value(row, value);
          squares += own * own;
          sum = sum + load_eight(row) * own;
        } else {
          sum = sum + load_eight(row);
        }
      }
      if constexpr (!scaled) squares = static_cast<float>(last - begin);
      sum = joined(all(squares), joined(sum, Eight{}, load_mask(is_weight)), load_mask(is_size));
      store_eight(to + region * stride, sum);
    }
  }
}

// Adds what the regions have summed up for each example: eight floats from sums[8 * i].
inline void add_regions(const float* partial, std::size_t stride, std::size_t n, float* sums) {
  add_units(partial, stride, regions, lanes * n, sums);
}

// The labels and weights of examples, once for each lane: loops over all lanes of all examples
// vectorize, whatever the width of a vector.
struct EachLane {
  float y[lanes * round_size], o[lanes * round_size];

  EachLane(const Targets& targets, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      store_eight(y + lanes * i, all(targets.y[i]));
      store_eight(o + lanes * i, all(weight_of(targets, i)));
    }
  }
};

// The margins of a round, and what its steps need: see MixtureRound.
inline void mixture_margins(const MixtureModel& model, const Targets& targets, std::size_t n,
                            const float* partial, std::size_t stride, std::uint64_t t,
                            MixtureRound& to) {
  add_regions(partial, stride, n, to.z);
  const float scale = to.unit = static_cast<float>(to.scale);
  to.inverse = 1.0f / scale;
  const Eight start = eight(bias_start);
  for (std::size_t i = 0; i < n; ++i) {
    float* const z = to.z + lanes * i;
    to.entries += 1.0 + static_cast<double>(z[size_lane]);
    const double c = std::sqrt(static_cast<double>(t + i + 1) / to.entries);
    const float shared = static_cast<float>(c);
    store_eight(to.rate + lanes * i, eight(expert_rate) * shared + eight(fixed_rate));
    if (model.bias != nullptr) store_eight(z, load_eight(z) + load_eight(model.bias));
  }
  const EachLane each(targets, n);
  for (std::size_t k = 0; k < lanes * n; ++k) {
    const float p = to.p[k] = sigmoid(to.z[k]), g = (p - each.y[k]) * each.o[k];
    to.gain[k] = (g * g) * scale;
  }
  for (std::size_t i = 0; i < n; ++i) {
    float* const gain = to.gain + lanes * i;
    store_eight(gain, load_eight(gain) * eight(is_adaptive));
  }
  for (std::size_t i = 0; i < n && model.bias != nullptr; ++i) {
    const std::size_t k = lanes * i;
    const Eight s = load_eight(model.bias + lanes);
    store_eight(to.of_bias + k,
                rates_of(s, load_eight(to.gain + k), start, load_eight(to.rate + k), to.inverse));
  }
  for (std::size_t i = 0; i < n; ++i) to.scale *= to.growth;
}

template <bool fixed, bool scaled>
void mixture_rates(const MixtureModel& model, const MixtureEntries& entries, const Units& of,
                   const MixtureRound& has, float* partial, std::size_t stride) {
  const Round& round = *entries.round;
  const Examples x = *round.x;
  const Eight start = eight(slot_start);
  for (std::size_t i = round.begin; i < round.end; ++i) {
    const std::size_t at = lanes * (i - round.begin);
    const Eight rate = load_eight(has.rate + at), gain = load_eight(has.gain + at);
    by_pieces<fixed>(of, [&](const Units& piece) {
      prefetch_rows<fixed>(model, x, i + (round.end - round.begin), piece, 0, 2);
      std::size_t k = first<fixed>(x, i, piece.first);
      for (std::size_t region = piece.first; region < piece.last; ++region) {
        Eight sum{};
        for (const std::size_t last = first<fixed>(x, i, region + 1); k < last; ++k) {
          const Eight s = load_eight(model.table + mixture_row * x.slots[k] + lanes);
          const std::size_t place = k - entries.first;
          if constexpr (scaled) {
            const float square = entries.values[place] * entries.values[place];
            const Eight r = rates_of(s, gain * square, start, rate, has.inverse);
            store_eight(entries.rates + lanes * place, r);
            sum = sum + r * square;
          } else {
            const Eight r = rates_of(s, gain, start, rate, has.inverse);
            store_eight(entries.rates + lanes * place, r);
            sum = sum + r;
          }
        }
        store_eight(partial + region * stride + at, sum);
      }
    });
  }
}

// The residuals of the implicit steps. Adds to the gains what the Bayesian expert has learned.
inline void mixture_residuals(bool has_bias, const Targets& targets, std::size_t n,
                              const float* partial, std::size_t stride, MixtureRound& to) {
  constexpr std::size_t most = lanes * round_size;
  constexpr float tiny = 1e-30f;  // instead of 0 / 0 for an example without entries
  float k_sum[most], a[most], m[most], rho[most];
  add_regions(partial, stride, n, k_sum);
  const EachLane each(targets, n);
  for (std::size_t j = 0; j < lanes * n && has_bias; ++j) k_sum[j] += to.of_bias[j];
  for (std::size_t j = 0; j < lanes * n; ++j) {
    a[j] = each.o[j] * k_sum[j];
    m[j] = each.y[j] > 0.0f ? to.z[j] : -to.z[j];
    const float from = -m[j] / (a[j] + tiny);
    rho[j] = from > 0.0f ? from < 1.0f ? from : 1.0f : 0.0f;
  }
  for (int iteration = 0; iteration < 3; ++iteration) {
    for (std::size_t j = 0; j < lanes * n; ++j) {
      const float s = sigmoid(-(m[j] + a[j] * rho[j]));
      rho[j] -= (rho[j] - s) / (1.0f + a[j] * (s * (1.0f - s)));
    }
  }
  float learned[most];
  const float unit = to.unit;
  for (std::size_t k = 0; k < lanes * n; ++k) {
    const float after = rho[k] * (1.0f - rho[k]), before = to.p[k] * (1.0f - to.p[k]) * 0.5f;
    const float h = each.o[k] * (after > before ? after : before);
    const float step = each.o[k] * rho[k];
    to.step[k] = each.y[k] > 0.0f ? step : -step;
    learned[k] = h / (1.0f + h * k_sum[k]) * unit;
  }
  for (std::size_t i = 0; i < n; ++i) {
    float* const gain = to.gain + lanes * i;
    store_eight(gain, load_eight(gain) + load_eight(learned + lanes * i) * eight(is_bayesian));
  }
}

template <bool fixed, bool scaled>
void mixture_steps(const MixtureModel& model, const MixtureEntries& entries, const Units& of,
                   const MixtureRound& has) {
  const Round& round = *entries.round;
  const Examples x = *round.x;
  for (std::size_t i = round.begin; i < round.end; ++i) {
    const std::size_t at = lanes * (i - round.begin);
    const Eight step = load_eight(has.step + at), gain = load_eight(has.gain + at);
    by_pieces<fixed>(of, [&](const Units& piece) {
      prefetch_rows<fixed>(model, x, i + (round.end - round.begin), piece, 1, 2);
      const Run run = run_of<fixed>(x, i, piece);
      for (std::size_t k = run.first; k < run.last; ++k) {
        float* const row = model.table + mixture_row * x.slots[k];
        const std::size_t place = k - entries.first;
        const Eight w = load_eight(row), s = load_eight(row + lanes);
        const Eight r = load_eight(entries.rates + lanes * place);
        if constexpr (scaled) {
          const float value = entries.values[place];
          store_eight(row, w + r * value * step);
          store_eight(row + lanes, s + gain * (value * value));
        } else {
          const Eight next = w + r * step + eight(one_each);
          store_eight(row, joined(all(1.0f), next, load_mask(is_size)));
          store_eight(row + lanes, s + gain);
        }
      }
    });
    if (of.last != regions || model.bias == nullptr) continue;
    const Eight w = load_eight(model.bias), s = load_eight(model.bias + lanes);
    store_eight(model.bias, w + load_eight(has.of_bias + at) * step);
    store_eight(model.bias + lanes, s + gain);
  }
}

// The largest float, with the sign of w, if w is infinite: values below 1e-38 ask for more, and an
// infinite weight times a value of 0 is no number.
inline float bounded(float w) {
  constexpr float most = std::numeric_limits<float>::max();
  return w > most ? most : w < -most ? -most : w;
}

// The weight of a slot in the linear model that the mixture is.
inline float mixed_weight(const float* row, const float* theta) {
  float sum = theta[0] * row[0];
  for (std::size_t e = 1; e < experts; ++e) sum += theta[e] * row[e];
  return row[size_lane] > 0.0f ? bounded(sum / row[size_lane]) : 0.0f;
}

inline void mixture_weights(const float* table, std::size_t n, const float* theta, float* to) {
  for (std::size_t slot = 0; slot < n; ++slot) {
    to[slot] = mixed_weight(table + mixture_row * slot, theta);
  }
}

// The sums of linear_sums() for the linear model that the mixture is.
template <bool fixed>
void mixed_sums(const MixtureModel& model, const float* theta, float bias, const Round& round,
                const Units& of, float* partial, std::size_t stride) {
  const Examples x = *round.x;
  const std::size_t ahead = examples_ahead(of);
  for (std::size_t next = round.begin; next < round.end + ahead; ++next) {
    if (next < round.end) {
      const std::size_t stop = first<fixed>(x, next, of.last);
      for (std::size_t k = first<fixed>(x, next, of.first); k < stop; ++k) {
        ADAGRAD_PREFETCH(model.table + mixture_row * x.slots[k]);
      }
    }
    if (next < round.begin + ahead) continue;
    const std::size_t i = next - ahead;
    for (std::size_t region = of.first; region < of.last; ++region) {
      float sum = 0.0f;
      const std::size_t last = first<fixed>(x, i, region + 1);
      for (std::size_t k = first<fixed>(x, i, region); k < last; ++k) {
        const float w = mixed_weight(model.table + mixture_row * x.slots[k], theta);
        sum += x.values == nullptr ? w : w * x.values[k];
      }
      if (region + 1 == regions && model.bias != nullptr) sum += bias;
      partial[region * stride + (i - round.begin)] = sum;
    }
  }
}

// out[i] = the variance of the margin of the Bayesian expert.
template <bool fixed>
void mixture_variances(const MixtureModel& model, float inverse, const Round& round, float* out) {
  const Examples x = *round.x;
  for (std::size_t i = round.begin; i < round.end; ++i) {
    float sum = 0.0f;
    const std::size_t last = first<fixed>(x, i, regions);
    for (std::size_t k = first<fixed>(x, i, 0); k < last; ++k) {
      const float* const row = model.table + mixture_row * x.slots[k];
      const float value = value_of(x, k), unseen = value == 0.0f ? 0.0f : 1.0f;
      const float own = row[size_lane] > 0.0f ? value / row[size_lane] : unseen;
      sum += own * own / (slot_start[4] + row[lanes + 4] * inverse);
    }
    if (model.bias != nullptr) sum += 1.0f / (bias_start[4] + model.bias[lanes + 4] * inverse);
    out[i - round.begin] = sum;
  }
}

}  // namespace
}  // namespace adagrad
