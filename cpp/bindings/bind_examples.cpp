// Batches of examples: the checks of adagrad.ctr.Examples, and numbering the slots that occur.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "../ctr/arrange.hpp"
#include "../ctr/examples.hpp"
#include "arrays.hpp"
#include "module.hpp"

namespace adagrad {
namespace {

py::array check_vector(const Argument& a, py::handle object, char kind, py::ssize_t itemsize,
                       Access access = Access::read) {
  const py::array array = check_memory(a, object, access);
  const py::dtype dtype = array.dtype();
  if (dtype.kind() != kind || dtype.itemsize() != itemsize || !is_native(dtype)) {
    const char* const type = kind == 'f' ? "float" : "uint";
    fail_type(a, "has dtype " + text_of(dtype) + "; native " + type + std::to_string(8 * itemsize) +
                     " is needed");
  }
  if (array.ndim() != 1) fail_value(a, "has shape " + shape_of(array) + "; one axis is needed");
  return array;
}

void check_length(const Argument& a, const py::array& array, std::size_t length,
                  const char* other) {
  if (static_cast<std::size_t>(array.shape(0)) != length) {
    fail_value(a, "has shape " + shape_of(array) + ", but " + other + " needs (" +
                      std::to_string(length) + ",)");
  }
}

// "Examples: fields[3]"
Argument element(const char* list, std::size_t index) {
  return {"Examples", "", static_cast<py::ssize_t>(index), list};
}

void check_bounds(const std::uint32_t* bounds, std::size_t n) {
  if (bounds[0] != 0)
    fail_value(element("bounds", 0), "must be 0, got " + std::to_string(bounds[0]));
  for (std::size_t k = 1; k < n; ++k) {
    if (bounds[k] >= bounds[k - 1]) continue;
    fail_value(element("bounds", k), "= " + std::to_string(bounds[k]) +
                                         " is below the bound before it, " +
                                         std::to_string(bounds[k - 1]));
  }
}

void check_values(const float* values, std::size_t n) {
  for (std::size_t k = 0; k < n; ++k) {
    if (std::fabs(values[k]) <= largest_value) continue;  // false for a NaN
    const std::string number = text_of(py::float_(static_cast<double>(values[k])));
    fail_value(element("values", k),
               "= " + number +
                   (std::isfinite(values[k]) ? " is more than 2**48 in magnitude: scale the values"
                                             : " is not finite"));
  }
}

void check_fields(const std::uint16_t* fields, std::size_t n, std::size_t n_fields) {
  for (std::size_t k = 0; k < n; ++k) {
    if (fields[k] < n_fields) continue;
    fail_value(element("fields", k), "= " + std::to_string(fields[k]) +
                                         " is out of range for n_fields " +
                                         std::to_string(n_fields));
  }
}

// Raises if a slot lies outside the region that the bounds put it in.
void check_slots(const Examples& x, std::uint64_t slots) {
  const std::uint64_t size = region_size(static_cast<std::size_t>(slots));
  for (std::size_t i = 0; i < x.n; ++i) {
    for (std::size_t r = 0; r < regions; ++r) {
      const std::size_t begin = first(x, i, r), end = first(x, i, r + 1);
      const std::uint64_t least = r * size, most = least + size < slots ? least + size : slots;
      for (std::size_t k = begin; k < end; ++k) {
        if (x.slots[k] >= least && x.slots[k] < most) continue;
        const std::string at = element("slots", k).text() + " = " + std::to_string(x.slots[k]);
        if (x.slots[k] >= slots) {
          throw py::index_error(at + " is out of range for n_slots " + std::to_string(slots));
        }
        throw py::value_error(at + " lies in region " + std::to_string(x.slots[k] / size) +
                              ", but bounds put it in region " + std::to_string(r));
      }
    }
  }
}

void check_examples(py::handle slots, py::handle bounds, std::uint64_t n_slots,
                    std::size_t n_examples, py::handle values, py::handle fields,
                    std::size_t n_fields) {
  const Argument a{"Examples", "slots"};
  const py::array slot_array = check_vector(a, slots, 'u', 4);
  const std::size_t entries = static_cast<std::size_t>(slot_array.size());
  const py::array bound_array = check_vector(a.other("bounds"), bounds, 'u', 4);
  const bool fixed = bound_array.shape(0) == static_cast<py::ssize_t>(regions + 1);
  if (!fixed) {
    check_length(a.other("bounds"), bound_array, n_examples * regions + 1, "n_examples");
  }
  const auto* bound = static_cast<const std::uint32_t*>(bound_array.data());
  const std::size_t last = static_cast<std::size_t>(bound_array.size()) - 1;
  check_bounds(bound, last + 1);
  check_length(a, slot_array, fixed ? n_examples * bound[last] : bound[last], "bounds");
  if (!values.is_none()) {
    const py::array array = check_vector(a.other("values"), values, 'f', 4);
    check_length(a.other("values"), array, entries, "slots");
    check_values(static_cast<const float*>(array.data()), entries);
  }
  if (!fields.is_none()) {
    const py::array array = check_vector(a.other("fields"), fields, 'u', 2);
    const std::size_t length = fixed ? bound[last] : entries;
    check_length(a.other("fields"), array, length, fixed ? "bounds" : "slots");
    check_fields(static_cast<const std::uint16_t*>(array.data()), length, n_fields);
  }
  const auto* slot = static_cast<const std::uint32_t*>(slot_array.data());
  const Examples x{slot, nullptr, bound, nullptr, n_examples, fixed};
  py::gil_scoped_release unlocked;
  check_slots(x, n_slots);
}

py::tuple compact(py::handle slots) {
  const py::array given = check_vector({"compact", "slots"}, slots, 'u', 4);
  const std::size_t n = static_cast<std::size_t>(given.size());
  const auto* const from = static_cast<const std::uint32_t*>(given.data());
  py::array_t<std::uint32_t> unique(static_cast<py::ssize_t>(n)),
      places(static_cast<py::ssize_t>(n));
  std::uint32_t* const to_unique = unique.mutable_data();
  std::uint32_t* const to_places = places.mutable_data();
  std::size_t count = 0;
  {
    py::gil_scoped_release unlocked;
    count = compact_slots(from, n, to_unique, to_places);
  }
  unique.resize({static_cast<py::ssize_t>(count)}, false);
  return py::make_tuple(unique, places);
}

}  // namespace

void bind_examples(py::module_& m) {
  m.def("check_examples", &check_examples, py::arg("slots"), py::arg("bounds"), py::arg("n_slots"),
        py::arg("n_examples"), py::arg("values"), py::arg("fields"), py::arg("n_fields"),
        "Raise if the parts of adagrad.ctr.Examples do not fit together.");
  m.def("compact", &compact, py::arg("slots"),
        "The unique slots in ascending order, and the index of each slot among them.");
}

}  // namespace adagrad
