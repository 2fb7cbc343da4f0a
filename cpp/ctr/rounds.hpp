// Learning from examples in order, on any number of threads with the same bits.
//
// A model is cut into units (regions of its slots, or pairs of them) that share no memory. Examples
// come in rounds of up to 64. First the partial sum of every unit is worked out for each example
// of the round, on params that do not move; then the sums are added in a fixed order and give the
// gradients; then every unit takes its steps in the order of the examples. Who owns a unit changes
// nothing, so threads divide them.
//
// Rounds of many cost a model that knows nothing yet much of its logloss: its first examples come
// one by one (bench/ctr.py).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <list>
#include <thread>
#include <utility>
#include <vector>

#include "../adagrad/parallel.hpp"
#include "examples.hpp"
#include "logistic.hpp"

namespace adagrad {

constexpr std::size_t round_size = 64;

// What the examples of a round are learned from, the first one's first.
struct Targets {
  const float* y;        // 0 or 1
  const float* weights;  // null where all are 1

  Targets from(std::size_t i) const { return {y + i, weights == nullptr ? nullptr : weights + i}; }
};

// What rounds need of a model. Each thread calls it for the units that it owns.
class Model {
 public:
  Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;
  virtual ~Model() = default;

  virtual std::size_t units() const = 0;
  virtual std::size_t width() const = 0;  // floats of a partial sum, and of a total

  // The most examples of a round: a power of two, at most round_size.
  virtual std::size_t round_length() const { return round_size; }

  // How much there is to do in a unit, in any measure.
  virtual std::size_t work(const Examples& x, std::size_t unit) const = 0;

  // The partial sums of the examples of a round, those of a unit at partial + unit * apart, which
  // the model arranges as it likes.
  virtual void sum(const Round& round, const Units& of, float* partial,
                   std::size_t apart) const = 0;

  // Adds the partial sums of all units and works the margins out. What the steps need of the totals
  // is left there.
  virtual void finish(const Round& round, const float* partial, std::size_t apart, float* totals,
                      float* margins) const = 0;

  // Steps of units; g[i - round.begin] is the gradient in a margin. `t` examples came before.
  virtual void step(const Round& round, const Units& of, const float* totals, const float* g,
                    std::uint64_t t) = 0;

  // Rounds of one example each, all units.
  virtual void each(const Round& round, const Targets& targets, std::uint64_t t,
                    float* margins) = 0;
};

// All threads wait until the last one is here. They are few, and rounds short, so that a thread
// spins; but not for long, as the one it waits for may need its processor.
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

// Deals units to at most as many threads: each gets neighbours, whose entries an example holds side
// by side, and the thread with the most work as little as can be.
inline std::vector<Units> deal_units(const Model& model, const Examples& x, std::size_t threads) {
  const std::size_t units = model.units();
  std::vector<std::size_t> before(units + 1);  // the work of all units before this one
  for (std::size_t u = 0; u < units; ++u) before[u + 1] = before[u] + model.work(x, u);
  // most[u]: the work of the busiest thread if those so far share the first u units.
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

using Gradients = void (*)(const float* margins, const float* y, const float* weights,
                           std::size_t n, float* g);

// Predicts every example, writes its margin, then learns from it. `t` examples were learned before,
// `alone` of a model's first come one by one.
inline void learn(Model& model, const Examples& x, const Targets& targets, std::uint64_t t,
                  std::uint64_t alone, std::size_t threads, Gradients gradients, float* margins) {
  const std::uint64_t left = t < alone ? alone - t : 0;
  const std::size_t start = left < x.n ? static_cast<std::size_t>(left) : x.n;
  model.each({&x, 0, start}, targets, t, margins);
  if (start == x.n) return;

  const std::size_t units = model.units(), apart = round_size * model.width();
  const std::size_t length = model.round_length();
  // Two sets of sums: who is ahead writes the next round's while another still reads these.
  std::vector<float> partial(2 * units * apart), all_totals(threads * apart);
  Barrier barrier;
  const auto work_through = [&](std::size_t thread, const Units& mine) {
    float* const totals = all_totals.data() + thread * apart;
    float g[round_size], own_margins[round_size];
    bool odd = false;
    for (std::size_t begin = start, end; begin < x.n; begin = end, odd = !odd) {
      // Rounds end at multiples of their length of all examples ever learned, so that calls may cut
      // the stream at any that is one.
      end = begin + length - static_cast<std::size_t>((t + begin) % length);
      end = end < x.n ? end : x.n;
      const Round round{&x, begin, end};
      float* const sums = partial.data() + (odd ? units * apart : 0);
      model.sum(round, mine, sums, apart);
      barrier.wait();
      float* const found = thread == 0 ? margins + begin : own_margins;
      model.finish(round, sums, apart, totals, found);
      const Targets of_round = targets.from(begin);
      gradients(found, of_round.y, of_round.weights, end - begin, g);
      model.step(round, mine, totals, g, t + begin);
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
    // No more threads are to be had: these share the units, with the same result.
  }
  owned = deal_units(model, x, started);
  barrier.threads = started;
  ready.store(true, std::memory_order_release);
  work_through(0, owned[0]);
  for (Worker& worker : workers) worker.join();
}

// The margins alone. Threads divide the examples.
inline void predict(const Model& model, const Examples& x, std::size_t threads, float* margins) {
  const std::size_t units = model.units(), width = model.width();
  const std::size_t apart = round_size * width;
  split(x.n, threads, 16 * round_size, round_size, [&](std::size_t first, std::size_t last) {
    std::vector<float> partial(units * apart), totals(apart);
    for (std::size_t begin = first; begin < last; begin += round_size) {
      const std::size_t end = last - begin < round_size ? last : begin + round_size;
      const Round round{&x, begin, end};
      model.sum(round, {0, units}, partial.data(), apart);
      model.finish(round, partial.data(), apart, totals.data(), margins + begin);
    }
  });
}

}  // namespace adagrad
