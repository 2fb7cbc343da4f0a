// The sums of linear_sums(): those of the weights of each example, by region.
//
// Regions of an example are short. A loop over one of them waits for each addition before the next
// and, where lengths vary, mispredicts a branch at its end; both cost more than the entries. So
// sums are added up side by side: those of two examples if all examples have the same shape, else
// those of all regions of an example, after a loop that computes nothing has gathered the weights.
// The additions of a sum keep their order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "../adagrad/portability.hpp"
#include "../adagrad/vectors.hpp"
#include "runs.hpp"
#include "types.hpp"

namespace adagrad {
namespace {

// How many entries ahead of its turn a slot is prefetched. While memory delivers it, as many
// entries are read.
constexpr std::size_t entries_ahead = 256;

// Writes the sums of some examples of the same shape, and asks for what is `later` entries behind.
template <std::size_t examples, bool scaled>
ADAGRAD_INLINE void sums_side_by_side(const float* table, const Examples& x, std::size_t example,
                                      const Units& of, std::size_t later, float* partial,
                                      std::size_t stride) {
  const std::size_t start = example * x.bounds[regions], width = x.bounds[regions];
  const std::uint32_t* const slots = x.slots + start;
  for (std::size_t region = of.first; region < of.last; ++region) {
    float sums[examples] = {};
    for (std::size_t k = x.bounds[region]; k < x.bounds[region + 1]; ++k) {
      for (std::size_t e = 0; e < examples; ++e) {
        const std::size_t entry = e * width + k;
        ADAGRAD_PREFETCH(table + 2 * std::size_t{slots[entry + later]});
        const float w = table[2 * std::size_t{slots[entry]}];
        sums[e] += scaled ? w * x.values[start + entry] : w;
      }
    }
    for (std::size_t e = 0; e < examples; ++e) partial[region * stride + e] = sums[e];
  }
}

template <bool scaled>
void sums_of_same_shape(const float* table, const Round& round, const Units& of, float* partial,
                        std::size_t stride) {
  constexpr std::size_t examples = 2;
  const Examples x = *round.x;
  const std::size_t n = x.bounds[of.last] - x.bounds[of.first];
  const std::size_t ahead = 1 + entries_ahead / (n + 1);
  const auto add_up = [&](auto count, std::size_t i) {
    // The last examples ask for their own entries.
    const std::size_t later = i + count() + ahead <= x.n ? ahead * x.bounds[regions] : 0;
    sums_side_by_side<count(), scaled>(table, x, i, of, later, partial + (i - round.begin), stride);
  };
  std::size_t i = round.begin;
  for (; i + examples <= round.end; i += examples) {
    add_up(std::integral_constant<std::size_t, examples>{}, i);
  }
  if (i < round.end) add_up(std::integral_constant<std::size_t, 1>{}, i);
}

#if defined(__GNUC__) && defined(__AVX2__)
// The weights of a block of examples, in the order of their entries.
struct Gathered {
  static constexpr std::size_t most = 1024;
  std::size_t begin, end;                      // the examples
  std::size_t count;                           // of their entries
  std::uint32_t place[regions * round_size];   // where a region begins in `weights`
  std::uint32_t length[regions * round_size];  // of a region
  float weights[2 * most + 4];                 // columns of short regions reach past the entries
};

// Gathers n weights of slots, and asks for later ones, up to slots[asked].
ADAGRAD_INLINE void gather(const float* table, const std::uint32_t* slots, std::size_t n,
                           std::size_t asked, float* to) {
  std::size_t k = 0;
  // Four at a time, because the work of an entry is about that of a loop.
  for (; k + 4 <= n && k + 4 + entries_ahead <= asked; k += 4) {
    for (std::size_t j = k; j < k + 4; ++j) {
      ADAGRAD_PREFETCH(table + 2 * std::size_t{slots[j + entries_ahead]});
      to[j] = table[2 * std::size_t{slots[j]}];
    }
  }
  for (; k < n; ++k) to[k] = table[2 * std::size_t{slots[k]}];
}

ADAGRAD_INLINE void ask_for_first(const float* table, const std::uint32_t* slots, std::size_t n) {
  for (std::size_t k = 0; k < n && k < entries_ahead; ++k) {
    ADAGRAD_PREFETCH(table + 2 * std::size_t{slots[k]});
  }
}

// Chooses the examples from `begin` on that fit into a block, perhaps none.
inline void choose_block(const Round& round, const Units& of, std::size_t begin, Gathered& to) {
  const Examples x = *round.x;
  to.begin = begin;
  to.count = 0;
  for (to.end = begin; to.end < round.end; ++to.end) {
    const Run run = run_of<false>(x, to.end, of);
    if (run.last - run.first > Gathered::most - to.count) break;
    const std::uint32_t* const bounds = x.bounds + regions * to.end;
    const __m256i low = _mm256_set1_epi32(static_cast<int>(bounds[of.first]));
    const __m256i high = _mm256_set1_epi32(static_cast<int>(bounds[of.last]));
    const auto within = [&](__m256i v) { return _mm256_min_epu32(_mm256_max_epu32(v, low), high); };
    // Regions of others have no entries here.
    const __m256i begins = within(low_halves(bounds)), ends = within(low_halves(bounds + 1));
    const __m256i shift = _mm256_sub_epi32(_mm256_set1_epi32(static_cast<int>(to.count)), low);
    const std::size_t at = regions * (to.end - begin);
    store(to.place + at, _mm256_add_epi32(begins, shift));
    store(to.length + at, _mm256_sub_epi32(ends, begins));
    to.count += run.last - run.first;
  }
}

// Adds up the weights of each region, four entries of all regions at a time.
inline void add_columns(const Gathered& from, std::size_t examples, float* sums) {
  std::uint32_t left[round_size];  // the examples that have entries left
  std::size_t lefts = examples;
  for (std::size_t e = 0; e < examples; ++e) left[e] = static_cast<std::uint32_t>(e);
  for (std::size_t k = 0; k < regions * examples; ++k) sums[k] = 0.0f;
  for (int column = 0; lefts != 0; column += 4) {
    const float* const weights = from.weights + column;
    const std::size_t asked = lefts;
    lefts = 0;
    for (std::size_t k = 0; k < asked; ++k) {
      const std::uint32_t e = left[k];
      const std::uint32_t* const place = from.place + regions * e;
      const auto four = [&](std::size_t region) {
        const __m128 low = _mm_loadu_ps(weights + place[region]);
        const __m128 high = _mm_loadu_ps(weights + place[region + 4]);
        return _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
      };
      const __m256 a = four(0), b = four(1), c = four(2), d = four(3);
      const __m256 ab = _mm256_unpacklo_ps(a, b), ab_high = _mm256_unpackhi_ps(a, b);
      const __m256 cd = _mm256_unpacklo_ps(c, d), cd_high = _mm256_unpackhi_ps(c, d);
      const __m256i length = low_halves(from.length + regions * e);
      __m256 sum = _mm256_loadu_ps(sums + regions * e);
      // A sum that begins with 0 is never -0, so adding 0 for a region that has ended keeps it.
      const auto add = [&](__m256 entry, int at) {
        const __m256i has = _mm256_cmpgt_epi32(length, _mm256_set1_epi32(column + at));
        sum = _mm256_add_ps(sum, _mm256_and_ps(entry, _mm256_castsi256_ps(has)));
      };
      add(_mm256_shuffle_ps(ab, cd, 0x44), 0);
      add(_mm256_shuffle_ps(ab, cd, 0xee), 1);
      add(_mm256_shuffle_ps(ab_high, cd_high, 0x44), 2);
      add(_mm256_shuffle_ps(ab_high, cd_high, 0xee), 3);
      _mm256_storeu_ps(sums + regions * e, sum);
      const __m256i more = _mm256_cmpgt_epi32(length, _mm256_set1_epi32(column + 4));
      left[lefts] = e;
      lefts += _mm256_testz_si256(more, more) == 0 ? 1 : 0;
    }
  }
}

// Writes the sums of the examples from `begin` on, and returns where it ends: `begin` if the first
// one is too long.
inline std::size_t sums_of_block(const float* table, const Round& round, const Units& of,
                                 std::size_t begin, float* partial, std::size_t stride) {
  const Examples x = *round.x;
  Gathered block;
  choose_block(round, of, begin, block);
  if (block.end == begin) return begin;
  const Run run{first<false>(x, begin, 0), first<false>(x, block.end, 0)};
  const std::size_t total = first<false>(x, x.n, 0);
  if (of.first == 0 && of.last == regions) {
    if (begin == 0) ask_for_first(table, x.slots, total);
    gather(table, x.slots + run.first, block.count, total - run.first, block.weights);
    if (x.values != nullptr) multiply(block.weights, x.values + run.first, block.count);
  } else {
    std::uint32_t slots[Gathered::most + entries_ahead + most_past];
    float values[Gathered::most + most_past];
    const Collector collect(round, of);
    std::size_t n = 0, i = begin;
    for (; i < block.end; ++i) n += collect(x.slots, run_of<false>(x, i, of), total, slots + n);
    for (Run later; i < x.n && n < block.count + entries_ahead; ++i) {
      later = run_of<false>(x, i, of);
      const std::size_t room = block.count + entries_ahead - n;
      if (later.last - later.first > room) later.last = later.first + room;
      n += collect(x.slots, later, total, slots + n);
    }
    if (begin == 0) ask_for_first(table, slots, n);
    gather(table, slots, block.count, n, block.weights);
    if (x.values != nullptr) {
      for (n = 0, i = begin; i < block.end; ++i) {
        n += collect(x.values, run_of<false>(x, i, of), total, values + n);
      }
      multiply(block.weights, values, block.count);
    }
  }
  float sums[regions * round_size];
  const std::size_t examples = block.end - begin;
  add_columns(block, examples, sums);
  for (std::size_t region = of.first; region < of.last; ++region) {
    float* const to = partial + region * stride;
    for (std::size_t e = 0; e < examples; ++e) to[e] = sums[regions * e + region];
  }
  return block.end;
}
#endif

}  // namespace
}  // namespace adagrad
