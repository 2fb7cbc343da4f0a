// The rows of a sparse matrix as examples: what arrange.hpp checks and sorts by region, and
// margins.hpp predicts as it is.
#pragma once

#include <cstddef>
#include <cstdint>

#include "examples.hpp"

namespace adagrad {

// Example i has the entries [start_of(rows, i), start_of(rows, i + 1)), in any order.
struct MatrixRows {
  const void* slots;            // std::uint32_t, or std::uint64_t if `wide`
  const void* values;           // float, or double if `precise`; null if all are 1
  const std::uint32_t* starts;  // starts[step * i]; or null, and each row has `step` entries
  std::size_t step;
  std::size_t n;
  bool wide, precise;
};

namespace {

inline std::size_t start_of(const MatrixRows& rows, std::size_t i) {
  return rows.starts == nullptr ? rows.step * i : rows.starts[rows.step * i];
}

inline MatrixRows rows_of(const Examples& x) {
  const std::uint32_t* const starts = x.fixed ? nullptr : x.bounds;
  return {x.slots, x.values, starts, x.fixed ? x.bounds[regions] : regions, x.n, false, false};
}

// The values of entries that have none.
struct Ones {
  float operator[](std::size_t /*entry*/) const { return 1.0f; }
};

// Returns f(slots, values) for the types that the rows have.
template <class F>
auto with_types(const MatrixRows& rows, F f) {
  const auto with_values = [&](auto slots) {
    if (rows.values == nullptr) return f(slots, Ones{});
    if (rows.precise) return f(slots, static_cast<const double*>(rows.values));
    return f(slots, static_cast<const float*>(rows.values));
  };
  if (rows.wide) return with_values(static_cast<const std::uint64_t*>(rows.slots));
  return with_values(static_cast<const std::uint32_t*>(rows.slots));
}

// The region of a slot, slot / size, by a multiplication.
//
// With u = size / 16 and q = slot / 16, it is q / u. Let 2^(b - 1) < u <= 2^b, K = 2 b + 3 and
// f = ceil(2^K / u) = (2^K + e) / u with e < u. Then q f / 2^K = q / u + q e / (u 2^K), and because
// q < 8 u, the error is below 8 u / 2^K <= 1 / u: too small to reach the next integer. As
// f < 2^(b + 4), it has 32 bits.
class RegionOf {
 public:
  explicit RegionOf(std::uint64_t size) {
    const std::uint64_t u = size / region_unit;
    while (std::uint64_t{1} << shift_ < u) ++shift_;
    shift_ = 2 * shift_ + 3;
    factor_ = ((std::uint64_t{1} << shift_) + u - 1) / u;
  }

  // `slot` is below 8 * size.
  std::uint32_t operator()(std::uint32_t slot) const {
    return static_cast<std::uint32_t>(slot / region_unit * factor_ >> shift_);
  }

 private:
  std::uint64_t factor_;
  unsigned shift_ = 0;
};

}  // namespace
}  // namespace adagrad
