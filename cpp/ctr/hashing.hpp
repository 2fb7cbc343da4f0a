// How a value of a field becomes a slot. This is a file format: models on disk hold what was
// learned for these slots, so the hashes are the same in every version and on every platform.
//
// The seed of a field is the XXH64 of its name, seeded with that of the encoder. The hash of a
// category is the XXH64 of its text, seeded with that of the field; the hash of a missing value is
// the seed itself. Words are assembled from bytes by arithmetic, so the byte order of the machine
// does not matter.
#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "examples.hpp"

namespace adagrad {

// The regions of the slots of a field: `count` of them, first, first + step, ...
struct Home {
  std::uint32_t first, step, count;
};

namespace {

inline std::uint32_t load32(const unsigned char* p) {
  return static_cast<std::uint32_t>(p[0]) | static_cast<std::uint32_t>(p[1]) << 8 |
         static_cast<std::uint32_t>(p[2]) << 16 | static_cast<std::uint32_t>(p[3]) << 24;
}

inline std::uint64_t load64(const unsigned char* p) {
  return load32(p) | static_cast<std::uint64_t>(load32(p + 4)) << 32;
}

inline std::uint64_t rotate(std::uint64_t x, int by) { return x << by | x >> (64 - by); }

// XXH64 (Y. Collet, "xxHash fast digest algorithm", version 0.1.1, doc/xxhash_spec.md).
namespace xxh {

constexpr std::uint64_t p1 = 0x9E3779B185EBCA87, p2 = 0xC2B2AE3D27D4EB4F, p3 = 0x165667B19E3779F9,
                        p4 = 0x85EBCA77C2B2AE63, p5 = 0x27D4EB2F165667C5;

inline std::uint64_t round(std::uint64_t lane, std::uint64_t input) {
  return rotate(lane + input * p2, 31) * p1;
}

inline std::uint64_t merge(std::uint64_t h, std::uint64_t lane) {
  return (h ^ round(0, lane)) * p1 + p4;
}

inline std::uint64_t add_word(std::uint64_t h, std::uint64_t word) {
  return rotate(h ^ round(0, word), 27) * p1 + p4;
}

inline std::uint64_t finish(std::uint64_t h) {
  h = (h ^ h >> 33) * p2;
  h = (h ^ h >> 29) * p3;
  return h ^ h >> 32;
}

}  // namespace xxh

inline std::uint64_t xxh64(const void* data, std::size_t length, std::uint64_t seed) {
  const unsigned char* p = static_cast<const unsigned char*>(data);
  std::size_t left = length;
  std::uint64_t h = seed + xxh::p5;
  if (left >= 32) {
    std::uint64_t lane[4] = {seed + xxh::p1 + xxh::p2, seed + xxh::p2, seed, seed - xxh::p1};
    for (; left >= 32; p += 32, left -= 32) {
      for (int i = 0; i < 4; ++i) lane[i] = xxh::round(lane[i], load64(p + 8 * i));
    }
    h = rotate(lane[0], 1) + rotate(lane[1], 7) + rotate(lane[2], 12) + rotate(lane[3], 18);
    for (const std::uint64_t each : lane) h = xxh::merge(h, each);
  }
  h += length;
  for (; left >= 8; p += 8, left -= 8) h = xxh::add_word(h, load64(p));
  if (left >= 4) {
    h = rotate(h ^ load32(p) * xxh::p1, 23) * xxh::p2 + xxh::p3;
    p += 4, left -= 4;
  }
  for (; left > 0; ++p, --left) h = rotate(h ^ *p * xxh::p5, 11) * xxh::p1;
  return xxh::finish(h);
}

inline std::uint64_t hash_text(std::string_view text, std::uint64_t seed) {
  // Ids of 8 hexadecimal digits are common in logs.
  if (text.size() == 8) {
    const std::uint64_t word = load64(reinterpret_cast<const unsigned char*>(text.data()));
    return xxh::finish(xxh::add_word(seed + xxh::p5 + 8, word));
  }
  return xxh64(text.data(), text.size(), seed);
}

// An integer hashes as its decimal text, so a log gives the same slots whether it is read as text
// or with types.
template <class Integer>
inline std::uint64_t hash_integer(Integer x, std::uint64_t seed) {
  char text[24];
  const char* const end = std::to_chars(text, text + sizeof text, x).ptr;
  return xxh64(text, static_cast<std::size_t>(end - text), seed);
}

// A whole number hashes as an integer, so ids keep their slots if missing values turned their
// column into floats. Any other number hashes as the shortest text that reads back as the same
// number, as Python's repr writes it: 0.25, 1.5e-07, inf.
template <class Real>
inline std::uint64_t hash_real(Real x, std::uint64_t seed) {
  constexpr Real limit = static_cast<Real>(9223372036854775808.0);
  const Real size = std::fabs(x);
  if (size < limit && std::trunc(x) == x) return hash_integer(static_cast<std::int64_t>(x), seed);
  char text[48];
  const bool plain = size >= static_cast<Real>(1e-4) && size < limit;
  const char* const end =
      std::to_chars(text, text + sizeof text, x,
                    plain ? std::chars_format::fixed : std::chars_format::scientific)
          .ptr;
  return xxh64(text, static_cast<std::size_t>(end - text), seed);
}

// The bin of a number: the sign, the exponent and the first bit of the mantissa of a double. Bins
// begin at 2^k and 1.5 * 2^k. The bin of 0 and -0 ends at 2^-1023.
inline std::uint64_t bin_of(double x) {
  const double positive_zero = x + 0.0;
  std::uint64_t word;
  std::memcpy(&word, &positive_zero, sizeof word);
  return word >> 51;
}

// The XXH64 of little-endian words of 8 bytes: one for a bin, the hashes of its parts for a cross.
template <class... Words>
inline std::uint64_t hash_words(std::uint64_t seed, Words... words) {
  static_assert(sizeof...(words) < 4, "32 bytes and more are hashed in lanes");
  std::uint64_t h = seed + xxh::p5 + 8 * sizeof...(words);
  ((h = xxh::add_word(h, words)), ...);
  return xxh::finish(h);
}

// Field j of n gets region j modulo 8 or, if n is less than 8, every region that is j modulo n. A
// wide field gets all regions.
inline Home home_of(std::size_t field, std::size_t n, bool wide) {
  const std::uint32_t j = static_cast<std::uint32_t>(field % regions);
  if (wide) return {0, 1, regions};
  if (n >= regions) return {j, regions, 1};
  const std::uint32_t step = static_cast<std::uint32_t>(n);
  return {j, step, (static_cast<std::uint32_t>(regions) - j + step - 1) / step};
}

// The upper bits of the hash select the slot within a region, the lower 32 bits the region. Relies
// on 8 <= bits <= 32.
inline std::uint32_t slot_of(std::uint64_t hash, const Home& home, unsigned bits) {
  const std::uint64_t pick = (hash & 0xFFFFFFFF) * home.count >> 32;
  const std::uint64_t region = home.first + pick * home.step;
  return static_cast<std::uint32_t>(region << (bits - 3) | hash >> (64 - (bits - 3)));
}

}  // namespace
}  // namespace adagrad
