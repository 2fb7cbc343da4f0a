// Plain steps of interleaved pairs (w, s) that are named by id and may repeat.
//
// Eight pairs that are distinct are loaded and stored whole, and stepped side by side: half the
// memory operations of resident_pairs(), which takes those that repeat. The bits are the same.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../adagrad/rows.hpp"

namespace adagrad {
namespace {

#if defined(__GNUC__) && defined(__AVX2__)
inline bool are_distinct(__m256i eight) {
  // Every two lanes meet when all lanes meet those 1 to 4 places behind them.
  const __m256i one = _mm256_permutevar8x32_epi32(eight, _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 0));
  const __m256i two = _mm256_permute4x64_epi64(eight, 0x39);
  const __m256i three = _mm256_permute4x64_epi64(one, 0x39);
  const __m256i four = _mm256_permute4x64_epi64(eight, 0x4e);
  const __m256i odd =
      _mm256_or_si256(_mm256_cmpeq_epi32(eight, one), _mm256_cmpeq_epi32(eight, three));
  const __m256i even =
      _mm256_or_si256(_mm256_cmpeq_epi32(eight, two), _mm256_cmpeq_epi32(eight, four));
  const __m256i repeated = _mm256_or_si256(odd, even);
  return _mm256_testz_si256(repeated, repeated) != 0;
}

// The pairs of one half of a vector each.
inline __m256 load_pairs(const float* a, const float* b, const float* c, const float* d) {
  const auto both = [](const float* low, const float* high) {
    // Not _mm_load_sd(), which reads a double: its address would have to be a multiple of 8, and a
    // compiler might move it before a store of a float there.
    const __m128 first = _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(low)));
    return _mm_loadh_pi(first, reinterpret_cast<const __m64*>(high));
  };
  return _mm256_insertf128_ps(_mm256_castps128_ps256(both(a, b)), both(c, d), 1);
}

inline void store_pairs(float* a, float* b, float* c, float* d, __m256 pairs) {
  const auto both = [](float* low, float* high, __m128 x) {
    _mm_storel_pi(reinterpret_cast<__m64*>(low), x);
    _mm_storeh_pi(reinterpret_cast<__m64*>(high), x);
  };
  both(a, b, _mm256_castps256_ps128(pairs));
  both(c, d, _mm256_extractf128_ps(pairs, 1));
}

// Steps n pairs in order. They are not prefetched: the caller has just read them.
template <class Form>
void plain_pairs(float* pairs, const std::uint32_t* ids, const float* g, std::size_t n,
                 const Params<float>& params) {
  constexpr std::size_t lanes = 8;
  const Params<float> p = params;
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    if (!are_distinct(low_halves(ids + i))) {
      resident_pairs<Form>(pairs, ids + i, g + i, lanes, p);
      continue;
    }
    float* at[lanes];
    for (std::size_t k = 0; k < lanes; ++k) at[k] = pairs + 2 * std::size_t{ids[i + k]};
    // In this order the shuffles, which work on halves, put the lanes in order.
    const __m256 a = load_pairs(at[0], at[1], at[4], at[5]);
    const __m256 b = load_pairs(at[2], at[3], at[6], at[7]);
    F8 w = reinterpret_cast<F8>(_mm256_shuffle_ps(a, b, 0x88));
    F8 s = reinterpret_cast<F8>(_mm256_shuffle_ps(a, b, 0xdd));
    update<Form>(p, w, load<F8>(g + i), s);
    const __m256 params_of = reinterpret_cast<__m256>(w), sums = reinterpret_cast<__m256>(s);
    store_pairs(at[0], at[1], at[4], at[5], _mm256_unpacklo_ps(params_of, sums));
    store_pairs(at[2], at[3], at[6], at[7], _mm256_unpackhi_ps(params_of, sums));
  }
  resident_pairs<Form>(pairs, ids + i, g + i, n - i, p);
}
#else
template <class Form>
void plain_pairs(float* pairs, const std::uint32_t* ids, const float* g, std::size_t n,
                 const Params<float>& p) {
  resident_pairs<Form>(pairs, ids, g, n, p);
}
#endif

}  // namespace
}  // namespace adagrad
