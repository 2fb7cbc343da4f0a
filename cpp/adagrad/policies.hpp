// The meaning of repeated ids, on any number of threads: the duplicate policies, over kernels that
// update rows.
//
// Threads share rows by ownership: each reads all ids and updates the rows that it owns, in the
// order of their occurrences. So a row gets the updates that a single thread would give it, bit for
// bit, for every policy and any number of threads, without a sort, a lock or an atomic.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <vector>

#include "distinct.hpp"
#include "owners.hpp"
#include "parallel.hpp"
#include "singles.hpp"
#include "types.hpp"

namespace adagrad {

// A sparse call on n gradients of rows of dim elements, whose ids are in range. Kernels has
//     apply(batch, visit, k)   update the rows of a batch, on thread k; how many it skipped
//     count(), collect()       as in owners.hpp
//     sum(), add()             sum_rows() and add_rows() of sums.hpp
//     memory()                 where the rows are
// for ids of type Id and of 32 bits.
template <class T, class Id, class Kernels>
class RowsCall {
 public:
  using All = Occurrences<T, Id>;

  // All ids are below 2^bits. Every allocation is made here, before the first write. summed() needs
  // `summing_alone`.
  RowsCall(const All& all, std::size_t dim, unsigned bits, Duplicates duplicates,
           std::size_t threads, std::size_t row_bytes, Kernels& kernels, bool summing_alone = false)
      : all_(all), dim_(dim), bits_(bits), duplicates_(duplicates),
        threads_(static_cast<std::uint32_t>(threads)), shift_(block_shift(row_bytes)),
        kernels_(kernels) {
    owned_.assign(threads, all.n);
    if (threads > 1 && duplicates == Duplicates::sum) {
      for_each_part(threads, [&](std::size_t k) {
        owned_[k] = kernels.count(owner(k, threads), all.ids, all.n);
      });
    }
    std::size_t total = 0;
    for (const std::size_t n : owned_) {
      starts_.push_back(total);
      total += has_short_keys() ? bytes<std::uint32_t>(n) : bytes<Id>(n);
    }
    // summed() lays out everything for one thread.
    const std::size_t alone = has_short_keys() ? bytes<std::uint32_t>(all.n) : bytes<Id>(all.n);
    arena_.emplace(summing_alone ? std::max(total, alone) : total);
  }

  // The number of rows that were skipped. A lagged rule divides by the accumulator from before the
  // call, so under "each" its steps come first.
  std::size_t run(bool lagged) {
    std::atomic<std::size_t> skipped{0};
    for_each_part(threads_, [&](std::size_t k) { skipped += run_part(k, lagged); });
    return skipped;
  }

  // f(batch) for batches of distinct ids with their summed gradients, on this thread.
  template <class F>
  void summed(F f) {
    struct Calling final : Sink {
      explicit Calling(F& callee) : f(callee) {}
      void take(const Batch<T, const std::uint32_t*>& batch) override { f(batch); }
      void take(const Batch<T, const std::uint64_t*>& batch) override { f(batch); }
      F& f;
    } sink(f);
    sum_part(0, 1, sink);
  }

 private:
  static constexpr std::size_t slack = 8;
  static constexpr std::size_t chunk = 2048;   // owned occurrences that are collected at a time
  static constexpr std::size_t groups = 1024;  // rows that are updated at a time
  static constexpr std::size_t sums_bytes = std::size_t{1} << 18;  // of their sums: stays in L2

  // Receives batches of distinct ids with their summed gradients. A virtual call per batch costs
  // nothing beside it, and the code that sums is compiled once for all receivers.
  class Sink {
   public:
    virtual void take(const Batch<T, const std::uint32_t*>&) = 0;
    virtual void take(const Batch<T, const std::uint64_t*>&) = 0;

   protected:
    ~Sink() = default;
  };

  // Updates the rows that it receives.
  class Updating final : public Sink {
   public:
    Updating(Kernels& kernels, std::size_t k) : kernels_(kernels), k_(k) {}
    void take(const Batch<T, const std::uint32_t*>& batch) override { update(batch); }
    void take(const Batch<T, const std::uint64_t*>& batch) override { update(batch); }
    std::size_t skipped = 0;

   private:
    template <class Key>
    void update(const Batch<T, const Key*>& batch) {
      skipped += kernels_.apply(batch, Visit::update, k_);
    }
    Kernels& kernels_;
    std::size_t k_;
  };

  // The occurrences that a thread owns, in order: their gradients if these are scalars, their
  // positions if these are rows or the positions matter. Up to `slack` more are written than are
  // owned.
  template <class Key>
  struct Owned {
    Key* ids;
    T* g;
    std::size_t* positions;
    const T** scattered;
  };

  bool has_positions() const { return dim_ != 1 || all_.by_position || all_.source != nullptr; }

  template <class Key>
  std::size_t owned_bytes(std::size_t n) const {
    return Arena::bytes<Key>(n + slack) + (dim_ == 1 ? Arena::bytes<T>(n + slack) : 0) +
           (has_positions() ? Arena::bytes<std::size_t>(n + slack) : 0) +
           (dim_ == 1 ? 0 : Arena::bytes<const T*>(n + slack));
  }

  template <class Key>
  Owned<Key> take(Arena& arena, std::size_t n) const {
    return {arena.take<Key>(n + slack), dim_ == 1 ? arena.take<T>(n + slack) : nullptr,
            has_positions() ? arena.take<std::size_t>(n + slack) : nullptr,
            dim_ == 1 ? nullptr : arena.take<const T*>(n + slack)};
  }

  std::size_t sums() const { return std::max<std::size_t>(1, sums_bytes / (dim_ * sizeof(T))); }

  // Ids that are collected before their rows are updated: rows and gradients fill a part of L2.
  std::size_t batch() const {
    const std::size_t lines = 2 * (1 + dim_ * sizeof(T) / 64);
    return dim_ == 1 ? 2048 : std::max<std::size_t>(256, 4096 / lines);
  }
  bool is_short() const { return all_.n <= ~std::uint32_t{0}; }  // positions fit in 32 bits

  // Keys of 32 bits if the ids fit, whatever their type: half the memory to deal. Calls of 2^32
  // occurrences and more keep the ids as they are, which saves the code for that combination.
  bool has_short_keys() const { return bits_ <= 32 && is_short(); }

  // The memory of a thread that owns n occurrences.
  template <class Key>
  std::size_t bytes(std::size_t n) const {
    if (duplicates_ != Duplicates::sum) return owned_bytes<Key>(std::min(n, chunk));
    const std::size_t owned = threads_ == 1 ? 0 : owned_bytes<Key>(n);
    if (dim_ == 1) {
      using Found = Distinct<Key, T>;
      return owned + Found::bytes(n) + Sums<Key, T>::bytes(Found::room(n, batch()));
    }
    return owned +
           (is_short() ? groups_bytes<Key, std::uint32_t>(n) : groups_bytes<Key, std::uint64_t>(n));
  }

  Owner owner(std::size_t k, std::size_t owners) const { return make_owner(k, owners, shift_); }

  std::size_t run_part(std::size_t k, bool lagged) {
    std::size_t skipped = 0;
    switch (duplicates_) {
      case Duplicates::sum: {
        Updating sink(kernels_, k);
        sum_part(k, threads_, sink);
        return sink.skipped;
      }
      case Duplicates::each:
        skipped = walk(k, lagged ? Visit::advance : Visit::accumulate);
        walk(k, lagged ? Visit::accumulate : Visit::advance);
        return skipped;
      default: return walk(k, Visit::update);
    }
  }

  // The occurrences of thread k, in order.
  std::size_t walk(std::size_t k, Visit visit) {
    if (threads_ == 1 && all_.source == nullptr) {
      return kernels_.apply(Batch<T, const Id*>{all_.ids, all_.g, nullptr, all_.positions, all_.n,
                                                all_.distinct, all_.by_position},
                            visit, k);
    }
    return has_short_keys() ? walk_by<std::uint32_t>(k, visit) : walk_by<Id>(k, visit);
  }

  template <class Key>
  std::size_t walk_by(std::size_t k, Visit visit) {
    Arena arena = arena_->again(starts_[k]);
    const Owned<Key> owned = take<Key>(arena, std::min(all_.n, chunk));
    std::size_t skipped = 0;
    for (std::size_t i = 0; i < all_.n;) {
      std::size_t n = 0;
      while (i < all_.n && n < chunk) {  // every occurrence that is read next may be owned
        const std::size_t end = std::min(all_.n, i + chunk - n);
        n = collect(owner(k, threads_), i, end, owned, n);
        i = end;
      }
      skipped +=
          kernels_.apply(Batch<T, const Key*>{owned.ids, owned.g, owned.scattered, owned.positions,
                                              n, all_.distinct, all_.by_position},
                         visit, k);
    }
    return skipped;
  }

  // Appends the occurrences [begin, end) that are owned to the n that are there, without a branch
  // to mispredict; returns the new number.
  template <class Key>
  std::size_t collect(const Owner owner, std::size_t begin, std::size_t end,
                      const Owned<Key>& owned, std::size_t n) const {
    if (!has_positions()) {
      const Id* const ids = all_.ids + begin;
      const T* const g = all_.g + begin;
      if constexpr (sizeof(Key) == sizeof(std::uint32_t)) {
        return n + kernels_.collect(owner, ids, g, end - begin, owned.ids + n, owned.g + n);
      } else {
        return n + collect_one_by_one(owner, ids, g, end - begin, owned.ids + n, owned.g + n);
      }
    }
    const Id* const ADAGRAD_RESTRICT ids = all_.ids;
    Key* const ADAGRAD_RESTRICT keys = owned.ids;
    const std::size_t before = n;
    std::size_t* const ADAGRAD_RESTRICT positions = owned.positions;
    for (std::size_t i = begin; i < end; ++i) {
      keys[n] = static_cast<Key>(ids[i]);
      positions[n] = i;
      n += owns(owner, ids[i]) ? 1 : 0;
    }
    for (std::size_t j = before; j < n; ++j) {
      const T* const g = gradient(source(positions[j]));
      if (dim_ == 1) {
        owned.g[j] = *g;
      } else {
        owned.scattered[j] = g;
      }
    }
    if (all_.by_position && all_.positions != nullptr) {
      for (std::size_t j = before; j < n; ++j) positions[j] = all_.positions[positions[j]];
    }
    return n;
  }

  std::size_t source(std::size_t i) const { return all_.source != nullptr ? all_.source[i] : i; }
  const T* gradient(std::size_t of) const { return all_.g + of * dim_; }

  void sum_part(std::size_t k, std::uint32_t threads, Sink& sink) {
    if (has_short_keys()) {
      sum_by<std::uint32_t>(k, threads, sink);
    } else {
      sum_by<Id>(k, threads, sink);
    }
  }

  template <class Key>
  void sum_by(std::size_t k, std::uint32_t threads, Sink& sink) {
    Arena arena = arena_->again(starts_[k]);
    if (threads == 1) {
      return dim_ == 1 ? sum_scalars<Key>(all_.ids, all_.g, all_.n, arena, sink)
                       : sum_wide<Key>(all_.ids, nullptr, all_.n, arena, sink);
    }
    const Owned<Key> owned = take<Key>(arena, owned_[k]);
    const std::size_t n = collect(owner(k, threads), 0, all_.n, owned, 0);
    return dim_ == 1 ? sum_scalars<Key>(owned.ids, owned.g, n, arena, sink)
                     : sum_wide<Key>(owned.ids, owned.positions, n, arena, sink);
  }

  template <class Key, class I>
  void sum_scalars(const I* ids, const T* g, std::size_t n, Arena& arena, Sink& sink) const {
    using Found = Distinct<Key, T>;
    Found distinct(n, bits_, batch(), kernels_.memory(), arena);
    Sums<Key, T> sums(Found::room(n, batch()), arena);
    const auto flush = [&sink](Sums<Key, T>& out) {
      sink.take(Batch<T, const Key*>{out.keys, out.sums, nullptr, nullptr, out.count, true, false});
      out.count = 0;
    };
    distinct.run([=](std::size_t i) { return Item<Key, T>{static_cast<Key>(ids[i]), g[i]}; }, n,
                 sums, flush, flush);
  }

  // positions[i] is the position of ids[i] in the call; null if that is i.
  template <class Key, class I>
  void sum_wide(const I* ids, const std::size_t* positions, std::size_t n, Arena& arena,
                Sink& sink) const {
    const auto at = [=](std::size_t i) { return source(positions == nullptr ? i : positions[i]); };
    if (is_short() && positions == nullptr && all_.source == nullptr) {
      sum_groups<Key, std::uint32_t>(ids, [](std::size_t i) { return i; }, true, n, arena, sink);
    } else if (is_short()) {
      sum_groups<Key, std::uint32_t>(ids, at, false, n, arena, sink);
    } else if constexpr (std::is_same_v<Key, Id>) {  // see has_short_keys()
      sum_groups<Key, std::uint64_t>(ids, at, false, n, arena, sink);
    }
  }

  template <class Key, class Position>
  std::size_t groups_bytes(std::size_t n) const {
    using Found = Distinct<Key, Position>;
    const std::size_t room = Found::room(n, batch());
    return Found::bytes(n) + Appearances<Key, Position>::bytes(room, n) +
           Arena::bytes<Position>(room + 1) + Arena::bytes<Position>(n) +
           Arena::bytes<Key>(groups) + Arena::bytes<const T*>(groups) +
           Arena::bytes<T>(sums() * dim_) +
           (Singles::pay_for(n) ? Singles::bytes(n) + Arena::bytes<typename Found::Entry>(n + 1)
                                : 0);
  }

  // at(i) is where the gradient of ids[i] is among all gradients: i, if they are in_place.
  // Gradients of rows that occur once are not copied, unless those of all rows fit in the memory
  // for sums.
  template <class Key, class Position, class I, class At>
  void sum_groups(const I* ids, At at, bool in_place, std::size_t n, Arena& arena,
                  Sink& sink) const {
    using Found = Distinct<Key, Position>;
    using Out = Appearances<Key, Position>;
    using Entry = typename Found::Entry;
    const std::size_t room = Found::room(n, batch());
    Out found(room, n, arena);
    Position *const ends = arena.take<Position>(room + 1), *const grouped = arena.take<Position>(n);
    Key* const keys = arena.take<Key>(groups);
    const T** const gradients = arena.take<const T*>(groups);
    T* const sum = arena.take<T>(sums() * dim_);
    const auto step_singles = [&](std::size_t count) {
      sink.take(Batch<T, const Key*>{keys, nullptr, gradients, nullptr, count, true, false});
    };
    const auto sum_few = [&](Out& out) {
      kernels_.add(all_.g, out.first, out.count, out.at, out.of, out.repeats, dim_, sum);
      sink.take(Batch<T, const Key*>{out.keys, sum, nullptr, nullptr, out.count, true, false});
      out.count = out.repeats = 0;
    };
    const auto sum_many = [&](Out& out) {
      std::fill_n(ends, out.count + 1, Position{0});
      for (std::size_t r = 0; r < out.repeats; ++r) ++ends[out.of[r]];
      // Those that occur once, without a branch.
      std::size_t count = 0;
      for (std::size_t j = 0; j < out.count; ++j) {
        keys[count] = out.keys[j];
        gradients[count] = gradient(out.first[j]);
        count += ends[j] == 0 ? 1 : 0;
        if (count < groups && j + 1 < out.count) continue;
        if (count != 0) step_singles(count);
        count = 0;
      }
      if (out.repeats != 0) {
        Position end = 0;
        for (std::size_t j = 0; j < out.count; ++j) {
          const Position repeats = ends[j];
          ends[j] = end;  // dealing moves it to where the group ends
          if (repeats != 0) {
            grouped[ends[j]++] = out.first[j];
            end += repeats + 1;
          }
        }
        for (std::size_t r = 0; r < out.repeats; ++r) grouped[ends[out.of[r]]++] = out.at[r];
        Position begin = 0;
        const auto flush = [&] {
          if (count != 0) {
            sink.take(Batch<T, const Key*>{keys, sum, nullptr, nullptr, count, true, false});
          }
          count = 0;
        };
        for (std::size_t j = 0; j < out.count; ++j) {
          const std::size_t occurrences = static_cast<std::size_t>(ends[j] - begin);
          if (occurrences == 0) continue;
          keys[count] = out.keys[j];
          kernels_.sum(all_.g, grouped + begin, occurrences, dim_, sum + count * dim_);
          begin = ends[j];
          if (++count == std::min(groups, sums())) flush();
        }
        flush();
      }
      out.count = out.repeats = 0;
    };
    const auto flush = [&](Out& out) {
      if (in_place && out.count == n) {  // nothing to sum
        for (std::size_t i = 0; i < n; ++i) out.keys[i] = static_cast<Key>(ids[i]);
        sink.take(Batch<T, const Key*>{out.keys, all_.g, nullptr, nullptr, n, true, false});
        out.count = 0;
      } else if (out.count <= sums()) {
        sum_few(out);
      } else {
        sum_many(out);
      }
    };
    const auto item = [=](std::size_t i) {
      return Entry{static_cast<Key>(ids[i]), static_cast<Position>(at(i))};
    };
    if (Singles::pay_for(n)) {
      Singles singles(n, arena);
      Entry* const rest = arena.take<Entry>(n + 1);
      if (singles.count(item, n)) {
        const auto put = [=](std::size_t k, const Entry& entry) {
          keys[k] = entry.key;
          gradients[k] = gradient(entry.value);
        };
        const std::size_t left = singles.split(item, n, groups, rest, put, step_singles);
        Found distinct(left, bits_, batch(), kernels_.memory(), arena);
        return distinct.run([=](std::size_t i) { return rest[i]; }, left, found, flush, flush);
      }
    }
    Found distinct(n, bits_, batch(), kernels_.memory(), arena);
    distinct.run(item, n, found, flush, flush);
  }

  All all_;
  std::size_t dim_;
  unsigned bits_;
  Duplicates duplicates_;
  std::uint32_t threads_;
  unsigned shift_;
  Kernels& kernels_;
  std::vector<std::size_t> owned_;   // by thread, how many occurrences; all of them if not counted
  std::vector<std::size_t> starts_;  // by thread, of its memory in the arena
  std::optional<Arena> arena_;
};

}  // namespace adagrad
