#include "models.hpp"

#include <algorithm>

#include "../adagrad/parallel.hpp"
#include "../adagrad/rules.hpp"
#include "sigmoid.hpp"

namespace adagrad {
double Schedule::lr(std::uint64_t t) const { return decayed_rate(lr_, lr_decay_, t + 1); }

Params<float> Schedule::at(std::uint64_t t) const {
  Params<float> params = params_;
  if (!is_constant()) params.lr = static_cast<float>(lr(t));
  return params;
}

std::size_t Linear::work(const Examples& x, std::size_t region) const {
  return count_entries(x, 0, x.n, region);
}

void Linear::sum(const CtrKernels& kernels, const Round& round, const Units& of, float* partial,
                 std::size_t stride) const {
  kernels.linear_sums(memory_, round, of, partial, stride);
}

void Linear::finish(const CtrKernels& kernels, const Round& round, const float* partial,
                    std::size_t stride, float* /*totals*/, float* margins) const {
  kernels.add_units(partial, stride, regions, round.end - round.begin, margins);
}

void Linear::step(const CtrKernels& kernels, const Round& round, const Units& of,
                  const float* /*totals*/, const float* g, std::uint64_t t) {
  kernels.linear_steps(memory_, round, of, g, schedule_.at(t));
}

void Linear::each(const CtrKernels& kernels, const Round& round, const Targets& targets,
                  std::uint64_t t, float* margins) {
  // A kernel takes one rate, so examples whose rates differ need one call each.
  const std::size_t at_once = schedule_.is_constant() ? round.end - round.begin : 1;
  for (std::size_t i = round.begin; i < round.end; i += at_once) {
    kernels.linear_each(memory_, {round.x, i, i + at_once}, targets.from(i), schedule_.at(t + i),
                        margins + i);
  }
}

void Linear::apply(const CtrKernels& kernels, const std::uint32_t* slots, const float* g,
                   std::size_t n, std::uint64_t t) {
  kernels.linear_apply(memory_, slots, g, n, schedule_.at(t));
}

void Linear::weights_of(const CtrKernels& kernels, const std::uint32_t* slots, std::size_t n,
                        float* weights) const {
  kernels.linear_weights(memory_, slots, n, weights);
}

void Linear::rates_of(const CtrKernels& kernels, const Examples& x, std::uint64_t t,
                      std::size_t threads, float* out) const {
  const Params<float> params = schedule_.at(t);
  split(x.n, threads, 1024, round_size, [&](std::size_t begin, std::size_t end) {
    kernels.linear_rates(memory_, {&x, begin, end}, params, out + begin);
  });
}

std::size_t FM::work(const Examples& x, std::size_t region) const {
  return count_entries(x, 0, x.n, region);
}

// The first round_size floats of a unit are its linear sums; the sums of the factors follow.
void FM::sum(const CtrKernels& kernels, const Round& round, const Units& of, float* partial,
             std::size_t stride) const {
  if (linear_) kernels.linear_sums(*linear_, round, of, partial, stride);
  kernels.factor_sums(factors_, round, of, partial + round_size, stride);
}

void FM::finish(const CtrKernels& kernels, const Round& round, const float* partial,
                std::size_t stride, float* totals, float* margins) const {
  const std::size_t n = round.end - round.begin;
  kernels.add_units(partial, stride, linear_ ? regions : 0, n, margins);
  kernels.factor_margins(factors_, round, partial + round_size, stride, totals, margins);
}

void FM::step(const CtrKernels& kernels, const Round& round, const Units& of, const float* totals,
              const float* g, std::uint64_t t) {
  const Params<float> params = schedule_.at(t);
  if (linear_) kernels.linear_steps(*linear_, round, of, g, params);
  kernels.factor_steps(factors_, round, of, totals, g, params);
}

FFM::FFM(const FieldLayout& fields, const std::vector<float*>& tables, std::size_t factors,
         bool normalized, const std::optional<LinearModel>& linear, const Schedule& schedule)
    : linear_(linear), places_(fields.place_in_part),
      factors_{tables.size(), factors, {}, {}, nullptr, normalized}, schedule_(schedule) {
  for (std::uint32_t& place : places_) place *= static_cast<std::uint32_t>(factors);
  factors_.places = places_.data();
  for (std::size_t part = 0; part < tables.size(); ++part) {
    factors_.tables[part] = tables[part];
    factors_.widths[part] = factors * fields.fields_in_part[part];
  }
  for (std::size_t a = 0; a < tables.size(); ++a) blocks_.push_back({a, a});
  for (std::size_t a = 0; a < tables.size(); ++a) {
    for (std::size_t b = a + 1; b < tables.size(); ++b) blocks_.push_back({a, b});
  }
}

Units FFM::linear_of(const Units& of) const {
  return {of.first, std::max(of.first, std::min(of.last, linear_units()))};
}

std::size_t FFM::work(const Examples& x, std::size_t unit) const {
  if (unit < linear_units()) return count_entries(x, 0, x.n, unit);
  std::size_t pairs = 0;
  for (std::size_t i = 0; i < (x.fixed && x.n > 0 ? 1 : x.n); ++i) {
    const EntriesOfBlock e = entries_of(factors_, x, i, block(unit));
    const std::size_t m = e.end_a - e.begin_a, n = e.end_b - e.begin_b;
    pairs += e.begin_a == e.begin_b ? m * (m - 1) / 2 : m * n;
  }
  return 2 * pairs * (x.fixed ? x.n : 1);
}

void FFM::sum(const CtrKernels& kernels, const Round& round, const Units& of, float* partial,
              std::size_t stride) const {
  const Units linear = linear_of(of);
  if (linear.first < linear.last) kernels.linear_sums(*linear_, round, linear, partial, stride);
  // The sums of blocks lie in the order in which they are added.
  float* const of_blocks = partial + linear_units() * stride;
  for (std::size_t unit = linear.last; unit < of.last; ++unit) {
    const PairBlock pairs = block(unit);
    kernels.pair_sums(factors_, round, pairs, of_blocks + index_of(factors_.parts, pairs) * stride);
  }
}

void FFM::finish(const CtrKernels& kernels, const Round& round, const float* partial,
                 std::size_t stride, float* totals, float* margins) const {
  kernels.pair_margins(factors_, round, partial, stride, linear_units(), totals, margins);
}

void FFM::step(const CtrKernels& kernels, const Round& round, const Units& of, const float* totals,
               const float* g, std::uint64_t t) {
  const Params<float> params = schedule_.at(t);
  const Units linear = linear_of(of);
  if (linear.first < linear.last) kernels.linear_steps(*linear_, round, linear, g, params);
  for (std::size_t unit = linear.last; unit < of.last; ++unit) {
    kernels.pair_steps(factors_, round, block(unit), totals, g, params);
  }
}

void class_probabilities(const float* margins, std::size_t n, double* to) {
  for (std::size_t i = 0; i < n; ++i) {
    const float z = margins[i];
    const double e = static_cast<double>(exp_of_minus(magnitude_of(z)));
    const double nan = static_cast<double>(z - z);  // 0 if z is finite
    to[2 * i] = sigmoid_from(-z, e) + nan;
    to[2 * i + 1] = sigmoid_from(z, e) + nan;
  }
}

}  // namespace adagrad
