// Deals ids to the shards of a table that is cut into contiguous ranges of rows. The ids of a shard
// stay in order of appearance.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace adagrad {

// The range that has a row: range k is [starts[k], starts[k + 1]). Ranges are usually even, so the
// search starts where even ranges would have the row, and seldom takes more than a step.
class ShardOf {
 public:
  // `starts` has shards + 1 entries that ascend strictly from 0 to the number of rows.
  ShardOf(const std::int64_t* starts, std::size_t shards)
      : starts_(starts), last_(shards - 1),
        per_row_(static_cast<double>(shards) / static_cast<double>(starts[shards])) {}

  std::size_t operator()(std::uint64_t row) const {
    std::size_t k = std::min(static_cast<std::size_t>(static_cast<double>(row) * per_row_), last_);
    while (row < start(k)) --k;
    while (row >= start(k + 1)) ++k;
    return k;
  }

 private:
  std::uint64_t start(std::size_t k) const { return static_cast<std::uint64_t>(starts_[k]); }

  const std::int64_t* starts_;
  std::size_t last_;
  double per_row_;
};

// order[bounds[k]..bounds[k + 1]) are the positions of the ids of shard k; bounds has shards + 1
// entries. O(n) time for even ranges; ids are below starts[shards].
template <class Id, class Position>
void bucket(const Id* ids, std::size_t n, const std::int64_t* starts, std::size_t shards,
            Position* order, Position* bounds) {
  const ShardOf shard_of(starts, shards);
  std::vector<std::size_t> next(shards + 1);
  for (std::size_t i = 0; i < n; ++i) ++next[shard_of(ids[i]) + 1];
  for (std::size_t k = 1; k <= shards; ++k) next[k] += next[k - 1];
  for (std::size_t k = 0; k <= shards; ++k) bounds[k] = static_cast<Position>(next[k]);
  for (std::size_t i = 0; i < n; ++i) {
    order[next[shard_of(ids[i])]++] = static_cast<Position>(i);
  }
}

}  // namespace adagrad
