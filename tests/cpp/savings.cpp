// The account of what threads save: adagrad/savings.hpp. Ends with 0 if all of it holds.
#include <chrono>
#include <cstdio>
#include <thread>

#include "../../cpp/adagrad/parallel.hpp"

using adagrad::Savings;

namespace {

constexpr adagrad::Nanoseconds second = 1'000'000'000;
int failures = 0;

void check(bool holds, const char* what) {
  if (holds) return;
  std::printf("not so: %s\n", what);
  ++failures;
}

void pause() { std::this_thread::sleep_for(std::chrono::milliseconds(2)); }

void test_savings() {
  Savings lost;
  check(lost.worthwhile(2) == 2, "threads are tried first");
  lost.add(-second, 2);
  check(lost.worthwhile(2) == 1 && lost.worthwhile(8) == 1, "after a long wait there is one");

  Savings recovering;
  recovering.add(-second, 3);
  check(recovering.worthwhile(3) == 2, "one of three is too many");
  recovering.add(-1, 2);
  pause();
  check(recovering.worthwhile(2) == 2, "a small debt is soon paid");

  Savings once;
  once.add(-9'000'000, 2);
  check(once.worthwhile(2) == 2, "credit bears one wait");
  once.add(-9'000'000, 2);
  check(once.worthwhile(2) == 1, "and not two");

  Savings forced;
  forced.add(-second, 2);
  Savings::set_sharing(adagrad::Sharing::always);
  check(forced.worthwhile(4) == 4, "tests share in any case");
  Savings::set_sharing(adagrad::Sharing::by_account);
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

}  // namespace

int main() {
  test_savings();
  test_parts();
  return failures;
}
