// Deals (key, value) pairs into buckets by the top bits of their keys, stably, until a bucket is
// small enough to finish. coalesce.hpp, groups.hpp and compact.hpp say what finishing means.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "arena.hpp"

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

// A branch on whether an id was seen before cannot be predicted, and g++ makes branches even of
// selects. So this select is made with a mask.
template <class U>
inline U select(bool choice, U yes, U no) {
  return static_cast<U>(no ^ ((yes ^ no) & (U{0} - static_cast<U>(choice))));
}

// x, or else -0.0, which changes nothing when it is added: even -0.0 + -0.0 is -0.0.
inline float addend(bool counts, float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits = select(counts, bits, std::uint32_t{1} << 31);
  std::memcpy(&x, &bits, sizeof bits);
  return x;
}
inline double addend(bool counts, double x) {
  std::uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits = select(counts, bits, std::uint64_t{1} << 63);
  std::memcpy(&x, &bits, sizeof bits);
  return x;
}

// Deals items into buckets, most significant bits first. Leaf has
//     unsigned direct_bits() const       it takes spans up to 2^direct_bits unsorted; or 0
//     void direct(item, n, bits)         item(0..n) in order of appearance share all higher bits
//     void sorted(const Item*, n)        items sorted by key, equal keys in order of appearance
// and gets the buckets in ascending order. O(n) time for ids that are spread evenly,
// O(n * bits / 11) at worst.
template <class Key, class Value, class Leaf>
class Dealer {
 public:
  using Entry = Item<Key, Value>;

  static std::size_t bytes(std::size_t n) {
    return 2 * Arena::bytes<Entry>(n) + Arena::bytes<std::size_t>(most_levels * ends_of_level(n));
  }

  Dealer(std::size_t n, Leaf& leaf, Arena& arena) : n_(n), leaf_(leaf) {
    for (Entry*& buffer : buffers_) buffer = arena.take<Entry>(n);
    ends_ = arena.take<std::size_t>(most_levels * ends_of_level(n));
  }

  // item(i) is the i-th of n items, for which there is room; all keys are below 2^bits.
  template <class ItemAt>
  void run(ItemAt item, std::size_t n, unsigned bits) {
    if (n > small && bits > leaf_.direct_bits()) {
      deal(item, 0, 0, n, bits, 0);
    } else if (n > small && leaf_.direct_bits() != 0) {
      leaf_.direct(item, n, bits);
    } else {
      for (std::size_t i = 0; i < n; ++i) buffers_[0][i] = item(i);
      finish(0, 0, n, bits, 0);
    }
  }

  // Room for the items of run(), which reads them before it writes there.
  Entry* spare() const { return buffers_[1]; }

 private:
  static constexpr std::size_t small = 32;
  // More than `small` items are dealt by five bits or more, unless fewer bits are left.
  static constexpr unsigned most_levels = 64 / 5 + 2;
  static constexpr unsigned most_buckets = 11;  // log2: the ends of the buckets stay in L1 and TLB

  static std::size_t ends_of_level(std::size_t n) {
    const std::size_t most = std::size_t{1} << most_buckets;
    return (n < most ? n : most) + 1;
  }

  // Deals item(0..n) into buffer `which` from `start` on, in order, and finishes each bucket there.
  template <class ItemAt>
  void deal(ItemAt item, unsigned which, std::size_t start, std::size_t n, unsigned bits,
            unsigned level) {
    const unsigned direct = leaf_.direct_bits();
    unsigned taken = bits > direct ? bits - direct : bits;
    if (taken > most_buckets) taken = most_buckets;
    const unsigned useful = bit_width(n) - 1;
    if (taken > useful) taken = useful;
    const unsigned rest = bits - taken;

    const std::size_t buckets = std::size_t{1} << taken, mask = buckets - 1;
    std::size_t* const end = ends_ + level * ends_of_level(n_);
    std::fill_n(end, buckets + 1, std::size_t{0});
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
      if (end[b] != done) finish(which, start + done, end[b] - done, rest, level + 1);
      done = end[b];
    }
  }

  void finish(unsigned which, std::size_t start, std::size_t n, unsigned bits, unsigned level) {
    Entry* const items = buffers_[which] + start;
    if (bits == 0) {
      leaf_.sorted(items, n);
    } else if (n <= small) {
      insertion_sort(items, n);
      leaf_.sorted(items, n);
    } else if (bits <= leaf_.direct_bits()) {
      leaf_.direct([items](std::size_t i) { return items[i]; }, n, bits);
    } else {
      deal([items](std::size_t i) { return items[i]; }, 1 - which, start, n, bits, level);
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
  std::size_t* ends_;  // of the buckets, by level because levels nest
  Entry* buffers_[2];  // the second is used only if a bucket is dealt again
};

}  // namespace adagrad
