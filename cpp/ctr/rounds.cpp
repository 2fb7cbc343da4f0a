#include "rounds.hpp"

#include <algorithm>
#include <vector>

#include "../adagrad/parallel.hpp"
#include "team.hpp"

namespace adagrad {

std::size_t round_end(std::uint64_t t, std::size_t begin, std::size_t n, std::size_t most) {
  const std::uint64_t at = t + begin;
  std::size_t length = 1;
  while (2 * length <= most && 2 * length * examples_per_round <= at) length *= 2;
  const std::size_t end = begin + length - static_cast<std::size_t>(at % length);
  return end < n ? end : n;
}

void Model::each(const CtrKernels& kernels, const Round& round, const Targets& targets,
                 std::uint64_t t, float* margins) {
  const std::size_t stride = round_size * width();
  std::vector<float> partial(units() * stride), totals(stride);
  const Units all{0, units()};
  for (std::size_t i = round.begin; i < round.end; ++i) {
    const Round one{round.x, i, i + 1};
    sum(kernels, one, all, partial.data(), stride);
    finish(kernels, one, partial.data(), stride, totals.data(), margins + i);
    float g;
    kernels.gradients(margins + i, targets.from(i), 1, &g);
    step(kernels, one, all, totals.data(), &g, t + i);
  }
}

namespace {

// Learns the examples from `start` to `stop`.
void learn_part(const CtrKernels& kernels, Model& model, const Examples& x, std::size_t start,
                std::size_t stop, const Targets& targets, const float* beside, std::uint64_t t,
                std::size_t threads, float* margins) {
  if (start == stop) return;
  const std::size_t units = model.units(), stride = round_size * model.width();
  // Two sets of partial sums: a fast thread may write those of the next round while a slow one
  // still reads those of this round. One barrier per round is then enough.
  std::vector<float> partial(2 * units * stride), all_totals(threads * stride);
  std::vector<std::size_t> work(units);
  for (std::size_t unit = 0; unit < units; ++unit) work[unit] = model.work(x, unit);
  const std::size_t most = model.round_length();
  const auto end_of = [=](std::size_t from) { return round_end(t, from, stop, most); };
  work_as_team(work, threads, start, stop, end_of,
               [&](const Shift& shift, std::size_t place, const Units& mine, Barrier& barrier) {
                 float* const totals = all_totals.data() + place * stride;
                 float g[round_size], own_margins[round_size], together[round_size];
                 bool odd = false;
                 for (std::size_t begin = shift.begin, end; begin < shift.end;
                      begin = end, odd = !odd) {
                   end = end_of(begin);
                   const Round round{&x, begin, end};
                   float* const sums = partial.data() + (odd ? units * stride : 0);
                   model.sum(kernels, round, mine, sums, stride);
                   barrier.wait(place);
                   // Every thread computes all margins: that is cheaper than a second barrier.
                   float* const found = place == 0 ? margins + begin : own_margins;
                   model.finish(kernels, round, sums, stride, totals, found);
                   for (std::size_t i = 0; beside != nullptr && i < end - begin; ++i) {
                     together[i] = beside[begin + i] + found[i];
                   }
                   kernels.gradients(beside == nullptr ? found : together, targets.from(begin),
                                     end - begin, g);
                   model.step(kernels, round, mine, totals, g, t + begin);
                 }
               });
}

}  // namespace

void learn(const CtrKernels& kernels, Model& model, const Examples& x, const Targets& targets,
           const float* beside, std::uint64_t t, std::size_t threads, float* margins) {
  constexpr std::uint64_t alone = 2 * examples_per_round;  // before the first round of two
  const std::uint64_t left = t < alone ? alone - t : 0;
  const std::size_t start = left < x.n ? static_cast<std::size_t>(left) : x.n;
  if (beside == nullptr) {
    model.each(kernels, {&x, 0, start}, targets, t, margins);
  } else {
    learn_part(kernels, model, x, 0, start, targets, beside, t, 1, margins);
  }
  learn_part(kernels, model, x, start, x.n, targets, beside, t, threads, margins);
}

void predict(const CtrKernels& kernels, const Model& model, const Examples& x, std::size_t threads,
             float* margins) {
  const std::size_t units = model.units(), width = model.width();
  const std::size_t stride = round_size * width;
  split(x.n, threads, 16 * round_size, round_size, [&](std::size_t first, std::size_t last) {
    std::vector<float> partial(units * stride), totals(stride);
    for (std::size_t begin = first; begin < last; begin += round_size) {
      const std::size_t end = last - begin < round_size ? last : begin + round_size;
      const Round round{&x, begin, end};
      model.sum(kernels, round, {0, units}, partial.data(), stride);
      model.finish(kernels, round, partial.data(), stride, totals.data(), margins + begin);
    }
  });
}

}  // namespace adagrad
