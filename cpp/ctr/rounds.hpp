// Learning from examples in order, with the same bits for any number of threads.
//
// A model is divided into units (regions of its slots, or pairs of them) that share no memory.
// Examples are learned in rounds. A round has three steps:
//
//  1. Every unit computes its partial sum for each example of the round; no param changes.
//  2. The partial sums are added in a fixed order, which gives the margins and the gradients.
//  3. Every unit steps its params in the order of the examples.
//
// The result does not depend on which thread owns a unit, so the threads divide the units.
//
// Within a round a model does not learn from one example what it could use for the next, which
// costs a new model much of its logloss. After t examples a round has as many as the largest power
// of two up to t / 512 and 64, and it ends where the number of examples ever learned is a multiple
// of that. Calls that end at multiples of 64 therefore do not change the rounds.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels.hpp"

namespace adagrad {

// How many examples a model has learned per example of a round.
constexpr std::uint64_t examples_per_round = 512;

// The end of the round that starts at example `begin` of a call with n examples, where t examples
// came before the call and a round has at most `most`, a power of two.
std::size_t round_end(std::uint64_t t, std::size_t begin, std::size_t n, std::size_t most);

// What a round needs of a model. Each thread calls sum() and step() for the units that it owns.
class Model {
 public:
  Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;
  virtual ~Model() = default;

  virtual std::size_t units() const = 0;
  virtual std::size_t width() const = 0;  // floats of a partial sum, and of a total

  // The largest round: a power of two, at most round_size.
  virtual std::size_t round_length() const { return round_size; }

  // The amount of work of a unit, in any measure.
  virtual std::size_t work(const Examples& x, std::size_t unit) const = 0;

  // Writes the partial sums of each unit of `of` from partial + unit * stride on. The model chooses
  // the layout within a unit.
  virtual void sum(const CtrKernels& kernels, const Round& round, const Units& of, float* partial,
                   std::size_t stride) const = 0;

  // Adds the partial sums of all units and computes the margins. Leaves in `totals` what step()
  // needs.
  virtual void finish(const CtrKernels& kernels, const Round& round, const float* partial,
                      std::size_t stride, float* totals, float* margins) const = 0;

  // Steps the params of units; g[i - begin] is the gradient in the margin of example i. `t`
  // examples came before this round.
  virtual void step(const CtrKernels& kernels, const Round& round, const Units& of,
                    const float* totals, const float* g, std::uint64_t t) = 0;

  // Learns examples in rounds of one. `targets` and `margins` begin with example 0 of round.x, and
  // `t` counts the examples before that one.
  virtual void each(const CtrKernels& kernels, const Round& round, const Targets& targets,
                    std::uint64_t t, float* margins);
};

// Writes the margin of every example, computed before the model learns from it. `t` examples were
// learned before these. `beside` has the margins of another model, one per example, to which those
// of this one are added before its gradients are taken; null if there is none.
void learn(const CtrKernels& kernels, Model& model, const Examples& x, const Targets& targets,
           const float* beside, std::uint64_t t, std::size_t threads, float* margins);

// Writes the margins and learns nothing. The threads divide the examples.
void predict(const CtrKernels& kernels, const Model& model, const Examples& x, std::size_t threads,
             float* margins);

}  // namespace adagrad
