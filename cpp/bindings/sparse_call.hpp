// What step_rows and Table share: a sparse step of arrays that are checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "../isa/sparse_step.hpp"
#include "hyperparameters.hpp"
#include "ids.hpp"
#include "module.hpp"

namespace adagrad {

struct SparseOptions {
  const Hyperparameters& rule;
  Duplicates duplicates;
  bool verify_unique;
  std::size_t threads;
};

SparseOptions check_options(const char* function, const Hyperparameters& rule,
                            const py::object& duplicates, bool verify_unique, std::size_t threads);

// Raises ValueError for what a step found before it wrote anything.
[[noreturn]] void fail_step(const char* function, const SparseOutcome& found);

// What a step of a table is, once its arguments are checked.
inline SparseCall sparse_call(const SparseOptions& options, std::uint64_t largest, std::size_t rows,
                              std::size_t dim, std::size_t row_bytes, std::size_t threads) {
  return {options.duplicates,
          options.verify_unique,
          options.rule.on_nonfinite == NonFinite::raise,
          options.rule.decay_all_rows,
          largest,
          rows,
          dim,
          row_bytes,
          threads,
          sparse_grain()};
}

// One sparse step. `all` has the ids, which are checked, and their gradients; `largest` is the
// largest of the ids. Returns the number of skipped rows.
template <class T, class Id>
std::size_t run_sparse(const IdsArgument& ids, const SparseOptions& options, std::uint64_t largest,
                       std::size_t dim, std::size_t row_bytes, const Occurrences<T, Id>& all,
                       TableKernels<T>& kernels) {
  const Hyperparameters& rule = options.rule;
  const std::size_t rows = static_cast<std::size_t>(ids.rows);
  const SparseCall call =
      sparse_call(options, largest, rows, dim, row_bytes, num_threads(options.threads));
  const SparseOutcome outcome = unlocked((ids.n + (rule.decay_all_rows ? rows : 0)) * dim,
                                         [&] { return step_sparse(call, all, kernels); });
  if (outcome.fault != SparseOutcome::Fault::none) fail_step(ids.at.function, outcome);
  return outcome.skipped;
}

}  // namespace adagrad
