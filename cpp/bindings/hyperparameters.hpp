// A Rule as the kernels take it: hyperparameters cast once to the compute type, and the policies
// that the bindings themselves apply.
#pragma once

#include <pybind11/pybind11.h>

#include <cmath>
#include <cstdint>
#include <string>

#include "../adagrad/policies.hpp"

namespace adagrad {

namespace py = pybind11;

enum class NonFinite : std::uint8_t { propagate, raise, skip };

Duplicates parse_duplicates(const std::string& name);

class Hyperparameters {
 public:
  explicit Hyperparameters(const py::kwargs& fields);

  // The params of one call. lr is the rate of this step, after any decay. Raises ValueError where a
  // hyperparameter is lost in T: 1e-60 is 0 in float32, and a divisor of 0 is not what was asked.
  template <class T>
  Params<T> params(double lr) const;

  // No rule: learners leave params as they are, and add gradients up in the accumulators.
  bool sum = false;

  bool is_coupled() const { return options_.decay == WeightDecay::coupled; }

  Duplicates duplicates = Duplicates::sum;
  NonFinite on_nonfinite = NonFinite::propagate;
  bool decay_all_rows = false;

 private:
  double eps_, scale_, clip_value_, weight_decay_, accumulator_decay_, power_;
  bool eps_outside_, clipped_;
  Params<double> options_;  // the options without a magnitude: enums and flags
};

}  // namespace adagrad
