// The values of columns as hashes and as numbers.
//
// The loops rely on what `column_of` has checked. They check the indices of a dictionary
// themselves.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include "../adagrad/half.hpp"
#include "../adagrad/portability.hpp"
#include "../isa/cpu.hpp"
#include "arrow.hpp"
#include "hashing.hpp"
#include "kernels.hpp"

namespace adagrad {
namespace {

inline bool bit(const std::uint8_t* bits, std::size_t i) { return (bits[i / 8] >> i % 8 & 1) != 0; }

template <class T>
inline const T* as(const void* p) {
  return static_cast<const T*>(p);
}

// Calls f with a pointer to the values of a column of numbers.
template <class F>
void with_numbers(Type type, const void* data, F f) {
  switch (type) {
    case Type::i8: return f(as<std::int8_t>(data));
    case Type::i16: return f(as<std::int16_t>(data));
    case Type::i32: return f(as<std::int32_t>(data));
    case Type::i64: return f(as<std::int64_t>(data));
    case Type::u8: return f(as<std::uint8_t>(data));
    case Type::u16: return f(as<std::uint16_t>(data));
    case Type::u32: return f(as<std::uint32_t>(data));
    case Type::u64: return f(as<std::uint64_t>(data));
    case Type::f32: return f(as<float>(data));
    case Type::f64: return f(as<double>(data));
    default: throw std::logic_error("the column does not hold numbers");
  }
}

inline float half_at(const Column& c, std::size_t i) {
  return to_float<Half::float16>(as<std::uint16_t>(c.data)[i]);
}

// out[i] = f(position of value begin + i), or `missing` if that value is missing. The test for a
// validity bitmap is outside the loop, so that columns without one vectorize.
template <class Out, class F>
inline void for_each(const Column& c, std::size_t begin, std::size_t n, Out missing, Out* out,
                     F f) {
  const std::size_t at = c.offset + begin;
  if (c.validity == nullptr) {
    for (std::size_t i = 0; i < n; ++i) out[i] = f(at + i);
  } else {
    for (std::size_t i = 0; i < n; ++i) out[i] = bit(c.validity, at + i) ? f(at + i) : missing;
  }
}

// Reads the values [begin, begin + n) as doubles. Missing ones are NaN.
inline void read_numbers(const Column& c, std::size_t begin, std::size_t n, double* out) {
  constexpr double missing = std::numeric_limits<double>::quiet_NaN();
  if (c.type == Type::null) {
    std::fill(out, out + n, missing);
  } else if (c.type == Type::f16) {
    for_each(c, begin, n, missing, out,
             [&](std::size_t i) { return static_cast<double>(half_at(c, i)); });
  } else {
    with_numbers(c.type, c.data, [&](const auto* x) {
      for_each(c, begin, n, missing, out, [=](std::size_t i) { return static_cast<double>(x[i]); });
    });
  }
}

template <class Integer>
inline std::uint64_t hash_number(Integer x, std::uint64_t seed) {
  if constexpr (std::is_floating_point_v<Integer>)
    return x == x ? hash_real(x, seed) : seed;
  else
    return hash_integer(x, seed);
}

// Columns are read and written in turn, a few hundred values of each, which is too few for the
// hardware prefetcher. The address may lie beyond the column: prefetching it is harmless.
inline void prefetch_ahead(const char* p) {
  constexpr std::uintptr_t bytes = 1024;
  ADAGRAD_PREFETCH(reinterpret_cast<const char*>(reinterpret_cast<std::uintptr_t>(p) + bytes));
}

// A view holds a length and up to 12 bytes, or a length, the first 4 bytes, the number of a buffer
// and a position in it.
inline std::string_view view_at(const Column& c, std::size_t i) {
  const std::int32_t* const view = as<std::int32_t>(c.data) + 4 * i;
  const std::size_t length = static_cast<std::size_t>(view[0]);
  return {length <= 12 ? as<char>(view + 1) : as<char>(c.view_bytes[view[2]]) + view[3], length};
}

// Hashes texts. Ids of 8 hexadecimal digits are common in logs, and words of 8 bytes hash several
// at a time, so every text is hashed as if it were one, and the others once more.
template <class Offset>
inline void hash_texts(const Column& c, std::size_t begin, std::size_t n, std::uint64_t seed,
                       std::uint64_t* out) {
  constexpr std::size_t block = 256;
  std::uint16_t others[block];
  const std::size_t end = begin + n;
  for (; begin < end; begin += block, out += block) {
    const std::size_t count = std::min(block, end - begin), at = c.offset + begin;
    const Offset* const offsets = as<Offset>(c.offsets) + at;
    const Offset last = offsets[count];
    const char* const bytes = as<char>(c.data);
    std::size_t n_others = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const char* const text = bytes + offsets[i];
      prefetch_ahead(text);
      const bool inside = last - offsets[i] >= 8;
      out[i] = inside ? load64(reinterpret_cast<const unsigned char*>(text)) : 0;
      others[n_others] = static_cast<std::uint16_t>(i);
      n_others += offsets[i + 1] - offsets[i] != 8;
    }
    kernels().ctr->hash_words(out, count, seed, out);
    for (std::size_t k = 0; k < n_others; ++k) {
      const std::size_t i = others[k];
      out[i] =
          xxh64(bytes + offsets[i], static_cast<std::size_t>(offsets[i + 1] - offsets[i]), seed);
    }
    for (std::size_t i = 0; c.validity != nullptr && i < count; ++i) {
      out[i] = bit(c.validity, at + i) ? out[i] : seed;
    }
  }
}

// Hashes the values [begin, begin + n) as categories.
inline void hash_categories(const Column& c, std::size_t begin, std::size_t n, std::uint64_t seed,
                            std::uint64_t* out) {
  const auto each = [&](auto f) { for_each(c, begin, n, seed, out, f); };
  switch (c.type) {
    case Type::null: std::fill(out, out + n, seed); return;
    case Type::boolean: {
      const std::uint64_t hash[2] = {hash_text("0", seed), hash_text("1", seed)};
      return each([&](std::size_t i) { return hash[bit(as<std::uint8_t>(c.data), i)]; });
    }
    case Type::f16: return each([&](std::size_t i) { return hash_number(half_at(c, i), seed); });
    case Type::text32: return hash_texts<std::int32_t>(c, begin, n, seed, out);
    case Type::text64: return hash_texts<std::int64_t>(c, begin, n, seed, out);
    case Type::text_view:
      return each([&](std::size_t i) { return hash_text(view_at(c, i), seed); });
    case Type::dictionary: {
      const Column& values = c.child[0];
      const std::uint64_t* const distinct = c.distinct == nullptr ? nullptr : c.distinct->data();
      return with_numbers(c.index, c.data, [&](const auto* index) {
        each([&](std::size_t i) {
          const std::uint64_t k = static_cast<std::uint64_t>(index[i]);
          if (k >= values.length)
            throw std::invalid_argument("has an index outside its dictionary of " +
                                        std::to_string(values.length) + " values");
          if (distinct != nullptr) return distinct[k];
          std::uint64_t hash;
          hash_categories(values, static_cast<std::size_t>(k), 1, seed, &hash);
          return hash;
        });
      });
    }
    default:
      return with_numbers(c.type, c.data, [&](const auto* x) {
        each([=](std::size_t i) { return hash_number(x[i], seed); });
      });
  }
}

// Whether any value is missing. Also true for a dictionary that has a missing value but does not
// use it.
inline bool has_missing(const Column& c) {
  if (c.type == Type::null) return c.length > 0;
  if (c.validity != nullptr) {
    for (std::size_t i = 0; i < c.length; ++i) {
      if (!bit(c.validity, c.offset + i)) return true;
    }
  }
  bool found = false;
  const auto find_nan = [&](const auto* x) {
    for (std::size_t i = c.offset; i < c.offset + c.length; ++i) found = found || x[i] != x[i];
  };
  if (c.type == Type::f32) find_nan(as<float>(c.data));
  if (c.type == Type::f64) find_nan(as<double>(c.data));
  for (std::size_t i = c.offset; c.type == Type::f16 && i < c.offset + c.length; ++i) {
    found = found || half_at(c, i) != half_at(c, i);
  }
  return found || (c.type == Type::dictionary && has_missing(c.child[0]));
}

}  // namespace
}  // namespace adagrad
