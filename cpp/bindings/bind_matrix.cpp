// Rows of a sparse matrix: checked, and made examples by sorting entries by region.
#include <pybind11/stl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "../ctr/arrange.hpp"
#include "arrays.hpp"
#include "learner_arguments.hpp"
#include "module.hpp"

namespace adagrad {
namespace {

// None if an entry is wrong; else whether all values are 1.
std::optional<bool> check_matrix(py::handle slots, py::handle values, std::uint64_t n_slots,
                                 std::size_t threads) {
  const Argument a{"check_entries", "slots"};
  const py::array ids = check_memory(a, slots, Access::read);
  const IdType type = id_type(a, ids);
  const py::array numbers = check_memory(a.other("values"), values, Access::read);
  const bool precise = real_type(a.other("values"), numbers) == Real::f64;
  if (numbers.size() != ids.size()) {
    fail_value(a.other("values"), "has " + std::to_string(numbers.size()) +
                                      " elements, but slots " + std::to_string(ids.size()));
  }
  if (n_slots == 0 || n_slots > std::uint64_t{1} << 32) {
    fail_value(a.other("n_slots"), "is " + std::to_string(n_slots));
  }
  const MatrixRows rows{
      ids.data(), numbers.data(), nullptr, 0, 0, type == IdType::i64 || type == IdType::u64,
      precise};
  const std::size_t n = static_cast<std::size_t>(ids.size()), most = num_threads(threads);
  // The kernels read no sign: as a number of 32 bits, -1 could be a slot.
  constexpr std::uint64_t positive = std::uint64_t{1} << 31;
  const std::uint64_t limit = type == IdType::i32 ? std::min(n_slots, positive) : n_slots;
  const Entries found = unlocked(n, [&] { return check_entries(rows, n, limit, most); });
  if (found == Entries::wrong) return std::nullopt;
  return found == Entries::ones;
}

// Where entries are sorted already and may be shared, slots and values are None.
py::tuple arrange_rows(py::handle x, const py::object& order, bool shared, std::size_t threads) {
  const std::size_t n_slots = x.attr("n_slots").cast<std::size_t>();
  const HeldRows rows(x, n_slots);
  std::size_t n = rows->n;
  const std::int64_t* of_rows = nullptr;
  if (!order.is_none()) {
    const Argument a{"arrange", "order"};
    const py::array array = check_memory(a, order, Access::read);
    if (id_type(a, array) != IdType::i64) fail_type(a, "must be int64");
    n = static_cast<std::size_t>(array.size());
    of_rows = static_cast<const std::int64_t*>(array.data());
    for (std::size_t i = 0; i < n; ++i) {
      if (static_cast<std::uint64_t>(of_rows[i]) < rows->n) continue;
      throw py::index_error(a.text() + element_text(array, i) + " = " + std::to_string(of_rows[i]) +
                            " is no row: there are " + std::to_string(rows->n));
    }
  }
  py::array_t<std::uint32_t> bounds(static_cast<py::ssize_t>(n * regions + 1));
  std::uint32_t* const bound = bounds.mutable_data();
  const std::uint64_t entries = bound_examples(*rows, of_rows, n, bound);
  if (entries > UINT32_MAX) {
    throw py::value_error("X has more than 2**32 - 1 entries");
  }
  const std::size_t size = region_size(n_slots), most = num_threads(threads);
  if (shared && unlocked(entries + n, [&] { return bound_sorted(*rows, size, most, bound); })) {
    return py::make_tuple(py::none(), py::none(), bounds);
  }
  py::array_t<std::uint32_t> slots(static_cast<py::ssize_t>(entries));
  const bool has_values = rows->values != nullptr;
  py::array_t<float> values(static_cast<py::ssize_t>(has_values ? entries : 0));
  const Arranged to{slots.mutable_data(), has_values ? values.mutable_data() : nullptr, bound};
  unlocked(entries + n, [&] { arrange(*rows, of_rows, n, size, most, to); });
  return py::make_tuple(slots, has_values ? py::object(values) : py::none(), bounds);
}

}  // namespace

void bind_matrix(py::module_& m) {
  m.def("check_entries", &check_matrix, py::arg("slots"), py::arg("values"), py::arg("n_slots"),
        py::arg("threads"), "None if a slot or a value is wrong; else whether all values are 1.");
  m.def("arrange", &arrange_rows, py::arg("x"), py::arg("order"), py::arg("shared"),
        py::arg("threads"),
        "Slots, values and bounds of rows in an order, with entries sorted by region.");
}

}  // namespace adagrad
