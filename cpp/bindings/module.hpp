// What the files of this folder share: one registration function each, and the number of threads.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>

namespace adagrad {

void bind_rule(pybind11::module_& m);
void bind_dense(pybind11::module_& m);
void bind_rows(pybind11::module_& m);
void bind_coalesce(pybind11::module_& m);

std::size_t num_threads();

// Runs f without the GIL where the work is worth releasing it for: below this many elements taking
// the lock back costs more than the update.
template <class F>
auto unlocked(std::size_t elements, F f) {
  constexpr std::size_t worth = 4096;
  if (elements < worth) return f();
  pybind11::gil_scoped_release release;
  return f();
}

}  // namespace adagrad
