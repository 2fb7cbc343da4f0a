// The memory of the click models, and how it is divided. Nothing here computes: code that includes
// only this header is not recompiled when a loop changes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "examples.hpp"

namespace adagrad {

// Logistic regression (logistic.hpp).
struct LinearModel {
  float* table;  // one pair (w, s) per slot
  float* bias;   // one more pair; null for a model without a bias; takes no penalty
  float l1;      // strength of the L1 penalty
};

// Learning rates that are tried at the same time.
constexpr std::size_t rates = 8;

// Logistic regressions that differ in their learning rate (sweep.hpp).
struct SweepModel {
  float* table;        // rows of 8 params and 8 accumulators
  std::uint32_t mask;  // slots are folded: the row of a slot is slot & mask
  float* bias;         // one more row, or null
};

// The factors of a factorization machine (fm.hpp).
struct FactorModel {
  float* table;  // one row per slot: [v (factors floats) | s (factors floats)]
  std::size_t factors;
};

// The factors of a field-aware factorization machine (ffm.hpp).
struct FieldModel {
  std::size_t parts, factors;
  float* tables[regions];       // one per part; null if no field belongs to the part
  std::size_t widths[regions];  // params in a row of a part; as many accumulators follow them
  const std::uint32_t* places;  // per field: where its factors begin in a row of its part
  bool normalised;
};

// The pairs of the entries of part a with those of part b.
struct PairBlock {
  std::size_t a, b;
};

// Bins of a histogram of margins, each 1/1024 wide. The outermost two also count margins beyond
// +-16.
constexpr std::size_t bins = 32768;

// Sums over predictions, from which every metric is computed (progressive.hpp).
struct Tally {
  double weight, positive, loss, predicted;  // weighted sums over examples
  double* negatives;                         // weight per bin of each class
  double* positives;
};

namespace {

inline std::size_t count_blocks(std::size_t parts) { return parts * (parts + 1) / 2; }

inline PairBlock block_at(std::size_t parts, std::size_t index) {
  std::size_t a = 0;
  for (; index >= parts - a; ++a) index -= parts - a;
  return {a, a + index};
}

// The entries of an example that a block pairs: [begin_a, end_a) with [begin_b, end_b).
struct EntriesOfBlock {
  std::size_t begin_a, end_a, begin_b, end_b;
  std::size_t start;  // entry e has the field fields[e - start]
};

inline EntriesOfBlock entries_of(const FieldModel& model, const Examples& x, std::size_t example,
                                 PairBlock pairs) {
  const std::size_t each = regions / model.parts;  // regions of a part
  return {first(x, example, pairs.a * each), first(x, example, (pairs.a + 1) * each),
          first(x, example, pairs.b * each), first(x, example, (pairs.b + 1) * each),
          x.fixed ? first<true>(x, example, 0) : 0};
}

}  // namespace
}  // namespace adagrad
