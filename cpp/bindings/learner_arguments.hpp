// The arguments that the learners share: examples, labels, weights, and memory that is updated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "../ctr/matrix.hpp"
#include "../ctr/types.hpp"
#include "arrays.hpp"

namespace adagrad {

inline void check_n_slots(py::handle x, std::size_t slots) {
  const std::size_t n_slots = x.attr("n_slots").cast<std::size_t>();
  if (n_slots == slots) return;
  throw py::value_error("X has " + std::to_string(n_slots) + " slots, but the model has " +
                        std::to_string(slots));
}

// The arrays of an adagrad.ctr.Examples, which checked them when it was made. Keeps them alive.
class HeldExamples {
 public:
  HeldExamples(py::handle x, std::size_t slots)
      : slots_(x.attr("slots")), bounds_(x.attr("bounds")), values_(x.attr("values")),
        fields_(x.attr("fields")) {
    check_n_slots(x, slots);
    const bool fixed = array(bounds_).size() == static_cast<py::ssize_t>(regions + 1);
    view_ = {data<std::uint32_t>(slots_),
             data<float>(values_),
             data<std::uint32_t>(bounds_),
             data<std::uint16_t>(fields_),
             x.attr("n_examples").cast<std::size_t>(),
             fixed};
  }

  const Examples& operator*() const { return view_; }
  const Examples* operator->() const { return &view_; }

 private:
  static py::array array(py::handle object) { return py::reinterpret_borrow<py::array>(object); }
  template <class T>
  static const T* data(py::handle object) {
    return object.is_none() ? nullptr : static_cast<const T*>(array(object).data());
  }

  py::object slots_, bounds_, values_, fields_;
  Examples view_;
};

// The entries of an Examples, or of a MatrixRows of adagrad.ctr.encoding. Keeps the arrays alive.
class HeldRows {
 public:
  HeldRows(py::handle x, std::size_t slots) {
    if (!py::hasattr(x, "starts")) {
      examples_.emplace(x, slots);
      view_ = rows_of(**examples_);
      return;
    }
    check_n_slots(x, slots);
    const auto starts = hold(x.attr("starts")), ids = hold(x.attr("slots"));
    const py::object values = x.attr("values");
    view_ = {ids.data(),
             nullptr,
             static_cast<const std::uint32_t*>(starts.data()),
             1,
             static_cast<std::size_t>(starts.size()) - 1,
             ids.itemsize() == 8,
             false};
    if (values.is_none()) return;
    const auto numbers = hold(values);
    view_.values = numbers.data();
    view_.precise = numbers.itemsize() == 8;
  }

  const MatrixRows& operator*() const { return view_; }
  const MatrixRows* operator->() const { return &view_; }

 private:
  py::array hold(const py::object& array) {
    held_.push_back(array);
    return py::reinterpret_borrow<py::array>(array);
  }

  std::optional<HeldExamples> examples_;
  std::vector<py::object> held_;
  MatrixRows view_{};
};

// Memory that is updated in place: `rows` rows of `length` float32.
inline float* check_table(const Argument& a, const py::array& memory, std::size_t rows,
                          std::size_t length) {
  check_memory(a, memory, Access::write);
  if (static_cast<std::size_t>(memory.nbytes()) != rows * length * sizeof(float)) {
    fail_value(a, "has " + std::to_string(memory.nbytes()) + " bytes; " + std::to_string(rows) +
                      " rows of " + std::to_string(length) + " float32 are needed");
  }
  return static_cast<float*>(const_cast<void*>(memory.data()));
}

inline float* check_table_or_none(const Argument& a, const py::object& memory, std::size_t length) {
  if (memory.is_none()) return nullptr;
  return check_table(a, py::reinterpret_borrow<py::array>(memory), 1, length);
}

inline const float* check_floats(const Argument& a, const py::array& array, std::size_t n) {
  check_memory(a, array, Access::read);
  if (real_type(a, array) != Real::f32) {
    fail_type(a, "has dtype " + text_of(array.dtype()) + "; float32 is needed");
  }
  if (array.ndim() != 1 || static_cast<std::size_t>(array.size()) != n) {
    fail_value(a, "has shape " + shape_of(array) + "; (" + std::to_string(n) + ",) is needed");
  }
  return static_cast<const float*>(array.data());
}

inline Targets check_targets(const Argument& at_y, const py::array& y, const py::object& weights,
                             std::size_t n) {
  const float* const labels = check_floats(at_y, y, n);
  if (weights.is_none()) return {labels, nullptr};
  const auto& array = py::reinterpret_borrow<py::array>(weights);
  return {labels, check_floats(at_y.other("sample_weight"), array, n)};
}

inline Targets check_labels(const py::array& y, const py::object& weights, std::size_t n) {
  const Argument a{"learn", "y"};
  const Targets targets = check_targets(a, y, weights, n);
  for (std::size_t i = 0; i < n; ++i) {
    if (targets.y[i] == 0.0f || targets.y[i] == 1.0f) continue;
    throw py::value_error(a.text() + element_text(y, i) + " = " +
                          text_of(py::float_(static_cast<double>(targets.y[i]))) +
                          " is not a label: 0 or 1 is needed");
  }
  return targets;
}

inline double* check_sums(const Argument& a, const py::array& array, std::size_t n) {
  check_memory(a, array, Access::write);
  if (real_type(a, array) != Real::f64 || static_cast<std::size_t>(array.size()) != n) {
    fail_type(a, "has dtype " + text_of(array.dtype()) + " and shape " + shape_of(array) + "; " +
                     std::to_string(n) + " float64 are needed");
  }
  return static_cast<double*>(const_cast<void*>(array.data()));
}

}  // namespace adagrad
