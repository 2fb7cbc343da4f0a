// Groups the occurrences of each id. This is coalesce.hpp for gradients that are rows, which are
// too large to be dealt, and for callers that need the positions only.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "buckets.hpp"
#include "coalesce.hpp"
#include "portability.hpp"

namespace adagrad {

// out(key, items, n) for each run of equal keys, which are adjacent.
template <class Entry, class Out>
void runs(const Entry* items, std::size_t n, Out& out) {
  for (std::size_t i = 0; i < n;) {
    std::size_t end = i + 1;
    while (end < n && items[end].key == items[i].key) ++end;
    out(items[i].key, items + i, end - i);
    i = end;
  }
}

// Groups positions: out(key, items, n) receives the items of one id, ids in ascending order.
template <class Key, class Position, class Out>
class GroupLeaf {
 public:
  using Entry = Item<Key, Position>;
  static std::size_t bytes(std::size_t) { return 0; }

  GroupLeaf(std::size_t, Out& out, Arena&) : out_(out) {}

  unsigned direct_bits() const { return 0; }  // direct() is never called
  template <class ItemAt>
  void direct(ItemAt, std::size_t, unsigned) {
    std::abort();
  }

  void sorted(const Entry* items, std::size_t n) { runs(items, n, out_); }

 private:
  Out& out_;
};

// As GroupLeaf, but the ids of a bucket come in order of first appearance: nothing is sorted.
// out(key, positions, n) receives the positions of one id.
template <class Key, class Position, class Out>
class UnsortedGroups {
 public:
  using Entry = Item<Key, Position>;
  static std::size_t bytes(std::size_t n) {
    return 2 * Arena::bytes<std::uint32_t>(n + 1) + Arena::bytes<Key>(n + 1) +
           Arena::bytes<Position>(n) + Arena::bytes<Cell>(std::size_t{1} << cell_bits(n));
  }

  UnsortedGroups(std::size_t n, Out& out, Arena& arena)
      : out_(out), span_bits_(n <= ~std::uint32_t{0} ? cell_bits(n) : 0),
        group_of_(arena.take<std::uint32_t>(n + 1)), ends_(arena.take<std::uint32_t>(n + 1)),
        keys_(arena.take<Key>(n + 1)), grouped_(arena.take<Position>(n)),
        cells_(arena.take<Cell>(std::size_t{1} << cell_bits(n))) {
    std::fill_n(cells_, std::size_t{1} << cell_bits(n), Cell{0, 0});
  }

  unsigned direct_bits() const { return span_bits_; }

  template <class ItemAt>
  void direct(ItemAt item, std::size_t n, unsigned bits) {
    const Key mask = static_cast<Key>((Key{1} << bits) - 1);
    const std::uint32_t bucket = ++bucket_;
    Cell* const cells = cells_;
    std::uint32_t *const group_of = group_of_, *const ends = ends_;
    Key* const keys = keys_;
    std::uint32_t groups = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const Key key = item(i).key;
      Cell& cell = cells[key & mask];
      const bool seen = cell.bucket == bucket;
      const std::uint32_t group = select(seen, cell.group, groups);
      cell = {bucket, group};
      group_of[i] = group;
      keys[groups] = key;
      ends[group] = select(seen, ends[group], 0u) + 1;  // first a count
      groups += seen ? 0 : 1;
    }
    std::uint32_t end = 0;
    for (std::uint32_t group = 0; group < groups; ++group) {
      end += ends[group];
      ends[group] = end - ends[group];  // then where it begins, which dealing moves to its end
    }
    Position* const grouped = grouped_;
    for (std::size_t i = 0; i < n; ++i) grouped[ends[group_of[i]]++] = item(i).value;
    std::uint32_t begin = 0;
    for (std::uint32_t group = 0; group < groups; ++group) {
      out_(keys[group], grouped + begin, std::size_t{ends[group] - begin});
      begin = ends[group];
    }
  }

  void sorted(const Entry* items, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) grouped_[i] = items[i].value;
    const auto run = [&](Key key, const Entry* first, std::size_t count) {
      out_(key, grouped_ + (first - items), count);
    };
    runs(items, n, run);
  }

 private:
  // The group of a key, valid if it was found in this bucket.
  struct Cell {
    std::uint32_t bucket, group;
  };

  static unsigned cell_bits(std::size_t n) { return span_bits<float>(n) - 1; }

  Out& out_;
  unsigned span_bits_;
  std::uint32_t *group_of_, *ends_;
  Key* keys_;  // of the groups; one more is written than there are groups
  Position* grouped_;
  Cell* cells_;
  std::uint32_t bucket_ = 0;
};

// out(key, items, count) for each distinct id, in ascending order; items[k].value are its positions
// in rows, ascending. Takes group_rows_bytes(n) of the arena.
template <class Key, class Position>
std::size_t group_rows_bytes(std::size_t n) {
  return Dealer<Key, Position, GroupLeaf<Key, Position, int>>::bytes(n);
}

template <class Key, class Position, class I, class Out>
void group_rows(const I* rows, std::size_t n, unsigned bits, Arena& arena, Out out) {
  using Leaf = GroupLeaf<Key, Position, Out>;
  Leaf leaf(n, out, arena);
  Dealer<Key, Position, Leaf>(n, leaf, arena)
      .run(
          [rows](std::size_t i) {
            return Item<Key, Position>{static_cast<Key>(rows[i]), static_cast<Position>(i)};
          },
          n, bits);
}

}  // namespace adagrad
