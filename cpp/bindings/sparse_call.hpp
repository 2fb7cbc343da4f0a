// What step_rows and Table share: the checks of ids and gradients, and a sparse step once the
// arrays are checked.
#pragma once

#include <algorithm>
#include <atomic>
#include <string>

#include "../adagrad/policies.hpp"
#include "../isa/cpu.hpp"
#include "arrays.hpp"
#include "hyperparameters.hpp"
#include "ids.hpp"
#include "module.hpp"

namespace adagrad {

// Ids, and the table that they are of.
struct IdsArgument {
  const char* function;
  py::array rows;
  IdType type;
  std::size_t n;
  std::uint64_t table_rows;
};

struct SparseOptions {
  const Hyperparameters& rule;
  Duplicates duplicates;
  bool verify_unique;
  std::size_t threads;
};

// A row costs as much as its elements and eight more.
inline std::size_t sparse_threads(std::size_t n, std::size_t dim, std::size_t asked) {
  return share(n * (dim + 8), num_threads(asked), sparse_grain());
}

// The same for an update. In a table of scalars that fits in L2, reading the ids of others takes a
// thread longer than updating its own.
inline std::size_t update_threads(const IdsArgument& a, std::size_t dim, std::size_t row_bytes,
                                  std::size_t asked) {
  const bool in_cache = dim == 1 && a.table_rows * row_bytes <= 4 * sparse_grain();
  return in_cache ? 1 : sparse_threads(a.n, dim, asked);
}

IdsArgument check_ids_array(const char* function, py::handle rows, std::uint64_t table_rows);
SparseOptions check_options(const char* function, const Hyperparameters& rule,
                            const py::object& duplicates, bool verify_unique, std::size_t threads);

// Raises IndexError where an id is out of range. Returns how many bits the ids take.
template <class I>
unsigned check_range(const IdsArgument& a, const I* ids, std::size_t threads) {
  std::atomic<std::uint64_t> largest{0};
  const std::size_t grain = sparse_grain() / 2 + 1;
  split(a.n, num_threads(threads), grain, 1, [&](std::size_t first, std::size_t last) {
    const std::uint64_t part = largest_id(ids + first, last - first);
    std::uint64_t before = largest;
    while (part > before && !largest.compare_exchange_weak(before, part)) {
    }
  });
  if (a.n != 0 && largest >= a.table_rows) {
    fail_ids({a.function, "rows"}, ids, " for a table of " + std::to_string(a.table_rows) + " rows",
             [&](std::uint64_t id) { return id < a.table_rows; });
  }
  return bit_width(largest);
}

template <class Id>
void check_unique(const IdsArgument& a, const Id* ids, unsigned bits) {
  using Entry = Item<Id, std::uint64_t>;
  std::uint64_t first = 0, second = 0, id = 0;
  bool found = false;
  Arena arena(group_rows_bytes<Id, std::uint64_t>(a.n));
  group_rows<Id, std::uint64_t>(ids, a.n, bits, arena,
                                [&](Id key, const Entry* items, std::size_t count) {
                                  if (count < 2 || (found && items[1].value > second)) return;
                                  found = true;
                                  id = key;
                                  first = items[0].value;
                                  second = items[1].value;
                                });
  if (found) {
    throw py::value_error(std::string(a.function) + ": rows[" + std::to_string(second) +
                          "] = " + std::to_string(id) + " repeats rows[" + std::to_string(first) +
                          "], but duplicates='unique' promises that no id repeats");
  }
}

// The kernel for a type of ids.
template <class K>
const auto& pick_rows(const K& k, const std::uint32_t*) {
  return k.rows_u32;
}
template <class K>
const auto& pick_rows(const K& k, const std::uint64_t*) {
  return k.rows_u64;
}
template <class K>
const auto& pick_gather(const K& k, const std::uint32_t*) {
  return k.gather_u32;
}
template <class K>
const auto& pick_gather(const K& k, const std::uint64_t*) {
  return k.gather_u64;
}
template <class K>
const auto& pick_pool(const K& k, const std::uint32_t*) {
  return k.pool_u32;
}
template <class K>
const auto& pick_pool(const K& k, const std::uint64_t*) {
  return k.pool_u64;
}

template <class K>
const auto& pick_collect(const K& k, const std::uint32_t*) {
  return k.collect_u32;
}
template <class K>
const auto& pick_collect(const K& k, const std::uint64_t*) {
  return k.collect_u64;
}

template <class K>
const auto& pick_sum(const K& k, const std::uint32_t*) {
  return k.sum_u32;
}
template <class K>
const auto& pick_sum(const K& k, const std::uint64_t*) {
  return k.sum_u64;
}

template <class K>
const auto& pick_add(const K& k, const std::uint32_t*) {
  return k.add_u32;
}
template <class K>
const auto& pick_add(const K& k, const std::uint64_t*) {
  return k.add_u64;
}

inline std::size_t count_occurrences(const Owner& owner, const std::uint32_t* ids, std::size_t n) {
  return kernels().count_u32(owner, ids, n);
}
inline std::size_t count_occurrences(const Owner& owner, const std::uint64_t* ids, std::size_t n) {
  return kernels().count_u64(owner, ids, n);
}

// The kernels on a table of float or double. Decaying all rows is a sweep before the first update,
// but after the memory that a policy needs has been found.
template <class T>
struct TargetKernels {
  using Real = T;
  static constexpr bool rounds = false;  // stochastically
  Target<T> table;
  Params<T> params;
  const KernelsOf<T>& kernels;

  template <class Id>
  std::size_t apply(const Batch<T, const Id*>& batch, Visit visit, std::size_t) const {
    return pick_rows(kernels, batch.ids)(table, batch, params, visit);
  }
  template <class Id>
  std::size_t count(const Owner& owner, const Id* ids, std::size_t n) const {
    return count_occurrences(owner, ids, n);
  }
  template <class Id>
  std::size_t collect(const Owner& owner, const Id* ids, const T* g, std::size_t n,
                      std::uint32_t* to_ids, T* to_g) const {
    return pick_collect(kernels, ids)(owner, ids, g, n, to_ids, to_g);
  }
  template <class Position>
  void sum(const T* g, const Position* at, std::size_t n, std::size_t dim, T* to) const {
    pick_sum(kernels, at)(g, at, n, dim, to);
  }
  template <class Position>
  void add(const T* g, const Position* at, const std::uint32_t* slots, std::size_t n,
           std::size_t dim, T* sums) const {
    pick_add(kernels, at)(g, at, slots, n, dim, sums);
  }
  void sweep(std::uint64_t rows, std::size_t threads) {
    split(static_cast<std::size_t>(rows), threads, sparse_grain() / table.dim + 1, 1,
          [&](std::size_t first, std::size_t last) {
            kernels.decay_rows(table, first, last, params);
          });
    params.decay = WeightDecay::none;
  }

  void prepare(std::size_t, std::size_t, std::uint64_t, std::uint64_t) {}
  void allocate(std::size_t, std::size_t) {}
  void set_key(std::uint64_t) {}
  template <class Id>
  void gather(const Id* ids, std::size_t n, T* out) const {
    pick_gather(kernels, ids)(table, ids, n, out);
  }
  template <class Id>
  void pool(const Bags<T, Id>& bags, std::size_t all, std::size_t first, std::size_t last) const {
    pick_pool(kernels, bags.ids)(table, bags, all, first, last);
  }
  void initialise(const Start& start, std::size_t first, std::size_t last, std::size_t) const {
    kernels.initialise(table, start, first, last);
  }
  void fade(double gamma, double floor, std::size_t first, std::size_t last, std::size_t) const {
    kernels.fade(table, first, last, static_cast<T>(gamma), static_cast<T>(floor));
  }
};

// One sparse step. `all` has the ids, checked, and their gradients; the number of skipped rows.
template <class Id, class Kernels, class T = typename Kernels::Real>
std::size_t step_sparse(const IdsArgument& a, const SparseOptions& options, unsigned bits,
                        std::size_t dim, std::size_t row_bytes, Occurrences<T, Id> all,
                        Kernels& kernels) {
  all.distinct = options.duplicates == Duplicates::unique;
  // Where a row may be updated several times, each time is rounded at random of its own.
  all.by_position = Kernels::rounds && (options.duplicates == Duplicates::sequential ||
                                        options.duplicates == Duplicates::each);
  if (options.verify_unique) check_unique(a, all.ids, bits);
  if (dim == 0) return 0;
  RowsCall call(all, dim, bits, options.duplicates,
                update_threads(a, dim, row_bytes, options.threads), row_bytes, kernels,
                options.rule.on_nonfinite == NonFinite::raise);
  if (options.rule.on_nonfinite == NonFinite::raise && options.duplicates == Duplicates::sum) {
    std::uint64_t bad = ~std::uint64_t{0};
    call.summed([&](const auto& batch) {
      for (std::size_t i = 0; i < batch.n; ++i) {
        const T* const g = batch.scattered != nullptr ? batch.scattered[i] : batch.g + i * dim;
        if (count_nonfinite(g, dim) != 0 && batch.ids[i] < bad) bad = batch.ids[i];
      }
    });
    if (bad != ~std::uint64_t{0}) {
      throw py::value_error(std::string(a.function) + ": the sum of the gradients of row " +
                            std::to_string(bad) + " is not finite, and on_nonfinite is 'raise'");
    }
  }
  const std::uint64_t swept = options.rule.decay_all_rows ? a.table_rows : 0;
  const bool lagged = kernels.params.lagged;
  return unlocked((a.n + static_cast<std::size_t>(swept)) * dim, [&] {
    if (swept != 0) kernels.sweep(swept, num_threads(options.threads));
    return a.n != 0 ? call.run(lagged) : 0;
  });
}

}  // namespace adagrad
