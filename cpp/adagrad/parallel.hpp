// Splitting work so that any number of threads gives the same bits: each element has one owner, and
// what happens to it does not depend on who that is. Threads are started per call: no pool, so
// nothing survives a fork, and nothing competes with the pool of another library.
#pragma once

#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

namespace adagrad {

// Calls f(part) for each part of [0, parts), on a thread each.
template <class F>
void for_each_part(std::size_t parts, F f) {
  std::vector<std::thread> workers;
  std::size_t started = 1;
  try {
    workers.reserve(parts - 1);
    for (; started < parts; ++started) workers.emplace_back([=] { f(started); });
  } catch (const std::exception&) {
    // No more threads are to be had: this one does the rest, with the same result.
  }
  f(0);
  for (std::size_t part = started; part < parts; ++part) f(part);
  for (std::thread& worker : workers) worker.join();
}

// How many threads share `work`, of which each should have `grain` at least.
inline std::size_t share(std::size_t work, std::size_t threads, std::size_t grain) {
  const std::size_t parts = work / grain;
  return parts > threads ? threads : parts < 1 ? 1 : parts;
}

// Calls f(begin, end) on disjoint parts of [0, n) that start at multiples of `align`, on at most
// `threads` threads, each with at least `grain` elements.
template <class F>
void split(std::size_t n, std::size_t threads, std::size_t grain, std::size_t align, F f) {
  const std::size_t parts = share(n, threads, grain);
  const std::size_t units = (n + align - 1) / align;
  const auto edge = [=](std::size_t part) {
    const std::size_t element = units / parts * part * align + units % parts * part / parts * align;
    return part == parts || element > n ? n : element;
  };
  for_each_part(parts, [=](std::size_t part) { f(edge(part), edge(part + 1)); });
}

}  // namespace adagrad
