// The checks and messages that sparse functions share.
#include "sparse_call.hpp"

namespace adagrad {

void fail_range(const IdsArgument& ids, std::uint64_t end, const std::string& range,
                std::size_t first) {
  const std::string item = with_ids(ids.type, ids.array, [&](const auto* given) {
    std::size_t i = first;
    while (static_cast<std::uint64_t>(given[i]) < end) ++i;
    return "[" + std::to_string(i) + "] = " + std::to_string(given[i]);
  });
  throw py::index_error(ids.at.text() + item + " is out of range" + range);
}

std::uint64_t check_range(const IdsArgument& ids, std::size_t threads) {
  const std::uint64_t largest = with_ids(ids.type, ids.array, [&](const auto* given) {
    return largest_id(given, ids.n, num_threads(threads), sparse_grain());
  });
  if (ids.n != 0 && largest >= ids.rows) {
    fail_range(ids, ids.rows, " for a table of " + std::to_string(ids.rows) + " rows");
  }
  return largest;
}

SparseOptions check_options(const char* function, const Hyperparameters& rule,
                            const py::object& duplicates, bool verify_unique, std::size_t threads) {
  const Duplicates policy = duplicates.is_none()
                                ? rule.duplicates
                                : parse<Duplicates>("duplicates", duplicates.cast<std::string>());
  if (verify_unique && policy != Duplicates::unique) {
    throw py::value_error(std::string(function) + ": check_unique=True needs duplicates='unique'");
  }
  if (policy == Duplicates::each && rule.is_coupled()) {
    throw py::value_error(
        std::string(function) +
        ": duplicates='each' accumulates before the first step, but coupled weight decay "
        "makes a gradient depend on the steps before it: use another policy, or "
        "weight_decay_mode='decoupled'");
  }
  return {rule, policy, verify_unique, threads};
}

void fail_step(const char* function, const SparseOutcome& found) {
  const std::string id = std::to_string(found.id);
  if (found.fault == SparseOutcome::Fault::repeated_id) {
    throw py::value_error(std::string(function) + ": rows[" + std::to_string(found.second) +
                          "] = " + id + " repeats rows[" + std::to_string(found.first) +
                          "], but duplicates='unique' promises that no id repeats");
  }
  throw py::value_error(std::string(function) + ": the sum of the gradients of row " + id +
                        " is not finite, and on_nonfinite is 'raise'");
}

}  // namespace adagrad
