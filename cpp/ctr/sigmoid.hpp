// The logistic function, computed with IEEE + - * / only. Its bits are therefore the same on every
// machine, which the exp() of a C library does not guarantee.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace adagrad {
namespace {

// e^-x for x >= 0, within 2 units in the last place; 0 if the result would be subnormal.
// x = n log(2) + r with |r| <= log(2) / 2, and e^-r is its Taylor polynomial of degree 7.
inline float exp_of_minus(float x) {
  constexpr float most = 87.0f;
  const float bounded = x < most ? x : most;
  constexpr float to_integer = 12582912.0f;  // 1.5 * 2^23: the last bits of the sum are the integer
  const float shifted = bounded * 1.44269504f + to_integer;
  const float n = shifted - to_integer;
  // log(2) is split in two; the first part is short enough that n times it is exact.
  const float r = (n * 0.693359375f - bounded) - n * 2.12194440e-4f;
  float y = 1.0f / 5040.0f;
  y = y * r + 1.0f / 720.0f;
  y = y * r + 1.0f / 120.0f;
  y = y * r + 1.0f / 24.0f;
  y = y * r + 1.0f / 6.0f;
  y = y * r + 0.5f;
  y = y * r + 1.0f;
  y = y * r + 1.0f;
  std::uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  const std::uint32_t exponent = (127u - (bits - 0x4b400000u)) << 23;  // of 2^-n
  float power;
  std::memcpy(&power, &exponent, sizeof power);
  return x < most ? y * power : 0.0f;
}

inline float magnitude_of(float z) { return z < 0.0f ? -z : z; }

// 1 / (1 + e^-z) in T, given e = e^-|z|; accurate for z of either sign. A NaN is not handled here.
template <class T>
inline T sigmoid_from(float z, T e) {
  return (z < 0.0f ? e : T(1)) / (T(1) + e);
}

// 1 / (1 + e^-z); NaN if z is NaN.
inline float sigmoid(float z) {
  const float p = sigmoid_from(z, exp_of_minus(magnitude_of(z)));
  return z == z ? p : z;
}

}  // namespace
}  // namespace adagrad
