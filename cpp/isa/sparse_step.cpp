// The whole sparse call, instantiated once: it reaches tables, whatever stores them, through
// TableKernels. Nothing here depends on the instruction set, so it is compiled for the baseline.
#include "sparse_step.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "../adagrad/coalesce.hpp"
#include "../adagrad/groups.hpp"
#include "../adagrad/policies.hpp"
#include "../adagrad/shards.hpp"

namespace adagrad {
namespace {

template <class T>
bool all_finite(const T* g, std::size_t n) {
  unsigned bad = 0;  // without an early exit, the loop vectorizes
  for (std::size_t i = 0; i < n; ++i) bad |= std::isfinite(g[i]) ? 0u : 1u;
  return bad == 0;
}

// Eight maxima, because each waits for the one before it.
template <class I>
std::uint64_t largest_of(const I* ids, std::size_t n) {
  constexpr std::size_t chains = 8;
  std::uint64_t largest[chains] = {};
  const auto take = [&](std::size_t chain, I id) {
    largest[chain] = std::max(largest[chain], static_cast<std::uint64_t>(id));
  };
  std::size_t i = 0;
  for (; i + chains <= n; i += chains) {
    for (std::size_t k = 0; k < chains; ++k) take(k, ids[i + k]);
  }
  for (; i < n; ++i) take(0, ids[i]);
  return *std::max_element(largest, largest + chains);
}

// The repeat whose second position comes first, if there is one.
template <class Id>
SparseOutcome find_repeat(const Id* ids, std::size_t n, unsigned bits) {
  using Entry = Item<Id, std::uint64_t>;
  SparseOutcome found;
  Arena arena(group_rows_bytes<Id, std::uint64_t>(n));
  group_rows<Id, std::uint64_t>(
      ids, n, bits, arena, [&](Id key, const Entry* items, std::size_t count) {
        if (count < 2) return;
        const std::size_t second = static_cast<std::size_t>(items[1].value);
        if (found.fault != SparseOutcome::Fault::none && second > found.second) return;
        found.fault = SparseOutcome::Fault::repeated_id;
        found.id = key;
        found.first = static_cast<std::size_t>(items[0].value);
        found.second = second;
      });
  return found;
}

// The smallest id whose summed gradient is not finite, if there is one.
template <class T, class Id>
SparseOutcome find_nonfinite(RowsCall<T, Id, TableKernels<T>>& rows, std::size_t dim) {
  std::uint64_t bad = std::numeric_limits<std::uint64_t>::max();
  rows.summed([&](const auto& batch) {
    for (std::size_t i = 0; i < batch.n; ++i) {
      const T* const g = batch.scattered != nullptr ? batch.scattered[i] : batch.g + i * dim;
      if (batch.ids[i] < bad && !all_finite(g, dim)) bad = batch.ids[i];
    }
  });
  SparseOutcome found;
  if (bad != std::numeric_limits<std::uint64_t>::max()) {
    found.fault = SparseOutcome::Fault::nonfinite_sum;
    found.id = bad;
  }
  return found;
}

// In a table of scalars that fits in L2, reading the ids of others takes a thread longer than
// updating its own rows.
std::size_t update_threads(const SparseCall& call, std::size_t n) {
  const bool in_cache = call.dim == 1 && call.table_rows * call.row_bytes <= 4 * call.grain;
  return in_cache ? 1 : sparse_threads(n, call.dim, call.threads, call.grain);
}

// The rates of calls like this one: of its policy, and within a factor of two of its rows, their
// length and the bytes of the table.
Rates& rates_of(const SparseCall& call, std::size_t n) {
  constexpr std::size_t policies = 4, sizes = 24, lengths = 8, counts = 8;
  static Rates rates[policies * sizes * lengths * counts];
  const auto place = [](std::uint64_t x, unsigned least, std::size_t places) {
    const unsigned width = bit_width(x);
    return std::min<std::size_t>(width < least ? 0 : width - least, places - 1);
  };
  std::size_t at = static_cast<std::size_t>(call.duplicates);
  at = at * sizes + place(call.table_rows * call.row_bytes, 16, sizes);
  at = at * lengths + place(call.dim, 1, lengths);
  at = at * counts + place(n * (call.dim + 8) / call.grain, 1, counts);
  return rates[at];
}

template <class Key, class T, class Id>
std::size_t sum_scalars(const Id* ids, const T* g, std::size_t n, unsigned bits, Id* to_ids,
                        T* to_sums) {
  std::size_t count = 0;
  sum_sorted<Key>(ids, g, n, bits, [&, to_ids, to_sums](Key key, T sum) {
    to_ids[count] = static_cast<Id>(key);
    to_sums[count++] = sum;
  });
  return count;
}

}  // namespace

template <class I>
std::uint64_t largest_id(const I* ids, std::size_t n, std::size_t threads, std::size_t grain) {
  std::atomic<std::uint64_t> largest{0};
  split(n, threads, grain / 2 + 1, 1, [&](std::size_t first, std::size_t last) {
    const std::uint64_t part = largest_of(ids + first, last - first);
    std::uint64_t before = largest;
    while (part > before && !largest.compare_exchange_weak(before, part)) {
    }
  });
  return largest;
}

template <class T, class Id>
SparseOutcome step_on(std::size_t threads, const SparseCall& call, Occurrences<T, Id> all,
                      TableKernels<T>& kernels) {
  const unsigned bits = bit_width(call.largest);
  all.distinct = call.duplicates == Duplicates::unique;
  // A row that may be updated several times is rounded differently each time.
  all.by_position = kernels.rounds() && (call.duplicates == Duplicates::sequential ||
                                         call.duplicates == Duplicates::each);
  if (call.verify_unique) {
    const SparseOutcome found = find_repeat(all.ids, all.n, bits);
    if (found.fault != SparseOutcome::Fault::none) return found;
  }
  if (call.dim == 0) return {};
  const bool in_order =
      call.duplicates == Duplicates::sequential || call.duplicates == Duplicates::unique;
  if (in_order && threads == 1 && all.source == nullptr && !call.decay_all_rows) {
    // The occurrences as they are. A small call would spend more on its memory than on its rows.
    SparseOutcome done;
    const Batch<T, const Id*> batch{all.ids, all.g,        nullptr,        all.positions,
                                    all.n,   all.distinct, all.by_position};
    const Nanoseconds begin = of_parts.is_overdrawn() ? now() : 0;
    if (all.n != 0) done.skipped = kernels.apply(batch, Visit::update, 0);
    if (begin != 0) of_parts.recover(now() - begin);
    return done;
  }
  RowsCall<T, Id, TableKernels<T>> rows(all, call.dim, bits, call.duplicates, threads,
                                        call.row_bytes, kernels, call.refuse_nonfinite);
  if (call.refuse_nonfinite && call.duplicates == Duplicates::sum) {
    const SparseOutcome found = find_nonfinite(rows, call.dim);
    if (found.fault != SparseOutcome::Fault::none) return found;
  }
  // Nothing fails from here on: all memory has been allocated.
  const bool lagged = kernels.params.lagged;
  if (call.decay_all_rows) kernels.decay_rows(call.table_rows, call.threads, call.grain);
  SparseOutcome done;
  if (all.n != 0) done.skipped = rows.run(lagged);
  return done;
}

template <class T, class Id>
SparseOutcome step_sparse(const SparseCall& call, Occurrences<T, Id> all,
                          TableKernels<T>& kernels) {
  SparseOutcome done;
  const auto step = [&](std::size_t threads) { done = step_on(threads, call, all, kernels); };
  rates_of(call, all.n).choose(update_threads(call, all.n), all.n, step);
  return done;
}

template <class T>
BagGradients<T>::BagGradients(const T* g, std::size_t stride, const T* weights,
                              const std::size_t* starts, std::size_t bags, std::size_t dim,
                              bool mean, bool single)
    : g_(g) {
  const std::size_t before = starts[0], n = starts[bags] - before;
  const bool divides = mean && !single, one_each = single && stride == dim;
  const bool spreads = weights != nullptr || (dim == 1 && !one_each);
  // Gradients that are a multiple of their length apart need no copy to be named by a number. A
  // copy of short ones is faster: it takes fewer pages.
  const bool fits = stride % dim == 0 && bags * (stride / dim) <= ~std::uint32_t{0} &&
                    (stride == dim || dim * sizeof(T) > 128);
  std::size_t apart = stride;
  if (divides || (!spreads && !fits)) {
    of_bags_.reset(new T[bags * dim]);
    for (std::size_t b = 0; b < bags; ++b) {
      const T* const from = g + b * stride;
      T* const to = of_bags_.get() + b * dim;
      const T count = divides ? static_cast<T>(starts[b + 1] - starts[b]) : T(1);
      for (std::size_t j = 0; j < dim; ++j) to[j] = from[j] / count;
    }
    g_ = of_bags_.get();
    apart = dim;
  }
  if (spreads) {
    spread_size_ = n * dim;
    spread_.reset(new T[spread_size_]);
  } else if (!single || apart != dim) {
    source_.reset(new std::uint32_t[n]);
  }
  for (std::size_t b = 0; b < bags && (spreads || source_ != nullptr); ++b) {
    for (std::size_t i = starts[b] - before; i < starts[b + 1] - before; ++i) {
      if (!spreads) source_[i] = static_cast<std::uint32_t>(b * (apart / dim));
      for (std::size_t j = 0; spreads && j < dim; ++j) {
        const T of_bag = g_[b * apart + j];
        spread_[i * dim + j] = weights != nullptr ? weights[before + i] * of_bag : of_bag;
      }
    }
  }
  if (spreads) g_ = spread_.get();
}

template <class T>
bool BagGradients<T>::is_finite() const {
  return all_finite(spread_.get(), spread_size_);
}

template <class T, class Id>
std::size_t coalesce_scalars(const Id* ids, const T* g, std::size_t n, std::uint64_t largest,
                             Id* to_ids, T* to_sums) {
  const unsigned bits = bit_width(largest);
  return bits <= 32 ? sum_scalars<std::uint32_t>(ids, g, n, bits, to_ids, to_sums)
                    : sum_scalars<Id>(ids, g, n, bits, to_ids, to_sums);
}

template <class Id>
Groups group_positions(const Id* ids, std::size_t n, std::uint64_t largest) {
  using Entry = Item<std::uint64_t, std::uint64_t>;
  Groups groups;
  groups.positions.reserve(n);
  Arena arena(group_rows_bytes<std::uint64_t, std::uint64_t>(n));
  group_rows<std::uint64_t, std::uint64_t>(
      ids, n, bit_width(largest), arena,
      [&](std::uint64_t key, const Entry* group, std::size_t count) {
        groups.ids.push_back(key);
        groups.starts.push_back(groups.positions.size());
        for (std::size_t k = 0; k < count; ++k) groups.positions.push_back(group[k].value);
      });
  groups.starts.push_back(n);
  return groups;
}

template <class T>
void sum_positions(const Groups& groups, const T* g, std::size_t dim, T* to_sums) {
  const auto sum = kernels_for<T>().u64.sum;
  for (std::size_t u = 0; u < groups.ids.size(); ++u) {
    const std::size_t begin = groups.starts[u];
    sum(g, groups.positions.data() + begin, groups.starts[u + 1] - begin, dim, to_sums + u * dim);
  }
}

template <class Id>
void order_by_shard(const Id* ids, std::size_t n, const std::int64_t* starts, std::size_t shards,
                    std::int64_t* order, std::int64_t* bounds) {
  bucket(ids, n, starts, shards, order, bounds);
}

using U32 = std::uint32_t;
using U64 = std::uint64_t;

template U64 largest_id(const std::int32_t*, std::size_t, std::size_t, std::size_t);
template U64 largest_id(const std::int64_t*, std::size_t, std::size_t, std::size_t);
template U64 largest_id(const U32*, std::size_t, std::size_t, std::size_t);
template U64 largest_id(const U64*, std::size_t, std::size_t, std::size_t);

template class BagGradients<float>;
template class BagGradients<double>;

template SparseOutcome step_sparse(const SparseCall&, Occurrences<float, U32>,
                                   TableKernels<float>&);
template SparseOutcome step_sparse(const SparseCall&, Occurrences<float, U64>,
                                   TableKernels<float>&);
template SparseOutcome step_sparse(const SparseCall&, Occurrences<double, U32>,
                                   TableKernels<double>&);
template SparseOutcome step_sparse(const SparseCall&, Occurrences<double, U64>,
                                   TableKernels<double>&);

template std::size_t coalesce_scalars(const U32*, const float*, std::size_t, U64, U32*, float*);
template std::size_t coalesce_scalars(const U64*, const float*, std::size_t, U64, U64*, float*);
template std::size_t coalesce_scalars(const U32*, const double*, std::size_t, U64, U32*, double*);
template std::size_t coalesce_scalars(const U64*, const double*, std::size_t, U64, U64*, double*);
template Groups group_positions(const U32*, std::size_t, U64);
template Groups group_positions(const U64*, std::size_t, U64);
template void sum_positions(const Groups&, const float*, std::size_t, float*);
template void sum_positions(const Groups&, const double*, std::size_t, double*);
template void order_by_shard(const U32*, std::size_t, const std::int64_t*, std::size_t,
                             std::int64_t*, std::int64_t*);
template void order_by_shard(const U64*, std::size_t, const std::int64_t*, std::size_t,
                             std::int64_t*, std::int64_t*);

}  // namespace adagrad
