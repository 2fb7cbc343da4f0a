// _core.Hyperparameters: the fields of an adagrad.Rule, which has validated them.
#include <pybind11/pybind11.h>

#include <limits>
#include <string>

#include "hyperparameters.hpp"
#include "module.hpp"

namespace adagrad {
namespace {

namespace py = pybind11;

struct Fields {
  const py::kwargs& given;

  double number(const char* name) const {
    const py::object value = given[name];
    return value.is_none() ? std::numeric_limits<double>::infinity() : value.cast<double>();
  }
  bool flag(const char* name) const { return given[name].cast<bool>(); }
  std::string text(const char* name) const { return given[name].cast<std::string>(); }
};

}  // namespace

void bind_rule(py::module_& m) {
  py::class_<Hyperparameters>(m, "Hyperparameters")
      .def(py::init([](const py::kwargs& fields) { return Hyperparameters(Fields{fields}); }),
           "The fields of adagrad.Rule, by name.")
      .def(
          "sums",
          [](Hyperparameters rule) {
            rule.sum = true;
            return rule;
          },
          "For learners that add gradients up in the accumulators instead of taking steps.");
}

}  // namespace adagrad
