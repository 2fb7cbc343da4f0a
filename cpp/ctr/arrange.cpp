#include "arrange.hpp"

#include <vector>

#include "../adagrad/compact.hpp"
#include "examples.hpp"

namespace adagrad {

std::size_t arrange(const std::uint32_t* starts, std::size_t n, std::uint64_t region_size,
                    std::uint32_t* slots, float* values, std::uint32_t* bounds) {
  std::vector<std::uint32_t> old_slots;
  std::vector<float> old_values;
  bounds[0] = 0;
  // A counting sort per example. Most examples are already sorted and are left alone.
  for (std::size_t i = 0; i < n; ++i) {
    std::uint32_t count[regions] = {};
    bool sorted = true;
    std::uint64_t before = 0;
    for (std::size_t k = starts[i]; k < starts[i + 1]; ++k) {
      const std::uint64_t r = slots[k] / region_size;
      if (r >= regions) return k;
      sorted = sorted && r >= before;
      before = r;
      ++count[r];
    }
    std::size_t next[regions];
    for (std::size_t r = 0; r < regions; ++r) {
      next[r] = bounds[i * regions + r];
      bounds[i * regions + r + 1] = bounds[i * regions + r] + count[r];
    }
    if (sorted) continue;
    old_slots.assign(slots + starts[i], slots + starts[i + 1]);
    old_values.assign(values + starts[i], values + starts[i + 1]);
    for (std::size_t k = 0; k < old_slots.size(); ++k) {
      const std::size_t to = next[old_slots[k] / region_size]++;
      slots[to] = old_slots[k];
      values[to] = old_values[k];
    }
  }
  return starts[n];
}

std::size_t compact_slots(const std::uint32_t* slots, std::size_t n, std::uint32_t* unique,
                          std::uint32_t* places) {
  return compact(slots, n, unique, places);
}

}  // namespace adagrad
