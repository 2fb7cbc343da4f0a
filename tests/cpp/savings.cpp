// The account of what threads save, and the threads: adagrad/savings.hpp, adagrad/parallel.hpp and
// ctr/team.hpp. Ends with 0 if all of it holds.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <thread>

#include "../../cpp/adagrad/parallel.hpp"
#include "../../cpp/ctr/team.hpp"

using adagrad::Savings;

namespace {

constexpr adagrad::Nanoseconds second = 1'000'000'000;
int failures = 0;

void check(bool holds, const char* what) {
  if (holds) return;
  std::printf("not so: %s\n", what);
  ++failures;
}

void test_savings() {
  Savings lost;
  check(lost.worthwhile(2) == 2, "threads are tried first");
  lost.add(-second, 2);
  check(lost.worthwhile(2) == 1 && lost.worthwhile(8) == 1, "after a long wait there is one");

  Savings recovering;
  recovering.add(-second, 3);
  check(recovering.worthwhile(3) == 2, "one of three is too many");
  recovering.add(-1'100'000, 2);
  check(recovering.worthwhile(2) == 1, "and then the other one");
  recovering.recover(second / 100);
  check(recovering.worthwhile(2) == 1, "a debt is paid in a longer time");
  recovering.recover(second / 10);
  check(recovering.worthwhile(2) == 2, "and then it is paid");
  recovering.add(-900'000, 2);
  check(recovering.worthwhile(2) == 2, "threads that are tried again may lose a little");

  Savings once;
  once.add(-9'000'000, 2);
  check(once.worthwhile(2) == 2, "credit bears one wait");
  once.add(-9'000'000, 2);
  check(once.worthwhile(2) == 1, "and not two");

  Savings forced;
  Savings::set_sharing(adagrad::Sharing::always);
  for (int k = 0; k < 9; ++k) forced.add(-second, 2);
  check(forced.worthwhile(4) == 4, "tests share in any case");
  Savings::set_sharing(adagrad::Sharing::by_account);
  check(forced.worthwhile(2) == 2, "and the account does not count it");
}

void test_rates() {
  for (const bool faster : {false, true}) {
    adagrad::Rates rates;
    int several = 0, tried = 0;
    for (int call = 0; call < 128; ++call) {
      const bool on_several = rates.pays();
      const float cold = call == 0 ? 9.0f : 1.0f;
      rates.add(on_several, cold * (on_several && !faster ? 1.3f : on_several ? 0.7f : 1.0f));
      several += on_several ? 1 : 0;
      tried += on_several == faster ? 0 : 1;
    }
    check(faster ? several > 120 : several < 8, "the faster way is taken");
    check(tried > 2, "and the other one is tried");
  }
}

void test_parts() {
  std::vector<int> done(64);
  adagrad::for_each_part(done.size(), [&](std::size_t part) { ++done[part]; });
  bool each_once = true;
  for (const int times : done) each_once = each_once && times == 1;
  check(each_once, "each part is done once, and before the call ends");
  for (const std::size_t bad : {std::size_t{0}, std::size_t{7}}) {
    bool thrown = false;
    try {
      adagrad::for_each_part(8, [=](std::size_t part) {
        if (part == bad) throw bad;
      });
    } catch (std::size_t part) {
      thrown = part == bad;
    }
    check(thrown, "what a part throws arrives");
  }
}

#if defined(__linux__)
std::size_t count_threads() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}

// The leader works alone in the first shift, after it has hired.
void test_a_leader_that_fails() {
  bool thrown = false;
  try {
    adagrad::work_as_team(
        {1, 1}, 2, 0, 10'000, [](std::size_t from) { return from + 1; },
        [](const adagrad::Shift&, std::size_t, const adagrad::Units&, adagrad::Barrier&) {
          std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the helper is present
          throw 1;
        });
  } catch (int) {
    thrown = true;
  }
  check(thrown, "what the leader throws arrives");
  for (int k = 0; k < 10'000 && count_threads() > 1; ++k) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  check(count_threads() == 1, "and the helpers go home");
}
#endif

}  // namespace

int main() {
  test_savings();
  test_rates();
  test_parts();
#if defined(__linux__)
  test_a_leader_that_fails();
#endif
  return failures;
}
