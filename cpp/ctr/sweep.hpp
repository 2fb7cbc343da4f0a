// Logistic regression at eight learning rates at the same time. A slot has eight params and eight
// accumulators, one cache line, and each rate learns with its own pair. Examples are learned one at
// a time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "logistic.hpp"

namespace adagrad {
namespace {

// Steps the eight pairs of a row, each at its own rate.
template <class Form>
class RateSteps {
 public:
  explicit RateSteps(const Params<float>* params) {
    for (std::size_t k = 0; k < rates; ++k) params_[k] = params[k];
#if defined(__GNUC__)
    for (std::size_t k = 0; k < rates; ++k) lanes_[k / width].lr[k % width] = params[k].lr;
    for (auto& lane : lanes_) {
      lane.eps_inside = params[0].eps_inside;
      lane.eps_outside = params[0].eps_outside;
    }
#endif
  }

  void operator()(float* row, const float* g) const {
#if defined(__GNUC__)
    if constexpr (Form::plain) {
      // The pairs of a row are distinct, so they are stepped as vectors. Only lr differs between
      // lanes; rows need no alignment.
      for (std::size_t k = 0; k < rates; k += width) {
        const V h = load<V>(g + k), s = load<V>(row + rates + k);
        const V d = accumulated<Form>(params_[0], s, h);
        store(row + k, load<V>(row + k) - step<Form>(lanes_[k / width], h, d));
        store(row + rates + k, d);
      }
      return;
    }
#endif
    for (std::size_t k = 0; k < rates; ++k) update<Form>(params_[k], row[k], g[k], row[rates + k]);
  }

 private:
  Params<float> params_[rates];
#if defined(__GNUC__)
  static constexpr std::size_t bytes = vector_bytes == 0 ? 16 : vector_bytes;
  static constexpr std::size_t width = bytes / sizeof(float);
  using V = typename Lanes<float, bytes>::type;
  struct LanesOfRates {  // what step() reads
    V lr;
    float eps_inside, eps_outside;
  };
  LanesOfRates lanes_[rates / width];
#endif
};

// margins[8 * i + j] is the margin of example i at rate j, before it is learned. All entries of an
// example are added to one sum per rate, in order, and the bias last.
template <class Form, bool fixed>
void sweep(const SweepModel& model, const Examples& x, const Targets& targets,
           const Params<float>* params, float* margins) {
  constexpr std::size_t ahead = 4;
  const RateSteps<Form> step(params);
  Params<float> of_bias[rates];
  for (std::size_t j = 0; j < rates; ++j) of_bias[j] = without_decay(params[j]);
  const RateSteps<Form> step_bias(of_bias);
  const auto row = [&](std::size_t k) {
    return model.table + 2 * rates * std::size_t{x.slots[k] & model.mask};
  };
  // An example is prefetched `ahead` examples before its turn. Folded slots may share a row within
  // an example; its gradients then step that row in order.
  for (std::size_t next = 0; next < x.n + ahead; ++next) {
    if (next < x.n) {
      const std::size_t stop = first<fixed>(x, next, regions);
      for (std::size_t k = first<fixed>(x, next, 0); k < stop; ++k) ADAGRAD_PREFETCH(row(k));
    }
    if (next < ahead) continue;
    const std::size_t i = next - ahead;
    const std::size_t begin = first<fixed>(x, i, 0), end = first<fixed>(x, i, regions);
    float z[rates] = {}, g[rates], of_entry[rates];
    // Rates are the inner loops: they are independent and vectorize.
    for (std::size_t k = begin; k < end; ++k) {
      const float* const w = row(k);
      const float value = value_of(x, k);
      for (std::size_t j = 0; j < rates; ++j) z[j] += w[j] * value;
    }
    for (std::size_t j = 0; j < rates && model.bias != nullptr; ++j) z[j] += model.bias[j];
    for (std::size_t j = 0; j < rates; ++j) {
      margins[i * rates + j] = z[j];
      g[j] = gradient_of(z[j], targets.y[i], weight_of(targets, i));
    }
    for (std::size_t k = begin; k < end; ++k) {
      const float value = value_of(x, k);
      for (std::size_t j = 0; j < rates; ++j) of_entry[j] = g[j] * value;
      step(row(k), of_entry);
    }
    if (model.bias != nullptr) step_bias(model.bias, g);
  }
}

}  // namespace
}  // namespace adagrad
