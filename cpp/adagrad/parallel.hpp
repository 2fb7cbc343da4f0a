// Splitting work so that any number of threads gives the same bits: each element has one owner, and
// what happens to it does not depend on who that is. Threads are started per call: no pool, so
// nothing survives a fork, and nothing competes with the pool of another library.
#pragma once

#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

namespace adagrad {

// Calls f(begin, end) on disjoint parts of [0, n) that start at multiples of `align`, on at most
// `threads` threads, each with at least `grain` elements.
template <class F>
void split(std::size_t n, std::size_t threads, std::size_t grain, std::size_t align, F f) {
  std::size_t parts = grain == 0 ? threads : n / grain;
  if (parts > threads) parts = threads;
  if (parts <= 1) {
    f(std::size_t{0}, n);
    return;
  }
  const std::size_t units = (n + align - 1) / align;
  const auto edge = [=](std::size_t part) {
    const std::size_t element = units / parts * part * align + units % parts * part / parts * align;
    return part == parts || element > n ? n : element;
  };
  std::vector<std::thread> workers;
  workers.reserve(parts - 1);
  std::size_t started = 1;
  try {
    for (; started < parts; ++started) {
      workers.emplace_back([=] { f(edge(started), edge(started + 1)); });
    }
  } catch (const std::exception&) {
    // No more threads are to be had: this one does the rest, with the same result.
  }
  f(edge(0), edge(1));
  for (std::size_t part = started; part < parts; ++part) f(edge(part), edge(part + 1));
  for (std::thread& worker : workers) worker.join();
}

}  // namespace adagrad
