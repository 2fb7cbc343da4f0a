// Sorting the entries of examples by region, and numbering the slots that occur.
#pragma once

#include <cstddef>
#include <cstdint>

namespace adagrad {

// Sorts the entries [starts[i], starts[i + 1]) of each example i < n by region, in place, and
// writes the bounds [n * regions + 1]. Entries of a region keep their order. Returns starts[n]; or,
// if a slot is not below regions * region_size, stops there and returns the position of that slot.
std::size_t arrange(const std::uint32_t* starts, std::size_t n, std::uint64_t region_size,
                    std::uint32_t* slots, float* values, std::uint32_t* bounds);

// Writes the unique slots in ascending order to `unique`, and the index of slots[i] among them to
// places[i]; returns how many there are. Both have room for n < 2^32. O(n) time.
std::size_t compact_slots(const std::uint32_t* slots, std::size_t n, std::uint32_t* unique,
                          std::uint32_t* places);

}  // namespace adagrad
