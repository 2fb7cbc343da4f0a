// Threads that share the units of a model and meet at barriers. What they compute does not depend
// on how many there are, so their number changes while they work: the thread that calls leads, and
// hires helpers as long as they save time (adagrad/savings.hpp). A helper joins when it runs, and
// not when it is started; and it is dismissed if the others wait for it too long.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <vector>

#include "../adagrad/parallel.hpp"
#include "examples.hpp"

namespace adagrad {

// Makes every thread wait for the last one.
class Barrier {
 public:
  // Whoever calls it is alone at the barrier. Others may have had the same places before.
  void open(std::size_t threads) {
    threads_ = threads;
    late_ = 0;
  }

  // Waits as the thread with this place, from 0 on.
  void wait(std::size_t place) {
    // Read before this thread is counted: then the barrier may be opened anew.
    const std::size_t threads = threads_, turn = turn_.load(std::memory_order_relaxed);
    if (waiting_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads) {
      waiting_.store(0, std::memory_order_relaxed);
      last_.store(place, std::memory_order_relaxed);
      turn_.store(turn + 1, std::memory_order_release);
      return;
    }
    Waiting waiting;
    while (turn_.load(std::memory_order_acquire) == turn) waiting.wait();
    if (place == 0 && waiting.is_long()) late_ = last_.load(std::memory_order_relaxed);
  }

  // The place of a thread for which the first one has waited long since open(); 0 if there is none.
  std::size_t late() const { return late_; }

 private:
  std::size_t threads_ = 1, late_ = 0;
  // Apart, because those who wait read the one while those who come write the other.
  alignas(64) std::atomic<std::size_t> waiting_{0};
  alignas(64) std::atomic<std::size_t> turn_{0};
  std::atomic<std::size_t> last_{0};
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

// A part of the examples that the same threads learn: [begin, end).
struct Shift {
  std::size_t begin, end;
};

// What the leader of a team and its helpers share.
class Team {
 public:
  explicit Team(const std::vector<std::size_t>& work) : work_(work), seats_(work.size()) {}

  // Starts helpers until there are `threads`, with the leader; fewer if the system gives no more.
  // They call f(shift, place, units, barrier) until they are dismissed.
  template <class F>
  static void hire(const std::shared_ptr<Team>& team, std::size_t threads, F& f) {
    for (std::size_t number = 1; number < threads; ++number) {
      std::atomic<State>& state = team->seats_[number].state;
      if (state.load(std::memory_order_acquire) != State::empty) continue;
      state.store(State::hired, std::memory_order_relaxed);
      try {
        start_thread([team, number, to = &f] { team->help(number, *to); });
      } catch (const std::exception&) {
        state.store(State::empty, std::memory_order_relaxed);
        return;
      }
    }
  }

  // Waits until those who are hired are present.
  void await() const {
    for (const Seat& seat : seats_) {
      Waiting waiting;
      while (seat.state.load(std::memory_order_acquire) == State::hired) waiting.wait();
    }
  }

  // Divides the units among the leader and the helpers who are present, at most `threads`.
  void gather(std::size_t threads) {
    members_.assign(1, 0);
    for (std::size_t seat = 1; seat < seats_.size() && members_.size() < threads; ++seat) {
      if (seats_[seat].state.load(std::memory_order_acquire) == State::present) {
        members_.push_back(seat);
      }
    }
    if (members_.size() != owned_.size()) owned_ = deal_units(work_, members_.size());
  }

  // The number of threads that gather() has found.
  std::size_t size() const { return members_.size(); }

  // Learns a shift with them.
  template <class F>
  void work(const Shift& shift, F& f) {
    barrier_.open(members_.size());
    shift_ = shift;
    for (std::size_t place = 1; place < members_.size(); ++place) {
      Seat& seat = seats_[members_[place]];
      seat.place = place;
      seat.state.store(State::working, std::memory_order_release);
    }
    f(shift, 0, owned_[0], barrier_);
    if (members_.size() > 1) barrier_.wait(0);
  }

  // Sends the helper home for whom the leader has waited; or all of them if it has for none.
  void dismiss_late() {
    const std::size_t late = barrier_.late();
    if (late != 0 && late < members_.size()) return dismiss(members_[late]);
    dismiss_all();
  }

  void dismiss_all() {
    for (std::size_t seat = 1; seat < seats_.size(); ++seat) dismiss(seat);
  }

 private:
  // A helper is hired by the leader, and says when it is present. Then it works in a shift, and is
  // present again; until the leader lets it go.
  enum class State : std::uint8_t { empty, hired, present, working, dismissed };

  struct alignas(64) Seat {
    std::atomic<State> state{State::empty};
    std::size_t place = 0;
  };

  void dismiss(std::size_t seat) {
    std::atomic<State>& state = seats_[seat].state;
    State is = state.load(std::memory_order_acquire);
    while (is == State::hired || is == State::present) {
      if (state.compare_exchange_weak(is, State::dismissed, std::memory_order_acq_rel)) return;
    }
  }

  template <class F>
  void help(std::size_t number, F& f) {
    Seat& seat = seats_[number];
    State is = State::hired;
    if (!seat.state.compare_exchange_strong(is, State::present, std::memory_order_acq_rel)) {
      return seat.state.store(State::empty, std::memory_order_release);
    }
    for (Waiting waiting;;) {
      is = seat.state.load(std::memory_order_acquire);
      if (is == State::dismissed) return seat.state.store(State::empty, std::memory_order_release);
      if (is != State::working) {
        waiting.wait();
        continue;
      }
      const std::size_t place = seat.place;
      f(shift_, place, owned_[place], barrier_);
      // Before the barrier: after it, the leader looks for who is present.
      seat.state.store(State::present, std::memory_order_release);
      barrier_.wait(place);
      waiting = Waiting();
    }
  }

  const std::vector<std::size_t> work_;  // of each unit
  std::vector<Seat> seats_;              // the first one is the leader's
  std::vector<std::size_t> members_;     // the seats of those who work, by place
  std::vector<Units> owned_;             // by place
  Shift shift_{0, 0};
  Barrier barrier_;
};

// Cuts the examples [begin, end) into shifts and learns them with at most `threads` threads:
// calls f(shift, place, its units, barrier) on each. A shift ends where f may begin anew:
// `end_of(example)` is the first such place after that one. f throws nothing where several threads
// work: the others would wait for it at the barrier.
template <class End, class F>
void work_as_team(const std::vector<std::size_t>& work, std::size_t threads, std::size_t begin,
                  std::size_t end, End end_of, F f) {
  threads = std::min(threads, work.size());
  if (threads < 2) {
    Barrier barrier;
    return f(Shift{begin, end}, 0, Units{0, work.size()}, barrier);
  }
  constexpr Nanoseconds short_shift = 200'000;  // costs little more than its barrier
  constexpr Nanoseconds telling = 40'000;       // from a shorter shift nobody knows the time
  constexpr Nanoseconds worth_hiring = 400'000;
  constexpr std::size_t many = 8192;  // examples that take longer than that in any model
  constexpr unsigned often = 64;      // shifts
  const bool is_test = Savings::sharing() != Sharing::by_account;
  const bool restless = Savings::sharing() == Sharing::restless;
  const auto team = std::make_shared<Team>(work);
  // Also if an allocation fails: helpers would wait for work for ever.
  const struct Dismissal {
    Team& team;
    ~Dismissal() { team.dismiss_all(); }
  } at_the_end{*team};
  std::size_t length = 1;
  double alone = 0.0;  // nanoseconds that the leader takes for an example
  bool known = false;
  for (unsigned number = 0; begin < end; ++number) {
    // At first, and now and then, the leader works alone, to know what helpers save.
    const double left = alone * static_cast<double>(end - begin);
    const bool pays = known ? left > static_cast<double>(worth_hiring) : end - begin > many;
    const std::size_t wanted = pays || is_test ? of_teams.worthwhile(threads) : 1;
    if (wanted > 1) Team::hire(team, wanted, f);
    if (is_test) team->await();
    team->gather(is_test || (known && number % often != 0) ? wanted : 1);
    const std::size_t to = end - begin > length ? end_of(begin + length) : end;
    const bool is_alone = team->size() == 1;
    const Nanoseconds start = is_alone ? own_time() : now();
    team->work({begin, to}, f);
    const Nanoseconds took = (is_alone ? own_time() : now()) - start;
    const double examples = static_cast<double>(to - begin);
    if (took < short_shift) length *= 2;
    if (is_alone) of_teams.recover(took);
    if (is_alone && took > telling) {
      const double each = static_cast<double>(took) / examples;
      alone = known ? alone + 0.25 * (each - alone) : each;
      known = true;
    } else if (!is_alone) {
      of_teams.add(static_cast<Nanoseconds>(alone * examples) - took, team->size());
      if (of_teams.worthwhile(team->size()) < team->size() || restless) team->dismiss_late();
    }
    begin = to;
  }
}

}  // namespace adagrad
