// Tells the ids that occur once in a batch from those that may repeat: only these are collected and
// summed, the others are updated as they come.
//
// Each id is hashed to a cell of two bits, which counts: never, once, again. An id whose cell
// counts one occurs once. Different ids may share a cell; they take time to collect, but change no
// bit.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "arena.hpp"
#include "buckets.hpp"
#include "portability.hpp"

namespace adagrad {

class Singles {
 public:
  // Fewer ids are looked up in L1 anyway; the cells of more would not stay in L2.
  static bool pay_for(std::size_t n) { return n > 2048 && n < (std::size_t{1} << 18); }
  static std::size_t bytes(std::size_t n) { return Arena::bytes<Word>(words(n)); }

  Singles(std::size_t n, Arena& arena)
      : cells_(arena.take<Word>(words(n))), shift_(64 - cell_bits(n)) {
    std::fill_n(cells_, words(n), Word{0});
  }

  // Counts the ids of item(0..n); false, as soon as it is known, if too many repeat.
  template <class ItemAt>
  bool count(ItemAt item, std::size_t n) {
    std::size_t again = 0;
    for (std::size_t i = 0; i < n;) {
      for (const std::size_t stop = std::min(n, i + run); i < stop; ++i) {
        const std::size_t cell = cell_of(item(i).key);
        Word& word = cells_[cell / cells_of_word];
        const Word seen = word >> place(cell) & 1;
        word |= Word{1} << (place(cell) + seen);
        again += seen;
      }
      if (again > i / 8) return false;
    }
    return true;
  }

  // Writes the items whose ids may repeat to `rest`, and returns how many these are. The others are
  // handed to put(k, item), numbered from 0, until flush(count) is called: for each `most` items.
  template <class Entry, class ItemAt, class Put, class Flush>
  std::size_t split(ItemAt item, std::size_t n, std::size_t most, Entry* rest, Put put,
                    Flush flush) const {
    std::size_t left = 0;
    for (std::size_t i = 0; i < n;) {
      std::size_t count = 0;
      for (const std::size_t stop = std::min(n, i + most); i < stop; ++i) {
        const Entry entry = item(i);
        const std::size_t cell = cell_of(entry.key);
        std::size_t again = cells_[cell / cells_of_word] >> (place(cell) + 1) & 1;
        ADAGRAD_HIDE(again);  // nobody could predict it
        put(count, entry);
        rest[left] = entry;
        count += 1 - again;
        left += again;
      }
      if (count != 0) flush(count);
    }
    return left;
  }

 private:
  using Word = std::uint32_t;
  static constexpr std::size_t cells_of_word = 16;
  static constexpr std::size_t run = 256;

  // Eight cells for an id and more: an id shares its cell once in eight times at most.
  static unsigned cell_bits(std::size_t n) { return bit_width(n) + 3; }
  static std::size_t words(std::size_t n) {
    return (std::size_t{1} << cell_bits(n)) / cells_of_word + 1;
  }
  template <class Key>
  std::size_t cell_of(Key key) const {
    return static_cast<std::size_t>(key * std::uint64_t{0x9E3779B97F4A7C15} >> shift_);
  }
  static unsigned place(std::size_t cell) {
    return 2 * static_cast<unsigned>(cell % cells_of_word);
  }

  Word* cells_;  // the lower bit of a cell is set by the first id, the upper one by any other
  unsigned shift_;
};

}  // namespace adagrad
