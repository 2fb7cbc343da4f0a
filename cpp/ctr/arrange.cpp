#include "arrange.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <type_traits>

#include "../adagrad/compact.hpp"
#include "../adagrad/parallel.hpp"

namespace adagrad {
namespace {

constexpr std::size_t grain = std::size_t{1} << 16;  // the least entries that pay for a thread

// The rows that have `grain` entries on average.
std::size_t rows_of_grain(std::size_t n, std::size_t entries) {
  return std::max<std::size_t>(1, grain * n / std::max<std::size_t>(1, entries));
}

template <class Values>
constexpr bool has_values = !std::is_same_v<Values, Ones>;

// The counts of the entries by region, a byte each: few enough to be added up in a register.
constexpr std::size_t most_packed = 255;

// Writes the shift of the byte of each entry's region. Returns where the bytes of a next entry of
// each region begin, and writes that as bounds.
template <class Slot>
std::uint64_t bound_few(const Slot* slots, std::size_t n, const RegionOf& region,
                        std::uint8_t* shifts, std::uint32_t* bounds) {
  for (std::size_t k = 0; k < n; ++k) {
    shifts[k] = static_cast<std::uint8_t>(8 * region(static_cast<std::uint32_t>(slots[k])));
  }
  std::uint64_t counts = 0;
  for (std::size_t k = 0; k < n; ++k) counts += std::uint64_t{1} << shifts[k];
  // Byte r of this product is the sum of the counts of all regions before r.
  const std::uint64_t next = counts * 0x0101010101010100u;
  for (std::size_t r = 1; r < regions; ++r) {
    bounds[r] = bounds[0] + static_cast<std::uint32_t>(next >> 8 * r & 0xff);
  }
  return next;
}

template <class Slot, class Values>
void arrange_few(const Slot* slots, Values values, std::size_t n, const RegionOf& region,
                 const Arranged& to) {
  std::uint8_t shifts[most_packed];
  std::uint64_t next = bound_few(slots, n, region, shifts, to.bounds);
  for (std::size_t k = 0; k < n; ++k) {
    const std::size_t place = next >> shifts[k] & 0xff;
    next += std::uint64_t{1} << shifts[k];
    to.slots[place] = static_cast<std::uint32_t>(slots[k]);
    if constexpr (has_values<Values>) to.values[place] = static_cast<float>(values[k]);
  }
}

// The same for any number of entries: next[r] is where the next entry of region r begins.
template <class Slot>
void bound_many(const Slot* slots, std::size_t n, const RegionOf& region,
                std::size_t (&next)[regions + 1], std::uint32_t* bounds) {
  for (std::size_t k = 0; k < n; ++k) ++next[region(static_cast<std::uint32_t>(slots[k])) + 1];
  for (std::size_t r = 1; r < regions; ++r) {
    next[r] += next[r - 1];
    bounds[r] = bounds[0] + static_cast<std::uint32_t>(next[r]);
  }
}

template <class Slot, class Values>
void arrange_many(const Slot* slots, Values values, std::size_t n, const RegionOf& region,
                  const Arranged& to) {
  std::size_t next[regions + 1] = {};
  bound_many(slots, n, region, next, to.bounds);
  for (std::size_t k = 0; k < n; ++k) {
    const std::uint32_t slot = static_cast<std::uint32_t>(slots[k]);
    const std::size_t place = next[region(slot)]++;
    to.slots[place] = slot;
    if constexpr (has_values<Values>) to.values[place] = static_cast<float>(values[k]);
  }
}

// Bounds a row, or returns false if its entries are not sorted by region.
template <class Slot>
bool bound_row(const Slot* slots, std::size_t n, const RegionOf& region, std::uint32_t* bounds) {
  if (n <= most_packed) {
    std::uint8_t shifts[most_packed];
    bound_few(slots, n, region, shifts, bounds);
    std::uint8_t descends = 0;
    for (std::size_t k = 1; k < n; ++k) descends |= shifts[k] < shifts[k - 1];
    return descends == 0;
  }
  const auto region_at = [&](std::size_t k) {
    return region(static_cast<std::uint32_t>(slots[k]));
  };
  for (std::size_t k = 1; k < n; ++k) {
    if (region_at(k) < region_at(k - 1)) return false;
  }
  std::size_t next[regions + 1] = {};
  bound_many(slots, n, region, next, bounds);
  return true;
}

template <class Slot, class Values>
Entries check(const Slot* slots, Values values, std::size_t n, std::uint64_t limit,
              std::size_t threads) {
  std::atomic<bool> wrong{false}, ones{true};
  const Slot most = static_cast<Slot>(limit - 1);
  split(n, threads, grain, 1024, [&](std::size_t begin, std::size_t end) {
    // In blocks, so that the second loop finds the values in the cache. Each loop vectorizes.
    for (std::size_t start = begin; start < end; start += 1024) {
      const std::size_t stop = std::min(end, start + 1024);
      Slot beyond = 0;
      for (std::size_t k = start; k < stop; ++k) beyond |= slots[k] > most;
      std::uint32_t out_of_range = 0, different = 0;
      if constexpr (has_values<Values>) {
        for (std::size_t k = start; k < stop; ++k) {
          const float value = static_cast<float>(values[k]);
          out_of_range |= !(std::fabs(value) <= largest_value);  // also for a NaN
          different |= value != 1.0f;
        }
      }
      if (beyond != 0 || out_of_range != 0) wrong.store(true, std::memory_order_relaxed);
      if (different != 0) ones.store(false, std::memory_order_relaxed);
    }
  });
  return wrong ? Entries::wrong : ones ? Entries::ones : Entries::values;
}

}  // namespace

Entries check_entries(const MatrixRows& rows, std::size_t n, std::uint64_t limit,
                      std::size_t threads) {
  return with_types(
      rows, [&](auto slots, auto values) { return check(slots, values, n, limit, threads); });
}

std::uint64_t bound_examples(const MatrixRows& rows, const std::int64_t* order, std::size_t n,
                             std::uint32_t* bounds) {
  std::uint64_t at = 0;
  for (std::size_t i = 0; i <= n; ++i) {
    if (at > UINT32_MAX) break;
    bounds[regions * i] = static_cast<std::uint32_t>(at);
    if (i == n) break;
    const std::size_t row = order == nullptr ? i : static_cast<std::size_t>(order[i]);
    at += start_of(rows, row + 1) - start_of(rows, row);
  }
  return at;
}

bool bound_sorted(const MatrixRows& rows, std::uint64_t region_size, std::size_t threads,
                  std::uint32_t* bounds) {
  const RegionOf region(region_size);
  const std::size_t least = rows_of_grain(rows.n, bounds[regions * rows.n]);
  std::atomic<bool> sorted{true};
  with_types(rows, [&](auto slots, auto /*values*/) {
    split(rows.n, threads, least, 1, [&, slots](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end && sorted.load(std::memory_order_relaxed); ++i) {
        const std::size_t start = start_of(rows, i), length = start_of(rows, i + 1) - start;
        if (!bound_row(slots + start, length, region, bounds + regions * i)) {
          sorted.store(false, std::memory_order_relaxed);
        }
      }
    });
  });
  return sorted;
}

void arrange(const MatrixRows& rows, const std::int64_t* order, std::size_t n,
             std::uint64_t region_size, std::size_t threads, const Arranged& to) {
  const RegionOf region(region_size);
  const std::size_t least = rows_of_grain(n, to.bounds[regions * n]);
  with_types(rows, [&](auto slots, auto values) {
    split(n, threads, least, 1, [=](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) {
        const std::size_t row = order == nullptr ? i : static_cast<std::size_t>(order[i]);
        const std::size_t start = start_of(rows, row), length = start_of(rows, row + 1) - start;
        std::uint32_t* const bounds = to.bounds + regions * i;
        Arranged of_row{to.slots + *bounds, nullptr, bounds};
        auto of_entries = values;
        if constexpr (has_values<decltype(values)>) {
          of_row.values = to.values + *bounds;
          of_entries += start;
        }
        if (length <= most_packed) {
          arrange_few(slots + start, of_entries, length, region, of_row);
        } else {
          arrange_many(slots + start, of_entries, length, region, of_row);
        }
      }
    });
  });
}

std::size_t compact_slots(const std::uint32_t* slots, std::size_t n, std::uint32_t* unique,
                          std::uint32_t* places) {
  return compact(slots, n, unique, places);
}

}  // namespace adagrad
