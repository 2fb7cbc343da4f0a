// Splits work so that any number of threads gives the same bits: each element has one owner, and
// its result does not depend on which thread that is. Threads are started per call: without a pool,
// nothing is lost in a fork, and nothing competes with the pool of another library.
//
// No call waits for a thread that has not begun: the calling thread does the work of those itself.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "portability.hpp"
#include "savings.hpp"

#if defined(__GLIBC__)
#include <pthread.h>
#include <sched.h>
#endif

namespace adagrad {

// Starts a thread that nobody waits for. What `body` refers to has to outlive it. Throws a
// std::system_error if the system gives no more threads.
inline void start_thread(std::function<void()> body) {
#if defined(__GLIBC__)
  // It starts on another CPU than its creator. Linux may leave a new thread on the CPU of its
  // creator until that one waits: on virtual machines with two cores, for all of a call
  // (bench/threads.py). Once the thread runs, it may move anywhere.
  struct Launch {
    std::function<void()> body;
    cpu_set_t allowed;
    bool elsewhere;

    static void* run(void* self) {
      const std::unique_ptr<Launch> start(static_cast<Launch*>(self));
      if (start->elsewhere) sched_setaffinity(0, sizeof start->allowed, &start->allowed);
      start->body();
      return nullptr;
    }
  };
  std::unique_ptr<Launch> start(new Launch{std::move(body), {}, false});
  const int here = sched_getcpu();
  const bool known = sched_getaffinity(0, sizeof start->allowed, &start->allowed) == 0 && here >= 0;
  cpu_set_t others = start->allowed;
  if (known) CPU_CLR(static_cast<std::size_t>(here), &others);
  start->elsewhere = known && CPU_COUNT(&others) != 0;
  pthread_attr_t attributes;
  pthread_t thread;
  int error = pthread_attr_init(&attributes);
  if (error == 0) {
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (start->elsewhere) pthread_attr_setaffinity_np(&attributes, sizeof others, &others);
    error = pthread_create(&thread, &attributes, Launch::run, start.get());
    if (error != 0 && start->elsewhere) {  // a sandbox may forbid the choice of a CPU
      start->elsewhere = false;
      pthread_attr_setaffinity_np(&attributes, sizeof start->allowed, &start->allowed);
      error = pthread_create(&thread, &attributes, Launch::run, start.get());
    }
    pthread_attr_destroy(&attributes);
  }
  if (error != 0) throw std::system_error(error, std::generic_category());
  start.release();
#else
  std::thread(std::move(body)).detach();
#endif
}

// A wait for another thread, which calls wait() until that one is done. Waits are short if all
// threads run, so this one spins; but not for long, since the other may need its processor. In the
// end it sleeps, so that the system may move the other one here. Before that it waits longer than a
// sleep takes: else both threads could sleep in turn, each because the other one does.
class Waiting {
 public:
  void wait() {
    ++turns_;
    if (turns_ < spins) {
      ADAGRAD_PAUSE();
    } else if (turns_ < spins + yields) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

  // Whether the other one was not about to finish.
  bool is_long() const { return turns_ > spins + 100; }

 private:
  static constexpr unsigned spins = 100, yields = 2000;
  unsigned turns_ = 0;
};

// Parts of a call, each of which is claimed by the thread that does it.
class Parts {
 public:
  explicit Parts(std::size_t n) : claimed_(n), left_(n) {}

  // Calls f(part), unless another thread does.
  template <class F>
  void run(std::size_t part, F& f) {
    if (claimed_[part].exchange(true, std::memory_order_acq_rel)) return;
    try {
      f(part);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (error_ == nullptr) error_ = std::current_exception();
    }
    left_.fetch_sub(1, std::memory_order_acq_rel);
  }

  // Waits for the parts that are still running; throws what one of them has thrown.
  void finish() {
    for (Waiting waiting; left_.load(std::memory_order_acquire) != 0;) waiting.wait();
    // Moved out, so that it does not live until the last thread has begun.
    if (error_ != nullptr) std::rethrow_exception(std::move(error_));
  }

 private:
  std::vector<std::atomic<bool>> claimed_;
  std::atomic<std::size_t> left_;
  std::mutex mutex_;
  std::exception_ptr error_;
};

// Calls f(part) for each part in [0, parts), on as many threads as there are or fewer.
template <class F>
void for_each_part(std::size_t parts, F f) {
  if (parts == 1 && !of_parts.is_overdrawn()) return f(std::size_t{0});
  const Nanoseconds begin = now(), own_begin = own_time();
  if (parts == 1) {
    f(std::size_t{0});
    return of_parts.recover(own_time() - own_begin);
  }
  // A thread that begins late finds its part claimed, and then touches nothing else.
  const auto shared = std::make_shared<Parts>(parts);
  try {
    for (std::size_t part = 1; part < parts; ++part) {
      start_thread([shared, part, to = &f] { shared->run(part, *to); });
    }
  } catch (const std::exception&) {
    // The system gives no more threads: this one does the rest, with the same result.
  }
  shared->run(0, f);
  const Nanoseconds of_part = own_time() - own_begin;
  for (std::size_t part = parts; part-- > 1;) shared->run(part, f);
  shared->finish();
  // One thread would take a little less than all parts together.
  const Nanoseconds alone = of_part * static_cast<Nanoseconds>(parts) * 7 / 8;
  of_parts.add(alone - (now() - begin), parts);
}

// How many of `threads` share `work` if each should have at least `grain` of it.
inline std::size_t share(std::size_t work, std::size_t threads, std::size_t grain) {
  const std::size_t parts = std::min(work / grain, threads);
  return parts < 2 ? 1 : of_parts.worthwhile(parts);
}

// Calls f(begin, end) on disjoint parts of [0, n) that start at multiples of `align`, on at most
// `threads` threads, each with at least `grain` elements; on one if that has been faster of late,
// for this f and within a factor of two of n.
template <class F>
void split(std::size_t n, std::size_t threads, std::size_t grain, std::size_t align, F f) {
  const std::size_t units = (n + align - 1) / align;
  const auto run = [=](std::size_t parts) {
    const auto edge = [=](std::size_t part) {
      const std::size_t element =
          units / parts * part * align + units % parts * part / parts * align;
      return part == parts || element > n ? n : element;
    };
    for_each_part(parts, [=](std::size_t part) { f(edge(part), edge(part + 1)); });
  };
  const std::size_t parts = share(n, threads, grain);
  if (parts == 1) return run(1);
  static Rates of_sizes[8 * sizeof n];
  std::size_t size = 0;
  for (std::size_t left = n; left > 1; left /= 2) ++size;
  of_sizes[size].choose(parts, n, run);
}

}  // namespace adagrad
