// Random numbers without a state: each is a hash of its seed, purpose, step, row and coordinate. So
// it depends neither on the order of visits nor on the threads, and any part of a table can be made
// again. mix64 is the finalizer of splitmix64 (Steele, Lea and Flood, OOPSLA 2014), hash32 the
// "lowbias32" of Chris Wellons.
//
// Initial weights are made in double by IEEE + - * / and sqrt alone, so they have the same bits on
// every machine, which the log() and erf() of a C library do not promise.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "portability.hpp"

namespace adagrad {

// The purposes of random numbers. No two share a number.
enum class Stream : std::uint64_t { initial_weights, step, decay, weight_decay };

enum class Distribution : std::uint8_t { uniform, normal };

namespace {

constexpr std::uint64_t golden = 0x9e3779b97f4a7c15u;  // 2^64 over the golden ratio

inline std::uint64_t mix64(std::uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

inline std::uint32_t hash32(std::uint32_t x) {
  x = (x ^ x >> 16) * 0x7feb352du;
  x = (x ^ x >> 15) * 0x846ca68bu;
  return x ^ x >> 16;
}

// Steps count from 1; initial weights have step 0.
inline std::uint64_t key(std::uint64_t seed, Stream stream, std::uint64_t step) {
  return mix64(mix64(mix64(seed + golden) + static_cast<std::uint64_t>(stream)) + step);
}

// The key under which index i has the numbers that first + i has under this one: for a table that
// is a slice of a larger one.
inline std::uint64_t key_from(std::uint64_t key, std::uint64_t first) {
  return key + first * golden;
}

inline std::uint64_t row_key(std::uint64_t key, std::uint64_t row) {
  return mix64(key_from(key, row));
}

// The key of the occurrence at position i of a call, if the call may update a row several times.
inline std::uint64_t occurrence_key(std::uint64_t row_key, std::uint64_t i) {
  return mix64(row_key + i);
}

// 32 random bits for coordinate j of a row: 16 for the param and 16 for its accumulator.
inline std::uint32_t word(std::uint64_t row_key, std::uint32_t j) {
  return hash32(static_cast<std::uint32_t>(row_key) +
                j * static_cast<std::uint32_t>(golden >> 32)) ^
         static_cast<std::uint32_t>(row_key >> 32);
}

// The words of coordinates [first, first + n) of a row.
inline void fill_words(std::uint64_t row_key, std::size_t first, std::uint32_t* to, std::size_t n) {
  const std::uint32_t start = static_cast<std::uint32_t>(first);
  for (std::size_t i = 0; i < n; ++i) {
    to[i] = word(row_key, start + static_cast<std::uint32_t>(i));
  }
}

inline std::uint64_t bits_of(double x) {
  std::uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline double double_of(std::uint64_t bits) {
  double x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// Strictly between 0 and 1: (k + 1/2) / 2^52 for the upper 52 bits k of a hash.
inline double unit(std::uint64_t bits) {
  const double above_one = double_of(bits_of(1.0) | bits >> 12);  // 1 + k / 2^52
  return above_one - 1.0 + 0x1p-53;
}

// The natural logarithm of a normal number, within two units in the last place for x < 1/2: with
// x = m * 2^e and m around 1, e * log(2) + 2 * atanh((m - 1) / (m + 1)), and atanh as its series.
inline double logarithm(double x) {
  // An x from sqrt(1/2) up counts as 2^0 * x: 0x3fe6a09e are the upper bits of sqrt(1/2).
  constexpr std::uint64_t from = std::uint64_t{0x3fe6a09e} << 32;
  const std::uint64_t apart = bits_of(x) - from;
  // The exponent as a double, without a conversion, which not every vector unit has: biased by
  // 1024, it becomes the last bits of 2^52.
  const std::uint64_t biased = ((apart >> 52) + 1024) & 0x7ff;
  const double e = double_of(bits_of(0x1p52) | biased) - (0x1p52 + 1024.0);
  const double m = double_of((apart & 0xfffffffffffffu) + from);
  const double t = (m - 1.0) / (m + 1.0), z = t * t;
  double series = 1.0 / 23.0;
  series = series * z + 1.0 / 21.0;
  series = series * z + 1.0 / 19.0;
  series = series * z + 1.0 / 17.0;
  series = series * z + 1.0 / 15.0;
  series = series * z + 1.0 / 13.0;
  series = series * z + 1.0 / 11.0;
  series = series * z + 1.0 / 9.0;
  series = series * z + 1.0 / 7.0;
  series = series * z + 1.0 / 5.0;
  series = series * z + 1.0 / 3.0;
  // log(2) in two parts, the first short enough that e times it is exact.
  constexpr double log2_high = 0x1.62e42feep-1, log2_low = 0x1.a39ef35793c76p-33;
  return e * log2_high + ((e * log2_low + 2.0 * t * z * series) + 2.0 * t);
}

// Written out, because g++ 12 does not vectorize around an inner loop.
inline double polynomial(const double (&c)[8], double x) {
  const double upper = ((c[0] * x + c[1]) * x + c[2]) * x + c[3];
  return (((upper * x + c[4]) * x + c[5]) * x + c[6]) * x + c[7];
}

// Where the quantile of the normal distribution is `central`: |u - 1/2| up to this.
constexpr double center = 0.425;

inline double central(double q) {
  constexpr double a[8] = {2.5090809287301226727e+3, 3.3430575583588128105e+4,
                           6.7265770927008700853e+4, 4.5921953931549871457e+4,
                           1.3731693765509461125e+4, 1.9715909503065514427e+3,
                           1.3314166789178437745e+2, 3.3871328727963666080e+0};
  constexpr double b[8] = {5.2264952788528545610e+3, 2.8729085735721942674e+4,
                           3.9307895800092710610e+4, 2.1213794301586595867e+4,
                           5.3941960214247511077e+3, 6.8718700749205790830e+2,
                           4.2313330701600911252e+1, 1.0};
  const double x = 0.180625 - q * q;
  return polynomial(a, x) * q / polynomial(b, x);
}

inline double tail(double u, double q) {
  constexpr double c[8] = {7.74545014278341407640e-4, 2.27238449892691845833e-2,
                           2.41780725177450611770e-1, 1.27045825245236838258e+0,
                           3.64784832476320460504e+0, 5.76949722146069140550e+0,
                           4.63033784615654529590e+0, 1.42343711074968357734e+0};
  constexpr double d[8] = {1.05075007164441684324e-9, 5.47593808499534494600e-4,
                           1.51986665636164571966e-2, 1.48103976427480074590e-1,
                           6.89767334985100004550e-1, 1.67638483018380384940e+0,
                           2.05319162663775882187e+0, 1.0};
  constexpr double e[8] = {2.01033439929228813265e-7, 2.71155556874348757815e-5,
                           1.24266094738807843860e-3, 2.65321895265761230930e-2,
                           2.96560571828504891230e-1, 1.78482653991729133580e+0,
                           5.46378491116411436990e+0, 6.65790464350110377720e+0};
  constexpr double f[8] = {2.04426310338993978564e-15, 1.42151175831644588870e-7,
                           1.84631831751005468180e-5,  7.86869131145613259100e-4,
                           1.48753612908506148525e-2,  1.36929880922735805310e-1,
                           5.99832206555887937690e-1,  1.0};
  const double r = std::sqrt(-logarithm(q < 0.0 ? u : 1.0 - u));
  const double near = polynomial(c, r - 1.6) / polynomial(d, r - 1.6);
  const double far = polynomial(e, r - 5.0) / polynomial(f, r - 5.0);
  const double size = r <= 5.0 ? near : far;
  return q < 0.0 ? -size : size;
}

// The quantile of the standard normal distribution: algorithm AS241, PPND16 (Wichura, Applied
// Statistics 37, 1988), of relative accuracy 1e-16. One ratio of polynomials around 1/2, one for
// the tails and one for the far tails; all are computed, and one selected, so that it vectorizes.
inline double normal(double u) {
  const double q = u - 0.5, of_center = central(q), of_tail = tail(u, q);
  return std::fabs(q) <= center ? of_center : of_tail;
}

template <Distribution distribution, class T>
inline void initialise(std::uint64_t key, std::uint64_t first, double scale, T* to, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const double u = unit(row_key(key, first + i));
    const double x = distribution == Distribution::normal ? normal(u) : 2.0 * u - 1.0;
    to[i] = static_cast<T>(scale * x);
  }
}

// Initial weights of coordinates [first, first + n) of a table, float or double; coordinate
// row * dim + j is element j of a row, so rows that follow each other are one run.
template <class T>
void initialise(Distribution distribution, std::uint64_t key, std::uint64_t first, double scale,
                T* to, std::size_t n) {
  distribution == Distribution::normal
      ? initialise<Distribution::normal>(key, first, scale, to, n)
      : initialise<Distribution::uniform>(key, first, scale, to, n);
}

// The same from a normal distribution, for a few coordinates: of each, what it needs is computed.
inline void initialise_few(std::uint64_t key, std::uint64_t first, double scale, float* to,
                           std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const double u = unit(row_key(key, first + i)), q = u - 0.5;
    to[i] = static_cast<float>(scale * (std::fabs(q) <= center ? central(q) : tail(u, q)));
  }
}

}  // namespace
}  // namespace adagrad
