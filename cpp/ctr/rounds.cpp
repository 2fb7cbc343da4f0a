#include "rounds.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <list>
#include <thread>
#include <utility>
#include <vector>

#include "../adagrad/parallel.hpp"
#include "../adagrad/portability.hpp"

namespace adagrad {
namespace {

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

// Divides the units among threads so that the busiest thread has the least work possible. Each
// thread gets neighboring units, whose entries are contiguous in an example.
std::vector<Units> deal_units(const Model& model, const Examples& x, std::size_t threads) {
  const std::size_t units = model.units();
  std::vector<std::size_t> before(units + 1);  // the work of all units before this one
  for (std::size_t u = 0; u < units; ++u) before[u + 1] = before[u] + model.work(x, u);
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

}  // namespace

void Model::each(const CtrKernels& kernels, const Round& round, const Targets& targets,
                 std::uint64_t t, float* margins) {
  const std::size_t stride = round_size * width();
  std::vector<float> partial(units() * stride), totals(stride);
  const Units all{0, units()};
  for (std::size_t i = round.begin; i < round.end; ++i) {
    const Round one{round.x, i, i + 1};
    sum(kernels, one, all, partial.data(), stride);
    finish(kernels, one, partial.data(), stride, totals.data(), margins + i);
    float g;
    kernels.gradients(margins + i, targets.from(i), 1, &g);
    step(kernels, one, all, totals.data(), &g, t + i);
  }
}

void learn(const CtrKernels& kernels, Model& model, const Examples& x, const Targets& targets,
           std::uint64_t t, std::uint64_t alone, std::size_t threads, float* margins) {
  const std::uint64_t left = t < alone ? alone - t : 0;
  const std::size_t start = left < x.n ? static_cast<std::size_t>(left) : x.n;
  model.each(kernels, {&x, 0, start}, targets, t, margins);
  if (start == x.n) return;

  const std::size_t units = model.units(), stride = round_size * model.width();
  const std::size_t length = model.round_length();
  threads = std::min(threads, units);
  // Two sets of partial sums: a fast thread may write those of the next round while a slow one
  // still reads those of this round. One barrier per round is then enough.
  std::vector<float> partial(2 * units * stride), all_totals(threads * stride);
  Barrier barrier;
  const auto work_through = [&](std::size_t thread, const Units& mine) {
    float* const totals = all_totals.data() + thread * stride;
    float g[round_size], own_margins[round_size];
    bool odd = false;
    for (std::size_t begin = start, end; begin < x.n; begin = end, odd = !odd) {
      // A round ends where the number of examples ever learned is a multiple of its length. Calls
      // that end at such a multiple do not change the rounds.
      end = begin + length - static_cast<std::size_t>((t + begin) % length);
      end = end < x.n ? end : x.n;
      const Round round{&x, begin, end};
      float* const sums = partial.data() + (odd ? units * stride : 0);
      model.sum(kernels, round, mine, sums, stride);
      barrier.wait();
      // Every thread computes all margins: that is cheaper than a second barrier.
      float* const found = thread == 0 ? margins + begin : own_margins;
      model.finish(kernels, round, sums, stride, totals, found);
      kernels.gradients(found, targets.from(begin), end - begin, g);
      model.step(kernels, round, mine, totals, g, t + begin);
    }
  };

  std::vector<Units> owned;
  std::atomic<bool> ready{false};
  std::list<Worker> workers;
  std::size_t started = 1;
  try {
    for (; started < threads; ++started) {
      workers.emplace_back([&, started] {
        while (!ready.load(std::memory_order_acquire)) std::this_thread::yield();
        work_through(started, owned[started]);
      });
    }
  } catch (const std::exception&) {
    // No more threads are available. Those that started share the units, with the same result.
  }
  owned = deal_units(model, x, started);
  barrier.threads = started;
  ready.store(true, std::memory_order_release);
  work_through(0, owned[0]);
  for (Worker& worker : workers) worker.join();
}

void predict(const CtrKernels& kernels, const Model& model, const Examples& x, std::size_t threads,
             float* margins) {
  const std::size_t units = model.units(), width = model.width();
  const std::size_t stride = round_size * width;
  split(x.n, threads, 16 * round_size, round_size, [&](std::size_t first, std::size_t last) {
    std::vector<float> partial(units * stride), totals(stride);
    for (std::size_t begin = first; begin < last; begin += round_size) {
      const std::size_t end = last - begin < round_size ? last : begin + round_size;
      const Round round{&x, begin, end};
      model.sum(kernels, round, {0, units}, partial.data(), stride);
      model.finish(kernels, round, partial.data(), stride, totals.data(), margins + begin);
    }
  });
}

}  // namespace adagrad
