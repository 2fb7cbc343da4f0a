// Whether it pays to start threads: an account of the time that they have saved and cost.
//
// A thread that shares work with others waits for the last one. If that one has lost its processor
// to another program, the wait is a slice of the scheduler, a few milliseconds, which is longer
// than most calls. So the account of the process is credited with the time that a shared call
// saves, and debited with the time that it loses. While it is overdrawn, calls run on one thread.
// It recovers by a small share of the time that passes, after which threads are tried again.
// Beside other programs, calls on several threads therefore take no more time than calls on one,
// but for that share and for the credit.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <time.h>
#endif

namespace adagrad {

using Nanoseconds = std::int64_t;

inline Nanoseconds now() {
  using std::chrono::duration_cast;
  return duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// The processor time of this thread, where the system has it.
inline Nanoseconds own_time() {
#if defined(__linux__)
  timespec t{};
  if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0) {
    return Nanoseconds{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
  }
#endif
  return now();
}

// How calls decide whether to use the threads that they may use: by the account, or, for tests of
// what threads do, always; or, in a team, with helpers that come and go all the time.
enum class Sharing : std::uint8_t { by_account, always, restless };

class Savings {
 public:
  Sharing sharing() const { return sharing_.load(std::memory_order_relaxed); }
  void set_sharing(Sharing sharing) { sharing_.store(sharing, std::memory_order_relaxed); }

  // How many threads to use instead of `threads`, which is more than 1.
  std::size_t worthwhile(std::size_t threads) const {
    if (sharing() != Sharing::by_account) return threads;
    const Nanoseconds balance = balance_.load(std::memory_order_relaxed);
    if (balance < 0 && balance + recovered(now()) < 0) return 1;
    return std::min(threads, most_.load(std::memory_order_relaxed));
  }

  // Adds the time that this many threads have saved, or lost if it is negative. If they have lost
  // too much, one of them is too many. Calls of several Python threads may lose an update of each
  // other, which does no harm.
  void add(Nanoseconds saved, std::size_t threads) {
    const Nanoseconds time = now();
    Nanoseconds balance = balance_.load(std::memory_order_relaxed);
    if (balance < 0) balance = std::min<Nanoseconds>(balance + recovered(time), 0);
    balance = std::min(balance + saved, most_credit);
    if (balance < 0 && threads > 2) {
      balance = 0;
      most_.store(threads - 1, std::memory_order_relaxed);
      since_.store(time, std::memory_order_relaxed);
    } else if (balance < 0) {
      balance = std::max(balance, -most_debt);
      since_.store(time, std::memory_order_relaxed);
    } else if (balance == most_credit && time - since_.load(std::memory_order_relaxed) > trial) {
      most_.store(std::max(most_.load(std::memory_order_relaxed), threads) + 1,
                  std::memory_order_relaxed);
      since_.store(time, std::memory_order_relaxed);
    }
    balance_.store(balance, std::memory_order_relaxed);
  }

 private:
  static constexpr Nanoseconds most_credit = 4'000'000;
  static constexpr Nanoseconds most_debt = 50'000'000;
  static constexpr Nanoseconds recovery = 40;          // of this much time, one part is recovered
  static constexpr Nanoseconds trial = 1'000'000'000;  // before one more thread is tried

  Nanoseconds recovered(Nanoseconds time) const {
    return (time - since_.load(std::memory_order_relaxed)) / recovery;
  }

  std::atomic<Nanoseconds> balance_{0};
  std::atomic<Nanoseconds> since_{0};  // when the account was overdrawn, or `most_` changed
  std::atomic<std::size_t> most_{1024};
  std::atomic<Sharing> sharing_{Sharing::by_account};
};

// The account of this process.
inline Savings savings;

}  // namespace adagrad
