// The memory of the click models, and how it is divided. Nothing here computes: code that includes
// only this header is not recompiled when a loop changes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "examples.hpp"

namespace adagrad {

// L1 and L2 penalties on the slots of a linear model (proximal.hpp).
struct Penalties {
  bool on;           // pairs are (z, s), and are learned by FTRL-proximal
  float threshold;   // lr * l1
  float damping;     // eps_outside + lr * l2
  float eps_inside;  // of the rule
};

// Logistic regression (logistic.hpp).
struct LinearModel {
  float* table;  // one pair per slot: (w, s), or (z, s) with penalties
  float* bias;   // one more pair (w, s); null for a model without a bias; takes no penalty
  Penalties penalties;
};

// The experts of a mixture; floats of an example, one for each of them and three to spare; and
// floats of a row.
constexpr std::size_t experts = 5, lanes = 8, mixture_row = 2 * lanes;

// A mixture of linear experts (mixture.hpp): a cache line per slot, all zero at the start.
struct MixtureModel {
  float* table;  // rows of mixture_row floats
  float* bias;   // one more row; null for a model without a bias
};

// The entries of a round, and what is kept of them between its steps (mixture.hpp).
struct MixtureEntries {
  const Round* round;
  float* values;      // x' of each entry; null if all values are 1 and always were
  float* rates;       // eight floats for each entry
  std::size_t first;  // the entry that both begin with
};

// What each thread keeps of the examples of a round.
struct MixtureRound {
  double entries;                     // of MixingState
  double scale;                       // of MixingState
  double growth;                      // of the scale, per example; 1 without forgetting
  float unit, inverse;                // the scale during the round, and 1 / scale
  float z[lanes * round_size];        // margins of the experts; |x'|^2 in the sixth lane
  float p[lanes * round_size];        // their probabilities
  float rate[lanes * round_size];     // eta c
  float gain[lanes * round_size];     // what a feature of value 1 adds to the accumulators
  float of_bias[lanes * round_size];  // r of the bias
  float step[lanes * round_size];     // w moves by r x' times this
};

// By how much a step of mixing weights may move a margin.
constexpr double largest_move = 4.0;

// How the margins of the experts are combined (mixing.hpp). A state is as many doubles in a file.
struct MixingState {
  double theta[lanes];          // weights of five margins and of the constant 1
  double precision[6 * lanes];  // of the six weights; rows are padded with zeros
  double evidence[lanes];       // loss of each expert and of the mixture, as the guard counts it
  double losses[lanes];         // the same without forgetting, in nats
  double weight;                // of the examples in these losses
  double largest_weight;        // of any example, at least 1
  double entries;               // sum of 1 + |x'|^2 over the examples ever learned
  double scale;  // of the accumulators: by what an example counts more than the first
};

// The factors of a factorization machine (fm.hpp).
struct FactorModel {
  float* table;  // one row per slot: [v (factors floats) | s (factors floats)]
  std::size_t factors;
  bool normalized;
};

// The factors of a field-aware factorization machine (ffm.hpp).
struct FieldModel {
  std::size_t parts, factors;
  float* tables[regions];       // one per part; null if no field belongs to the part
  std::size_t widths[regions];  // params in a row of a part; as many accumulators follow them
  const std::uint32_t* places;  // per field: where its factors begin in a row of its part
  bool normalized;
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

// The index of a block in the order (0, 0), (0, 1), .. (0, parts - 1), (1, 1) and so on.
inline std::size_t index_of(std::size_t parts, PairBlock pairs) {
  return pairs.a * (2 * parts - pairs.a - 1) / 2 + pairs.b;
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
