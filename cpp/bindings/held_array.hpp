// Arrays of NumPy over memory of C++.
#pragma once

#include <pybind11/numpy.h>

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace adagrad {
namespace {

namespace py = pybind11;

// An array of memory that `held` keeps alive.
template <class T>
inline py::array array_of(const T* data, std::size_t size, std::shared_ptr<const void> held) {
  using Held = std::shared_ptr<const void>;
  const py::capsule owner(new Held(std::move(held)), [](void* p) { delete static_cast<Held*>(p); });
  return py::array_t<T>(static_cast<py::ssize_t>(size), data, owner);
}

template <class T>
py::array array_of(std::vector<T>&& values) {
  const auto held = std::make_shared<const std::vector<T>>(std::move(values));
  return array_of(held->data(), held->size(), held);
}

}  // namespace
}  // namespace adagrad
