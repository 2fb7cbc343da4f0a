// What the files of this folder share: one registration function each, and how many threads
// a call takes.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>

namespace adagrad {

void bind_rule(pybind11::module_& m);
void bind_calls(pybind11::module_& m);
void bind_dense(pybind11::module_& m);
void bind_rows(pybind11::module_& m);
void bind_coalesce(pybind11::module_& m);
void bind_bucket(pybind11::module_& m);
void bind_table(pybind11::module_& m);
void bind_tensors(pybind11::module_& m);
void bind_examples(pybind11::module_& m);
void bind_hashing(pybind11::module_& m);
void bind_pages(pybind11::module_& m);
void bind_learners(pybind11::module_& m);
void bind_matrix(pybind11::module_& m);
void bind_mixture(pybind11::module_& m);
void bind_scorer(pybind11::module_& m);

// Returns how many threads a call may use: `asked`, or the number set by set_num_threads() if
// `asked` is 0.
std::size_t num_threads(std::size_t asked);

// The least work of a thread in a sparse call, in elements. With less, starting the thread takes
// longer than it saves (bench/threads.py). Tests lower it, so that small tables use threads too.
std::size_t sparse_grain();

// Runs f, without the GIL if there are at least `worth` elements: with fewer, reacquiring the lock
// costs more than the update.
template <class F>
auto unlocked(std::size_t elements, F f) {
  constexpr std::size_t worth = 4096;
  if (elements < worth) return f();
  pybind11::gil_scoped_release release;
  return f();
}

}  // namespace adagrad
