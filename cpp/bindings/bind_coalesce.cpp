// _core.coalesce: checks, then the sums of repeated ids in new arrays.
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "ids.hpp"

namespace adagrad {
namespace {

template <class... N>
std::vector<py::ssize_t> shape(N... n) {
  return {static_cast<py::ssize_t>(n)...};
}

// An array for n ids or sums, cut to the number that turned out to be distinct.
py::array cut(py::array array, std::size_t length) {
  array.resize({static_cast<py::ssize_t>(length)}, false);
  return array;
}

template <class T, class Id>
py::tuple coalesce_of(const IdsArgument& ids, const Id* given, const py::array& g,
                      std::uint64_t largest) {
  const T* const from = static_cast<const T*>(g.data());
  const py::dtype type = ids.array.dtype();
  if (g.ndim() == 1) {
    py::array unique(type, shape(ids.n)), sums(g.dtype(), shape(ids.n));
    Id* const to_ids = static_cast<Id*>(unique.mutable_data());
    T* const to_sums = static_cast<T*>(sums.mutable_data());
    const std::size_t count = unlocked(
        ids.n, [&] { return coalesce_scalars(given, from, ids.n, largest, to_ids, to_sums); });
    return py::make_tuple(cut(std::move(unique), count), cut(std::move(sums), count));
  }
  const std::size_t dim = static_cast<std::size_t>(g.shape(1));
  const Groups groups =
      unlocked(ids.n * dim, [&] { return group_positions(given, ids.n, largest); });
  const std::size_t count = groups.ids.size();
  py::array unique(type, shape(count)), sums(g.dtype(), shape(count, dim));
  Id* const to_ids = static_cast<Id*>(unique.mutable_data());
  T* const to_sums = static_cast<T*>(sums.mutable_data());
  unlocked(ids.n * dim, [&] {
    for (std::size_t u = 0; u < count; ++u) to_ids[u] = static_cast<Id>(groups.ids[u]);
    sum_positions(groups, from, dim, to_sums);
  });
  return py::make_tuple(unique, sums);
}

py::tuple coalesce(const py::object& rows, const py::object& g) {
  const Argument at_rows{"coalesce", "rows"}, at_g{"coalesce", "g"};
  const IdsArgument ids = check_ids_array(at_rows, rows, std::numeric_limits<std::uint64_t>::max());
  const py::array g_array = check_memory(at_g, g, Access::read);
  const Real real = real_type(at_g, g_array);
  if ((g_array.ndim() != 1 && g_array.ndim() != 2) || g_array.shape(0) != ids.array.shape(0)) {
    fail_value(at_g, "has shape " + shape_of(g_array) + ", but rows of shape " +
                         shape_of(ids.array) + " need [n] or [n, D]");
  }
  const std::uint64_t largest = with_ids(ids.type, ids.array, [&](const auto* given) {
    using I = std::decay_t<decltype(*given)>;
    const std::uint64_t last = static_cast<std::uint64_t>(std::numeric_limits<I>::max());
    const std::uint64_t found = largest_id(given, ids.n, 1, 1);
    if (found > last) fail_range(ids, last + 1, ": ids are not negative");
    return found;
  });
  return ids.with([&](const auto* given) {
    return real == Real::f32 ? coalesce_of<float>(ids, given, g_array, largest)
                             : coalesce_of<double>(ids, given, g_array, largest);
  });
}

}  // namespace

void bind_coalesce(py::module_& m) {
  m.def("coalesce", &coalesce, py::arg("rows"), py::arg("g"),
        "The distinct ids in ascending order, and for each the sum of its gradients.");
}

}  // namespace adagrad
