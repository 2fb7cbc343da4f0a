// The margins of a linear model for examples whose entries are in any order.
//
// The order of additions is that of logistic.hpp: within a region, w * x is added to 0 in the order
// of the entries, then the bias to the last region, and the regions are added to 0 from the first
// to the last. Each region has a sum of its own, so entries need not be sorted by region.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../adagrad/portability.hpp"
#include "matrix.hpp"
#include "mixture.hpp"
#include "types.hpp"

namespace adagrad {
namespace {

template <std::size_t step>
struct StoredWeights {
  // As many lines as a small L1 cache holds: on the way from memory, entries are far apart.
  static constexpr std::size_t ahead = 512;
  const float* weights;

  const float* at(std::size_t slot) const { return weights + step * slot; }
  float operator()(std::size_t slot) const { return *at(slot); }
};

struct MixedWeights {
  static constexpr std::size_t ahead = 256;
  const float* table;
  const float* theta;

  const float* at(std::size_t slot) const { return table + mixture_row * slot; }
  float operator()(std::size_t slot) const { return mixed_weight(at(slot), theta); }
};

template <class Slot, class Values, class Weights>
void row_margins(const Slot* slots, Values values, const MatrixRows& rows, std::size_t begin,
                 std::size_t end, const RegionOf& region, const Weights& weights, float bias,
                 float* margins) {
  const std::size_t first = start_of(rows, begin), stop = start_of(rows, end);
  const std::size_t early = stop - first < weights.ahead ? stop : first + weights.ahead;
  for (std::size_t k = first; k < early; ++k) ADAGRAD_PREFETCH(weights.at(slots[k]));
  const std::size_t asking = stop - (early - first);  // entries before this one prefetch another
  std::size_t k = first;
  for (std::size_t i = begin; i < end; ++i) {
    float sums[regions] = {};
    const auto add = [&] {
      const std::uint32_t slot = static_cast<std::uint32_t>(slots[k]);
      sums[region(slot)] += weights(slot) * static_cast<float>(values[k]);
    };
    const std::size_t last = start_of(rows, i + 1), until = last < asking ? last : asking;
    for (; k < until; ++k) {
      ADAGRAD_PREFETCH(weights.at(slots[k + weights.ahead]));
      add();
    }
    for (; k < last; ++k) add();
    sums[regions - 1] += bias;
    float margin = 0.0f;
    for (const float sum : sums) margin += sum;
    margins[i] = margin;
  }
}

// The entries of kernels.hpp: margins[i] = that of row i, for rows [begin, end).
template <std::size_t step>
void stored_margins(const StoredModel& model, const MatrixRows& rows, std::size_t begin,
                    std::size_t end, float* margins) {
  with_types(rows, [&](auto slots, auto values) {
    row_margins(slots, values, rows, begin, end, RegionOf(model.region_size),
                StoredWeights<step>{model.weights}, model.bias, margins);
  });
}

inline void mixed_margins(const MixedModel& model, const MatrixRows& rows, std::size_t begin,
                          std::size_t end, float* margins) {
  with_types(rows, [&](auto slots, auto values) {
    row_margins(slots, values, rows, begin, end, RegionOf(model.region_size),
                MixedWeights{model.table, model.theta}, model.bias, margins);
  });
}

}  // namespace
}  // namespace adagrad
