// Maps ids of a large table to places in a small one: the distinct ids in ascending order, and the
// place of each occurrence's id among them.
//
// Ids are dealt into buckets as in coalesce.hpp until their span fits a bitmap that stays in cache.
// The place of an id is the number of bits that are set before its own.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "buckets.hpp"

namespace adagrad {

// In 12 operations: not every x86-64 has the instruction, and g++ would look up a table.
inline unsigned count_ones(std::uint64_t x) {
  x -= (x >> 1) & 0x5555555555555555u;
  x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return static_cast<unsigned>((x * 0x0101010101010101u) >> 56);
}

// Finishes buckets of ids with their positions: writes each distinct id to `unique`, and its place
// there to place[position].
class Places {
 public:
  using Entry = Item<std::uint32_t, std::uint32_t>;

  static std::size_t bytes(std::size_t n) {
    const std::size_t words = words_of(span_bits(n));
    return Arena::bytes<std::uint64_t>(words) + Arena::bytes<std::uint64_t>(words / 64 + 1) +
           Arena::bytes<std::uint32_t>(words);
  }

  Places(std::size_t n, std::uint32_t* unique, std::uint32_t* place, Arena& arena)
      : span_bits_(span_bits(n)), unique_(unique), place_(place) {
    const std::size_t words = words_of(span_bits_);
    present_ = arena.take<std::uint64_t>(words);
    occupied_ = arena.take<std::uint64_t>(words / 64 + 1);
    before_ = arena.take<std::uint32_t>(words);
    std::fill_n(present_, words, std::uint64_t{0});
    std::fill_n(occupied_, words / 64 + 1, std::uint64_t{0});
  }

  std::size_t count() const { return count_; }

  unsigned direct_bits() const { return span_bits_; }

  template <class ItemAt>
  void direct(ItemAt item, std::size_t n, unsigned bits) {
    const std::uint32_t mask = static_cast<std::uint32_t>((std::uint64_t{1} << bits) - 1);
    const std::uint32_t base = item(0).key & ~mask;
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t k = item(i).key & mask;
      present_[k / 64] |= std::uint64_t{1} << (k % 64);
      occupied_[k / 4096] |= std::uint64_t{1} << (k / 64 % 64);
    }
    each_word(bits, [&](std::size_t word) {
      before_[word] = static_cast<std::uint32_t>(count_);
      for (std::uint64_t ids = present_[word]; ids != 0; ids &= ids - 1) {
        unique_[count_++] =
            base + static_cast<std::uint32_t>(word * 64 + count_trailing_zeros(ids));
      }
    });
    for (std::size_t i = 0; i < n; ++i) {
      const Entry entry = item(i);
      const std::size_t k = entry.key & mask;
      const std::uint64_t lower = (std::uint64_t{1} << (k % 64)) - 1;
      place_[entry.value] = before_[k / 64] + count_ones(present_[k / 64] & lower);
    }
    each_word(bits, [&](std::size_t word) {
      present_[word] = 0;
      occupied_[word / 64] = 0;
    });
  }

  void sorted(const Entry* items, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      if (i == 0 || items[i].key != items[i - 1].key) unique_[count_++] = items[i].key;
      place_[items[i].value] = static_cast<std::uint32_t>(count_ - 1);
    }
  }

 private:
  // At most 2^22 ids: their bits and counts are 768 KiB. And not many more than n, so that a small
  // batch does not pay for a large bitmap.
  static unsigned span_bits(std::size_t n) {
    const unsigned useful = bit_width(n) + 6;
    return useful < 22 ? useful : 22;
  }
  static std::size_t words_of(unsigned bits) {
    const std::size_t words = (std::size_t{1} << bits) / 64;
    return words == 0 ? 1 : words;
  }

  template <class F>
  void each_word(unsigned bits, F f) const {
    const std::size_t last = (words_of(bits) - 1) / 64;
    for (std::size_t o = 0; o <= last; ++o) {
      for (std::uint64_t words = occupied_[o]; words != 0; words &= words - 1) {
        f(o * 64 + count_trailing_zeros(words));
      }
    }
  }

  unsigned span_bits_;
  std::uint32_t *unique_, *place_;
  std::uint64_t *present_, *occupied_;  // a bit per id, and a bit per word of present_
  std::uint32_t* before_;               // how many distinct ids precede those of a word
  std::size_t count_ = 0;
};

// Writes the distinct ids of ids[0..n) to `unique`, in ascending order, and the place there of
// ids[i] to place[i]; returns how many they are. Both have room for n, which is below 2^32. O(n)
// time.
inline std::size_t compact(const std::uint32_t* ids, std::size_t n, std::uint32_t* unique,
                           std::uint32_t* place) {
  using Dealing = Dealer<std::uint32_t, std::uint32_t, Places>;
  std::uint32_t all = 0;
  for (std::size_t i = 0; i < n; ++i) all |= ids[i];
  Arena arena(Dealing::bytes(n) + Places::bytes(n));
  Places places(n, unique, place, arena);
  const auto item = [ids](std::size_t i) {
    return Item<std::uint32_t, std::uint32_t>{ids[i], static_cast<std::uint32_t>(i)};
  };
  Dealing(n, places, arena).run(item, n, bit_width(all));
  return places.count();
}

}  // namespace adagrad
