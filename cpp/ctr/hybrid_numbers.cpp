#include "hybrid_numbers.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "hashing.hpp"

namespace adagrad {
namespace {

// Unpacks groups of 8 numbers of `width` bits. Reads up to 8 bytes beyond them.
template <unsigned width>
void unpack(const std::uint8_t* p, std::size_t groups, std::uint32_t* out) {
  constexpr std::uint64_t mask = (std::uint64_t{1} << width) - 1;
  for (; groups > 0; --groups, p += width, out += 8) {
    for (unsigned i = 0; i < 8; ++i) {
      out[i] = static_cast<std::uint32_t>(load64(p + i * width / 8) >> i * width % 8 & mask);
    }
  }
}

using Unpack = void (*)(const std::uint8_t*, std::size_t, std::uint32_t*);

template <std::size_t... widths>
constexpr std::array<Unpack, sizeof...(widths)> unpacks(std::index_sequence<widths...>) {
  return {unpack<static_cast<unsigned>(widths)>...};
}

constexpr unsigned widest = HybridNumbers::widest;
constexpr auto unpack_by_width = unpacks(std::make_index_sequence<widest + 1>());

}  // namespace

bool HybridNumbers::next_run() {
  if (read_run()) return true;
  at_ = end_;
  left_ = 0;
  return false;
}

bool HybridNumbers::read_run() {
  std::uint64_t head = 0;
  for (unsigned shift = 0;; shift += 7) {
    if (at_ == end_ || shift > 28) return false;
    const std::uint64_t next = *at_++;
    head |= (next & 127) << shift;
    if (next < 128) break;
  }
  if (head > 0xFFFFFFFF) return false;
  const std::size_t available = static_cast<std::size_t>(end_ - at_);
  packed_ = (head & 1) != 0;
  done_ = 0;
  if (packed_) {
    const std::size_t bytes = static_cast<std::size_t>(head >> 1) * width_;
    if (bytes > available) return false;
    left_ = static_cast<std::size_t>(head >> 1) * 8;
    group_ = at_;
    at_ += bytes;
  } else {
    const std::size_t bytes = (width_ + 7) / 8;
    if (bytes > available) return false;
    left_ = static_cast<std::size_t>(head >> 1);
    value_ = 0;
    for (std::size_t i = 0; i < bytes; ++i) value_ |= static_cast<std::uint32_t>(*at_++) << 8 * i;
    if (std::uint64_t{value_} >> width_ != 0) return false;
  }
  return left_ > 0;
}

bool HybridNumbers::read(std::uint32_t* out, std::size_t n) {
  while (n > 0) {
    if (left_ == 0 && !next_run()) return false;
    std::size_t count = std::min(left_, n);
    if (!packed_) {
      std::fill_n(out, count, value_);
    } else {
      const std::uint8_t* const p = group_ + done_ / 8 * width_;
      const std::size_t beyond = static_cast<std::size_t>(end_ - p);
      const std::size_t safe = beyond < 8 ? 0 : (beyond - 8) / std::max(width_, 1u);
      if (done_ % 8 == 0 && count >= 8 && safe > 0) {
        const std::size_t groups = std::min(count / 8, safe);
        unpack_by_width[width_](p, groups, out);
        count = 8 * groups;
      } else {  // a group that is not read as a whole, or that ends with the data
        std::uint8_t group[widest + 8] = {};
        std::uint32_t numbers[8];
        std::memcpy(group, p, std::min<std::size_t>(beyond, width_));
        unpack_by_width[width_](group, 1, numbers);
        count = std::min(count, 8 - done_ % 8);
        std::copy_n(numbers + done_ % 8, count, out);
      }
      done_ += count;
    }
    left_ -= count;
    out += count;
    n -= count;
  }
  return true;
}

bool HybridNumbers::pass(std::uint32_t value, std::size_t n) {
  if (left_ == 0 && !next_run()) return false;
  if (packed_ || value_ != value || left_ < n) return false;
  left_ -= n;
  return true;
}

}  // namespace adagrad
