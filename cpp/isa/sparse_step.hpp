// Sparse calls on checked arrays: the step, and what the checks themselves have to compute. They
// are compiled once, for the two types of numbers and ids, whichever function of Python calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "dispatch.hpp"

namespace adagrad {

// How many threads share n rows of dim elements. A row costs as much as its elements and eight
// more, and a thread should have `grain` elements to do.
inline std::size_t sparse_threads(std::size_t n, std::size_t dim, std::size_t threads,
                                  std::size_t grain) {
  return share(n * (dim + 8), threads, grain);
}

// The largest of n ids, as an unsigned number, on up to `threads` threads; 0 if there are none. A
// negative id sign-extends to a number that is larger than the rows of any table.
template <class I>
std::uint64_t largest_id(const I* ids, std::size_t n, std::size_t threads, std::size_t grain);

struct SparseCall {
  Duplicates duplicates;
  bool verify_unique;  // refuse repeats, if duplicates are "unique"
  bool refuse_nonfinite;
  bool decay_all_rows;
  std::uint64_t largest;  // of the ids, or any number of as many bits
  std::size_t table_rows;
  std::size_t dim, row_bytes;
  std::size_t threads, grain;
};

struct SparseOutcome {
  enum class Fault : std::uint8_t { none, repeated_id, nonfinite_sum };

  Fault fault = Fault::none;  // if there is one, nothing was written
  std::uint64_t id = 0;       // of the fault; `second` is the first position at which it repeats
  std::size_t first = 0, second = 0;
  std::size_t skipped = 0;  // how many rows on_nonfinite="skip" left alone
};

// One sparse step of the table of these kernels, which are prepared for call.threads threads.
template <class T, class Id>
SparseOutcome step_sparse(const SparseCall& call, Occurrences<T, Id> all, TableKernels<T>& kernels);

// The gradients of the occurrences in bags: that of the bag, over its size for a mean, times the
// weight of the occurrence. Rows are copied only if they are apart, are divided, are scalars, or if
// weights make them differ.
template <class T>
class BagGradients {
 public:
  // Bag b is occurrences [starts[b], starts[b + 1]), and its gradient begins at g + b * stride. If
  // `single`, every bag has one occurrence. `weights` may be null; that of occurrence i is
  // weights[i].
  BagGradients(const T* g, std::size_t stride, const T* weights, const std::size_t* starts,
               std::size_t bags, std::size_t dim, bool mean, bool single);

  // From the first occurrence on, starts[0]
  const T* g() const { return g_; }
  const std::uint32_t* source() const { return source_.get(); }  // null: one per occurrence
  bool is_finite() const;

 private:
  const T* g_;
  std::size_t spread_size_ = 0;
  std::unique_ptr<T[]> of_bags_, spread_;
  std::unique_ptr<std::uint32_t[]> source_;
};

// Writes the distinct ids of ids[0..n), ascending, and the sums of their gradients; returns how
// many they are. There is room for n of each.
template <class T, class Id>
std::size_t coalesce_scalars(const Id* ids, const T* g, std::size_t n, std::uint64_t largest,
                             Id* to_ids, T* to_sums);

// The same for rows of dim elements, in two parts: groups, and then their sums.
struct Groups {
  std::vector<std::uint64_t> ids, positions;  // positions of all ids, group by group
  std::vector<std::size_t> starts;            // of each group in `positions`, and their end
};
template <class Id>
Groups group_positions(const Id* ids, std::size_t n, std::uint64_t largest);
template <class T>
void sum_positions(const Groups& groups, const T* g, std::size_t dim, T* to_sums);

// The positions of the ids of each shard, one shard after the other: those of shard k are
// order[bounds[k]..bounds[k + 1]). Shard k has rows [starts[k], starts[k + 1]).
template <class Id>
void order_by_shard(const Id* ids, std::size_t n, const std::int64_t* starts, std::size_t shards,
                    std::int64_t* order, std::int64_t* bounds);

}  // namespace adagrad
