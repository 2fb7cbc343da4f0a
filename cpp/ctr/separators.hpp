// The delimiters and ends of lines among 64 bytes of text. The SSE2 version uses intrinsics because
// compilers do not find the instruction that gathers one bit of each byte. The portable loop is its
// test oracle. Both read 64 bytes, which need no alignment.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__SSE2__) || defined(_M_X64)
#define ADAGRAD_SSE2
#include <emmintrin.h>
#endif

#include "hashing.hpp"

namespace adagrad {

struct Separators {
  std::uint64_t bits;       // bit i is set if byte i is a delimiter or ends a line
  std::size_t count, ends;  // the number of set bits, and of ends of lines among them
};

namespace {

inline Separators separators_anywhere(const char* p, char delimiter) {
  unsigned char found[64];
  Separators out{0, 0, 0};
  for (std::size_t i = 0; i < 64; ++i) {
    found[i] = p[i] == delimiter || p[i] == '\n';
    out.count += found[i];
    out.ends += p[i] == '\n';
  }
  for (std::size_t i = 0; i < 8; ++i) {
    // The multiplication gathers bit 0 of each of 8 bytes in the top byte of the product.
    out.bits |= (load64(found + 8 * i) * 0x0102040810204080 >> 56) << (8 * i);
  }
  return out;
}

#if defined(ADAGRAD_SSE2)
inline Separators separators(const char* p, char delimiter) {
  const __m128i delimiters = _mm_set1_epi8(delimiter), line_ends = _mm_set1_epi8('\n');
  __m128i count = _mm_setzero_si128(), ends = _mm_setzero_si128();  // per byte lane, negated
  std::uint64_t bits = 0;
  for (int i = 0; i < 4; ++i) {
    const __m128i text = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16 * i));
    const __m128i is_end = _mm_cmpeq_epi8(text, line_ends);
    const __m128i is_either = _mm_or_si128(is_end, _mm_cmpeq_epi8(text, delimiters));
    bits |= static_cast<std::uint64_t>(_mm_movemask_epi8(is_either)) << 16 * i;
    count = _mm_add_epi8(count, is_either);
    ends = _mm_add_epi8(ends, is_end);
  }
  const auto total = [](__m128i negated) {
    const __m128i zero = _mm_setzero_si128();
    const __m128i halves = _mm_sad_epu8(_mm_sub_epi8(zero, negated), zero);
    return static_cast<std::size_t>(_mm_cvtsi128_si32(halves) + _mm_extract_epi16(halves, 4));
  };
  return {bits, total(count), total(ends)};
}
#else
inline Separators separators(const char* p, char delimiter) {
  return separators_anywhere(p, delimiter);
}
#endif

}  // namespace
}  // namespace adagrad
