// The kernels of the click models, compiled once per instruction set. The rules of kernels.cpp hold
// here too. Each entry turns arguments that are known only at run time (the rule, the number of
// factors, whether all examples have the same shape) into template arguments of a loop.
#include "../ctr/kernels.hpp"

#include <type_traits>

#include "../ctr/ffm.hpp"
#include "../ctr/fm.hpp"
#include "../ctr/hashing.hpp"
#include "../ctr/logistic.hpp"
#include "../ctr/margins.hpp"
#include "../ctr/mixture.hpp"
#include "../ctr/progressive.hpp"

namespace adagrad {
namespace {

// with_form(), or Sum if the learner is to add gradients up instead of stepping.
template <class F>
auto with_learning(const Params<float>& p, F f) {
  return p.sum ? f(Sum{}) : with_form(p, f);
}

// The same, or Proximal if the linear model has penalties.
template <class F>
auto with_learning(const LinearModel& model, const Params<float>& p, F f) {
  return model.penalties.on ? f(Proximal{}) : with_learning(p, f);
}

template <class F>
void with_penalties(const LinearModel& model, F f) {
  model.penalties.on ? f(std::true_type{}) : f(std::false_type{});
}

void linear_weights_entry(const LinearModel& model, const std::uint32_t* slots, std::size_t n,
                          float* weights) {
  const auto slot = [&](std::size_t i) { return slots == nullptr ? i : std::size_t{slots[i]}; };
  if (model.penalties.on) return proximal_weights(model, slot, n, weights);
  for (std::size_t i = 0; i < n; ++i) weights[i] = model.table[2 * slot(i)];
}

void linear_sums_entry(const LinearModel& model, const Round& round, const Units& of,
                       float* partial, std::size_t stride) {
  with_penalties(model, [&](auto on) {
    round.x->fixed ? linear_sums<on(), true>(model, round, of, partial, stride)
                   : linear_sums<on(), false>(model, round, of, partial, stride);
  });
}

void linear_steps_entry(const LinearModel& model, const Round& round, const Units& of,
                        const float* g, const Params<float>& p) {
  with_learning(model, p, [&](auto form) {
    using Form = decltype(form);
    round.x->fixed ? linear_steps<Form, true>(model, round, of, g, p)
                   : linear_steps<Form, false>(model, round, of, g, p);
  });
}

void linear_apply_entry(const LinearModel& model, const std::uint32_t* slots, const float* g,
                        std::size_t n, const Params<float>& p) {
  with_learning(model, p, [&](auto form) { step_slots<decltype(form)>(model, slots, g, n, p); });
}

void stored_margins_entry(const StoredModel& model, const MatrixRows& rows, std::size_t begin,
                          std::size_t end, float* margins) {
  model.step == 1 ? stored_margins<1>(model, rows, begin, end, margins)
                  : stored_margins<2>(model, rows, begin, end, margins);
}

void linear_rates_entry(const LinearModel& model, const Round& round, const Params<float>& p,
                        float* out) {
  const auto rates_by = [&](auto form) {
    using Form = decltype(form);
    round.x->fixed ? linear_rates<Form, true>(model, round, p, out)
                   : linear_rates<Form, false>(model, round, p, out);
  };
  model.penalties.on ? rates_by(Proximal{}) : with_form(p, rates_by);
}

void linear_each_entry(const LinearModel& model, const Round& round, const Targets& targets,
                       const Params<float>& p, float* margins) {
  with_learning(model, p, [&](auto form) {
    using Form = decltype(form);
    round.x->fixed ? linear_each<Form, true>(model, round, targets, p, margins)
                   : linear_each<Form, false>(model, round, targets, p, margins);
  });
}

// Calls f(fixed, scaled), two std::bool_constant.
template <class F>
void with_shape(const MixtureEntries& entries, F f) {
  const auto then = [&](auto fixed) {
    entries.values == nullptr ? f(fixed, std::false_type{}) : f(fixed, std::true_type{});
  };
  entries.round->x->fixed ? then(std::true_type{}) : then(std::false_type{});
}

void mixture_sums_entry(const MixtureModel& model, const MixtureEntries& entries, const Units& of,
                        float* partial, std::size_t stride) {
  with_shape(entries, [&](auto fixed, auto scaled) {
    mixture_sums<decltype(fixed)::value, decltype(scaled)::value>(model, entries, of, partial,
                                                                  stride);
  });
}

void mixture_rates_entry(const MixtureModel& model, const MixtureEntries& entries, const Units& of,
                         const MixtureRound& has, float* partial, std::size_t stride) {
  with_shape(entries, [&](auto fixed, auto scaled) {
    mixture_rates<decltype(fixed)::value, decltype(scaled)::value>(model, entries, of, has, partial,
                                                                   stride);
  });
}

void mixture_steps_entry(const MixtureModel& model, const MixtureEntries& entries, const Units& of,
                         const MixtureRound& has) {
  with_shape(entries, [&](auto fixed, auto scaled) {
    mixture_steps<decltype(fixed)::value, decltype(scaled)::value>(model, entries, of, has);
  });
}

void mixture_variances_entry(const MixtureModel& model, float inverse, const Round& round,
                             float* out) {
  round.x->fixed ? mixture_variances<true>(model, inverse, round, out)
                 : mixture_variances<false>(model, inverse, round, out);
}

void factor_sums_entry(const FactorModel& model, const Round& round, const Units& of,
                       float* partial, std::size_t stride) {
  with_lanes<true>(model.factors, [&](auto lanes) {
    using L = decltype(lanes);
    round.x->fixed ? factor_sums<L, true>(model, round, of, partial, stride)
                   : factor_sums<L, false>(model, round, of, partial, stride);
  });
}

void factor_steps_entry(const FactorModel& model, const Round& round, const Units& of,
                        const float* totals, const float* g, const Params<float>& p) {
  with_learning(p, [&](auto form) {
    using Form = decltype(form);
    with_lanes<Form::plain>(model.factors, [&](auto lanes) {
      using L = decltype(lanes);
      round.x->fixed ? factor_steps<Form, L, true>(model, round, of, totals, g, p)
                     : factor_steps<Form, L, false>(model, round, of, totals, g, p);
    });
  });
}

void pair_sums_entry(const FieldModel& model, const Round& round, PairBlock pairs, float* partial) {
  with_lanes<true>(model.factors,
                   [&](auto lanes) { pair_sums<decltype(lanes)>(model, round, pairs, partial); });
}

void pair_steps_entry(const FieldModel& model, const Round& round, PairBlock pairs,
                      const float* scales, const float* g, const Params<float>& p) {
  with_learning(p, [&](auto form) {
    using Form = decltype(form);
    with_lanes<Form::plain>(model.factors, [&](auto lanes) {
      pair_steps<Form, decltype(lanes)>(model, round, pairs, scales, g, p);
    });
  });
}

void hash_words_entry(const std::uint64_t* words, std::size_t n, std::uint64_t seed,
                      std::uint64_t* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = hash_words(seed, words[i]);
}

}  // namespace

extern const CtrKernels ADAGRAD_CTR_KERNELS;
const CtrKernels ADAGRAD_CTR_KERNELS = {linear_weights_entry,
                                        linear_sums_entry,
                                        linear_steps_entry,
                                        linear_apply_entry,
                                        add_units,
                                        linear_each_entry,
                                        stored_margins_entry,
                                        linear_rates_entry,
                                        gradients,
                                        tally,
                                        mixture_sums_entry,
                                        mixture_margins,
                                        mixture_rates_entry,
                                        mixture_residuals,
                                        mixture_steps_entry,
                                        mix,
                                        mixture_weights,
                                        mixed_margins,
                                        mixture_variances_entry,
                                        factor_sums_entry,
                                        factor_margins,
                                        factor_steps_entry,
                                        pair_sums_entry,
                                        pair_margins,
                                        pair_steps_entry,
                                        hash_words_entry};

}  // namespace adagrad
