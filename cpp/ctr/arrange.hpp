// Checking the entries of a matrix, sorting them by region, and numbering the slots that occur.
#pragma once

#include <cstddef>
#include <cstdint>

#include "matrix.hpp"

namespace adagrad {

enum class Entries : std::uint8_t { wrong, ones, values };

// Whether all n entries are right: slots below `limit`, and values that are finite in float32 and
// at most `largest_value` in size. `limit` is from 1 to 2^32. If they are, whether all values are 1
// in float32.
Entries check_entries(const MatrixRows& rows, std::size_t n, std::uint64_t limit,
                      std::size_t threads);

// Writes bounds[8 i + r] for i < n and r < 8 as well, if the entries of all rows are sorted by
// region already; else returns false and leaves these bounds undefined.
bool bound_sorted(const MatrixRows& rows, std::uint64_t region_size, std::size_t threads,
                  std::uint32_t* bounds);

// Where arrange() writes examples that have their entries sorted by region.
struct Arranged {
  std::uint32_t* slots;
  float* values;  // null if all are 1
  std::uint32_t* bounds;
};

// Writes bounds[8 i] for i <= n, as if example i were row order[i], or row i if `order` is null.
// Returns the number of entries, and writes no more if it exceeds 2^32 - 1.
std::uint64_t bound_examples(const MatrixRows& rows, const std::int64_t* order, std::size_t n,
                             std::uint32_t* bounds);

// Writes all that bound_examples() has not. Entries of a region keep their order.
void arrange(const MatrixRows& rows, const std::int64_t* order, std::size_t n,
             std::uint64_t region_size, std::size_t threads, const Arranged& to);

// Writes the unique slots in ascending order to `unique`, and the index of slots[i] among them to
// places[i]; returns how many there are. Both have room for n < 2^32. O(n) time.
std::size_t compact_slots(const std::uint32_t* slots, std::size_t n, std::uint32_t* unique,
                          std::uint32_t* places);

}  // namespace adagrad
