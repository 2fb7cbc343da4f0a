// _core.bucket: checks, then the ids of each shard of a table.
#include <cstdint>
#include <string>

#include "ids.hpp"

namespace adagrad {
namespace {

// Starts that do not ascend would be read past their end.
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
  IdsArgument ids = check_ids_array(at_rows, rows, 0);
  const py::array cuts = check_memory(at_starts, starts, Access::read);
  check_starts(at_starts, cuts);
  const std::size_t shards = static_cast<std::size_t>(cuts.shape(0)) - 1;
  const std::int64_t* const from = static_cast<const std::int64_t*>(cuts.data());
  ids.rows = static_cast<std::uint64_t>(from[shards]);
  check_range(ids, 1);
  py::array_t<std::int64_t> order(static_cast<py::ssize_t>(ids.n));
  py::array_t<std::int64_t> bounds(static_cast<py::ssize_t>(shards + 1));
  std::int64_t* const to_order = order.mutable_data();
  std::int64_t* const to_bounds = bounds.mutable_data();
  ids.with([&](const auto* given) {
    unlocked(ids.n, [&] { order_by_shard(given, ids.n, from, shards, to_order, to_bounds); });
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
