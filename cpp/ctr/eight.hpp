// Eight floats, one for each expert of a mixture and three to spare, as whole vectors where the
// compiler has them. No operation crosses lanes, so the bits are those of eight scalars.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../adagrad/vectors.hpp"

namespace adagrad {
namespace {

struct Eight {
#if defined(__GNUC__)
  static constexpr std::size_t bytes = vector_bytes == 0 ? 16 : vector_bytes;
  using V = typename Lanes<float, bytes>::type;
  typedef std::int32_t Mask __attribute__((vector_size(bytes)));
#else
  using V = float;
  using Mask = std::int32_t;
#endif
  static constexpr std::size_t width = sizeof(V) / sizeof(float), parts = 8 / width;
  V part[parts];
};

template <class F>
inline Eight each_part(F f) {
  Eight out;
  for (std::size_t p = 0; p < Eight::parts; ++p) out.part[p] = f(p);
  return out;
}

inline Eight load_eight(const float* from) {
  return each_part([=](std::size_t p) { return load<Eight::V>(from + p * Eight::width); });
}

inline void store_eight(float* to, const Eight& x) {
  for (std::size_t p = 0; p < Eight::parts; ++p) store(to + p * Eight::width, x.part[p]);
}

inline Eight operator+(const Eight& a, const Eight& b) {
  return each_part([&](std::size_t p) { return a.part[p] + b.part[p]; });
}
inline Eight operator*(const Eight& a, const Eight& b) {
  return each_part([&](std::size_t p) { return a.part[p] * b.part[p]; });
}
inline Eight operator*(const Eight& a, float b) {
  return each_part([&](std::size_t p) { return a.part[p] * b; });
}
inline Eight operator/(const Eight& a, const Eight& b) {
  return each_part([&](std::size_t p) { return a.part[p] / b.part[p]; });
}

inline Eight root_of(const Eight& a) {
  return each_part([&](std::size_t p) { return square_root(a.part[p]); });
}

inline Eight all(float x) {
  float lane[8];
  for (float& one : lane) one = x;
  return load_eight(lane);
}

struct Mask8 {
  Eight::Mask part[Eight::parts];
};

inline Mask8 load_mask(const std::int32_t* from) {
  Mask8 mask;
  for (std::size_t p = 0; p < Eight::parts; ++p) {
    mask.part[p] = load<Eight::Mask>(from + p * Eight::width);
  }
  return mask;
}

// Lanes of a where the mask is -1, of b where it is 0.
inline Eight joined(const Eight& a, const Eight& b, const Mask8& mask) {
  return each_part([&](std::size_t p) { return mask.part[p] ? a.part[p] : b.part[p]; });
}

}  // namespace
}  // namespace adagrad
