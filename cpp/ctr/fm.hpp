// Factorization machines (Rendle, "Factorization Machines", ICDM 2010, equations 1 and 5). Each
// slot has k factors v, and the margin of an example is
//
//     bias + sum w x + r/2 sum_f (Q_f^2 - S_f),    Q_f = sum v_f x,    S_f = sum (v_f x)^2
//
// whose last term is r times the sum of <v_i, v_j> x_i x_j over all pairs of its entries. r is 1
// or, with instance normalization, 1 / sum x^2, so that the pairs are those of x / |x|. Without it
// the term grows with the square of the number of entries, and so do the steps: real logs diverge.
// The gradient in v_f of an entry is (p - y) * r * x * (Q_f - v_f x).
//
// bias and w are those of logistic.hpp. The factors have a table of their own.
//
// Order of operations: a term is t = v_f * x. Within a region t is added to 0 entry by entry, and
// t * t likewise. Q_f and S_f are the sums of the regions, added to 0 from the first to the last.
// The differences Q_f * Q_f - S_f are added to 0 from the first factor to the last, and r times
// half of that is added to the linear margin. A gradient is ((g * r) * x) * (Q_f - v_f * x), with v
// as it is when the step is taken.
//
// All loops rely on slots below the length of the table. Rows need no alignment; slots may repeat.
#pragma once

#include <cstddef>

#include "lanes.hpp"
#include "logistic.hpp"

namespace adagrad {
namespace {

// Writes Q (k floats) and S (k floats) of example i in each region of `of` to
// partial[region * stride + 2 k (i - begin)].
template <class L, bool fixed>
void factor_sums(const FactorModel& model, const Round& round, const Units& of, float* partial,
                 std::size_t stride) {
  using V = typename L::type;
  const Examples x = *round.x;
  const float* const table = model.table;
  const std::size_t k = L::factors(model.factors), ahead = examples_ahead(of);
  // The example that is summed follows the one that is prefetched at a distance of `ahead`.
  for (std::size_t next = round.begin; next < round.end + ahead; ++next) {
    if (next < round.end) {
      const std::size_t stop = first<fixed>(x, next, of.last);
      for (std::size_t e = first<fixed>(x, next, of.first); e < stop; ++e) {
        const float* const row = table + 2 * k * x.slots[e];
        for (std::size_t j = 0; j < 2 * k; j += 16) ADAGRAD_PREFETCH(row + j);
        if (2 * k % 16 != 0) ADAGRAD_PREFETCH(row + 2 * k - 1);
      }
    }
    if (next < round.begin + ahead) continue;
    const std::size_t i = next - ahead;
    for (std::size_t region = of.first; region < of.last; ++region) {
      const std::size_t begin = first<fixed>(x, i, region), end = first<fixed>(x, i, region + 1);
      float* const to = partial + region * stride + (i - round.begin) * 2 * k;
      // Factors are the outer loop, so that both sums stay in registers. k is a multiple of
      // L::width.
      for (std::size_t f = 0; f < k; f += L::width) {
        V sum{}, squares{};
        for (std::size_t e = begin; e < end; ++e) {
          const V term = load<V>(table + 2 * k * x.slots[e] + f) * value_of(x, e);
          sum += term;
          squares += term * term;
        }
        store(to + f, sum);
        store(to + k + f, squares);
      }
    }
  }
}

// Adds the pairs' term to the linear margins. `totals` receives Q of each example, in the layout of
// the partial sums, and r in place of the first S.
inline void factor_margins(const FactorModel& model, const Round& round, const float* partial,
                           std::size_t stride, float* totals, float* margins) {
  const std::size_t k = model.factors, n = round.end - round.begin;
  add_units(partial, stride, regions, 2 * k * n, totals);
  for (std::size_t i = 0; i < n; ++i) {
    float* const q = totals + 2 * k * i;
    float sum = 0.0f;
    // One accumulator, since the order of the additions is part of the contract.
    for (std::size_t f = 0; f < k; ++f) sum += q[f] * q[f] - q[k + f];
    const float r = model.normalized ? reciprocal_of_squares(*round.x, round.begin + i) : 1.0f;
    margins[i] += r * (0.5f * sum);
    q[k] = r;
  }
}

// Steps the factors of the regions `of`; g[i - begin] is the gradient in the margin of example i.
template <class Form, class L, bool fixed>
void factor_steps(const FactorModel& model, const Round& round, const Units& of,
                  const float* totals, const float* g, const Params<float>& params) {
  using V = typename L::type;
  const Examples x = *round.x;
  const Params<float> p = params;
  float* const table = model.table;
  const std::size_t k = L::factors(model.factors);
  // Entries are stepped one after the other, since slots may repeat; the factors of one entry are
  // distinct and are stepped as vectors.
  for (std::size_t i = round.begin; i < round.end; ++i) {
    const float* const q = totals + (i - round.begin) * 2 * k;
    const float of_example = g[i - round.begin] * q[k];
    const std::size_t end = first<fixed>(x, i, of.last);
    for (std::size_t e = first<fixed>(x, i, of.first); e < end; ++e) {
      float* const v = table + 2 * k * x.slots[e];
      const float value = value_of(x, e), of_entry = of_example * value;
      for (std::size_t f = 0; f < k; f += L::width) {
        V w = load<V>(v + f), s = load<V>(v + k + f);
        learn<Form>(p, w, of_entry * (load<V>(q + f) - w * value), s);
        store(v + f, w);
        store(v + k + f, s);
      }
    }
  }
}

}  // namespace
}  // namespace adagrad
