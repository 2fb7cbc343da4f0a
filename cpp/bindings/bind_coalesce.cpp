// _core.coalesce: checks, then the sums of repeated ids in arrays of their own.
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "../adagrad/coalesce.hpp"
#include "../adagrad/groups.hpp"
#include "../isa/cpu.hpp"
#include "arrays.hpp"
#include "ids.hpp"
#include "module.hpp"

namespace adagrad {
namespace {

// Arrays that were made for n ids, cut to the number that turned out to be different.
template <class T>
py::array_t<T> cut(py::array_t<T> array, std::size_t length) {
  array.resize({static_cast<py::ssize_t>(length)}, false);
  return array;
}

template <class T, class I>
py::tuple coalesce_scalars(const I* ids, const py::array& g, std::size_t n, unsigned bits) {
  py::array_t<I> unique(static_cast<py::ssize_t>(n));
  py::array_t<T> sums(static_cast<py::ssize_t>(n));
  I* const to_ids = unique.mutable_data();
  T* const to_sums = sums.mutable_data();
  const T* const from = static_cast<const T*>(g.data());
  std::size_t count = 0;
  const auto out = [&, to_ids, to_sums](auto key, T sum) {
    to_ids[count] = static_cast<I>(key);
    to_sums[count++] = sum;
  };
  unlocked(n, [&] {
    const auto* keys = unsigned_ids(ids);
    if (bits <= 32) {
      sum_sorted<std::uint32_t>(keys, from, n, bits, out);
    } else {
      sum_sorted<std::uint64_t>(keys, from, n, bits, out);
    }
  });
  return py::make_tuple(cut(std::move(unique), count), cut(std::move(sums), count));
}

template <class T, class I>
py::tuple coalesce_wide(const I* ids, const py::array& g, std::size_t n, unsigned bits) {
  using Entry = Item<std::uint64_t, std::uint64_t>;
  const auto sum = kernels_for<T>(false).sum_u64;
  const std::size_t dim = static_cast<std::size_t>(g.shape(1));
  const T* const from = static_cast<const T*>(g.data());
  std::vector<std::uint64_t> keys, positions;  // the different ids, and of all ids, grouped
  std::vector<std::size_t> starts;             // where each group begins in positions
  unlocked(n * dim, [&] {
    positions.reserve(n);
    Arena arena(group_rows_bytes<std::uint64_t, std::uint64_t>(n));
    group_rows<std::uint64_t, std::uint64_t>(
        unsigned_ids(ids), n, bits, arena,
        [&](std::uint64_t key, const Entry* group, std::size_t count) {
          keys.push_back(key);
          starts.push_back(positions.size());
          for (std::size_t k = 0; k < count; ++k) positions.push_back(group[k].value);
        });
  });
  const std::size_t count = keys.size();
  starts.push_back(n);
  py::array_t<I> unique(static_cast<py::ssize_t>(count));
  py::array_t<T> sums({count, dim});
  I* const to_ids = unique.mutable_data();
  T* const to_sums = sums.mutable_data();
  unlocked(n * dim, [&] {
    for (std::size_t u = 0; u < count; ++u) {
      const std::size_t begin = starts[u];
      to_ids[u] = static_cast<I>(keys[u]);
      sum(from, positions.data() + begin, starts[u + 1] - begin, dim, to_sums + u * dim);
    }
  });
  return py::make_tuple(unique, sums);
}

py::tuple coalesce(const py::object& rows, const py::object& g) {
  const Argument at_rows{"coalesce", "rows"}, at_g{"coalesce", "g"};
  const py::array ids_array = check_memory(at_rows, rows, Access::read);
  const py::array g_array = check_memory(at_g, g, Access::read);
  const IdType ids_type = id_type(at_rows, ids_array);
  const Real real = real_type(at_g, g_array);
  if (ids_array.ndim() != 1) {
    fail_value(at_rows, "must have shape [n], got " + shape_of(ids_array));
  }
  if ((g_array.ndim() != 1 && g_array.ndim() != 2) || g_array.shape(0) != ids_array.shape(0)) {
    fail_value(at_g, "has shape " + shape_of(g_array) + ", but rows of shape " +
                         shape_of(ids_array) + " need [n] or [n, D]");
  }
  const std::size_t n = static_cast<std::size_t>(ids_array.shape(0));
  return with_ids(ids_type, ids_array, [&](const auto* ids) {
    using I = std::remove_cv_t<std::remove_pointer_t<decltype(ids)>>;
    const std::uint64_t last = static_cast<std::uint64_t>(std::numeric_limits<I>::max());
    const std::uint64_t largest = largest_id(ids, n);
    if (largest > last) {
      fail_ids(at_rows, ids, ": ids are not negative",
               [&](std::uint64_t id) { return id <= last; });
    }
    const unsigned bits = bit_width(largest);
    const auto run = [&](auto zero) {
      using T = decltype(zero);
      return g_array.ndim() == 1 ? coalesce_scalars<T>(ids, g_array, n, bits)
                                 : coalesce_wide<T>(ids, g_array, n, bits);
    };
    return real == Real::f32 ? run(0.0f) : run(0.0);
  });
}

}  // namespace

void bind_coalesce(py::module_& m) {
  m.def("coalesce", &coalesce, py::arg("rows"), py::arg("g"),
        "The different ids in ascending order, and for each the sum of its gradients.");
}

}  // namespace adagrad
