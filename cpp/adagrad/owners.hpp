// Which thread owns a row, and finding the ids that a thread owns among all ids.
#pragma once

#include <cstddef>
#include <cstdint>

#include "portability.hpp"
#include "types.hpp"
#include "vectors.hpp"

namespace adagrad {
namespace {

inline Owner make_owner(std::size_t k, std::size_t owners, unsigned shift) {
  const auto edge = [owners](std::size_t i) { return (std::uint64_t{i} << 32) / owners; };
  // The end of the last owner, 2^32, does not fit: it ends one hash before.
  const std::uint64_t last = k + 1 == owners ? edge(owners) - 1 : edge(k + 1);
  return {static_cast<std::uint32_t>(edge(k)), static_cast<std::uint32_t>(last - edge(k)), shift};
}

inline bool owns(const Owner& owner, std::uint64_t id) {
  // An odd multiplier and an even sum: no hash is 2^32 - 1.
  const std::uint32_t hash = static_cast<std::uint32_t>(id >> owner.shift) * 0x9E3779B1u & ~1u;
  return hash - owner.first < owner.width;
}

// The blocks of ids that have one owner span two cache lines, because processors fetch lines in
// pairs.
inline unsigned block_shift(std::size_t row_bytes) {
  unsigned shift = 0;
  while (row_bytes << (shift + 1) <= 128) ++shift;
  return shift;
}

template <class Id>
std::size_t count_owned(const Owner& owner, const Id* ids, std::size_t n) {
  const Owner mine = owner;
  std::size_t count = 0;
  // Ids may repeat. Integers are counted exactly in any order, so the loop may be vectorized.
  for (std::size_t i = 0; i < n; ++i) count += owns(mine, ids[i]) ? 1 : 0;
  return count;
}

// Writes the ids that are owned and their gradients, in order; returns how many they are. Room for
// eight more of each is needed. Owners cannot be predicted, so no branch depends on them.
template <class Id, class Key, class T>
inline std::size_t collect_one_by_one(const Owner& owner, const Id* ADAGRAD_RESTRICT ids,
                                      const T* ADAGRAD_RESTRICT g, std::size_t n,
                                      Key* ADAGRAD_RESTRICT to_ids, T* ADAGRAD_RESTRICT to_g) {
  const Owner mine = owner;
  std::size_t count = 0;
  for (std::size_t i = 0; i < n; ++i) {
    to_ids[count] = static_cast<Key>(ids[i]);
    to_g[count] = g[i];
    count += owns(mine, ids[i]) ? 1 : 0;
  }
  return count;
}

#if defined(__GNUC__) && defined(__AVX2__)
// packing.lanes[m]: the positions of the bits of m, ascending; the rest is 0.
struct Packing {
  std::uint32_t lanes[256][8];
};

constexpr Packing make_packing() {
  Packing packing{};
  for (unsigned m = 0; m < 256; ++m) {
    unsigned count = 0;
    for (unsigned lane = 0; lane < 8; ++lane) {
      if ((m >> lane & 1) != 0) packing.lanes[m][count++] = lane;
    }
  }
  return packing;
}
constexpr Packing packing = make_packing();

// The same for ids below 2^32 and float gradients, eight at a time. Nothing needs alignment.
template <class Id>
inline std::size_t collect(const Owner& owner, const Id* ids, const float* g, std::size_t n,
                           std::uint32_t* to_ids, float* to_g) {
  const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(owner.shift));
  const __m256i multiplier = _mm256_set1_epi32(static_cast<int>(0x9E3779B1u));
  const __m256i even = _mm256_set1_epi32(-2);
  // Compared as signed numbers, because AVX2 compares no others.
  const __m256i first = _mm256_set1_epi32(static_cast<int>(owner.first + 0x80000000u));
  const __m256i width = _mm256_set1_epi32(static_cast<int>(owner.width - 0x80000000u));
  std::size_t count = 0, i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256i id = low_halves(ids + i);
    const __m256i product = _mm256_mullo_epi32(_mm256_srl_epi32(id, shift), multiplier);
    const __m256i hash = _mm256_and_si256(product, even);
    const __m256i mine = _mm256_cmpgt_epi32(width, _mm256_sub_epi32(hash, first));
    const unsigned mask = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(mine)));
    const __m256i order = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(packing.lanes[mask]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to_ids + count),
                        _mm256_permutevar8x32_epi32(id, order));
    _mm256_storeu_ps(to_g + count, _mm256_permutevar8x32_ps(_mm256_loadu_ps(g + i), order));
    count += static_cast<unsigned>(__builtin_popcount(mask));
  }
  return count + collect_one_by_one(owner, ids + i, g + i, n - i, to_ids + count, to_g + count);
}
#endif

template <class Id, class T>
inline std::size_t collect(const Owner& owner, const Id* ids, const T* g, std::size_t n,
                           std::uint32_t* to_ids, T* to_g) {
  return collect_one_by_one(owner, ids, g, n, to_ids, to_g);
}

}  // namespace
}  // namespace adagrad
