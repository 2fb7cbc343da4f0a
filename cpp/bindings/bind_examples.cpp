// Batches of examples: checked once, when they are made; ordered by region; and their slots as
// places in a small table.
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "../adagrad/compact.hpp"
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
                  const char* because) {
  if (static_cast<std::size_t>(array.shape(0)) != length) {
    fail_value(a, "has shape " + shape_of(array) + "; " + because + " (" + std::to_string(length) +
                      ",) is needed");
  }
}

// Raises where a slot is not in the region that the bounds put it in.
void check_slots(const Examples& x, std::uint64_t slots) {
  const std::uint64_t size = region_size(static_cast<std::size_t>(slots));
  for (std::size_t i = 0; i < x.n; ++i) {
    for (std::size_t r = 0; r < regions; ++r) {
      const std::size_t begin = x.fixed ? first<true>(x, i, r) : first<false>(x, i, r);
      const std::size_t end = x.fixed ? first<true>(x, i, r + 1) : first<false>(x, i, r + 1);
      const std::uint64_t least = r * size, most = least + size < slots ? least + size : slots;
      for (std::size_t k = begin; k < end; ++k) {
        if (x.slots[k] >= least && x.slots[k] < most) continue;
        const std::string at =
            "Examples: slots[" + std::to_string(k) + "] = " + std::to_string(x.slots[k]);
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
    check_length(a.other("bounds"), bound_array, n_examples * regions + 1,
                 "for its number of examples");
  }
  const auto* bound = static_cast<const std::uint32_t*>(bound_array.data());
  const std::size_t last = static_cast<std::size_t>(bound_array.size()) - 1;
  for (std::size_t k = 0; k <= last; ++k) {
    if (bound[k] < (k == 0 ? 0 : bound[k - 1]) || (k == 0 && bound[k] != 0)) {
      fail_value(a.other("bounds"), "must ascend from 0, but [" + std::to_string(k) + "] is " +
                                        std::to_string(bound[k]));
    }
  }
  const std::size_t promised = fixed ? n_examples * bound[last] : bound[last];
  check_length(a, slot_array, promised, "by bounds");
  if (!values.is_none()) {
    const py::array array = check_vector(a.other("values"), values, 'f', 4);
    check_length(a.other("values"), array, entries, "one for each slot:");
    const float* x = static_cast<const float*>(array.data());
    for (std::size_t k = 0; k < entries; ++k) {
      if (!is_finite(x[k])) {
        fail_value(a.other("values"), "[" + std::to_string(k) + "] is not finite");
      }
      if (std::fabs(x[k]) > largest_value) {
        fail_value(a.other("values"), "[" + std::to_string(k) + "] is more than 2**48 in size");
      }
    }
  }
  if (!fields.is_none()) {
    const py::array array = check_vector(a.other("fields"), fields, 'u', 2);
    check_length(a.other("fields"), array, fixed ? bound[last] : entries, "one for each slot:");
    const auto* field = static_cast<const std::uint16_t*>(array.data());
    for (py::ssize_t k = 0; k < array.size(); ++k) {
      if (field[k] >= n_fields) {
        fail_value(a.other("fields"), "[" + std::to_string(k) + "] = " + std::to_string(field[k]) +
                                          " is not below n_fields " + std::to_string(n_fields));
      }
    }
  }
  const Examples x{static_cast<const std::uint32_t*>(slot_array.data()),
                   nullptr,
                   bound,
                   nullptr,
                   n_examples,
                   fixed};
  py::gil_scoped_release unlocked;
  check_slots(x, n_slots);
}

// Orders the entries of each example by region, stably and in place; returns the bounds.
py::array_t<std::uint32_t> arrange(py::handle indptr, py::handle slots, py::handle values,
                                   std::uint64_t region_size) {
  const Argument a{"arrange", "slots"};
  const py::array starts = check_vector(a.other("indptr"), indptr, 'u', 4);
  const py::array slot_array = check_vector(a, slots, 'u', 4, Access::write);
  const py::array value_array = check_vector(a.other("values"), values, 'f', 4, Access::write);
  const std::size_t n = static_cast<std::size_t>(starts.size()) - 1;
  const auto* start = static_cast<const std::uint32_t*>(starts.data());
  auto* slot = static_cast<std::uint32_t*>(const_cast<void*>(slot_array.data()));
  auto* value = static_cast<float*>(const_cast<void*>(value_array.data()));
  py::array_t<std::uint32_t> bounds(static_cast<py::ssize_t>(n * regions + 1));
  std::uint32_t* const bound = bounds.mutable_data();
  py::gil_scoped_release unlocked;
  std::vector<std::uint32_t> old_slots;
  std::vector<float> old_values;
  bound[0] = 0;
  for (std::size_t i = 0; i < n; ++i) {
    std::uint32_t count[regions] = {};
    bool ordered = true;
    std::uint64_t before = 0;
    for (std::size_t k = start[i]; k < start[i + 1]; ++k) {
      const std::uint64_t r = slot[k] / region_size;
      if (r >= regions) {
        throw std::out_of_range("arrange: slots[" + std::to_string(k) +
                                "] = " + std::to_string(slot[k]) + " is out of range");
      }
      ordered = ordered && r >= before;
      before = r;
      ++count[r];
    }
    std::size_t next[regions];
    for (std::size_t r = 0; r < regions; ++r) {
      next[r] = bound[i * regions + r];
      bound[i * regions + r + 1] = bound[i * regions + r] + count[r];
    }
    if (ordered) continue;
    old_slots.assign(slot + start[i], slot + start[i + 1]);
    old_values.assign(value + start[i], value + start[i + 1]);
    for (std::size_t k = 0; k < old_slots.size(); ++k) {
      const std::size_t to = next[old_slots[k] / region_size]++;
      slot[to] = old_slots[k];
      value[to] = old_values[k];
    }
  }
  return bounds;
}

// The different slots in ascending order, and the place among them of each.
py::tuple compact_slots(py::handle slots) {
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
    count = compact(from, n, to_unique, to_places);
  }
  unique.resize({static_cast<py::ssize_t>(count)}, false);
  return py::make_tuple(unique, places);
}

}  // namespace

void bind_examples(py::module_& m) {
  m.def("check_examples", &check_examples, py::arg("slots"), py::arg("bounds"), py::arg("n_slots"),
        py::arg("n_examples"), py::arg("values"), py::arg("fields"), py::arg("n_fields"),
        "Raise where the parts of adagrad.ctr.Examples do not fit.");
  m.def("arrange", &arrange, py::arg("indptr"), py::arg("slots"), py::arg("values"),
        py::arg("region_size"),
        "Order the entries of each example by region, in place; return the bounds.");
  m.def("compact", &compact_slots, py::arg("slots"),
        "The different slots in ascending order, and the place among them of each.");
}

}  // namespace adagrad
