// Splits work so that any number of threads gives the same bits: each element has one owner, and
// its result does not depend on which thread that is. Threads are started per call: without a pool,
// nothing is lost in a fork, and nothing competes with the pool of another library.
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <list>
#include <system_error>
#include <thread>
#include <utility>

#if defined(__GLIBC__)
#include <pthread.h>
#include <sched.h>
#endif

namespace adagrad {

#if defined(__GLIBC__)
// A thread that starts on another CPU than its creator. Linux may leave a new thread on the CPU of
// its creator until that one waits: on virtual machines with two cores, for all of a call
// (bench/threads.py). Once the thread runs, it may move anywhere.
class Worker {
 public:
  explicit Worker(std::function<void()> body) : body_(std::move(body)) {
    const int here = sched_getcpu();
    const bool known = sched_getaffinity(0, sizeof allowed_, &allowed_) == 0 && here >= 0;
    cpu_set_t others = allowed_;
    if (known) CPU_CLR(static_cast<std::size_t>(here), &others);
    elsewhere_ = known && CPU_COUNT(&others) != 0;
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error == 0) {
      if (elsewhere_) pthread_attr_setaffinity_np(&attributes, sizeof others, &others);
      error = pthread_create(&thread_, &attributes, run, this);
      pthread_attr_destroy(&attributes);
    }
    if (error != 0 && elsewhere_) {  // a sandbox may forbid the choice of a CPU
      elsewhere_ = false;
      error = pthread_create(&thread_, nullptr, run, this);
    }
    if (error != 0) throw std::system_error(error, std::generic_category());
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void join() { pthread_join(thread_, nullptr); }

 private:
  static void* run(void* self) {
    const Worker& worker = *static_cast<const Worker*>(self);
    if (worker.elsewhere_) sched_setaffinity(0, sizeof worker.allowed_, &worker.allowed_);
    worker.body_();
    return nullptr;
  }

  std::function<void()> body_;
  cpu_set_t allowed_ = {};
  bool elsewhere_ = false;
  pthread_t thread_ = {};
};
#else
using Worker = std::thread;
#endif

// Calls f(part) for each part in [0, parts), each on its own thread.
template <class F>
void for_each_part(std::size_t parts, F f) {
  std::list<Worker> workers;
  std::size_t started = 1;
  try {
    for (; started < parts; ++started) workers.emplace_back([=] { f(started); });
  } catch (const std::exception&) {
    // The system gives no more threads: this one does the rest, with the same result.
  }
  f(0);
  for (std::size_t part = started; part < parts; ++part) f(part);
  for (Worker& worker : workers) worker.join();
}

// How many of `threads` share `work` if each should have at least `grain` of it.
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
