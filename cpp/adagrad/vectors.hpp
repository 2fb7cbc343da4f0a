// Vectors for the loops over rows that compilers do not vectorize: short rows, and pairs of a param
// and its accumulator at any address. Dense loops need none of this. A formula of rules.hpp takes a
// vector as it takes a scalar; the scalar loops are the oracle of the tests.
//
// Lanes<T, bytes>::type is a vector type of the compiler (g++, clang), whose + - * / are the IEEE
// operations; other compilers get the scalar loops. Intrinsics that compute are here (roots, halves
// of ids), in owners.hpp (finding owned ids) and in ctr/separators.hpp (splitting text), each
// beside the loop that it replaces. portability.hpp has those that prefetch and pause.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>
#elif defined(__GNUC__) && defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace adagrad {

// The width in bytes of the hand-written loops of this instruction set; 0 if it has none.
#if defined(__GNUC__) && defined(__AVX2__)
constexpr std::size_t vector_bytes = 32;
#elif defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__))
constexpr std::size_t vector_bytes = 16;
#else
constexpr std::size_t vector_bytes = 0;
#endif
// The widest vectors that this instruction set computes with; 16 without any. Roots and divisions
// take as long in a narrow vector as in a wide one.
#if defined(__GNUC__) && defined(__AVX512F__)
constexpr std::size_t widest_bytes = 64;
#else
constexpr std::size_t widest_bytes = vector_bytes < 16 ? 16 : vector_bytes;
#endif

namespace {

inline float square_root(float x) { return std::sqrt(x); }
inline double square_root(double x) { return std::sqrt(x); }

template <class V, class T>
inline V load(const T* from) {
  V v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class V, class T>
inline void store(T* to, V v) {
  std::memcpy(to, &v, sizeof v);
}

}  // namespace

#if defined(__GNUC__)
template <class T, std::size_t bytes>
struct Lanes;
template <>
struct Lanes<float, 8> {
  typedef float type __attribute__((vector_size(8)));
};
template <>
struct Lanes<float, 16> {
  typedef float type __attribute__((vector_size(16)));
};
template <>
struct Lanes<double, 16> {
  typedef double type __attribute__((vector_size(16)));
};
template <>
struct Lanes<float, 32> {
  typedef float type __attribute__((vector_size(32)));
};
template <>
struct Lanes<double, 32> {
  typedef double type __attribute__((vector_size(32)));
};
template <>
struct Lanes<float, 64> {
  typedef float type __attribute__((vector_size(64)));
};
template <>
struct Lanes<double, 64> {
  typedef double type __attribute__((vector_size(64)));
};

namespace {

using F4 = Lanes<float, 16>::type;
using D2 = Lanes<double, 16>::type;
#if defined(__x86_64__)
inline F4 square_root(F4 x) {
  return reinterpret_cast<F4>(_mm_sqrt_ps(reinterpret_cast<__m128>(x)));
}
inline D2 square_root(D2 x) {
  return reinterpret_cast<D2>(_mm_sqrt_pd(reinterpret_cast<__m128d>(x)));
}
#elif defined(__aarch64__)
inline F4 square_root(F4 x) { return vsqrtq_f32(x); }
inline D2 square_root(D2 x) { return vsqrtq_f64(x); }
#else
inline F4 square_root(F4 x) {
  for (std::size_t lane = 0; lane < 4; ++lane) x[lane] = square_root(x[lane]);
  return x;
}
inline D2 square_root(D2 x) {
  for (std::size_t lane = 0; lane < 2; ++lane) x[lane] = square_root(x[lane]);
  return x;
}
#endif

// Writes a param and its accumulator by one instruction: whenever the process dies, a table that is
// mapped from a file has both or neither.
template <class T>
inline void store_pair(T* at, T w, T s) {
  const typename Lanes<T, 2 * sizeof(T)>::type pair = {w, s};
  store(at, pair);
}

#if defined(__AVX2__)
using F8 = Lanes<float, 32>::type;
using D4 = Lanes<double, 32>::type;
inline F8 square_root(F8 x) {
  return reinterpret_cast<F8>(_mm256_sqrt_ps(reinterpret_cast<__m256>(x)));
}
inline D4 square_root(D4 x) {
  return reinterpret_cast<D4>(_mm256_sqrt_pd(reinterpret_cast<__m256d>(x)));
}

// A vector of two, and its halves.
inline F8 join(F4 low, F4 high) {
  return reinterpret_cast<F8>(
      _mm256_set_m128(reinterpret_cast<__m128>(high), reinterpret_cast<__m128>(low)));
}
inline D4 join(D2 low, D2 high) {
  return reinterpret_cast<D4>(
      _mm256_set_m128d(reinterpret_cast<__m128d>(high), reinterpret_cast<__m128d>(low)));
}
inline F4 low_half(F8 x) {
  return reinterpret_cast<F4>(_mm256_castps256_ps128(reinterpret_cast<__m256>(x)));
}
inline F4 high_half(F8 x) {
  return reinterpret_cast<F4>(_mm256_extractf128_ps(reinterpret_cast<__m256>(x), 1));
}
inline D2 low_half(D4 x) {
  return reinterpret_cast<D2>(_mm256_castpd256_pd128(reinterpret_cast<__m256d>(x)));
}
inline D2 high_half(D4 x) {
  return reinterpret_cast<D2>(_mm256_extractf128_pd(reinterpret_cast<__m256d>(x), 1));
}

// x as a square of groups of lanes, rows and columns exchanged.
inline void transpose(F8 (&x)[2]) {
  const F8 first = join(low_half(x[0]), low_half(x[1]));
  x[1] = join(high_half(x[0]), high_half(x[1]));
  x[0] = first;
}

#if defined(__AVX512F__)
using F16 = Lanes<float, 64>::type;
using D8 = Lanes<double, 64>::type;
// The intrinsics without a mask read an uninitialized vector, at which g++ 12 warns.
constexpr __mmask16 every_float = 0xffff;
constexpr __mmask8 every_double = 0xff, every_half = 0xf;
inline F16 square_root(F16 x) {
  return reinterpret_cast<F16>(_mm512_maskz_sqrt_ps(every_float, reinterpret_cast<__m512>(x)));
}
inline D8 square_root(D8 x) {
  return reinterpret_cast<D8>(_mm512_maskz_sqrt_pd(every_double, reinterpret_cast<__m512d>(x)));
}
inline D8 join(D4 low, D4 high) {
  const __m512d both = _mm512_castpd256_pd512(reinterpret_cast<__m256d>(low));
  return reinterpret_cast<D8>(
      _mm512_maskz_insertf64x4(every_double, both, reinterpret_cast<__m256d>(high), 1));
}
inline D4 low_half(D8 x) {
  return reinterpret_cast<D4>(
      _mm512_maskz_extractf64x4_pd(every_half, reinterpret_cast<__m512d>(x), 0));
}
inline D4 high_half(D8 x) {
  return reinterpret_cast<D4>(
      _mm512_maskz_extractf64x4_pd(every_half, reinterpret_cast<__m512d>(x), 1));
}
inline F16 join(F8 low, F8 high) {
  return reinterpret_cast<F16>(join(reinterpret_cast<D4>(low), reinterpret_cast<D4>(high)));
}
inline F8 low_half(F16 x) { return reinterpret_cast<F8>(low_half(reinterpret_cast<D8>(x))); }
inline F8 high_half(F16 x) { return reinterpret_cast<F8>(high_half(reinterpret_cast<D8>(x))); }

// Groups of four lanes of a and b, of which `chosen` names two each.
template <int chosen>
inline F16 shuffled(F16 a, F16 b) {
  return reinterpret_cast<F16>(_mm512_maskz_shuffle_f32x4(every_float, reinterpret_cast<__m512>(a),
                                                          reinterpret_cast<__m512>(b), chosen));
}
inline void transpose(F16 (&x)[2]) {
  const F16 first = shuffled<0x44>(x[0], x[1]);
  x[1] = shuffled<0xee>(x[0], x[1]);
  x[0] = first;
}
inline void transpose(F16 (&x)[4]) {
  const F16 even[2] = {shuffled<0x88>(x[0], x[1]), shuffled<0x88>(x[2], x[3])};
  const F16 odd[2] = {shuffled<0xdd>(x[0], x[1]), shuffled<0xdd>(x[2], x[3])};
  x[0] = shuffled<0x88>(even[0], even[1]);
  x[1] = shuffled<0x88>(odd[0], odd[1]);
  x[2] = shuffled<0xdd>(even[0], even[1]);
  x[3] = shuffled<0xdd>(odd[0], odd[1]);
}
#endif

// The low halves of eight ids.
inline __m256i low_halves(const std::uint32_t* ids) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ids));
}
inline __m256i low_halves(const std::uint64_t* ids) {
  const __m256 a = _mm256_loadu_ps(reinterpret_cast<const float*>(ids));
  const __m256 b = _mm256_loadu_ps(reinterpret_cast<const float*>(ids + 4));
  const __m256i crossed = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88));
  return _mm256_permute4x64_epi64(crossed, 0xd8);
}
#endif

}  // namespace
#else
namespace {
template <class T>
inline void store_pair(T* at, T w, T s) {
  at[0] = w;
  at[1] = s;
}
}  // namespace
#endif

}  // namespace adagrad
