// _core.bucket: checks, then which shard of a table each id is of.
#include <cstdint>
#include <string>

#include "../adagrad/shards.hpp"
#include "arrays.hpp"
#include "ids.hpp"
#include "module.hpp"

namespace adagrad {
namespace {

// What adagrad.distributed computes; wrong ones would be read past their end.
void check_starts(const Argument& at, const py::array& starts) {
  if (id_type(at, starts) != IdType::i64) {
    fail_type(at, "has dtype " + text_of(starts.dtype()) + "; int64 is needed");
  }
  if (starts.ndim() != 1 || starts.shape(0) < 2) {
    fail_value(at, "must have shape [shards + 1], got " + shape_of(starts));
  }
  const std::int64_t* const from = static_cast<const std::int64_t*>(starts.data());
  for (py::ssize_t k = 0; k < starts.shape(0); ++k) {
    if (k == 0 ? from[0] != 0 : from[k] <= from[k - 1]) {
      throw py::value_error(at.text() + "[" + std::to_string(k) + "] = " + std::to_string(from[k]) +
                            ", but the starts of shards ascend from 0");
    }
  }
}

py::tuple bucket_rows(const py::object& rows, const py::object& starts) {
  const Argument at_rows{"bucket", "rows"}, at_starts{"bucket", "starts"};
  const py::array ids = check_memory(at_rows, rows, Access::read);
  const IdType type = id_type(at_rows, ids);
  if (ids.ndim() != 1) fail_value(at_rows, "must have shape [n], got " + shape_of(ids));
  const py::array cuts = check_memory(at_starts, starts, Access::read);
  check_starts(at_starts, cuts);
  const std::size_t n = static_cast<std::size_t>(ids.shape(0));
  const std::size_t shards = static_cast<std::size_t>(cuts.shape(0)) - 1;
  const std::int64_t* const from = static_cast<const std::int64_t*>(cuts.data());
  const std::uint64_t table_rows = static_cast<std::uint64_t>(from[shards]);
  py::array_t<std::int64_t> order(static_cast<py::ssize_t>(n));
  py::array_t<std::int64_t> bounds(static_cast<py::ssize_t>(shards + 1));
  std::int64_t* const to_order = order.mutable_data();
  std::int64_t* const to_bounds = bounds.mutable_data();
  with_ids(type, ids, [&](const auto* given) {
    const bool fits = unlocked(n, [&] {
      if (n != 0 && largest_id(given, n) >= table_rows) return false;
      bucket(unsigned_ids(given), n, from, shards, to_order, to_bounds);
      return true;
    });
    if (!fits) {
      fail_ids(at_rows, given, " for a table of " + std::to_string(table_rows) + " rows",
               [&](std::uint64_t id) { return id < table_rows; });
    }
  });
  return py::make_tuple(order, bounds);
}

}  // namespace

void bind_bucket(py::module_& m) {
  m.def(
      "bucket", &bucket_rows, py::arg("rows"), py::arg("starts"),
      "The positions of the ids of each shard, one shard after the other, and where each begins.");
}

}  // namespace adagrad
