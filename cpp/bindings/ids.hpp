// Arrays of ids: their type, their range, and the error that names the one that is out of it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "arrays.hpp"

namespace adagrad {

// Calls f with a pointer to the ids in their own type.
template <class F>
auto with_ids(IdType type, const py::array& rows, F f) {
  const void* ids = rows.data();
  switch (type) {
    case IdType::i32: return f(static_cast<const std::int32_t*>(ids));
    case IdType::i64: return f(static_cast<const std::int64_t*>(ids));
    case IdType::u32: return f(static_cast<const std::uint32_t*>(ids));
    default: return f(static_cast<const std::uint64_t*>(ids));
  }
}

// Non-negative ids have the same bits in the signed and the unsigned type, so the kernels and the
// coalescer are compiled for two id types, not four. Only valid once they are checked.
inline const std::uint32_t* unsigned_ids(const std::int32_t* ids) {
  return reinterpret_cast<const std::uint32_t*>(ids);
}
inline const std::uint32_t* unsigned_ids(const std::uint32_t* ids) { return ids; }
inline const std::uint64_t* unsigned_ids(const std::int64_t* ids) {
  return reinterpret_cast<const std::uint64_t*>(ids);
}
inline const std::uint64_t* unsigned_ids(const std::uint64_t* ids) { return ids; }

// A negative id sign-extends to a value that no table has. Several maxima, as each waits for the
// one before it.
template <class I>
std::uint64_t largest_id(const I* ids, std::size_t n) {
  constexpr std::size_t chains = 8;
  std::uint64_t largest[chains] = {};
  const auto take = [&](std::size_t chain, I id) {
    largest[chain] = std::max(largest[chain], static_cast<std::uint64_t>(id));
  };
  std::size_t i = 0;
  for (; i + chains <= n; i += chains) {
    for (std::size_t k = 0; k < chains; ++k) take(k, ids[i + k]);
  }
  for (; i < n; ++i) take(0, ids[i]);
  return *std::max_element(largest, largest + chains);
}

// Raises IndexError that names the first id for which `is_valid` is false.
template <class I, class F>
[[noreturn]] void fail_ids(const Argument& a, const I* ids, const std::string& range, F is_valid) {
  std::size_t i = 0;
  while (is_valid(static_cast<std::uint64_t>(ids[i]))) ++i;
  throw py::index_error(a.text() + "[" + std::to_string(i) + "] = " + std::to_string(ids[i]) +
                        " is out of range" + range);
}

}  // namespace adagrad
