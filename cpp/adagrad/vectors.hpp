// The vectors that the loops over rows are written in where compilers find none by themselves:
// short rows, and pairs of a param and its accumulator that lie anywhere. Dense loops need none of
// this. A formula of rules.hpp takes a vector as it takes a scalar; the scalar loops are the
// oracle.
//
// This is the only header with intrinsics. Lanes<T, bytes>::type is a vector of the compiler's own
// (g++, clang), for which + - * / are the IEEE operations; other compilers get the scalar loops.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>
#elif defined(__GNUC__) && defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace adagrad {

// The widest vector, in bytes, that this instruction set has hand-written loops for; 0 if none.
#if defined(__GNUC__) && defined(__AVX2__)
constexpr std::size_t vector_bytes = 32;
#elif defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__))
constexpr std::size_t vector_bytes = 16;
#else
constexpr std::size_t vector_bytes = 0;
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
#endif

// A param and its accumulator side by side, written in one instruction: whenever the process dies,
// a table that is mapped from a file has both or neither.
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

// Whether an id repeats within eight, or within four: a repeat of the low halves of wider ids also
// counts, as a false alarm only costs time.
inline bool any_repeat(__m256i ids) {
  const __m256i by1 = _mm256_permutevar8x32_epi32(ids, _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 0));
  const __m256i by2 = _mm256_permute4x64_epi64(ids, 0x39);
  const __m256i by3 = _mm256_permute4x64_epi64(by1, 0x39);
  const __m256i by4 = _mm256_permute4x64_epi64(ids, 0x4e);
  const __m256i near = _mm256_or_si256(_mm256_cmpeq_epi32(ids, by1), _mm256_cmpeq_epi32(ids, by2));
  const __m256i far = _mm256_or_si256(_mm256_cmpeq_epi32(ids, by3), _mm256_cmpeq_epi32(ids, by4));
  const __m256i all = _mm256_or_si256(near, far);
  return _mm256_testz_si256(all, all) == 0;
}
inline bool any_repeat(__m128i ids) {
  const __m128i by1 = _mm_shuffle_epi32(ids, 0x39), by2 = _mm_shuffle_epi32(ids, 0x4e);
  const __m128i all = _mm_or_si128(_mm_cmpeq_epi32(ids, by1), _mm_cmpeq_epi32(ids, by2));
  return _mm_testz_si128(all, all) == 0;
}

inline __m256i low_halves(const std::uint32_t* ids) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ids));
}
inline __m256i low_halves(const std::uint64_t* ids) {
  const __m256 a = _mm256_loadu_ps(reinterpret_cast<const float*>(ids));
  const __m256 b = _mm256_loadu_ps(reinterpret_cast<const float*>(ids + 4));
  return _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88));
}
// The same in the order of the ids.
inline __m256i in_order(const std::uint32_t* ids) { return low_halves(ids); }
inline __m256i in_order(const std::uint64_t* ids) {
  return _mm256_permute4x64_epi64(low_halves(ids), 0xd8);
}
inline __m128i low_halves4(const std::uint32_t* ids) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(ids));
}
inline __m128i low_halves4(const std::uint64_t* ids) {
  const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ids));
  const __m256i low = _mm256_permutevar8x32_epi32(a, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
  return _mm256_castsi256_si128(low);
}
template <class Id>
inline bool any_repeat(const Id* ids, F8) {
  return any_repeat(low_halves(ids));
}
template <class Id>
inline bool any_repeat(const Id* ids, D4) {
  return any_repeat(low_halves4(ids));
}

// Eight pairs from a table of pairs, as a vector of params and one of accumulators; and back.
template <class Id>
inline void load_pairs(const float* table, const Id* ids, F8& w, F8& s) {
  const auto pair = [=](int i) {
    return reinterpret_cast<const __m64*>(table + 2 * std::size_t{ids[i]});
  };
  const auto two = [=](int i) {
    return _mm_loadh_pi(
        _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(pair(i)))), pair(i + 1));
  };
  const __m256 a = _mm256_insertf128_ps(_mm256_castps128_ps256(two(0)), two(4), 1);
  const __m256 b = _mm256_insertf128_ps(_mm256_castps128_ps256(two(2)), two(6), 1);
  w = reinterpret_cast<F8>(_mm256_shuffle_ps(a, b, 0x88));
  s = reinterpret_cast<F8>(_mm256_shuffle_ps(a, b, 0xdd));
}
template <class Id>
inline void store_pairs(float* table, const Id* ids, F8 w, F8 s) {
  const auto put = [=](int i, __m128 pairs) {
    _mm_storel_pi(reinterpret_cast<__m64*>(table + 2 * std::size_t{ids[i]}), pairs);
    _mm_storeh_pi(reinterpret_cast<__m64*>(table + 2 * std::size_t{ids[i + 1]}), pairs);
  };
  const __m256 x = reinterpret_cast<__m256>(w), y = reinterpret_cast<__m256>(s);
  const __m256 a = _mm256_unpacklo_ps(x, y), b = _mm256_unpackhi_ps(x, y);
  put(0, _mm256_castps256_ps128(a));
  put(2, _mm256_castps256_ps128(b));
  put(4, _mm256_extractf128_ps(a, 1));
  put(6, _mm256_extractf128_ps(b, 1));
}
template <class Id>
inline void load_pairs(const double* table, const Id* ids, D4& w, D4& s) {
  const auto pair = [=](int i) { return _mm_loadu_pd(table + 2 * std::size_t{ids[i]}); };
  const __m256d a = _mm256_insertf128_pd(_mm256_castpd128_pd256(pair(0)), pair(2), 1);
  const __m256d b = _mm256_insertf128_pd(_mm256_castpd128_pd256(pair(1)), pair(3), 1);
  w = reinterpret_cast<D4>(_mm256_unpacklo_pd(a, b));
  s = reinterpret_cast<D4>(_mm256_unpackhi_pd(a, b));
}
template <class Id>
inline void store_pairs(double* table, const Id* ids, D4 w, D4 s) {
  const __m256d x = reinterpret_cast<__m256d>(w), y = reinterpret_cast<__m256d>(s);
  const __m256d a = _mm256_unpacklo_pd(x, y), b = _mm256_unpackhi_pd(x, y);
  _mm_storeu_pd(table + 2 * std::size_t{ids[0]}, _mm256_castpd256_pd128(a));
  _mm_storeu_pd(table + 2 * std::size_t{ids[1]}, _mm256_castpd256_pd128(b));
  _mm_storeu_pd(table + 2 * std::size_t{ids[2]}, _mm256_extractf128_pd(a, 1));
  _mm_storeu_pd(table + 2 * std::size_t{ids[3]}, _mm256_extractf128_pd(b, 1));
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
