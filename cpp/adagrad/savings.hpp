// Whether it pays to start threads: an account of the time that they have saved and cost.
//
// A thread that shares work with others waits for the last one. If that one has lost its processor
// to another program, the wait is a slice of the scheduler, a few milliseconds, which is longer
// than most calls. So an account is credited with the time that a shared call saves, and debited
// with the time that it loses. Once it is overdrawn, calls run on one thread. It recovers by a
// share of the time that these take, which halves each time that it is overdrawn again. Beside
// other programs, calls on several threads therefore take no more time than calls on one, but for
// that share, and once for the credit.
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
  // How many threads to use instead of `threads`, which is more than 1.
  std::size_t worthwhile(std::size_t threads) const {
    if (sharing() != Sharing::by_account) return threads;
    if (is_overdrawn()) return 1;
    return std::min(threads, most_.load(std::memory_order_relaxed));
  }

  bool is_overdrawn() const { return overdrawn_.load(std::memory_order_relaxed); }

  // Adds the time that this many threads have saved, or lost if it is negative. If they have lost
  // too much, one of them is too many. Calls of several Python threads may lose an update of each
  // other, which does no harm.
  void add(Nanoseconds saved, std::size_t threads) {
    if (sharing() != Sharing::by_account) return;
    const Nanoseconds time = now();
    Nanoseconds balance = balance_.load(std::memory_order_relaxed);
    balance = std::min(balance + saved, most_credit);
    const bool is_full = balance == most_credit;
    if (balance < 0 && threads > 2) {
      balance = trial_credit;
      most_.store(threads - 1, std::memory_order_relaxed);
      since_.store(time, std::memory_order_relaxed);
    } else if (balance < 0) {
      balance = std::max(balance, -most_debt);
      if (!is_overdrawn()) {
        slowness_.store(std::min(2 * slowness_.load(std::memory_order_relaxed), slowest),
                        std::memory_order_relaxed);
        overdrawn_.store(true, std::memory_order_relaxed);
      }
    } else if (is_full && time - since_.load(std::memory_order_relaxed) > trial) {
      most_.store(std::max(most_.load(std::memory_order_relaxed), threads) + 1,
                  std::memory_order_relaxed);
      since_.store(time, std::memory_order_relaxed);
    }
    if (is_full) slowness_.store(fastest, std::memory_order_relaxed);
    balance_.store(balance, std::memory_order_relaxed);
  }

  // Adds what one thread has taken for what several might have shared.
  void recover(Nanoseconds alone) {
    if (!is_overdrawn()) return;
    const Nanoseconds balance = balance_.load(std::memory_order_relaxed) +
                                alone / slowness_.load(std::memory_order_relaxed);
    balance_.store(std::min(balance, trial_credit), std::memory_order_relaxed);
    if (balance >= trial_credit) overdrawn_.store(false, std::memory_order_relaxed);
  }

  static Sharing sharing() { return of_process().load(std::memory_order_relaxed); }
  static void set_sharing(Sharing to) { of_process().store(to, std::memory_order_relaxed); }

 private:
  static constexpr Nanoseconds most_credit = 10'000'000, most_debt = 10'000'000;
  // With which threads are tried again: they lose a little until they have begun.
  static constexpr Nanoseconds trial_credit = 1'000'000;
  // What one thread takes while one nanosecond is recovered.
  static constexpr Nanoseconds fastest = 16, slowest = 512;
  static constexpr Nanoseconds trial = 1'000'000'000;  // before one more thread is tried

  static std::atomic<Sharing>& of_process() {
    static std::atomic<Sharing> sharing{Sharing::by_account};
    return sharing;
  }

  std::atomic<Nanoseconds> balance_{most_credit}, slowness_{fastest};
  std::atomic<bool> overdrawn_{false};
  std::atomic<Nanoseconds> since_{0};  // when `most_` changed
  std::atomic<std::size_t> most_{1024};
};

// What calls of one kind take on one thread and on several, of late. Sparse steps need it: each
// thread also looks for the ids that belong to it, so several may take longer though none waits.
// Python threads may lose an update of each other, which does no harm.
class Rates {
 public:
  // Calls f(threads), or f(1) if that has been faster of late. What f does is counted in `work`.
  template <class F>
  void choose(std::size_t threads, std::size_t work, F f) {
    if (threads == 1 || Savings::sharing() != Sharing::by_account) return f(threads);
    const bool several = pays();
    const Nanoseconds begin = now();
    f(several ? threads : 1);
    add(several, static_cast<float>(now() - begin) / static_cast<float>(work));
  }

  // Whether several threads have been faster; now and then, the opposite.
  bool pays() {
    const unsigned turn = turns_.fetch_add(1, std::memory_order_relaxed);
    if (turn < 3) return turn == 1;
    const bool faster =
        of_[1].load(std::memory_order_relaxed) < of_[0].load(std::memory_order_relaxed);
    return turn % often == 0 ? !faster : faster;
  }

  // Adds the nanoseconds of a unit of work.
  void add(bool several, float rate) {
    std::atomic<float>& of = of_[several ? 1 : 0];
    const float before = of.load(std::memory_order_relaxed);
    // Rates fall at once and rise slowly: the first call of a kind finds nothing in the caches, and
    // any may have lost its processor. How often that happens is what the account is for.
    const float slower = before + 0.125f * (std::min(rate, 2.0f * before) - before);
    of.store(before == 0.0f || rate < before ? rate : slower, std::memory_order_relaxed);
  }

 private:
  static constexpr unsigned often = 32;

  std::atomic<unsigned> turns_{0};
  std::atomic<float> of_[2] = {0.0f, 0.0f};  // on one thread, on several
};

// The accounts of this process: of calls that are divided into parts, and of teams (ctr/team.hpp).
inline Savings of_parts, of_teams;

}  // namespace adagrad
