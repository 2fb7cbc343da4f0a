// Arrays of ids: their type, their range, and the errors about them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "../isa/sparse_step.hpp"
#include "arrays.hpp"
#include "module.hpp"

namespace adagrad {

// Calls f with a pointer to the ids in their own type.
template <class F>
auto with_ids(IdType type, const py::array& ids, F f) {
  const void* data = ids.data();
  switch (type) {
    case IdType::i32: return f(static_cast<const std::int32_t*>(data));
    case IdType::i64: return f(static_cast<const std::int64_t*>(data));
    case IdType::u32: return f(static_cast<const std::uint32_t*>(data));
    default: return f(static_cast<const std::uint64_t*>(data));
  }
}

// The same with a pointer to unsigned ids. Non-negative ids have the same bits in the signed and
// the unsigned type, so everything behind the checks is compiled for two types of ids instead of
// four. Only valid for ids that are checked.
template <class F>
auto with_unsigned_ids(IdType type, const py::array& ids, F f) {
  const void* data = ids.data();
  return type == IdType::i32 || type == IdType::u32 ? f(static_cast<const std::uint32_t*>(data))
                                                    : f(static_cast<const std::uint64_t*>(data));
}

// Ids of shape [n], and the number of rows of the table that they name.
struct IdsArgument {
  Argument at;
  py::array array;
  IdType type;
  std::size_t n;
  std::uint64_t rows;

  template <class F>
  auto with(F f) const {
    return with_unsigned_ids(type, array, f);
  }
};

inline IdsArgument check_ids_array(const Argument& at, py::handle object, std::uint64_t rows) {
  const py::array array = check_memory(at, object, Access::read);
  const IdType type = id_type(at, array);
  if (array.ndim() != 1) fail_value(at, "must have shape [n], got " + shape_of(array));
  return {at, array, type, static_cast<std::size_t>(array.shape(0)), rows};
}

// Raises IndexError that names the first id, from position `first` on, that is not below `end`.
[[noreturn]] void fail_range(const IdsArgument& ids, std::uint64_t end, const std::string& range,
                             std::size_t first = 0);

// Raises IndexError if an id is out of range. Returns the largest.
std::uint64_t check_range(const IdsArgument& ids, std::size_t threads);

}  // namespace adagrad
