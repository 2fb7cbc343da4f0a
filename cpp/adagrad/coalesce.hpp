// Duplicate ids to unique ids with summed gradients: ascending ids, and for each id a sum of its
// gradients in order of appearance. Stable, so the sums have the same bits on every machine.
//
// Ids are dealt into buckets by their top bits until a bucket is small enough to finish: one of
// scalar gradients whose ids span less than `span` in an array indexed by id, which stays in cache;
// any other by an insertion sort. Finished buckets come out in ascending order and are handed on
// while they are warm, which is what makes coalesce-and-update cheap (bench/rows.py).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "buckets.hpp"
#include "portability.hpp"

namespace adagrad {

// out(key, sum) for each run of equal keys.
template <class Entry, class Out>
void sum_runs(const Entry* items, std::size_t n, Out&& out) {
  for (std::size_t i = 0; i < n;) {
    const auto key = items[i].key;
    auto sum = items[i].value;
    for (++i; i < n && items[i].key == key; ++i) sum += items[i].value;
    out(key, sum);
  }
}

template <class Key, class I, class T>
auto pairs(const I* rows, const T* g) {
  return [rows, g](std::size_t i) { return Item<Key, T>{static_cast<Key>(rows[i]), g[i]}; };
}

// The span of ids that is summed in an array, as a power of two: at most 2^16, because 256 KiB of
// float sums fit beside a bucket in every L2 of the last decade, and not much more than there are
// ids, because a small batch should not pay for a large array.
template <class T>
unsigned span_bits(std::size_t n) {
  const unsigned most = sizeof(T) == 4 ? 16 : 15, useful = bit_width(n) + 2;
  return useful < most ? useful : most;
}

// Sums scalar gradients; out(key, sum) receives ascending keys.
template <class Key, class T, class Out>
class SortedSums {
 public:
  using Entry = Item<Key, T>;
  static std::size_t bytes(std::size_t n) {
    const std::size_t span = std::size_t{1} << span_bits<T>(n);
    return Arena::bytes<T>(span) + Arena::bytes<std::uint64_t>(span / 64 + 1) +
           Arena::bytes<std::uint64_t>(span / 4096 + 1);
  }

  SortedSums(std::size_t n, Out& out, Arena& arena) : out_(out), span_bits_(span_bits<T>(n)) {
    const std::size_t span = std::size_t{1} << span_bits_;
    sums_ = arena.take<T>(span);
    present_ = arena.take<std::uint64_t>(span / 64 + 1);
    occupied_ = arena.take<std::uint64_t>(span / 4096 + 1);
    std::fill_n(present_, span / 64 + 1, std::uint64_t{0});
    std::fill_n(occupied_, span / 4096 + 1, std::uint64_t{0});
  }

  unsigned direct_bits() const { return span_bits_; }

  template <class ItemAt>
  void direct(ItemAt item, std::size_t n, unsigned bits) {
    const Key mask = static_cast<Key>((Key{1} << bits) - 1);
    const Key base = static_cast<Key>(item(0).key & ~mask);
    T* const sums = sums_;
    std::uint64_t* const present = present_;
    std::uint64_t* const occupied = occupied_;
    for (std::size_t i = 0; i < n; ++i) {
      const Entry entry = item(i);
      const std::size_t k = static_cast<std::size_t>(entry.key & mask);
      const std::uint64_t bit = std::uint64_t{1} << (k % 64);
      const bool seen = (present[k / 64] & bit) != 0;
      // A select, not a branch: whether an id was seen is unpredictable. The first gradient is
      // kept, not added to zero, so that a single -0.0 stays -0.0.
      const T sum = sums[k] + entry.value;
      sums[k] = seen ? sum : entry.value;
      present[k / 64] |= bit;
      occupied[k / 4096] |= std::uint64_t{1} << (k / 64 % 64);
    }
    const std::size_t words = (((std::size_t{1} << bits) - 1) / 4096) + 1;
    for (std::size_t o = 0; o < words; ++o) {
      for (std::uint64_t outer = occupied[o]; outer != 0; outer &= outer - 1) {
        const std::size_t word = o * 64 + count_trailing_zeros(outer);
        for (std::uint64_t inner = present[word]; inner != 0; inner &= inner - 1) {
          const std::size_t k = word * 64 + count_trailing_zeros(inner);
          out_(static_cast<Key>(base | static_cast<Key>(k)), sums[k]);
        }
        present[word] = 0;
      }
      occupied[o] = 0;
    }
  }

  void sorted(const Entry* items, std::size_t n) { sum_runs(items, n, out_); }

 private:
  Out& out_;
  unsigned span_bits_;
  T* sums_;
  std::uint64_t *present_, *occupied_;  // a bit per id, and a bit per word of present_
};

// Sums scalar gradients; out(keys, sums, n) receives batches of different keys, bucket by bucket
// but within a bucket in order of first appearance. The batch is where the sums are made: nothing
// is sorted, cleared or copied.
template <class Key, class T, class Out>
class BatchedSums {
 public:
  using Entry = Item<Key, T>;
  static std::size_t bytes(std::size_t n) {
    return Arena::bytes<Key>(capacity(n)) + Arena::bytes<T>(capacity(n)) +
           Arena::bytes<std::uint32_t>(std::size_t{1} << span_bits<T>(n));
  }

  BatchedSums(std::size_t n, Out& out, Arena& arena)
      : out_(out), span_bits_(span_bits<T>(n)), keys_(arena.take<Key>(capacity(n))),
        sums_(arena.take<T>(capacity(n))),
        slots_(arena.take<std::uint32_t>(std::size_t{1} << span_bits_)) {}

  unsigned direct_bits() const { return span_bits_; }

  template <class ItemAt>
  void direct(ItemAt item, std::size_t n, unsigned bits) {
    if (!slots_clear_) {
      std::fill_n(slots_, std::size_t{1} << span_bits_, 0u);
      slots_clear_ = true;
    }
    const Key mask = static_cast<Key>((Key{1} << bits) - 1);
    std::uint32_t* const slots = slots_;
    Key* const keys = keys_ + filled_;
    T* const sums = sums_ + filled_;
    keys[0] = 0;
    std::uint32_t count = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const Entry entry = item(i);
      const Key key = entry.key;
      const std::size_t k = static_cast<std::size_t>(key & mask);
      // A sparse set (Briggs and Torczon, 1993): a slot that an older bucket left behind names
      // another key or lies past the end, so slots are never cleared. Selects, not branches:
      // whether an id was seen is unpredictable.
      const std::uint32_t old = slots[k];
      const bool seen = old < count && keys[old < count ? old : 0] == key;
      const std::uint32_t slot = seen ? old : count;
      const T sum = sums[slot] + entry.value;
      slots[k] = slot;
      keys[slot] = key;
      sums[slot] = seen ? sum : entry.value;
      count += seen ? 0 : 1;
    }
    filled_ += count;
    if (filled_ >= batch) flush();
  }

  void sorted(const Entry* items, std::size_t n) {
    sum_runs(items, n, [this](Key key, T sum) {
      keys_[filled_] = key;
      sums_[filled_] = sum;
      if (++filled_ >= batch) flush();
    });
  }

  void flush() {
    if (filled_ != 0) out_(keys_, sums_, filled_);
    filled_ = 0;
  }

 private:
  static constexpr std::size_t batch = 4096;

  // Room for a batch that is almost full and the bucket that fills it, and one past its end.
  static std::size_t capacity(std::size_t n) {
    const std::size_t most = batch + (std::size_t{1} << span_bits<T>(n));
    return (n < most ? n : most) + 1;
  }

  Out& out_;
  unsigned span_bits_;
  Key* keys_;
  T* sums_;
  std::uint32_t* slots_;
  bool slots_clear_ = false;
  std::size_t filled_ = 0;
};

// Groups positions instead of summing: out(key, items, n) receives the items of one id.
template <class Key, class Position, class Out>
class GroupLeaf {
 public:
  using Entry = Item<Key, Position>;
  static std::size_t bytes(std::size_t) { return 0; }

  GroupLeaf(std::size_t, Out& out, Arena&) : out_(out) {}

  unsigned direct_bits() const { return 0; }  // so that direct() is never called
  template <class ItemAt>
  void direct(ItemAt, std::size_t, unsigned) {
    std::abort();
  }

  void sorted(const Entry* items, std::size_t n) {
    for (std::size_t i = 0; i < n;) {
      std::size_t end = i + 1;
      while (end < n && items[end].key == items[i].key) ++end;
      out_(items[i].key, items + i, end - i);
      i = end;
    }
  }

 private:
  Out& out_;
};

// out(key, sum) for each different id of rows[0..n), in ascending order; all ids are below 2^bits.
template <class Key, class I, class T, class Out>
void sum_sorted(const I* rows, const T* g, std::size_t n, unsigned bits, Out out) {
  using Leaf = SortedSums<Key, T, Out>;
  Arena arena(Dealer<Key, T, Leaf>::bytes(n) + Leaf::bytes(n));
  Leaf leaf(n, out, arena);
  Dealer<Key, T, Leaf>(n, leaf, arena).run(pairs<Key>(rows, g), bits);
}

// out(keys, sums, count) for batches of different ids that together are all ids of rows[0..n).
template <class Key, class I, class T, class Out>
void sum_batches(const I* rows, const T* g, std::size_t n, unsigned bits, Out out) {
  using Leaf = BatchedSums<Key, T, Out>;
  Arena arena(Dealer<Key, T, Leaf>::bytes(n) + Leaf::bytes(n));
  Leaf leaf(n, out, arena);
  Dealer<Key, T, Leaf>(n, leaf, arena).run(pairs<Key>(rows, g), bits);
  leaf.flush();
}

// out(key, items, count) for each different id, in ascending order; items[k].value are its
// positions in rows, ascending.
template <class Key, class Position, class I, class Out>
void group_rows(const I* rows, std::size_t n, unsigned bits, Out out) {
  using Leaf = GroupLeaf<Key, Position, Out>;
  Arena arena(Dealer<Key, Position, Leaf>::bytes(n) + Leaf::bytes(n));
  Leaf leaf(n, out, arena);
  Dealer<Key, Position, Leaf>(n, leaf, arena)
      .run(
          [rows](std::size_t i) {
            return Item<Key, Position>{static_cast<Key>(rows[i]), static_cast<Position>(i)};
          },
          bits);
}

// to[0..dim) = the sum of the rows of g that the items name, added in their order.
template <class T, class Entry>
void sum_row(const T* g, const Entry* items, std::size_t count, std::size_t dim,
             T* ADAGRAD_RESTRICT to) {
  const T* first = g + static_cast<std::size_t>(items[0].value) * dim;
  for (std::size_t j = 0; j < dim; ++j) to[j] = first[j];
  for (std::size_t k = 1; k < count; ++k) {
    const T* next = g + static_cast<std::size_t>(items[k].value) * dim;
    for (std::size_t j = 0; j < dim; ++j) to[j] += next[j];
  }
}

}  // namespace adagrad
