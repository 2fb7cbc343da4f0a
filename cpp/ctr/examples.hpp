// A batch of sparse examples, as the learners visit it.
//
// The slots of a model are cut into `regions` ranges of equal length, the same for every thread
// count. An example's entries are ordered by region, and within one by appearance, so that a thread
// that owns some regions finds its entries in runs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace adagrad {

constexpr std::size_t regions = 8;

// A region is a multiple of two cache lines of (w, s) pairs: neighbours share none.
constexpr std::size_t region_unit = 16;

// A run of neighbouring regions, or of what else a model is cut into.
struct Units {
  std::size_t first, last;  // the last is not one of them
};

struct Examples {
  const std::uint32_t* slots;
  const float* values;          // one an entry; null where all are 1
  const std::uint32_t* bounds;  // see first(); regions + 1 where `fixed`, else n * regions + 1
  const std::uint16_t* fields;  // one an entry, or one of bounds[regions] where `fixed`; or null
  std::size_t n;
  bool fixed;  // every example has the same number of entries in each region
};

// Beyond it in size, squares of values do not add up in float32 for long: 2^32 of them do below.
// Accumulators would end at infinity, and what they divide would stop, silently.
constexpr float largest_value = 281474976710656.0f;  // 2^48

namespace {

// Where the entries of a region of an example begin; they end where the next region's begin.
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

inline std::size_t region_size(std::size_t slots) {
  const std::size_t share = (slots + regions - 1) / regions;
  return (share + region_unit - 1) / region_unit * region_unit;
}

}  // namespace
}  // namespace adagrad
