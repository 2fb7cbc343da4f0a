// Duplicate ids to unique ids with summed gradients: ascending ids, and for each id a sum of its
// gradients in order of appearance. Stable, so the sums have the same bits on every machine.
//
// Ids are dealt into buckets by their top bits until a bucket is small enough to finish: one of
// scalar gradients whose ids span less than `span` in an array indexed by id, which stays in cache;
// any other by an insertion sort. Finished buckets come out in ascending order and are handed on
// while they are warm, which is what makes coalesce-and-update cheap (bench/rows.py).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "portability.hpp"

namespace adagrad {

template <class Key, class Value>
struct Item {
  Key key;
  Value value;
};

inline unsigned bit_width(std::uint64_t x) {
  unsigned width = 0;
  for (; x != 0; x >>= 1)
    ++width;
  return width;
}

inline unsigned count_trailing_zeros(std::uint64_t x) {
#if defined(__GNUC__) || defined(__clang__)
  return static_cast<unsigned>(__builtin_ctzll(x));
#else
  unsigned count = 0;
  for (; (x & 1) == 0; x >>= 1)
    ++count;
  return count;
#endif
}

// Deals items into buckets, most significant bits first. Leaf has
//     unsigned direct_bits() const       spans up to 2^direct_bits it can take unsorted, or 0
//     void direct(const Item*, n, bits)  items in order of appearance that share all higher bits
//     void sorted(const Item*, n)        items sorted by key, equal keys in order of appearance
// and sees the buckets in ascending order. O(n) time for ids spread evenly, O(n * bits / 11) at
// worst.
template <class Key, class Value, class Leaf>
class Dealer {
 public:
  using Entry = Item<Key, Value>;

  Dealer(std::size_t n, Leaf& leaf) : n_(n), leaf_(leaf) {}

  // item(i) is the i-th item; all keys are below 2^bits.
  template <class ItemAt>
  void run(ItemAt item, unsigned bits) {
    if (n_ > small && bits > leaf_.direct_bits()) {
      deal(item, 0, 0, n_, bits);
      return;
    }
    Entry* const items = buffer(0);
    for (std::size_t i = 0; i < n_; ++i)
      items[i] = item(i);
    finish(0, 0, n_, bits);
  }

 private:
  static constexpr std::size_t small = 32;
  static constexpr unsigned most_buckets = 11;  // as a power of two: their ends stay in L1 and TLB

  // The second buffer is only needed where a bucket is dealt again; most calls never touch it.
  Entry* buffer(unsigned which) {
    if (!buffers_[which])
      buffers_[which].reset(new Entry[n_]);
    return buffers_[which].get();
  }

  // Deals item(0..n) into buffer `which` from `start` on, and finishes each bucket there.
  template <class ItemAt>
  void deal(ItemAt item, unsigned which, std::size_t start, std::size_t n, unsigned bits) {
    const unsigned direct = leaf_.direct_bits();
    unsigned taken = bits > direct ? bits - direct : bits;
    if (taken > most_buckets)
      taken = most_buckets;
    const unsigned useful = bit_width(n) - 1;
    if (taken > useful)
      taken = useful;
    const unsigned rest = bits - taken;

    const std::size_t buckets = std::size_t{1} << taken, mask = buckets - 1;
    std::vector<std::size_t> ends(buckets + 1, 0);
    std::size_t* const end = ends.data();
    for (std::size_t i = 0; i < n; ++i)
      ++end[((item(i).key >> rest) & mask) + 1];
    for (std::size_t b = 1; b <= buckets; ++b)
      end[b] += end[b - 1];
    // end[b] is where bucket b starts; dealing moves it to where the bucket ends.
    Entry* const to = buffer(which) + start;
    for (std::size_t i = 0; i < n; ++i) {
      const Entry entry = item(i);
      to[end[(entry.key >> rest) & mask]++] = entry;
    }
    std::size_t done = 0;
    for (std::size_t b = 0; b < buckets; ++b) {
      if (end[b] != done)
        finish(which, start + done, end[b] - done, rest);
      done = end[b];
    }
  }

  void finish(unsigned which, std::size_t start, std::size_t n, unsigned bits) {
    Entry* const items = buffer(which) + start;
    if (bits == 0) {
      leaf_.sorted(items, n);
    } else if (n <= small) {
      insertion_sort(items, n);
      leaf_.sorted(items, n);
    } else if (bits <= leaf_.direct_bits()) {
      leaf_.direct(items, n, bits);
    } else {
      deal([items](std::size_t i) { return items[i]; }, 1 - which, start, n, bits);
    }
  }

  static void insertion_sort(Entry* items, std::size_t n) {
    for (std::size_t i = 1; i < n; ++i) {
      const Entry entry = items[i];
      std::size_t j = i;
      for (; j > 0 && entry.key < items[j - 1].key; --j)
        items[j] = items[j - 1];
      items[j] = entry;
    }
  }

  std::unique_ptr<Entry[]> buffers_[2];
  std::size_t n_;
  Leaf& leaf_;
};

// out(key, sum) for each run of equal keys.
template <class Entry, class Out>
void sum_runs(const Entry* items, std::size_t n, Out&& out) {
  for (std::size_t i = 0; i < n;) {
    const auto key = items[i].key;
    auto sum = items[i].value;
    for (++i; i < n && items[i].key == key; ++i)
      sum += items[i].value;
    out(key, sum);
  }
}

template <class Key, class I, class T>
auto pairs(const I* rows, const T* g) {
  return [rows, g](std::size_t i) { return Item<Key, T>{static_cast<Key>(rows[i]), g[i]}; };
}

// 2^16 float sums are 256 KiB: beside a bucket of items they fit every L2 of the last decade.
template <class T>
constexpr unsigned span_bits() {
  return sizeof(T) == 4 ? 16 : 15;
}

struct Free {
  void operator()(void* p) const { std::free(p); }
};

// calloc: pages that no id falls on are never touched, nor paid for.
template <class T>
std::unique_ptr<T[], Free> zeros(std::size_t n) {
  std::unique_ptr<T[], Free> p(static_cast<T*>(std::calloc(n, sizeof(T))));
  if (!p)
    throw std::bad_alloc();
  return p;
}

// Sums scalar gradients; out(key, sum) receives ascending keys.
template <class Key, class T, class Out>
class SortedSums {
 public:
  using Entry = Item<Key, T>;
  explicit SortedSums(Out& out) : out_(out) {}

  unsigned direct_bits() const { return span_bits<T>(); }

  void direct(const Entry* items, std::size_t n, unsigned bits) {
    if (!sums_)
      allocate();
    const Key mask = static_cast<Key>((Key{1} << bits) - 1);
    const Key base = static_cast<Key>(items[0].key & ~mask);
    T* const sums = sums_.get();
    std::uint64_t* const present = present_.get();
    std::uint64_t* const occupied = occupied_.get();
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t k = static_cast<std::size_t>(items[i].key & mask);
      const std::uint64_t bit = std::uint64_t{1} << (k % 64);
      const bool seen = (present[k / 64] & bit) != 0;
      // A select, not a branch: whether an id was seen is unpredictable. The first gradient is
      // kept, not added to zero, so that a single -0.0 stays -0.0.
      const T sum = sums[k] + items[i].value;
      sums[k] = seen ? sum : items[i].value;
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
  void allocate() {
    const std::size_t span = std::size_t{1} << direct_bits();
    sums_ = zeros<T>(span);
    present_ = zeros<std::uint64_t>(span / 64);
    occupied_ = zeros<std::uint64_t>(span / 4096);
  }

  Out& out_;
  std::unique_ptr<T[], Free> sums_;
  std::unique_ptr<std::uint64_t[], Free> present_, occupied_;  // a bit per id, per word of present_
};

// Sums scalar gradients; out(keys, sums, n) receives batches of different keys, bucket by bucket
// but within a bucket in order of first appearance. The batch is where the sums are made: nothing
// is sorted, cleared or copied.
template <class Key, class T, class Out>
class BatchedSums {
 public:
  using Entry = Item<Key, T>;
  explicit BatchedSums(Out& out)
      : out_(out), keys_(zeros<Key>(capacity)), sums_(zeros<T>(capacity)) {}

  unsigned direct_bits() const { return span_bits<T>(); }

  void direct(const Entry* items, std::size_t n, unsigned bits) {
    if (!slots_)
      slots_ = zeros<std::uint32_t>(std::size_t{1} << direct_bits());
    const Key mask = static_cast<Key>((Key{1} << bits) - 1);
    std::uint32_t* const slots = slots_.get();
    Key* const keys = keys_.get() + filled_;
    T* const sums = sums_.get() + filled_;
    std::uint32_t count = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const Key key = items[i].key;
      const std::size_t k = static_cast<std::size_t>(key & mask);
      // A sparse set (Briggs and Torczon, 1993): a slot that an older bucket left behind names
      // another key or lies past the end, so slots are never cleared. Selects, not branches:
      // whether an id was seen is unpredictable.
      const std::uint32_t old = slots[k];
      const bool seen = old < count && keys[old < count ? old : 0] == key;
      const std::uint32_t slot = seen ? old : count;
      const T sum = sums[slot] + items[i].value;
      slots[k] = slot;
      keys[slot] = key;
      sums[slot] = seen ? sum : items[i].value;
      count += seen ? 0 : 1;
    }
    filled_ += count;
    if (filled_ >= batch)
      flush();
  }

  void sorted(const Entry* items, std::size_t n) {
    sum_runs(items, n, [this](Key key, T sum) {
      keys_[filled_] = key;
      sums_[filled_] = sum;
      if (++filled_ >= batch)
        flush();
    });
  }

  void flush() {
    if (filled_ != 0)
      out_(keys_.get(), sums_.get(), filled_);
    filled_ = 0;
  }

 private:
  static constexpr std::size_t batch = 4096;
  static constexpr std::size_t capacity = batch + (std::size_t{1} << span_bits<T>()) + 1;

  Out& out_;
  std::unique_ptr<Key[], Free> keys_;
  std::unique_ptr<T[], Free> sums_;
  std::unique_ptr<std::uint32_t[], Free> slots_;
  std::size_t filled_ = 0;
};

// Groups positions instead of summing: out(key, items, n) receives the items of one id.
template <class Key, class Position, class Out>
class GroupLeaf {
 public:
  using Entry = Item<Key, Position>;
  explicit GroupLeaf(Out& out) : out_(out) {}

  unsigned direct_bits() const { return 0; }
  void direct(const Entry*, std::size_t, unsigned) {}

  void sorted(const Entry* items, std::size_t n) {
    for (std::size_t i = 0; i < n;) {
      std::size_t end = i + 1;
      while (end < n && items[end].key == items[i].key)
        ++end;
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
  SortedSums<Key, T, Out> leaf(out);
  Dealer<Key, T, SortedSums<Key, T, Out>>(n, leaf).run(pairs<Key>(rows, g), bits);
}

// out(keys, sums, count) for batches of different ids that together are all ids of rows[0..n).
template <class Key, class I, class T, class Out>
void sum_batches(const I* rows, const T* g, std::size_t n, unsigned bits, Out out) {
  BatchedSums<Key, T, Out> leaf(out);
  Dealer<Key, T, BatchedSums<Key, T, Out>>(n, leaf).run(pairs<Key>(rows, g), bits);
  leaf.flush();
}

// out(key, items, count) for each different id, in ascending order; items[k].value are its
// positions in rows, ascending.
template <class Key, class Position, class I, class Out>
void group_rows(const I* rows, std::size_t n, unsigned bits, Out out) {
  using Leaf = GroupLeaf<Key, Position, Out>;
  Leaf leaf(out);
  Dealer<Key, Position, Leaf>(n, leaf).run(
      [=](std::size_t i) {
        return Item<Key, Position>{static_cast<Key>(rows[i]), static_cast<Position>(i)};
      },
      bits);
}

// to[0..dim) = the sum of the rows of g that the items name, added in their order.
template <class T, class Entry>
void sum_row(const T* g, const Entry* items, std::size_t count, std::size_t dim,
             T* ADAGRAD_RESTRICT to) {
  const T* first = g + static_cast<std::size_t>(items[0].value) * dim;
  for (std::size_t j = 0; j < dim; ++j)
    to[j] = first[j];
  for (std::size_t k = 1; k < count; ++k) {
    const T* next = g + static_cast<std::size_t>(items[k].value) * dim;
    for (std::size_t j = 0; j < dim; ++j)
      to[j] += next[j];
  }
}

}  // namespace adagrad
