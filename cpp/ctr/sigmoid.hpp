// The logistic function by IEEE + - * / alone, so that it has the same bits on every machine, which
// the exp() of a libm does not promise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace adagrad {
namespace {

// e^-x for x >= 0, within 2 units in the last place; 0 where it is below the normal numbers.
// x = n log(2) + r with |r| <= log(2) / 2, and e^-r by the Taylor polynomial of degree 7.
inline float exp_of_minus(float x) {
  constexpr float most = 87.0f;
  const float bounded = x < most ? x : most;
  constexpr float to_integer = 12582912.0f;  // 1.5 * 2^23: the sum's last bits are the integer
  const float shifted = bounded * 1.44269504f + to_integer;
  const float n = shifted - to_integer;
  // log(2) in two parts, the first short enough that n times it is exact.
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

// 1 / (1 + e^-z), accurate at both ends; a NaN stays.
inline float sigmoid(float z) {
  const float e = exp_of_minus(z < 0.0f ? -z : z);
  const float p = (z < 0.0f ? e : 1.0f) / (1.0f + e);
  return z == z ? p : z;
}

}  // namespace
}  // namespace adagrad
