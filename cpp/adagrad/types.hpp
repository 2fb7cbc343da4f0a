// The types in the signatures of the kernels: hyperparameters, tables, batches, bags. Code that
// only calls the kernels includes this header and neither formulas nor loops. Two other files need
// more: ctr/models.cpp includes rules.hpp, and isa/sparse_step.cpp includes policies.hpp.
//
// The types are aggregates without member functions: they are compiled once per instruction set,
// and no symbol of one build may replace another's at link time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace adagrad {

// The three ways to round lr * h / q; equal in exact arithmetic, different in the last bit.
enum class Evaluation : std::uint8_t { product_first, rate_first, quotient_first };
enum class Statistic : std::uint8_t { square, scaled_square, count };
enum class WeightDecay : std::uint8_t { none, coupled, decoupled };
// Which of its elements' statistics a row with a single accumulator accumulates.
enum class RowStatistic : std::uint8_t { mean, max };
// What repeated ids in a sparse gradient mean; see policies.hpp.
enum class Duplicates : std::uint8_t { sum, sequential, each, unique };
// What an infinite or NaN gradient does.
enum class NonFinite : std::uint8_t { propagate, raise, skip };

// x^power as a product of square roots: digit k of the binary fraction (the top bit is k = 1)
// multiplies x^(2^-k) in. Only IEEE sqrt and multiply are used, so any power has the same bits on
// every machine, which pow() does not promise.
struct Power {
  std::uint64_t digits = std::uint64_t{1} << 63;
  bool whole = false;  // power 1: x itself
};

// The hyperparameters of a step in the compute type T. The defaults of `lr` and `eps_inside` are
// the textbook's; every other default is neutral, that is, leaves its option out of the formula.
template <class T>
struct Params {
  T lr = T(0.1);
  T eps_inside = T(1e-6);
  T eps_outside = T(0);
  T scale = T(1);  // negative to maximize
  T clip_value = std::numeric_limits<T>::infinity();
  T weight_decay = T(0);
  T accumulator_decay = T(1);
  Power power;
  Evaluation evaluation = Evaluation::product_first;
  Statistic statistic = Statistic::square;
  RowStatistic row_statistic = RowStatistic::mean;
  WeightDecay decay = WeightDecay::none;
  bool lagged = false;
  bool skip_zero_accumulator = false;
  bool skip_nonfinite = false;
  bool sum = false;  // for learners: add gradients up instead of taking steps
};

namespace {

// Calls f(name, option...) for each option with a neutral default, with the members of one or
// several Params. The name is that of the field of adagrad.Rule. This list is what the bindings
// parse and cast, and what decides whether a rule is plain.
template <class F, class... P>
void each_option(F f, P&... p) {
  f("scale", p.scale...);
  f("clip_value", p.clip_value...);
  f("weight_decay", p.weight_decay...);
  f("accumulator_decay", p.accumulator_decay...);
  f("power", p.power...);
  f("statistic", p.statistic...);
  f("row_statistic", p.row_statistic...);
  f("weight_decay_mode", p.decay...);
  f("lagged", p.lagged...);
  f("skip_zero_accumulator", p.skip_zero_accumulator...);
}

}  // namespace

// The parts of an update that a visit to a row applies: both, or one pass of the "each" policy.
enum class Visit : std::uint8_t { update, accumulate, advance };

// A table: row r of w starts at w + r * w_stride, its accumulators at s + r * s_stride. The two are
// separate arrays, or interleaved: s = w + dim, and one stride.
template <class T>
struct Target {
  T* w;
  T* s;
  std::size_t w_stride, s_stride;
  std::size_t dim;
  bool row_state;            // one accumulator per row instead of dim
  bool whole_pairs = false;  // dim 1 only: w and s of a row are written by one instruction
};

// Row r begins at w + r * w_stride, and its accumulators at s + r * s_stride, in bytes.
struct RowMemory {
  const char *w, *s;
  std::size_t w_stride, s_stride;
};

namespace {

template <class T>
inline Target<T> separate(T* w, T* s, std::size_t dim, bool row_state) {
  return {w, s, dim, row_state ? 1 : dim, dim, row_state};
}

}  // namespace

// n gradients and the rows they belong to.
template <class T, class Ids>
struct Batch {
  Ids ids;
  const T* g;                    // the gradient of ids[i] is g + i * dim,
  const T* const* scattered;     // or scattered[i] if this is not null
  const std::size_t* positions;  // the position of each id in the call; null if that is i
  std::size_t n;
  bool distinct;     // no id repeats
  bool by_position;  // the update of a row depends on the positions (half_rows.hpp)
};

// The ids of a table that is visited whole, in order.
struct EveryRow {};

// The n gradients of a sparse call: that of ids[i] is g + i * dim, or g + source[i] * dim if
// `source` is not null.
template <class T, class Id>
struct Occurrences {
  const Id* ids;
  const T* g;
  const std::uint32_t* source;
  std::size_t n;
  bool distinct, by_position;  // as in Batch
  // The position of each occurrence in the call that this one is a part of; null if it is whole.
  const std::size_t* positions = nullptr;
};

// Bags of rows: bag b is ids[offsets[b] ... offsets[b + 1]), and its sum or mean goes to
// out + b * dim.
template <class T, class Id>
struct Bags {
  const Id* ids;
  const std::size_t* offsets;
  const T* weights;  // a factor for each id, or null
  T* out;
  bool mean;
};

enum class Distribution : std::uint8_t;  // random.hpp

// The contents of a new table. Params stay as they are unless `random`.
struct Start {
  bool random;
  Distribution distribution;
  std::uint64_t key;
  double scale, accumulator;
};

// A thread's share of the rows: those whose hash is in [first, first + width). Blocks of 2^shift
// neighboring ids have one owner, so no cache line has two (owners.hpp).
struct Owner {
  std::uint32_t first, width;
  unsigned shift;
};

enum class Half : std::uint8_t;  // half.hpp

// A table in 16 bits. Row r is the `stride` bytes at memory + r * stride: dim params, then its
// accumulators, which are 16 bits too or floats at any alignment.
struct HalfTable {
  char* memory;
  std::size_t stride;
  std::size_t dim;
  Half type;
  bool half_state;
  bool row_state;
  std::uint64_t key;  // of this step's random numbers
};

// Scratch memory of one thread for one row: dim params, dim accumulators, dim + 1 random words.
struct HalfScratch {
  float *w, *s;
  std::uint32_t* words;
};

// Dense params in 16 bits: n rows of dim elements. g and s are of the type `half`, or float.
struct Mixed {
  Half half;
  bool half_g, half_s;
  void* w;
  const void* g;
  void* s;
  std::size_t n;
  std::size_t dim;
  bool row_state;  // one accumulator per row instead of dim
};

}  // namespace adagrad
