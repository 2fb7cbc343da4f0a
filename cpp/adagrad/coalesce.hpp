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
  for (; x != 0; x >>= 1) ++width;
  return width;
}

inline unsigned count_trailing_zeros(std::uint64_t x) {
#if defined(__GNUC__) || defined(__clang__)
  return static_cast<unsigned>(__builtin_ctzll(x));
#else
  unsigned count = 0;
  for (; (x & 1) == 0; x >>= 1) ++count;
  return count;
#endif
}

// The memory of one call, in one piece: the allocator then keeps it for the next call, where
// several pieces of this size are handed back to the system and faulted in again, page by page.
class Arena {
 public:
  explicit Arena(std::size_t bytes) : memory_(static_cast<char*>(std::malloc(bytes))) {
    if (!memory_) throw std::bad_alloc();
  }

  // Uninitialised room for n values, and how many bytes that takes.
  template <class T>
  T* take(std::size_t n) {
    char* const taken = memory_.get() + used_;
    used_ += bytes<T>(n);
    return reinterpret_cast<T*>(taken);
  }
  template <class T>
  static constexpr std::size_t bytes(std::size_t n) {
    return (n * sizeof(T) + alignof(std::max_align_t) - 1) / alignof(std::max_align_t) *
           alignof(std::max_align_t);
  }

 private:
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  std::unique_ptr<char, Free> memory_;
  std::size_t used_ = 0;
};

// Deals items into buckets, most significant bits first. Leaf has
//     unsigned direct_bits() const       spans up to 2^direct_bits it can take unsorted, or 0
//     void direct(item, n, bits)         item(0..n) in order of appearance share all higher bits
//     void sorted(const Item*, n)        items sorted by key, equal keys in order of appearance
// and sees the buckets in ascending order. O(n) time for ids spread evenly, O(n * bits / 11) at
// worst.
template <class Key, class Value, class Leaf>
class Dealer {
 public:
  using Entry = Item<Key, Value>;

  static std::size_t bytes(std::size_t n) { return 2 * Arena::bytes<Entry>(n); }

  Dealer(std::size_t n, Leaf& leaf, Arena& arena) : n_(n), leaf_(leaf) {
    for (Entry*& buffer : buffers_) buffer = arena.take<Entry>(n);
  }

  // item(i) is the i-th item; all keys are below 2^bits.
  template <class ItemAt>
  void run(ItemAt item, unsigned bits) {
    if (n_ > small && bits <= leaf_.direct_bits()) {
      leaf_.direct(item, n_, bits);
    } else if (n_ > small) {
      deal(item, 0, 0, n_, bits);
    } else {
      for (std::size_t i = 0; i < n_; ++i) buffers_[0][i] = item(i);
      finish(0, 0, n_, bits);
    }
  }

 private:
  static constexpr std::size_t small = 32;
  static constexpr unsigned most_buckets = 11;  // as a power of two: their ends stay in L1 and TLB

  // Deals item(0..n) into buffer `which` from `start` on, and finishes each bucket there.
  template <class ItemAt>
  void deal(ItemAt item, unsigned which, std::size_t start, std::size_t n, unsigned bits) {
    const unsigned direct = leaf_.direct_bits();
    unsigned taken = bits > direct ? bits - direct : bits;
    if (taken > most_buckets) taken = most_buckets;
    const unsigned useful = bit_width(n) - 1;
    if (taken > useful) taken = useful;
    const unsigned rest = bits - taken;

    const std::size_t buckets = std::size_t{1} << taken, mask = buckets - 1;
    std::vector<std::size_t> ends(buckets + 1, 0);
    std::size_t* const end = ends.data();
    for (std::size_t i = 0; i < n; ++i) ++end[((item(i).key >> rest) & mask) + 1];
    for (std::size_t b = 1; b <= buckets; ++b) end[b] += end[b - 1];
    // end[b] is where bucket b starts; dealing moves it to where the bucket ends.
    Entry* const to = buffers_[which] + start;
    for (std::size_t i = 0; i < n; ++i) {
      const Entry entry = item(i);
      to[end[(entry.key >> rest) & mask]++] = entry;
    }
    std::size_t done = 0;
    for (std::size_t b = 0; b < buckets; ++b) {
      if (end[b] != done) finish(which, start + done, end[b] - done, rest);
      done = end[b];
    }
  }

  void finish(unsigned which, std::size_t start, std::size_t n, unsigned bits) {
    Entry* const items = buffers_[which] + start;
    if (bits == 0) {
      leaf_.sorted(items, n);
    } else if (n <= small) {
      insertion_sort(items, n);
      leaf_.sorted(items, n);
    } else if (bits <= leaf_.direct_bits()) {
      leaf_.direct([items](std::size_t i) { return items[i]; }, n, bits);
    } else {
      deal([items](std::size_t i) { return items[i]; }, 1 - which, start, n, bits);
    }
  }

  static void insertion_sort(Entry* items, std::size_t n) {
    for (std::size_t i = 1; i < n; ++i) {
      const Entry entry = items[i];
      std::size_t j = i;
      for (; j > 0 && entry.key < items[j - 1].key; --j) items[j] = items[j - 1];
      items[j] = entry;
    }
  }

  std::size_t n_;
  Leaf& leaf_;
  Entry* buffers_[2];  // the second is touched only where a bucket is dealt again
};

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

  unsigned direct_bits() const { return 0; }
  template <class ItemAt>
  void direct(ItemAt, std::size_t, unsigned) {}

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
