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
