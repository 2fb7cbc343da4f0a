// Sums the gradients of frequent ids without dealing them. The first ids to appear take the slots
// of a small table and keep them, so each sum is still made in order of appearance. Ids whose slot
// is taken are dealt, as all ids are if they rarely repeat.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "arena.hpp"
#include "buckets.hpp"
#include "portability.hpp"

namespace adagrad {

// The mark of an empty slot: no id has all bits set.
template <class Key>
constexpr Key no_id = static_cast<Key>(~Key{0});

// Hashes a key to one of 2^bits slots.
template <class Key>
std::size_t slot_of(Key key, unsigned bits) {
  return static_cast<std::uint32_t>(key) * 0x9E3779B1u >> (32 - bits);
}

// Whether many ids of a sample repeat. `slots` has room for 2^bits.
template <class I, class Key>
bool repeats_often(const I* rows, std::size_t n, Key* slots, unsigned bits) {
  constexpr std::size_t sample = 2048;
  if (n < 16 * sample) return false;
  std::fill_n(slots, std::size_t{1} << bits, no_id<Key>);
  std::size_t repeats = 0;
  for (std::size_t i = 0; i < sample; ++i) {
    const Key key = static_cast<Key>(rows[n / sample * i]);
    Key& slot = slots[slot_of(key, bits)];
    repeats += slot == key ? 1 : 0;
    slot = key;
  }
  return repeats * 5 > sample;
}

// The sums of scalar gradients.
template <class Key, class T>
class FrequentSums {
 public:
  static constexpr unsigned bits = 13;
  static constexpr std::size_t slots = std::size_t{1} << bits;
  static std::size_t bytes() { return Arena::bytes<Key>(slots) + Arena::bytes<T>(slots); }

  explicit FrequentSums(Arena& arena)
      : keys_(arena.take<Key>(slots)), sums_(arena.take<T>(slots)) {}

  template <class I>
  bool pays(const I* rows, std::size_t n) {
    return repeats_often(rows, n, keys_, bits);
  }

  // Sums the gradients of ids that have a slot, copies the others to `rest`, and returns how many
  // those are. `rest` has room for n + 1.
  template <class I>
  std::size_t absorb(const I* rows, const T* g, std::size_t n, Item<Key, T>* rest) {
    std::fill_n(keys_, slots, no_id<Key>);
    Key* const ADAGRAD_RESTRICT keys = keys_;
    T* const ADAGRAD_RESTRICT sums = sums_;
    std::size_t left = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const Key key = static_cast<Key>(rows[i]);
      const std::size_t slot = slot_of(key, bits);
      const Key holder = keys[slot];
      if (holder == no_id<Key>) {  // rare: there are few slots
        keys[slot] = key;
        sums[slot] = g[i];
        continue;
      }
      const bool counts = holder == key;
      sums[slot] += addend(counts, g[i]);
      rest[left] = {key, g[i]};
      left += counts ? 0 : 1;
    }
    return left;
  }

  // Moves the sums to the front of keys() and sums(), and returns how many they are.
  std::size_t compact() {
    std::size_t count = 0;
    for (std::size_t slot = 0; slot < slots; ++slot) {
      const Key key = keys_[slot];
      keys_[count] = key;
      sums_[count] = sums_[slot];
      count += key == no_id<Key> ? 0 : 1;
    }
    return count;
  }
  const Key* keys() const { return keys_; }
  const T* sums() const { return sums_; }

 private:
  Key* keys_;
  T* sums_;
};

// The sums of rows of gradients that are named by position; a kernel adds them.
template <class Key, class Position, class T>
class FrequentRows {
 public:
  using Entry = Item<Key, Position>;
  static std::size_t bytes(std::size_t dim) {
    const std::size_t slots = slots_of(dim);
    return Arena::bytes<Key>(slots) + Arena::bytes<T>(slots * dim) +
           Arena::bytes<std::uint32_t>(block + 1) + Arena::bytes<Position>(block + 1);
  }

  FrequentRows(std::size_t dim, Arena& arena)
      : dim_(dim), bits_(bit_width(slots_of(dim)) - 1), keys_(arena.take<Key>(slots_of(dim))),
        sums_(arena.take<T>(slots_of(dim) * dim)), slots_(arena.take<std::uint32_t>(block + 1)),
        positions_(arena.take<Position>(block + 1)) {}

  template <class I>
  bool pays(const I* rows, std::size_t n) {
    return bits_ >= least_bits && repeats_often(rows, n, keys_, bits_);
  }

  // Sums the rows of ids that have a slot, copies the other items of item(0..n) to `rest`, and
  // returns how many those are. `rest` has room for n + 1. add(positions, slots, m, sums) adds the
  // rows at m positions to the sums in these slots, in order.
  template <class ItemAt, class Add>
  std::size_t absorb(ItemAt item, std::size_t n, Entry* rest, Add add) {
    const unsigned bits = bits_;
    Key* const ADAGRAD_RESTRICT keys = keys_;
    std::uint32_t* const ADAGRAD_RESTRICT slots = slots_;
    Position* const ADAGRAD_RESTRICT positions = positions_;
    std::fill_n(keys, std::size_t{1} << bits, no_id<Key>);
    std::size_t absorbed = 0;
    for (std::size_t start = 0; start < n; start += block) {
      const std::size_t end = std::min(n, start + block), before = absorbed;
      for (std::size_t i = start; i < end; ++i) {
        const Entry entry = item(i);
        const std::size_t slot = slot_of(entry.key, bits);
        if (keys[slot] == no_id<Key>) {  // rare: there are few slots
          keys[slot] = entry.key;
          std::fill_n(sums_ + slot * dim_, dim_, T(-0.0));  // to which even -0.0 can be added
        }
        slots[absorbed - before] = static_cast<std::uint32_t>(slot);
        positions[absorbed - before] = entry.value;
        rest[i - absorbed] = entry;
        absorbed += keys[slot] == entry.key ? 1 : 0;
      }
      add(positions, slots, absorbed - before, sums_);
    }
    return n - absorbed;
  }

  // out(key, sum) for each id that has a slot.
  template <class Out>
  void each(Out&& out) const {
    for (std::size_t slot = 0; slot < std::size_t{1} << bits_; ++slot) {
      if (keys_[slot] != no_id<Key>) out(keys_[slot], sums_ + slot * dim_);
    }
  }

 private:
  static constexpr std::size_t block = 1024;  // occurrences that are looked up at a time
  static constexpr std::size_t sums_bytes = std::size_t{1} << 18;  // stay in L2
  static constexpr unsigned least_bits = 4, most_bits = 13;

  static std::size_t slots_of(std::size_t dim) {
    const unsigned bits = bit_width(sums_bytes / (dim * sizeof(T)));
    return std::size_t{1} << (bits <= least_bits ? 0 : std::min(bits - 1, most_bits));
  }

  std::size_t dim_;
  unsigned bits_;
  Key* keys_;
  T* sums_;
  std::uint32_t* slots_;
  Position* positions_;
};

}  // namespace adagrad
