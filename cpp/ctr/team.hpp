// Threads that share the units of a model and meet at barriers. What they compute does not depend
// on how many there are.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <list>
#include <thread>
#include <utility>
#include <vector>

#include "../adagrad/parallel.hpp"
#include "../adagrad/portability.hpp"
#include "examples.hpp"

namespace adagrad {

// Makes every thread wait for the last one. Threads are few and rounds are short, so a waiting
// thread spins; but only briefly, because the thread that it waits for may need its processor.
class Barrier {
 public:
  std::size_t threads = 1;

  void wait() {
    const std::size_t turn = turn_.load(std::memory_order_relaxed);
    if (waiting_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads) {
      waiting_.store(0, std::memory_order_relaxed);
      turn_.store(turn + 1, std::memory_order_release);
      return;
    }
    for (unsigned spins = 0; turn_.load(std::memory_order_acquire) == turn; ++spins) {
      if (spins < patience) {
        ADAGRAD_PAUSE();
      } else {
        std::this_thread::yield();
      }
    }
  }

 private:
  static constexpr unsigned patience = 100;
  std::atomic<std::size_t> waiting_{0}, turn_{0};
};

// Divides units of this much work among threads so that the busiest thread has the least work
// possible. Each thread gets neighboring units, whose entries are contiguous in an example.
inline std::vector<Units> deal_units(const std::vector<std::size_t>& work, std::size_t threads) {
  const std::size_t units = work.size();
  std::vector<std::size_t> before(units + 1);  // the work of all units before this one
  for (std::size_t u = 0; u < units; ++u) before[u + 1] = before[u] + work[u];
  // most[u]: the work of the busiest thread if the threads so far share the first u units.
  std::vector<std::size_t> most = before;
  std::vector<std::vector<std::size_t>> starts(threads, std::vector<std::size_t>(units + 1));
  for (std::size_t thread = 1; thread < threads; ++thread) {
    std::vector<std::size_t> with_it(units + 1, ~std::size_t{0});
    for (std::size_t last = thread + 1; last <= units; ++last) {
      for (std::size_t first = thread; first < last; ++first) {
        const std::size_t busiest = std::max(most[first], before[last] - before[first]);
        if (busiest >= with_it[last]) continue;
        with_it[last] = busiest;
        starts[thread][last] = first;
      }
    }
    most = std::move(with_it);
  }
  std::vector<Units> owned(threads);
  std::size_t last = units;
  for (std::size_t thread = threads; thread-- > 0; last = owned[thread].first) {
    owned[thread] = {starts[thread][last], last};
  }
  return owned;
}

// Calls f(thread, its units, barrier) on each of at most `threads` threads.
template <class F>
void work_as_team(const std::vector<std::size_t>& work, std::size_t threads, F f) {
  threads = std::min(threads, work.size());
  Barrier barrier;
  std::vector<Units> owned;
  std::atomic<bool> ready{false};
  std::list<Worker> workers;
  std::size_t started = 1;
  try {
    for (; started < threads; ++started) {
      workers.emplace_back([&, started] {
        while (!ready.load(std::memory_order_acquire)) std::this_thread::yield();
        f(started, owned[started], barrier);
      });
    }
  } catch (const std::exception&) {
    // No more threads are available. Those that started share the units, with the same result.
  }
  owned = deal_units(work, started);
  barrier.threads = started;
  ready.store(true, std::memory_order_release);
  f(0, owned[0], barrier);
  for (Worker& worker : workers) worker.join();
}

}  // namespace adagrad
