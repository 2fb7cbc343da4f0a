// The click models on plain memory: logistic regression, factorization machines and field-aware
// ones. They own no tables and check nothing; the caller keeps the memory alive and has checked
// that every slot is below the length of the tables.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "../adagrad/types.hpp"
#include "rounds.hpp"

namespace adagrad {

// The params of the rule after t examples: lr decays with t, everything else is constant.
class Schedule {
 public:
  // `params` has the rate of the first step, lr.
  Schedule(const Params<float>& params, double lr, double lr_decay)
      : params_(params), lr_(lr), lr_decay_(lr_decay) {}

  bool is_constant() const { return lr_decay_ == 0.0; }
  double lr(std::uint64_t t) const;
  Params<float> at(std::uint64_t t) const;

 private:
  Params<float> params_;
  double lr_, lr_decay_;
};

class Linear final : public Model {
 public:
  Linear(const LinearModel& memory, const Schedule& schedule)
      : memory_(memory), schedule_(schedule) {}

  std::size_t units() const override { return regions; }
  std::size_t width() const override { return 1; }
  std::size_t work(const Examples& x, std::size_t region) const override;
  void sum(const CtrKernels&, const Round&, const Units&, float* partial,
           std::size_t stride) const override;
  void finish(const CtrKernels&, const Round&, const float* partial, std::size_t stride,
              float* totals, float* margins) const override;
  void step(const CtrKernels&, const Round&, const Units&, const float* totals, const float* g,
            std::uint64_t t) override;
  void each(const CtrKernels&, const Round&, const Targets&, std::uint64_t t,
            float* margins) override;

  // Steps slots[i] by the gradient g[i], for i < n in order, after t other steps. A slot may
  // repeat.
  void apply(const CtrKernels&, const std::uint32_t* slots, const float* g, std::size_t n,
             std::uint64_t t);

  // weights[i] = the weight of slots[i], or of slot i if `slots` is null.
  void weights_of(const CtrKernels&, const std::uint32_t* slots, std::size_t n,
                  float* weights) const;

  // out[i] = the sum over the entries of example i of effective learning rate times x^2.
  void rates_of(const CtrKernels&, const Examples&, std::uint64_t t, std::size_t threads,
                float* out) const;

 private:
  LinearModel memory_;
  Schedule schedule_;
};

// Accumulators grow by this factor per example, relative to what they hold, so that what they hold
// halves in `half_life` examples; 1 if it is 0.
double growth_in(double half_life);

// What another model makes of the margin z of a mixture: slope z + offset.
struct Affine {
  double slope, offset;
};

// A mixture of linear experts. Training has rounds of its own, with two sums each.
class Mixture {
 public:
  // Accumulators and evidence halve in `half_life` examples, at least 64; never if it is 0.
  Mixture(const MixtureModel& memory, MixingState& state, std::size_t slots, double half_life);

  // Writes the guarded margin of every example, computed before the model learns from it, and the
  // one without the guard to `mixed` unless it is null. `t` examples were learned before these.
  // `scaled` says whether these or earlier ones have values other than 1. The weights of the
  // experts learn only if `mixes`: they must see predictions.
  void learn(const CtrKernels&, const Examples&, const Targets&, std::uint64_t t, bool scaled,
             bool mixes, std::size_t threads, float* margins, float* mixed);

  // The margins of the linear model that the mixture is.
  void predict(const CtrKernels&, const Examples&, const Affine& as, std::size_t threads,
               float* margins) const;

  // Writes the weight of each slot, and returns the bias.
  float weights(const CtrKernels&, const Affine& as, float* to) const;

  // out[i] = the variance of the margin of the Bayesian expert.
  void variances(const CtrKernels&, const Examples&, std::size_t threads, float* out) const;

 private:
  void learn_part(const CtrKernels&, const Examples&, std::size_t begin, std::size_t end,
                  const Targets&, std::uint64_t t, bool scaled, bool mixes, std::size_t threads,
                  float* margins, float* mixed);
  void rescale();

  MixtureModel memory_;
  MixingState& state_;
  std::size_t slots_;
  double growth_, lambda_;  // of the scale and of the evidence, per example
  std::size_t longest_;     // the most examples between two calls of rescale()
};

// How pairs are combined with the mixture beside which they learn. A state is as many doubles in a
// file.
struct PairMixingState {
  double theta[3];        // weights of the linear margin, of the pairs and of the constant 1
  double covariance[9];   // of these weights
  double evidence[2];     // loss of the linear part and of the mixture, as the guard counts it
  double losses[2];       // the same without forgetting, in nats
  double weight;          // of the examples in these losses
  double largest_weight;  // of any example, at least 1
};

// The margins of examples: those of a mixture, those of its guard, and the pairs.
struct PairMargins {
  const float *linear, *guarded, *pairs;
};

// Mixes the margins of n examples, in order, and learns how to if `learns`.
//
// The mixture is that of mixing.hpp on u = (linear, pairs, 1), with both clipped to +-30. It starts
// with theta = (1, 1, 0), the sum of both, and P = diag(0.03, 0.3, 0.01). A step follows each
// example, and moves its margin by at most 4.
//
// Its guard predicts the average of the linear part, which is guarded itself, and of the mixture,
// weighted by the likelihood that each gave to the labels so far. The total loss exceeds that of
// the linear part by at most log 2 nats, whatever the pairs predict; or by that times the largest
// weight of an example, as in mixing.hpp.
//
// Order of operations: all in double but for margins and exponentials. Sums are added from the
// first to the last, and the linear part comes before the mixture. The guard adds logarithms, so
// that no probability is too small to count.
void mix_pairs(PairMixingState& state, const PairMargins&, bool has_bias, const Targets&,
               std::size_t n, double lambda, bool learns, float* margins);

class FM final : public Model {
 public:
  FM(const std::optional<LinearModel>& linear, const FactorModel& factors, const Schedule& schedule)
      : linear_(linear), factors_(factors), schedule_(schedule) {}

  std::size_t units() const override { return regions; }
  std::size_t width() const override { return 1 + 2 * factors_.factors; }
  std::size_t work(const Examples& x, std::size_t region) const override;
  void sum(const CtrKernels&, const Round&, const Units&, float* partial,
           std::size_t stride) const override;
  void finish(const CtrKernels&, const Round&, const float* partial, std::size_t stride,
              float* totals, float* margins) const override;
  void step(const CtrKernels&, const Round&, const Units&, const float* totals, const float* g,
            std::uint64_t t) override;

 private:
  std::optional<LinearModel> linear_;
  FactorModel factors_;
  Schedule schedule_;
};

// How the fields of a field-aware model are divided into parts.
struct FieldLayout {
  std::vector<std::uint32_t> part_of_field;
  std::vector<std::uint32_t> place_in_part;  // from 0; no two fields of a part share a place
  std::vector<std::size_t> fields_in_part;   // one per part
};

class FFM final : public Model {
 public:
  // tables[b] is the table of part b, or null if no field belongs to it.
  FFM(const FieldLayout& fields, const std::vector<float*>& tables, std::size_t factors,
      bool normalized, const std::optional<LinearModel>& linear, const Schedule& schedule);

  std::size_t units() const override { return linear_units() + count_blocks(factors_.parts); }
  std::size_t width() const override { return 1; }
  // Between sums and steps, the rows of 8 examples with many fields stay in the cache; and 8
  // examples with few fields are enough work to pay for a barrier.
  std::size_t round_length() const override { return 8; }
  std::size_t work(const Examples& x, std::size_t unit) const override;
  void sum(const CtrKernels&, const Round&, const Units&, float* partial,
           std::size_t stride) const override;
  void finish(const CtrKernels&, const Round&, const float* partial, std::size_t stride,
              float* totals, float* margins) const override;
  void step(const CtrKernels&, const Round&, const Units&, const float* totals, const float* g,
            std::uint64_t t) override;

 private:
  // The units of the linear part are regions, and come first. The other units are blocks of pairs:
  // those within a part, and then those of two parts. With two parts either kind is half of the
  // pairs, so two threads, which get neighboring units, have as much to do.
  std::size_t linear_units() const { return linear_ ? regions : 0; }
  Units linear_of(const Units& of) const;
  PairBlock block(std::size_t unit) const { return blocks_[unit - linear_units()]; }

  std::optional<LinearModel> linear_;
  std::vector<std::uint32_t> places_;  // what factors_ points to
  std::vector<PairBlock> blocks_;      // in the order of the units
  FieldModel factors_;
  Schedule schedule_;
};

// Writes the probabilities of the negative and the positive class of n margins to to[2 i] and
// to[2 i + 1]. Neither is computed as 1 minus the other, which would lose the digits of a small
// one. Both are NaN if the margin is not finite.
void class_probabilities(const float* margins, std::size_t n, double* to);

}  // namespace adagrad
