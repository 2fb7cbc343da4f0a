// Finds the distinct ids of a batch without a sort: in order of first appearance if the batch is
// small, else bucket by bucket.
//
// A table of cells, which stays in cache, holds the number of each id among the distinct ids. The
// loop over a batch has no branch on whether an id was seen before, which nobody could predict. The
// row of an id is asked for as soon as the id is read, so rows arrive while other ids are looked
// up.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "arena.hpp"
#include "buckets.hpp"
#include "portability.hpp"
#include "types.hpp"

namespace adagrad {

// The sums of scalar gradients, id by id. It collects what Distinct finds: keys[j] is the id that
// has number j.
template <class Key, class T>
struct Sums {
  Key* keys;
  T* sums;
  std::size_t count = 0;
  static constexpr bool is_wide = false;

  static std::size_t bytes(std::size_t room) {
    return Arena::bytes<Key>(room + 1) + Arena::bytes<T>(room);
  }
  Sums(std::size_t room, Arena& arena)
      : keys(arena.take<Key>(room + 1) + 1), sums(arena.take<T>(room)) {}

  // The same, with numbers that are 1 for the next id.
  Sums numbered_from_one() const {
    Sums from = *this;
    from.keys += static_cast<std::ptrdiff_t>(count) - 1;
    from.sums += static_cast<std::ptrdiff_t>(count) - 1;
    return from;
  }

  // An occurrence of the id that has number j. `next` is the number of the next new id.
  ADAGRAD_INLINE void take(std::size_t next, std::size_t j, bool, T g) {
    sums[next] = T(-0.0);  // to which even -0.0 can be added
    sums[j] += g;
  }
  void end(const Sums&) {}
};

// Where the gradients of each id are: first[j] is the position of the first, and of[r] is the
// number of an id that repeats at the position at[r].
template <class Key, class Position>
struct Appearances {
  Key* keys;
  Position *first, *at;
  std::uint32_t* of;
  std::size_t count = 0, repeats = 0;
  std::uint32_t before = 0;  // what is added to a number
  static constexpr bool is_wide = true;

  static std::size_t bytes(std::size_t room, std::size_t n) {
    return Arena::bytes<Key>(room + 1) + Arena::bytes<Position>(room) +
           Arena::bytes<Position>(n + 1) + Arena::bytes<std::uint32_t>(n + 1);
  }
  Appearances(std::size_t room, std::size_t n, Arena& arena)
      : keys(arena.take<Key>(room + 1) + 1), first(arena.take<Position>(room)),
        at(arena.take<Position>(n + 1)), of(arena.take<std::uint32_t>(n + 1)) {}

  Appearances numbered_from_one() const {
    Appearances from = *this;
    from.keys += static_cast<std::ptrdiff_t>(count) - 1;
    from.first += static_cast<std::ptrdiff_t>(count) - 1;
    from.before = static_cast<std::uint32_t>(count) - 1;
    return from;
  }

  ADAGRAD_INLINE void take(std::size_t next, std::size_t j, bool is_new, Position position) {
    first[next] = position;
    at[repeats] = position;
    of[repeats] = static_cast<std::uint32_t>(j) + before;
    repeats += is_new ? 0 : 1;
  }
  void end(const Appearances& taken) { repeats = taken.repeats; }
};

template <class Key, class Value>
class Distinct {
 public:
  using Entry = Item<Key, Value>;

  // Numbers fit in the 16 bits of a cell, and 0 is that of an empty one.
  static constexpr std::size_t most = 65534;

  // Ids that are collected before they are handed on: `batch` of them and those of one more pass.
  static std::size_t room(std::size_t n, std::size_t batch) {
    return batch + std::min(n, most) + 1;
  }
  static std::size_t bytes(std::size_t n) {
    return (n > few ? 2 : 1) * Arena::bytes<Entry>(n + 1) +
           Arena::bytes<std::uint16_t>(std::size_t{1} << cell_bits(n)) +
           (n > few ? Arena::bytes<std::size_t>(most_buckets + 1) : 0);
  }

  // For n ids below 2^bits, of rows that lie at `rows`. Ids are handed on by `batch` or more.
  Distinct(std::size_t n, unsigned bits, std::size_t batch, const RowMemory& rows, Arena& arena)
      : bits_(bits), batch_(batch), cell_bits_(cell_bits(n)), rows_(rows),
        items_(arena.take<Entry>(n + 1)), rest_(n > few ? arena.take<Entry>(n + 1) : items_),
        cells_(arena.take<std::uint16_t>(std::size_t{1} << cell_bits_)),
        ends_(n > few ? arena.take<std::size_t>(most_buckets + 1) : nullptr) {
    std::fill_n(cells_, std::size_t{1} << cell_bits_, std::uint16_t{0});
  }

  // Passes the items item(0..n) to `out`, those of an id in order. flush(out) is called whenever
  // batch() ids are collected, and at the end; frequent(out) once some ids that occur often are.
  template <class ItemAt, class Out, class Flush, class Frequent>
  void run(ItemAt item, std::size_t n, Out& out, Flush flush, Frequent frequent) {
    if (bits_ <= std::min(cell_bits_, 16u)) {
      finish(items_, pass<true>(item, n, bits_, items_, out), out, flush);
    } else if (n <= few) {
      finish(items_, pass<false>(item, n, bits_, items_, out), out, flush);
    } else if (repeats_often(item, n, out)) {
      const std::size_t left = pass<false>(item, n, bits_, rest_, out, most_frequent);
      frequent(out);
      const Entry* const rest = rest_;
      deal([rest](std::size_t i) { return rest[i]; }, left, out, flush);
    } else {
      deal(item, n, out, flush);
    }
    if (out.count != 0) flush(out);
  }

 private:
  static constexpr std::size_t few = 8192;  // are not dealt
  static constexpr std::size_t sample = 512;
  static constexpr std::size_t most_frequent = 4096;
  static constexpr unsigned most_cell_bits = 17, bucket_bits = 10;
  static constexpr std::size_t most_buckets = std::size_t{1} << bucket_bits;
  static constexpr std::uint64_t odd = 0x9E3779B97F4A7C15u;

  static unsigned cell_bits(std::size_t n) {
    return std::min(n <= few ? bit_width(n) + 3 : most_cell_bits, 16u + (n > few ? 1u : 0u));
  }

  // Passes on the items of up to `limit` ids, copies the others to `rest`, and returns how many
  // these are. Ids differ in their last `bits` bits only; if cells are `direct`, there is one for
  // each such id, else ids whose cell is taken are left as well. `rest` may be where the items are.
  template <bool direct, class ItemAt, class Out>
  ADAGRAD_NOINLINE std::size_t pass(ItemAt item, std::size_t n, unsigned bits, Entry* rest,
                                    Out& given, std::size_t limit = most) {
    Out out = given.numbered_from_one();  // a copy that no store through its pointers can alias
    const unsigned shift = 64 - cell_bits_;
    const std::uint64_t mask = (std::uint64_t{1} << (direct ? bits : 0)) - 1, multiplier = odd_;
    const auto place = [=](Key key) {
      return static_cast<std::size_t>(direct ? key & mask : key * multiplier >> shift);
    };
    std::uint16_t* const cells = cells_;
    Key* const keys = out.keys;
    const RowMemory rows = rows_;
    std::size_t next = 1, left = 0, i = 0;
    while (i < n && next <= limit) {
      const std::size_t stop = std::min(n, i + (limit + 1 - next));
      for (; i < stop; ++i) {
        const Entry entry = item(i);
        if (direct && !Out::is_wide) {
          ADAGRAD_PREFETCH(rows.w + std::size_t{entry.key} * rows.w_stride);
          ADAGRAD_PREFETCH(rows.s + std::size_t{entry.key} * rows.s_stride);
        }
        std::uint16_t& cell = cells[place(entry.key)];
        std::size_t j = cell;
        std::size_t is_new = j == 0 ? 1 : 0;
        ADAGRAD_HIDE(is_new);  // nobody could predict it
        if (!direct) {
          const Key other = keys[j] ^ entry.key;  // before the first key there is something
          if ((other & (static_cast<Key>(is_new) - 1)) != 0) {
            rest[left++] = entry;
            continue;
          }
        }
        j += next & (0 - is_new);
        cell = static_cast<std::uint16_t>(j);
        keys[next] = entry.key;
        out.take(next, j, is_new != 0, entry.value);
        next += is_new;
      }
    }
    for (; i < n; ++i) {  // no new ids
      const Entry entry = item(i);
      const std::size_t j = cells[place(entry.key)];
      const bool known = (j != 0) & (keys[j] == entry.key);
      out.take(next, select(known, j, next), !known, entry.value);
      rest[left] = entry;
      left += known ? 0 : 1;
    }
    for (std::size_t j = 1; j < next; ++j) cells[place(keys[j])] = 0;
    given.count += next - 1;
    given.end(out);
    return left;
  }

  // Passes on items in memory that other passes left: by more passes, each of which hashes ids
  // differently, or sorted if there are few or passes do not help.
  template <class Out, class Flush>
  void finish(Entry* items, std::size_t n, Out& out, Flush& flush) {
    const std::uint64_t before = odd_;
    const auto item = [items](std::size_t i) { return items[i]; };
    for (std::size_t last = 0; n > 32 && (last == 0 || n < last / 8 * 7);) {
      if (out.count >= batch_) flush(out);
      last = n;
      odd_ *= odd;
      n = pass<false>(item, n, bits_, items, out);
    }
    odd_ = before;
    std::stable_sort(items, items + n,
                     [](const Entry& a, const Entry& b) { return a.key < b.key; });
    for (std::size_t i = 0; i < n; ++i) {
      const bool is_new = i == 0 || items[i].key != items[i - 1].key;
      if (is_new) {
        if (out.count >= batch_) flush(out);
        out.keys[out.count++] = items[i].key;
      }
      // One less than the next number, so an item of a known id writes where nothing is yet.
      out.take(is_new ? out.count - 1 : out.count, out.count - 1, is_new, items[i].value);
    }
  }

  // Deals items into buckets by the top bits of their ids, and passes on one bucket at a time.
  template <class ItemAt, class Out, class Flush>
  void deal(ItemAt item, std::size_t n, Out& out, Flush& flush) {
    const unsigned wanted = std::max(bits_ - 16, Out::is_wide ? bit_width(n / batch_) : 0);
    const unsigned taken = std::min({wanted, bits_, bucket_bits}), bits = bits_ - taken;
    const std::uint64_t all = bits_ == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits_) - 1;
    const std::size_t buckets = std::size_t{1} << taken;
    std::uint64_t multiplier = 1;
    const auto bucket_of = [&](Key key) {
      return static_cast<std::size_t>((key * multiplier & all) >> bits);
    };
    std::size_t* const end = ends_;
    for (;;) {
      std::fill_n(end, buckets + 1, std::size_t{0});
      const std::uint64_t by = multiplier;
      for (std::size_t i = 0; i < n; ++i) {
        ++end[((item(i).key * by & all) >> bits) + 1];
      }
      // Ids may all be small. Multiplied by an odd number, they are spread and stay different.
      const std::size_t largest = *std::max_element(end + 1, end + buckets + 1);
      if (multiplier != 1 || largest <= n / 8 + 2 * (n >> taken)) break;
      multiplier = odd;
    }
    for (std::size_t b = 1; b <= buckets; ++b) end[b] += end[b - 1];
    // end[b] is where bucket b starts; dealing moves it to where the bucket ends.
    Entry* const items = items_;
    for (std::size_t i = 0; i < n; ++i) {
      const Entry entry = item(i);
      items[end[bucket_of(entry.key)]++] = entry;
    }
    const bool direct = multiplier == 1 && bits <= cell_bits_;
    std::size_t done = 0;
    for (std::size_t b = 0; b < buckets; ++b) {
      Entry* const of = items + done;
      const std::size_t count = end[b] - done;
      const auto dealt = [of](std::size_t i) { return of[i]; };
      const std::size_t left = direct ? pass<true>(dealt, count, bits, of, out)
                                      : pass<false>(dealt, count, bits, of, out);
      if (left != 0) finish(of, left, out, flush);
      if (out.count >= batch_) flush(out);
      done = end[b];
    }
  }

  // Counts them.
  struct Repeats {
    Key* keys;
    std::size_t count = 0, repeats = 0;
    static constexpr bool is_wide = false;
    Repeats numbered_from_one() const { return *this; }
    void end(const Repeats& taken) { repeats = taken.repeats; }
    void take(std::size_t, std::size_t, bool is_new, Value) { repeats += is_new ? 0 : 1; }
  };

  // Whether many ids of a sample repeat.
  template <class ItemAt, class Out>
  bool repeats_often(ItemAt item, std::size_t n, const Out& out) {
    Repeats counting{out.keys};
    const std::size_t apart = n / sample;
    pass<false>([=](std::size_t i) { return item(i * apart); }, sample, bits_, rest_, counting);
    return counting.repeats * 5 > sample;
  }

  unsigned bits_;
  std::size_t batch_;
  unsigned cell_bits_;
  RowMemory rows_;
  Entry *items_, *rest_;
  std::uint16_t* cells_;  // all 0 between passes
  std::size_t* ends_;
  std::uint64_t odd_ = odd;
};

}  // namespace adagrad
