// The margin of an example, with the bits of the learners: the order of all operations is that of
// ctr/logistic.hpp, ctr/fm.hpp and ctr/ffm.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../ctr/examples.hpp"
#include "../ctr/lanes.hpp"
#include "weights.hpp"

namespace adagrad::score {

// Memory for the rows of an example, which a thread reuses.
struct Found {
  std::vector<std::size_t> rows;  // of each entry
  std::vector<float> drawn;       // vectors that are not in memory as floats
  std::vector<const float*> vectors;
};

namespace detail {

// Finds the rows of slots. Memory is asked for in steps, so that the entries wait together.
inline void find_rows(const Weights& weights, const std::uint32_t* slots, std::size_t n,
                      Found& found) {
  found.rows.resize(n);
  if (weights.is_listed()) {
    for (std::size_t k = 0; k < n; ++k) weights.ask_for_start(slots[k]);
    for (std::size_t k = 0; k < n; ++k) weights.ask_for_list(slots[k]);
  }
  for (std::size_t k = 0; k < n; ++k) {
    found.rows[k] = weights.find(slots[k]);
    weights.ask_for_row(found.rows[k]);
  }
}

inline void find_vectors(const Weights& weights, const std::uint32_t* slots, std::size_t n,
                         Found& found) {
  const std::size_t length = weights.width() - 1;
  found.vectors.resize(n);
  if (found.drawn.size() < n * length) found.drawn.resize(n * length);
  for (std::size_t k = 0; k < n; ++k) {
    found.vectors[k] = weights.vectors(found.rows[k], slots[k], found.drawn.data() + k * length);
  }
}

// Adds up the pairs of a factorization machine, with the vectors L of lanes.hpp.
template <class L>
float factor_pairs(const Pairs& pairs, const Examples& x, const Found& found) {
  using V = typename L::type;
  const std::size_t k = L::factors(pairs.factors);
  float total = 0.0f;
  for (std::size_t f = 0; f < k; f += L::width) {
    V q{}, s{};
    for (std::size_t region = 0; region < regions; ++region) {
      V sum{}, squares{};
      for (std::size_t e = x.bounds[region]; e < x.bounds[region + 1]; ++e) {
        const V term = load<V>(found.vectors[e] + f) * value_of(x, e);
        sum += term;
        squares += term * term;
      }
      q += sum;
      s += squares;
    }
    total = add_lanes(total, q * q - s);
  }
  return 0.5f * total;
}

struct EntriesOfParts {
  std::size_t begin_a, end_a, begin_b, end_b;
};

// The pairs of the entries [begin_a, end_a) with those of [begin_b, end_b), or with each other.
template <class L>
float block_of_pairs(const Pairs& pairs, const Examples& x, const EntriesOfParts& e,
                     const Found& found) {
  using V = typename L::type;
  const std::size_t k = L::factors(pairs.factors);
  const bool within = e.begin_a == e.begin_b && e.end_a == e.end_b;
  float total = 0.0f;
  for (std::size_t f = 0; f < k; f += L::width) {
    V lanes{};
    for (std::size_t m = e.begin_a; m < e.end_a; ++m) {
      const float* const of_m = found.vectors[m] + f;
      const std::size_t by = x.fields[m] * k + f;
      V sum{};
      for (std::size_t n = within ? m + 1 : e.begin_b; n < e.end_b; ++n) {
        const V a = load<V>(of_m + x.fields[n] * k), b = load<V>(found.vectors[n] + by);
        sum += a * b * value_of(x, n);
      }
      lanes += sum * value_of(x, m);
    }
    total = add_lanes(total, lanes);
  }
  return total;
}

template <class L>
float field_pairs(const Pairs& pairs, const Examples& x, const Found& found) {
  const std::size_t each = regions / pairs.parts;
  float total = 0.0f;
  for (std::size_t a = 0; a < pairs.parts; ++a) {
    for (std::size_t b = a; b < pairs.parts; ++b) {
      const EntriesOfParts e{x.bounds[a * each], x.bounds[(a + 1) * each], x.bounds[b * each],
                             x.bounds[(b + 1) * each]};
      total += block_of_pairs<L>(pairs, x, e, found);
    }
  }
  return total;
}

inline float pairs_of(const Weights& weights, const Examples& x, Found& found) {
  const Pairs& pairs = weights.pairs();
  find_vectors(weights, x.slots, x.bounds[regions], found);
  float sum = 0.0f;
  with_lanes<true>(pairs.factors, [&](auto lanes) {
    using L = decltype(lanes);
    sum = pairs.n_fields == 0 ? factor_pairs<L>(pairs, x, found) : field_pairs<L>(pairs, x, found);
  });
  const float r = pairs.normalize ? reciprocal_of_squares(x, 0) : 1.0f;
  return r * sum;
}

}  // namespace detail

// The margin of one example, whose entries are sorted by region.
inline float margin_of(const Weights& weights, float bias, float offset, const Examples& x,
                       Found& found) {
  detail::find_rows(weights, x.slots, x.bounds[regions], found);
  float margin = 0.0f;
  for (std::size_t region = 0; region < regions; ++region) {
    float sum = 0.0f;
    for (std::size_t e = x.bounds[region]; e < x.bounds[region + 1]; ++e) {
      sum += weights.weight(found.rows[e]) * value_of(x, e);
    }
    margin += region + 1 == regions ? sum + bias : sum;
  }
  if (weights.pairs().factors != 0) {
    margin += weights.pairs().scale * detail::pairs_of(weights, x, found);
  }
  return margin + offset;
}

}  // namespace adagrad::score
