// What the files of this folder share: one registration function each, and how many threads
// a call takes.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>

namespace adagrad {

void bind_rule(pybind11::module_& m);
void bind_dense(pybind11::module_& m);
void bind_rows(pybind11::module_& m);
void bind_coalesce(pybind11::module_& m);
void bind_bucket(pybind11::module_& m);
void bind_table(pybind11::module_& m);
void bind_examples(pybind11::module_& m);
void bind_hashing(pybind11::module_& m);
void bind_learners(pybind11::module_& m);

// How many threads a call may use: what it asks for, or where that is 0, set_num_threads().
std::size_t num_threads(std::size_t asked);

// What a thread of a sparse call should have to do, in elements. With less, starting the thread
// takes longer than it saves (bench/threads.py). Tests set it, to have threads on small tables.
std::size_t sparse_grain();

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
