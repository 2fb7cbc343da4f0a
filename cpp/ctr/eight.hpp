// Eight numbers, one for each expert of a mixture and three to spare, as whole vectors where the
// compiler has them. No operation crosses lanes, so the bits are those of eight scalars.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../adagrad/vectors.hpp"

namespace adagrad {
namespace {

template <class T>
struct Lanes8 {
#if defined(__GNUC__)
  using V = typename Lanes<T, vector_bytes == 0 ? 16 : vector_bytes>::type;
#else
  using V = T;
#endif
  static constexpr std::size_t width = sizeof(V) / sizeof(T), parts = 8 / width;
  V part[parts];
};

using Eight = Lanes8<float>;

template <class T, class F>
inline Lanes8<T> each_part(F f) {
  Lanes8<T> out;
  for (std::size_t p = 0; p < Lanes8<T>::parts; ++p) out.part[p] = f(p);
  return out;
}

template <class T>
inline Lanes8<T> load_eight(const T* from) {
  using L = Lanes8<T>;
  return each_part<T>([=](std::size_t p) { return load<typename L::V>(from + p * L::width); });
}

template <class T>
inline void store_eight(T* to, const Lanes8<T>& x) {
  for (std::size_t p = 0; p < x.parts; ++p) store(to + p * x.width, x.part[p]);
}

template <class T>
inline Lanes8<T> operator+(const Lanes8<T>& a, const Lanes8<T>& b) {
  return each_part<T>([&](std::size_t p) { return a.part[p] + b.part[p]; });
}
template <class T>
inline Lanes8<T> operator-(const Lanes8<T>& a, const Lanes8<T>& b) {
  return each_part<T>([&](std::size_t p) { return a.part[p] - b.part[p]; });
}
template <class T>
inline Lanes8<T> operator*(const Lanes8<T>& a, const Lanes8<T>& b) {
  return each_part<T>([&](std::size_t p) { return a.part[p] * b.part[p]; });
}
template <class T>
inline Lanes8<T> operator*(const Lanes8<T>& a, T b) {
  return each_part<T>([&](std::size_t p) { return a.part[p] * b; });
}
inline Eight operator/(const Eight& a, const Eight& b) {
  return each_part<float>([&](std::size_t p) { return a.part[p] / b.part[p]; });
}

// The roots of the first three lanes, and the other lanes as they are. A root of eight lanes takes
// twice as long as one of four.
inline Eight first_roots(Eight a) {
#if defined(__AVX2__) && defined(__GNUC__)
  const __m256 x = reinterpret_cast<__m256>(a.part[0]);
  const __m128 low = _mm256_castps256_ps128(x);
  a.part[0] = reinterpret_cast<Eight::V>(
      _mm256_insertf128_ps(x, _mm_blend_ps(_mm_sqrt_ps(low), low, 8), 0));
#elif defined(__GNUC__)
  const Eight::V root = square_root(a.part[0]);
  a.part[0] = Eight::V{root[0], root[1], root[2], a.part[0][3]};
#else
  for (std::size_t lane = 0; lane < 3; ++lane) a.part[lane] = square_root(a.part[lane]);
#endif
  return a;
}

inline Eight all(float x) {
  float lane[8];
  for (float& one : lane) one = x;
  return load_eight(lane);
}

#if defined(__GNUC__)
typedef std::int32_t MaskOfFloats __attribute__((vector_size(sizeof(Eight::V))));
#else
using MaskOfFloats = std::int32_t;
#endif

struct Mask8 {
  MaskOfFloats part[Eight::parts];
};

inline Mask8 load_mask(const std::int32_t* from) {
  Mask8 mask;
  for (std::size_t p = 0; p < Eight::parts; ++p) {
    mask.part[p] = load<MaskOfFloats>(from + p * Eight::width);
  }
  return mask;
}

// Lanes of a where the mask is -1, of b where it is 0.
inline Eight joined(const Eight& a, const Eight& b, const Mask8& mask) {
  return each_part<float>([&](std::size_t p) { return mask.part[p] ? a.part[p] : b.part[p]; });
}

}  // namespace
}  // namespace adagrad
