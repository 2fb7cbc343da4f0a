// Storage in 16 bits: bfloat16 (the upper half of a float) and float16 (IEEE 754 binary16), each as
// a std::uint16_t. Arithmetic is done in float; this header only converts, a value or a block.
//
// Loading is exact. Storing rounds to nearest even, as NumPy and ml_dtypes cast, or stochastically:
// up with the probability of the part that is cut off, so that the mean of many roundings is the
// value. An infinity stays an infinity, a NaN stays a quiet NaN of its sign, and a value that is
// too large becomes an infinity.
//
// The conversions are selects on integers and floats without branches, so the loops vectorize.
// Memory is accessed by memcpy, because rows of a table may begin at any byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "portability.hpp"

namespace adagrad {

enum class Half : std::uint8_t { bfloat16, float16 };

// Which 16 bits of a 32-bit random word a rounding uses: one word serves a param and its state.
enum class RandomBits : std::uint8_t { low = 0, high = 16 };

namespace {

inline std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline float float_of(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// A magnitude is the bits without the sign: as an integer it orders floats as their values do.
constexpr std::int32_t infinity_bits = 0x7f800000;
// float16 has 5 bits of exponent, biased by 15, where float has 8, biased by 127; 13 bits less of
// fraction; and its smallest normal number is 2^-14.
constexpr std::int32_t bias_apart = (127 - 15) << 23, smallest_normal = (127 - 14) << 23;
constexpr std::int32_t infinity_f16 = 0x7c00, nan_f16 = 0x7e00;

inline std::int32_t magnitude(float x) {
  return static_cast<std::int32_t>(bits_of(x) & 0x7fffffffu);
}

template <Half type>
inline float to_float(std::uint16_t stored) {
  const std::uint32_t bits = stored;
  if constexpr (type == Half::bfloat16) return float_of(bits << 16);
  const std::int32_t m = stored & 0x7fff;
  const std::int32_t normal = (m << 13) + bias_apart;
  const std::int32_t special = normal + bias_apart;  // infinities and NaN
  const float subnormal = static_cast<float>(m) * 0x1p-24f;
  const float x = m < 0x0400
                      ? subnormal
                      : float_of(static_cast<std::uint32_t>(m < infinity_f16 ? normal : special));
  return float_of(bits_of(x) | (bits & 0x8000u) << 16);
}

// The float16 of magnitude m with the sign of x. `finite` is the result unless it is too large.
inline std::uint16_t finish_float16(float x, std::int32_t m, std::int32_t finite) {
  const std::int32_t limited = finite < infinity_f16 ? finite : infinity_f16;
  const std::int32_t stored = m < infinity_bits    ? limited
                              : m == infinity_bits ? infinity_f16
                                                   : nan_f16;
  return static_cast<std::uint16_t>(static_cast<std::uint32_t>(stored) | (bits_of(x) >> 31) << 15);
}

// A magnitude below 2^-14 in units of 2^-24, to nearest even. Floats between 0.5 and 1 are 2^-24
// apart, so the addition rounds. (A conversion to an integer would need branches against overflow.)
inline std::int32_t nearest_subnormal(std::int32_t m) {
  const float aligned = float_of(static_cast<std::uint32_t>(m)) + 0.5f;
  return static_cast<std::int32_t>(bits_of(aligned) - bits_of(0.5f));
}

// To nearest, halfway cases to even.
template <Half type>
inline std::uint16_t nearest(float x) {
  const std::uint32_t bits = bits_of(x);
  const std::int32_t m = magnitude(x);
  if constexpr (type == Half::bfloat16) {
    const std::uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return static_cast<std::uint16_t>(m > infinity_bits ? (bits >> 16 & 0x8000u) | 0x7fc0u
                                                        : rounded);
  }
  const std::int32_t finite = m < infinity_bits ? m : infinity_bits;  // so that no sum overflows
  const std::int32_t normal = ((finite + 0xfff + (finite >> 13 & 1)) >> 13) - (bias_apart >> 13);
  const std::int32_t subnormal = nearest_subnormal(m);
  return finish_float16(x, m, m < smallest_normal ? subnormal : normal);
}

// Up or down in magnitude, by a random number in [0, 65536).
template <Half type>
inline std::uint16_t stochastic(float x, std::uint32_t random) {
  const std::uint32_t bits = bits_of(x);
  const std::int32_t m = magnitude(x), r = static_cast<std::int32_t>(random);
  if constexpr (type == Half::bfloat16) {
    const std::uint32_t sign = bits >> 16 & 0x8000u;
    const std::uint32_t special = m == infinity_bits ? 0x7f80u : 0x7fc0u;
    return static_cast<std::uint16_t>(m < infinity_bits ? (bits + random) >> 16 : sign | special);
  }
  const std::int32_t finite = m < infinity_bits ? m : infinity_bits;
  const std::int32_t normal = ((finite + (r >> 3)) >> 13) - (bias_apart >> 13);
  const std::int32_t near = nearest_subnormal(m);
  const float units = float_of(static_cast<std::uint32_t>(m)) * 0x1p24f;  // exact
  const std::int32_t whole = near - static_cast<std::int32_t>(static_cast<float>(near) > units);
  const float rest = (units - static_cast<float>(whole)) * 0x1p16f;
  const std::int32_t subnormal = whole + static_cast<std::int32_t>(rest > static_cast<float>(r));
  return finish_float16(x, m, m < smallest_normal ? subnormal : normal);
}

template <Half type>
ADAGRAD_NOINLINE void load_half(const void* from, float* ADAGRAD_RESTRICT to, std::size_t n) {
  const char* const ADAGRAD_RESTRICT bytes = static_cast<const char*>(from);
  for (std::size_t i = 0; i < n; ++i) {
    std::uint16_t stored;
    std::memcpy(&stored, bytes + 2 * i, sizeof stored);
    to[i] = to_float<type>(stored);
  }
}

template <Half type>
ADAGRAD_NOINLINE void store_nearest(const float* ADAGRAD_RESTRICT from, void* to, std::size_t n) {
  char* const ADAGRAD_RESTRICT bytes = static_cast<char*>(to);
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint16_t stored = nearest<type>(from[i]);
    std::memcpy(bytes + 2 * i, &stored, sizeof stored);
  }
}

template <Half type>
ADAGRAD_NOINLINE void store_stochastic(const float* ADAGRAD_RESTRICT from, void* to, std::size_t n,
                                       const std::uint32_t* ADAGRAD_RESTRICT words,
                                       RandomBits which) {
  char* const ADAGRAD_RESTRICT bytes = static_cast<char*>(to);
  const unsigned shift = static_cast<unsigned>(which);
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint16_t stored = stochastic<type>(from[i], words[i] >> shift & 0xffffu);
    std::memcpy(bytes + 2 * i, &stored, sizeof stored);
  }
}

// n values of 2 bytes each, at any alignment.
inline void load_half(Half type, const void* from, float* to, std::size_t n) {
  type == Half::bfloat16 ? load_half<Half::bfloat16>(from, to, n)
                         : load_half<Half::float16>(from, to, n);
}

inline void store_nearest(Half type, const float* from, void* to, std::size_t n) {
  type == Half::bfloat16 ? store_nearest<Half::bfloat16>(from, to, n)
                         : store_nearest<Half::float16>(from, to, n);
}

// from[i] is rounded by 16 bits of words[i].
inline void store_stochastic(Half type, const float* from, void* to, std::size_t n,
                             const std::uint32_t* words, RandomBits which) {
  type == Half::bfloat16 ? store_stochastic<Half::bfloat16>(from, to, n, words, which)
                         : store_stochastic<Half::float16>(from, to, n, words, which);
}

}  // namespace
}  // namespace adagrad
