// Which vectors the factors of a slot are visited in.
//
// Loops over factors are written once, for a V that is a float or a vector of floats: the bits are
// the same, as no operation reaches across lanes.
#pragma once

#include <cstddef>

#include "../adagrad/vectors.hpp"

namespace adagrad {
namespace {

// `known` is the number of factors where the compiler is told it, or 0.
template <class V, std::size_t known>
struct FactorLanes {
  using type = V;
  static constexpr std::size_t width = sizeof(V) / sizeof(float);
  static constexpr std::size_t factors(std::size_t given) { return known != 0 ? known : given; }
};

#if defined(__GNUC__)
template <std::size_t known>
constexpr std::size_t bytes_of_lanes =
    known * sizeof(float) < vector_bytes ? known * sizeof(float) : vector_bytes;
template <std::size_t known>
using KnownLanes = FactorLanes<typename Lanes<float, bytes_of_lanes<known>>::type, known>;
#endif

// Calls f with the FactorLanes for so many factors; `vectors` where its formulas take them.
template <bool vectors, class F>
void with_lanes([[maybe_unused]] std::size_t factors, F f) {
#if defined(__GNUC__)
  if constexpr (vectors && vector_bytes != 0) {
    switch (factors) {
      case 4: return f(KnownLanes<4>{});
      case 8: return f(KnownLanes<8>{});
      case 16: return f(KnownLanes<16>{});
      default: break;
    }
  }
#endif
  f(FactorLanes<float, 0>{});
}

// Adds the lanes of v to `sum`, from the first to the last.
template <class V>
inline float add_lanes(float sum, V v) {
  constexpr std::size_t width = sizeof(V) / sizeof(float);
  float lane[width];
  store(lane, v);
  for (std::size_t f = 0; f < width; ++f) sum += lane[f];
  return sum;
}

}  // namespace
}  // namespace adagrad
