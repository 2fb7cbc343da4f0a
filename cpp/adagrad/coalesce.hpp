// Sums the scalar gradients of repeated ids. Each sum is made in order of appearance, so it has the
// same bits on every machine.
//
// Ids are dealt into buckets by their top bits until a bucket is small enough to finish: in an
// array indexed by id that stays in cache if its ids span little, else by an insertion sort.
// Finished buckets come out in ascending order and are passed on while they are in cache, which
// makes coalesce-and-update cheap (bench/rows.py).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "buckets.hpp"
#include "portability.hpp"

namespace adagrad {

// out(key, sum) for each run of equal keys, which are adjacent.
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

// log2 of the span of ids that is summed in an array. At most 16, because 256 KiB of float sums fit
// beside a bucket in every L2 of the last decade; and a span of not many more than n, because a
// small batch should not pay for a large array.
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
      sums[k] = addend(seen, sums[k]) + entry.value;
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

// out(key, sum) for each distinct id of rows[0..n), in ascending order; all ids are below 2^bits.
template <class Key, class I, class T, class Out>
void sum_sorted(const I* rows, const T* g, std::size_t n, unsigned bits, Out out) {
  using Leaf = SortedSums<Key, T, Out>;
  Arena arena(Dealer<Key, T, Leaf>::bytes(n) + Leaf::bytes(n));
  Leaf leaf(n, out, arena);
  Dealer<Key, T, Leaf>(n, leaf, arena).run(pairs<Key>(rows, g), n, bits);
}

}  // namespace adagrad
