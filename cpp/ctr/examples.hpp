// A batch of sparse examples in memory.
//
// The slots of a model are divided into `regions` ranges of equal length, whatever the number of
// threads. The entries of an example are sorted by region and keep their order within a region, so
// a thread that owns some regions finds its entries in contiguous runs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace adagrad {

constexpr std::size_t regions = 8;

// The length of a region is a multiple of this many slots: two cache lines of (w, s) pairs, so that
// neighboring regions share no line.
constexpr std::size_t region_unit = 16;

// The most examples of a round.
constexpr std::size_t round_size = 64;

// The half-open range [first, last) of regions, or of the other units a model is divided into.
struct Units {
  std::size_t first, last;
};

struct Examples {
  const std::uint32_t* slots;
  const float* values;          // one per entry; null if all are 1
  const std::uint32_t* bounds;  // see first(); regions + 1 if `fixed`, else n * regions + 1
  const std::uint16_t* fields;  // one per entry, or bounds[regions] if `fixed`; may be null
  std::size_t n;
  bool fixed;  // every example has the same number of entries in each region
};

// Examples [begin, end) of x. Their margins are computed before any param changes.
struct Round {
  const Examples* x;
  std::size_t begin, end;
};

// The labels of examples, and their weights.
struct Targets {
  const float* y;        // 0 or 1
  const float* weights;  // null if all are 1

  Targets from(std::size_t i) const { return {y + i, weights == nullptr ? nullptr : weights + i}; }
};

// The largest magnitude of a value. With larger values the sums of their squares could overflow
// float32: an accumulator would become infinite and its param would silently stop changing. At this
// limit, 2^32 squares can be added.
constexpr float largest_value = 281474976710656.0f;  // 2^48

namespace {

// Returns the index of the first entry of a region of an example. The region ends where the next
// one begins.
template <bool fixed>
inline std::size_t first(const Examples& x, std::size_t example, std::size_t region) {
  return fixed ? example * x.bounds[regions] + x.bounds[region]
               : x.bounds[example * regions + region];
}

inline std::size_t first(const Examples& x, std::size_t example, std::size_t region) {
  return x.fixed ? first<true>(x, example, region) : first<false>(x, example, region);
}

inline float value_of(const Examples& x, std::size_t entry) {
  return x.values == nullptr ? 1.0f : x.values[entry];
}

// 1 / sum x^2 of an example, so that r x_i x_j are the products of x / |x|; 0 if the sum is below
// the normal numbers, where r could be infinite. The squares are added to 0 in the order of the
// entries.
inline float reciprocal_of_squares(const Examples& x, std::size_t example) {
  float squares = 0.0f;
  const std::size_t end = first(x, example, regions);
  for (std::size_t e = first(x, example, 0); e < end; ++e)
    squares += value_of(x, e) * value_of(x, e);
  return squares >= 1.17549435e-38f ? 1.0f / squares : 0.0f;
}

inline float weight_of(const Targets& targets, std::size_t i) {
  return targets.weights == nullptr ? 1.0f : targets.weights[i];
}

// The entries that the examples [begin, end) have in a region.
inline std::size_t count_entries(const Examples& x, std::size_t begin, std::size_t end,
                                 std::size_t region) {
  if (x.fixed) return (end - begin) * (x.bounds[region + 1] - x.bounds[region]);
  std::size_t count = 0;
  for (std::size_t i = begin; i < end; ++i) {
    count += first<false>(x, i, region + 1) - first<false>(x, i, region);
  }
  return count;
}

inline std::size_t region_size(std::size_t slots) {
  const std::size_t share = (slots + regions - 1) / regions;
  return (share + region_unit - 1) / region_unit * region_unit;
}

}  // namespace
}  // namespace adagrad
