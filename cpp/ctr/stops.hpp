// The bytes at which tokens of sparse formats end, found 64 bytes at a time: a loop over bytes
// would mispredict the end of every token. The SSE2 version uses intrinsics because compilers do
// not find the instruction that gathers one bit of each byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../adagrad/buckets.hpp"
#include "separators.hpp"

namespace adagrad {
namespace {

// Bits of the bytes among 64 that are a space, a tab, an end of a line, a carriage return, a colon
// or `other`.
template <char other>
inline std::uint64_t stops_anywhere(const char* p) {
  unsigned char found[64];
  for (std::size_t i = 0; i < 64; ++i) {
    found[i] =
        p[i] == ' ' || p[i] == ':' || p[i] == other || p[i] == '\n' || p[i] == '\t' || p[i] == '\r';
  }
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    // The multiplication gathers bit 0 of each of 8 bytes in the top byte of the product.
    bits |= (load64(found + 8 * i) * 0x0102040810204080 >> 56) << (8 * i);
  }
  return bits;
}

#if defined(ADAGRAD_SSE2)
template <char other>
inline std::uint64_t stops_in(const char* p) {
  const auto all = [](char c) { return _mm_set1_epi8(c); };
  std::uint64_t bits = 0;
  for (int i = 0; i < 4; ++i) {
    const __m128i text = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16 * i));
    const auto is = [&](char c) { return _mm_cmpeq_epi8(text, all(c)); };
    const __m128i blanks = _mm_or_si128(is(' '), is('\t'));
    const __m128i ends = _mm_or_si128(is('\n'), is('\r'));
    const __m128i marks = _mm_or_si128(is(':'), is(other));
    const __m128i any = _mm_or_si128(_mm_or_si128(blanks, ends), marks);
    bits |= static_cast<std::uint64_t>(_mm_movemask_epi8(any)) << 16 * i;
  }
  return bits;
}
#else
template <char other>
inline std::uint64_t stops_in(const char* p) {
  return stops_anywhere<other>(p);
}
#endif

// Goes through the stops of a text that ends with one.
template <char other>
class Stops {
 public:
  Stops(const char* data, std::size_t size) : next_(data), end_(data + size) {}

  // The next stop. There must be one.
  const char* next() {
    while (bits_ == 0) refill();
    const char* const stop = base_ + count_trailing_zeros(bits_);
    bits_ &= bits_ - 1;
    return stop;
  }

 private:
  void refill() {
    base_ = next_;
    next_ += 64;
    if (end_ - base_ >= 64) {
      bits_ = stops_in<other>(base_);
    } else {
      char rest[64] = {};
      std::memcpy(rest, base_, static_cast<std::size_t>(end_ - base_));
      bits_ = stops_in<other>(rest);
    }
  }

  const char *base_ = nullptr, *next_, *end_;
  std::uint64_t bits_ = 0;
};

}  // namespace
}  // namespace adagrad
