// The vectors in which loops visit the factors of a slot.
//
// A loop over factors is written once, for a V that is a float or a vector of floats. Both give the
// same bits, because no operation crosses lanes.
#pragma once

#include <cstddef>

#include "../adagrad/vectors.hpp"

namespace adagrad {
namespace {

// `known` is the number of factors if it is a compile-time constant, else 0.
template <class V, std::size_t known>
struct FactorLanes {
  using type = V;
  static constexpr std::size_t width = sizeof(V) / sizeof(float);
  static constexpr std::size_t factors(std::size_t given) { return known != 0 ? known : given; }
  // How many times all factors of a slot fit the widest vector; 1 if they are not one V.
  static constexpr std::size_t times = known == width && known != 0 ? widest_bytes / sizeof(V) : 1;
};

#if defined(__GNUC__)
template <std::size_t known>
constexpr std::size_t bytes_of_lanes =
    vector_bytes == 0 || known * sizeof(float) < vector_bytes ? known * sizeof(float)
                                                              : vector_bytes;
template <std::size_t known>
using KnownLanes = FactorLanes<typename Lanes<float, bytes_of_lanes<known>>::type, known>;
#endif

// Calls f with the FactorLanes for this number of factors. `vectors` says whether the formulas in f
// accept vectors. Other numbers than these three are rare enough for a loop over floats.
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

// sum + v[0] + v[1] + ..., added in that order.
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
