// Parquet's hybrid of runs and packed groups, for indices into a dictionary and for levels.
#pragma once

#include <cstddef>
#include <cstdint>

namespace adagrad {

// Numbers of a fixed width in bits, in Parquet's hybrid of runs and packed groups.
class HybridNumbers {
 public:
  static constexpr unsigned widest = 32;

  HybridNumbers() = default;
  HybridNumbers(const std::uint8_t* data, const std::uint8_t* end, unsigned width)
      : at_(data), end_(end), width_(width) {}

  // Reads n numbers; false if there are fewer, or if one has more bits. No more follow then.
  bool read(std::uint32_t* out, std::size_t n);

  // Passes over n numbers if all are `value` and in one run.
  bool pass(std::uint32_t value, std::size_t n);

 private:
  bool next_run();
  bool read_run();

  const std::uint8_t *at_ = nullptr, *end_ = nullptr;
  unsigned width_ = 0;
  std::size_t left_ = 0, done_ = 0;  // numbers of the current run
  bool packed_ = false;
  std::uint32_t value_ = 0;              // of a run
  const std::uint8_t* group_ = nullptr;  // where a packed run begins
};

}  // namespace adagrad
