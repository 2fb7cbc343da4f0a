// The table of entry points of the click models, filled in once per instruction set
// (isa/ctr_kernels.cpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "../adagrad/types.hpp"
#include "matrix.hpp"
#include "types.hpp"

namespace adagrad {

struct CtrKernels {
  // weights[i] is that of slots[i], or of slot i if `slots` is null.
  void (*linear_weights)(const LinearModel&, const std::uint32_t* slots, std::size_t n,
                         float* weights);
  void (*linear_sums)(const LinearModel&, const Round&, const Units&, float* partial,
                      std::size_t stride);
  void (*linear_steps)(const LinearModel&, const Round&, const Units&, const float* g,
                       const Params<float>&);
  // g[i] is the gradient of slot slots[i].
  void (*linear_apply)(const LinearModel&, const std::uint32_t* slots, const float* g,
                       std::size_t n, const Params<float>&);
  void (*add_units)(const float* partial, std::size_t stride, std::size_t units, std::size_t n,
                    float* sums);
  using Each = void (*)(const LinearModel&, const Round&, const Targets&, const Params<float>&,
                        float* margins);
  Each linear_each;
  void (*stored_margins)(const StoredModel&, const MatrixRows&, std::size_t begin, std::size_t end,
                         float* margins);
  void (*linear_rates)(const LinearModel&, const Round&, const Params<float>&, float* out);
  // g[i] = (sigmoid(margins[i]) - y[i]) * weights[i]
  void (*gradients)(const float* margins, const Targets&, std::size_t n, float* g);
  void (*tally)(const float* margins, const Targets&, std::size_t n, Tally&);

  void (*mixture_sums)(const MixtureModel&, const MixtureEntries&, const Units&, float* partial,
                       std::size_t stride);
  void (*mixture_margins)(const MixtureModel&, const Targets&, std::size_t n, const float* partial,
                          std::size_t stride, std::uint64_t t, MixtureRound&);
  void (*mixture_rates)(const MixtureModel&, const MixtureEntries&, const Units&,
                        const MixtureRound&, float* partial, std::size_t stride);
  void (*mixture_residuals)(bool has_bias, const Targets&, std::size_t n, const float* partial,
                            std::size_t stride, MixtureRound&);
  void (*mixture_steps)(const MixtureModel&, const MixtureEntries&, const Units&,
                        const MixtureRound&);
  // Mixes the margins z[8 i + e] of the experts: see mixing.hpp.
  void (*mix)(MixingState&, float* z, bool has_bias, const Targets&, std::size_t n, double lambda,
              float* mixed, float* guarded);
  // to[slot] = the weight of the linear model that a mixture with these theta is.
  void (*mixture_weights)(const float* table, std::size_t begin, std::size_t end,
                          const float* theta, float* to);
  void (*mixed_margins)(const MixedModel&, const MatrixRows&, std::size_t begin, std::size_t end,
                        float* margins);
  void (*mixture_variances)(const MixtureModel&, float inverse, const Round&, float* out);

  void (*factor_sums)(const FactorModel&, const Round&, const Units&, float* partial,
                      std::size_t stride);
  void (*factor_margins)(const FactorModel&, const Round&, const float* partial, std::size_t stride,
                         float* totals, float* margins);
  void (*factor_steps)(const FactorModel&, const Round&, const Units&, const float* totals,
                       const float* g, const Params<float>&);
  void (*pair_sums)(const FieldModel&, const Round&, PairBlock, float* partial);
  void (*pair_margins)(const FieldModel&, const Round&, const float* partial, std::size_t stride,
                       std::size_t linear_units, float* scales, float* margins);
  void (*pair_steps)(const FieldModel&, const Round&, PairBlock, const float* scales,
                     const float* g, const Params<float>&);

  // out[i] = the XXH64 of words[i], 8 bytes in little-endian order. The two may be one array.
  void (*hash_words)(const std::uint64_t* words, std::size_t n, std::uint64_t seed,
                     std::uint64_t* out);
};

}  // namespace adagrad
