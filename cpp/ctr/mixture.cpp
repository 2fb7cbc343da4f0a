#include <algorithm>
#include <limits>
#include <vector>

#include "../adagrad/parallel.hpp"
#include "models.hpp"
#include "team.hpp"

namespace adagrad {
namespace {

constexpr std::size_t bayesian = 4;  // its lane

}  // namespace

// 2^(1 / half_life) by its series, whose bits do not depend on a C library.
double growth_in(double half_life) {
  if (half_life == 0.0) return 1.0;
  const double x = 0.69314718055994530942 / half_life;
  double sum = 1.0;
  for (int k = 12; k > 0; --k) sum = 1.0 + sum * x / k;
  return sum;
}

namespace {

// The work of mixing the margins of an example, in entries of an example.
constexpr std::size_t mixing_work = 16;

std::vector<std::size_t> work_of(const Examples& x, std::size_t begin, std::size_t end) {
  std::vector<std::size_t> work(regions);
  for (std::size_t region = 0; region < regions; ++region) {
    work[region] = count_entries(x, begin, end, region);
  }
  work[0] += mixing_work * (end - begin);  // the first thread mixes
  return work;
}

// The most entries of a round.
std::size_t longest_round(const Examples& x, std::uint64_t t, std::size_t begin, std::size_t end) {
  std::size_t most = 0;
  for (std::size_t next; begin < end; begin = next) {
    next = round_end(t, begin, end, round_size);
    most = std::max(most, first(x, next - 1, regions) - first(x, begin, 0));
  }
  return most;
}

}  // namespace

Mixture::Mixture(const MixtureModel& memory, MixingState& state, std::size_t slots,
                 double half_life)
    : memory_(memory), state_(state), slots_(slots), growth_(growth_in(half_life)),
      lambda_(1.0 / growth_), longest_(std::numeric_limits<std::size_t>::max()) {
  // A factor of 2^16 between two calls of rescale() leaves room for weights of 2^48.
  if (half_life != 0.0 && half_life < 1e15) {
    const std::size_t rounds = static_cast<std::size_t>(16.0 * half_life) / round_size;
    longest_ = std::max<std::size_t>(1, rounds) * round_size;
  }
}

// Divides the accumulators by the scale's power of two, which changes no bit of what they mean.
void Mixture::rescale() {
  float factor = 1.0f;
  while (state_.scale >= 2.0) {
    state_.scale *= 0.5;
    factor *= 0.5f;
  }
  if (factor == 1.0f) return;
  const auto shrink = [=](float* row) {
    for (std::size_t lane = lanes; lane < mixture_row; ++lane) row[lane] *= factor;
  };
  for (std::size_t slot = 0; slot < slots_; ++slot) {
    float* const row = memory_.table + mixture_row * slot;
    if (row[lanes] != 0.0f || row[lanes + bayesian] != 0.0f) shrink(row);
  }
  if (memory_.bias != nullptr) shrink(memory_.bias);
}

void Mixture::learn(const CtrKernels& kernels, const Examples& x, const Targets& targets,
                    std::uint64_t t, bool scaled, bool mixes, std::size_t threads, float* margins,
                    float* mixed) {
  for (std::size_t begin = 0, end; begin < x.n; begin = end) {
    end = x.n;
    if (longest_ < x.n - begin) {  // ends with a round
      end = begin + longest_ - static_cast<std::size_t>((t + begin) % round_size);
    }
    // Threads do not pay for rounds of a few examples.
    constexpr std::uint64_t few = 8 * examples_per_round;
    const std::uint64_t left = t + begin < few ? few - t - begin : 0;
    const std::size_t part = left < end - begin ? begin + static_cast<std::size_t>(left) : end;
    learn_part(kernels, x, begin, part, targets, t, scaled, mixes, 1, margins, mixed);
    learn_part(kernels, x, part, end, targets, t, scaled, mixes, threads, margins, mixed);
    // Also after the last part: a scale below 2 has one form, wherever calls end.
    if (growth_ != 1.0) rescale();
  }
}

void Mixture::learn_part(const CtrKernels& kernels, const Examples& x, std::size_t begin,
                         std::size_t end, const Targets& targets, std::uint64_t t, bool scaled,
                         bool mixes, std::size_t threads, float* margins, float* mixed_margins) {
  if (begin == end) return;
  const std::size_t stride = round_size * lanes, sums = regions * stride;
  // Two sets of everything that threads share: a fast thread may write those of the next round
  // while a slow one still reads those of this round.
  const std::size_t most = longest_round(x, t, begin, end);
  std::vector<float> partial(4 * sums), of_entries(2 * lanes * most), values(scaled ? 2 * most : 0);
  MixingState frozen = state_;
  MixingState& mixing = mixes ? state_ : frozen;
  const bool has_bias = memory_.bias != nullptr;
  const auto end_of = [=](std::size_t from) { return round_end(t, from, end, round_size); };
  work_as_team(
      work_of(x, begin, end), threads, begin, end, end_of,
      [&](const Shift& shift, std::size_t place, const Units& mine, Barrier& barrier) {
        // On the stack: an allocation that fails in a thread would end the process.
        MixtureRound own{};
        own.entries = state_.entries;
        own.scale = state_.scale;
        own.growth = growth_;
        float unused[round_size];
        bool odd = false;
        for (std::size_t from = shift.begin, to; from < shift.end; from = to, odd = !odd) {
          to = end_of(from);
          const Round round{&x, from, to};
          const Targets of_round = targets.from(from);
          const std::size_t n = to - from, other = odd ? 1 : 0;
          const MixtureEntries entries{&round, scaled ? values.data() + other * most : nullptr,
                                       of_entries.data() + other * lanes * most, first(x, from, 0)};
          float* const first_sums = partial.data() + 2 * other * sums;
          float* const second_sums = first_sums + sums;
          kernels.mixture_sums(memory_, entries, mine, first_sums, stride);
          barrier.wait(place);
          kernels.mixture_margins(memory_, of_round, n, first_sums, stride, t + from, own);
          kernels.mixture_rates(memory_, entries, mine, own, second_sums, stride);
          if (place == 0) {
            if (!mixes) frozen = state_;
            float* const mixed = mixed_margins == nullptr ? unused : mixed_margins + from;
            kernels.mix(mixing, own.z, has_bias, of_round, n, lambda_, mixed, margins + from);
          }
          barrier.wait(place);
          kernels.mixture_residuals(has_bias, of_round, n, second_sums, stride, own);
          kernels.mixture_steps(memory_, entries, mine, own);
        }
        if (place == 0) {
          state_.entries = own.entries;
          state_.scale = own.scale;
        }
      });
}

MixedModel Mixture::exported(const Affine& as) const {
  MixedModel out{memory_.table, {}, 0.0f, region_size(slots_)};
  for (std::size_t e = 0; e < experts; ++e) {
    out.theta[e] = static_cast<float>(as.slope * state_.theta[e]);
  }
  if (memory_.bias == nullptr) return out;
  out.bias = out.theta[0] * memory_.bias[0];
  for (std::size_t e = 1; e < experts; ++e) out.bias += out.theta[e] * memory_.bias[e];
  out.bias += static_cast<float>(as.slope * state_.theta[experts] + as.offset);
  return out;
}

float Mixture::weights(const CtrKernels& kernels, const Affine& affine, std::size_t threads,
                       float* to) const {
  const MixedModel as = exported(affine);
  split(slots_, threads, std::size_t{1} << 16, region_unit,
        [&](std::size_t begin, std::size_t end) {
          kernels.mixture_weights(memory_.table, begin, end, as.theta, to);
        });
  return as.bias;
}

void Mixture::predict(const CtrKernels& kernels, const MatrixRows& rows, const Affine& affine,
                      std::size_t threads, float* margins) const {
  const MixedModel as = exported(affine);
  split(rows.n, threads, least_rows, 1, [&](std::size_t begin, std::size_t end) {
    kernels.mixed_margins(as, rows, begin, end, margins);
  });
}

void Mixture::variances(const CtrKernels& kernels, const Examples& x, std::size_t threads,
                        float* out) const {
  const float inverse = 1.0f / static_cast<float>(state_.scale);
  split(x.n, threads, 16 * round_size, round_size, [&](std::size_t first, std::size_t last) {
    kernels.mixture_variances(memory_, inverse, {&x, first, last}, out + first);
  });
}

}  // namespace adagrad
