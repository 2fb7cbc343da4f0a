// Runs: the entries that an example has in neighboring regions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "types.hpp"

namespace adagrad {
namespace {

struct Run {
  std::size_t first, last;
};

template <bool fixed>
inline Run run_of(const Examples& x, std::size_t example, const Units& of) {
  return {first<fixed>(x, example, of.first), first<fixed>(x, example, of.last)};
}

inline void multiply(float* x, const float* by, std::size_t n) {
  for (std::size_t k = 0; k < n; ++k) x[k] *= by[k];
}

// What a Collector may write past the end of a run.
constexpr std::size_t most_past = 128;

// Collects runs into a buffer, one behind the other, each from the end of the one before on.
//
// It writes past the end of a run, the same number of elements for most runs of a round: a loop
// whose length differs from one example to the next mispredicts a branch for each.
class Collector {
 public:
  Collector(const Round& round, const Units& of) {
    std::size_t longest = 0, all = 0;
    for (std::size_t i = round.begin; i < round.end; ++i) {
      const std::size_t n = first(*round.x, i, of.last) - first(*round.x, i, of.first);
      longest = n > longest ? n : longest;
      all += n;
    }
    // Not more than twice the mean: a single long run is no reason to write so much for all.
    const std::size_t twice = 2 * all / (round.end - round.begin + 1) + 1;
    usual_ = longest < twice ? longest : twice;
    usual_ = usual_ < most_past - step ? usual_ : most_past - step;
  }

  // Copies a run of an array of `total` elements, and returns its length.
  template <class T>
  std::size_t operator()(const T* from, const Run& run, std::size_t total, T* to) const {
    const std::size_t n = run.last - run.first, past = at_least(n);
    if (run.first + past + step > total) {
      for (std::size_t k = 0; k < n; ++k) to[k] = from[run.first + k];
      return n;
    }
    for (std::size_t k = 0; k < past; k += step) {
      for (std::size_t j = k; j < k + step; ++j) to[j] = from[run.first + j];
    }
    return n;
  }

  // Writes n copies of x.
  template <class T>
  void fill(T x, std::size_t n, T* to) const {
    for (std::size_t k = 0; k < at_least(n); k += step) {
      for (std::size_t j = k; j < k + step; ++j) to[j] = x;
    }
  }

 private:
  static constexpr std::size_t step = 8;
  std::size_t usual_;

  std::size_t at_least(std::size_t n) const { return n > usual_ ? n : usual_; }
};

}  // namespace
}  // namespace adagrad
