// _core.Table: the memory of an adagrad.Table as the kernels see it. Python owns the memory, the
// rule and the step count; every check of an array argument is here.
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "table_kernels.hpp"

namespace adagrad {
namespace {

std::optional<Half> half_of(const std::string& dtype) {
  if (dtype == "bfloat16") return Half::bfloat16;
  if (dtype == "float16") return Half::float16;
  return std::nullopt;
}

// Bags as the kernels take them: where each begins, and one past the last.
std::vector<std::size_t> check_offsets(const char* function, py::handle object, std::size_t n) {
  const Argument at{function, "offsets"};
  const py::array array = check_memory(at, object, Access::read);
  const IdType type = id_type(at, array);
  if (array.ndim() != 1 || array.shape(0) < 1) {
    fail_value(at, "must have shape [B + 1], got " + shape_of(array));
  }
  return with_ids(type, array, [&](const auto* given) {
    std::vector<std::size_t> offsets(static_cast<std::size_t>(array.shape(0)));
    std::uint64_t before = 0;
    for (std::size_t b = 0; b < offsets.size(); ++b) {
      // A negative offset sign-extends to more than any number of rows.
      const std::uint64_t offset = static_cast<std::uint64_t>(given[b]);
      const bool is_last = b + 1 == offsets.size();
      if ((b == 0 && offset != 0) || offset < before || offset > n || (is_last && offset != n)) {
        throw py::value_error(
            at.text() + "[" + std::to_string(b) + "] = " + std::to_string(given[b]) +
            ", but offsets ascend from 0 to " + std::to_string(n) + ", the number of rows");
      }
      offsets[b] = static_cast<std::size_t>(offset);
      before = offset;
    }
    return offsets;
  });
}

class Table {
 public:
  Table(py::array memory, std::size_t rows, std::size_t dim, const std::string& dtype,
        bool half_state, bool row_state, bool whole_pairs, std::uint64_t first_row)
      : memory_(std::move(memory)), rows_(rows), dim_(dim), is_double_(dtype == "float64"),
        half_(half_of(dtype)), half_state_(half_state), row_state_(row_state),
        whole_pairs_(whole_pairs), first_row_(first_row) {
    const std::size_t state = row_state ? 1 : dim, size = is_double_ ? 8 : 4;
    stride_ = (half_ ? 2 : size) * dim + (half_state ? 2 : size) * state;
    check_memory({"Table", "memory"}, memory_, Access::write);
    if (static_cast<std::size_t>(memory_.nbytes()) != rows * stride_) {
      throw py::value_error("Table: memory has another size than its rows");
    }
  }

  std::size_t step(const py::object& rows, const py::object& g, const Hyperparameters& rule,
                   double lr, const py::object& duplicates, bool verify_unique, std::uint64_t seed,
                   std::uint64_t steps, std::size_t threads, bool limit,
                   const py::object& positions) {
    const SparseOptions options =
        check_options("Table.step", rule, duplicates, verify_unique, threads);
    const IdsArgument ids = check_ids("Table.step", rows);
    const py::array gradients = check_reals({"Table.step", "g"}, g, ids.n, "rows", Access::read);
    const std::optional<py::array> places = check_positions("Table.step", positions, ids.n);
    return with_kernels(rule, lr, limit, [&](auto& kernels) {
      using T = typename std::decay_t<decltype(kernels)>::Real;
      if (rule.on_nonfinite == NonFinite::raise) check_finite<T>({"Table.step", "g"}, gradients);
      const T* const data = static_cast<const T*>(gradients.data());
      return with_ids(ids.type, ids.rows, [&](const auto* given) {
        using Id = std::remove_const_t<std::remove_pointer_t<decltype(unsigned_ids(given))>>;
        // NumPy's index type has the size of std::size_t, and no position is negative.
        const std::size_t* const at =
            places ? static_cast<const std::size_t*>(places->data()) : nullptr;
        const Occurrences<T, Id> all{unsigned_ids(given), data, nullptr, ids.n, false, false, at};
        return run(ids, options, check_range(ids, given, threads), all, kernels, seed, steps);
      });
    });
  }

  // The checks of step() but for those of its n ids, which need not be of this table: a sharded one
  // makes them before any shard is called.
  void check_step(std::size_t n, const py::object& g, const Hyperparameters& rule,
                  const py::object& duplicates) const {
    check_options("step", rule, duplicates, false, 1);
    const py::array gradients = check_reals({"step", "g"}, g, n, "rows", Access::read);
    if (rule.on_nonfinite != NonFinite::raise) return;
    if (is_double_) {
      check_finite<double>({"step", "g"}, gradients);
    } else {
      check_finite<float>({"step", "g"}, gradients);
    }
  }

  // The backward pass of pool() and the step in one: no gradient of a row is kept.
  std::size_t step_pooled(const py::object& rows, const py::object& offsets, const py::object& g,
                          bool mean, const py::object& weights, const Hyperparameters& rule,
                          double lr, const py::object& duplicates, std::uint64_t seed,
                          std::uint64_t steps, std::size_t threads, bool limit) {
    constexpr const char* function = "Table.step_pooled";
    const SparseOptions options = check_options(function, rule, duplicates, false, threads);
    const IdsArgument ids = check_ids(function, rows);
    const std::vector<std::size_t> starts = check_offsets(function, offsets, ids.n);
    const std::size_t bags = starts.size() - 1;
    if (bags > ~std::uint32_t{0}) fail_value({function, "offsets"}, "have 2**32 bags or more");
    const py::array gradients = check_reals({function, "g"}, g, bags, "offsets", Access::read);
    const std::optional<py::array> factors = check_weights(function, weights, ids.n);
    return with_kernels(rule, lr, limit, [&](auto& kernels) {
      using T = typename std::decay_t<decltype(kernels)>::Real;
      if (rule.on_nonfinite == NonFinite::raise) {
        check_finite<T>({function, "g"}, gradients);
        if (factors) check_finite<T>({function, "weights"}, *factors);
      }
      const T* const w = factors ? static_cast<const T*>(factors->data()) : nullptr;
      const T* const data = static_cast<const T*>(gradients.data());
      return with_ids(ids.type, ids.rows, [&](const auto* given) {
        using Id = std::remove_const_t<std::remove_pointer_t<decltype(unsigned_ids(given))>>;
        const unsigned bits = check_range(ids, given, threads);
        const BagGradients<T> each(data, w, starts, dim_, mean);
        if (rule.on_nonfinite == NonFinite::raise && w != nullptr &&
            count_nonfinite(each.g(), ids.n * dim_) != 0) {
          throw py::value_error(std::string(function) +
                                ": a gradient times its weight is not finite, and on_nonfinite is "
                                "'raise'");
        }
        const Occurrences<T, Id> all{
            unsigned_ids(given), each.g(), each.source(), ids.n, false, false};
        return run(ids, options, bits, all, kernels, seed, steps);
      });
    });
  }

  py::array gather(const py::object& rows, const py::object& out, std::size_t threads) {
    constexpr const char* function = "Table.gather";
    const IdsArgument ids = check_ids(function, rows);
    const py::array to = out.is_none()
                             ? make_reals(ids.n)
                             : check_reals({function, "out"}, out, ids.n, "rows", Access::write);
    if (!out.is_none()) {
      check_disjoint({{function, "out"}, to, Access::write},
                     {{function, "rows"}, ids.rows, Access::read});
    }
    read([&](auto& kernels) {
      using T = typename std::decay_t<decltype(kernels)>::Real;
      T* const data = static_cast<T*>(const_cast<void*>(to.data()));
      with_ids(ids.type, ids.rows, [&](const auto* given) {
        check_range(ids, given, threads);
        unlocked(ids.n * dim_, [&] {
          split_rows(ids.n, threads, [&](std::size_t first, std::size_t last) {
            kernels.gather(unsigned_ids(given) + first, last - first, data + first * dim_);
          });
        });
      });
    });
    return to;
  }

  py::array pool(const py::object& rows, const py::object& offsets, bool mean,
                 const py::object& weights, std::size_t threads) {
    constexpr const char* function = "Table.pool";
    const IdsArgument ids = check_ids(function, rows);
    const std::vector<std::size_t> starts = check_offsets(function, offsets, ids.n);
    const std::size_t bags = starts.size() - 1;
    const std::optional<py::array> factors = check_weights(function, weights, ids.n);
    const py::array to = make_reals(bags);
    read([&](auto& kernels) {
      using T = typename std::decay_t<decltype(kernels)>::Real;
      T* const data = static_cast<T*>(const_cast<void*>(to.data()));
      const T* const w = factors ? static_cast<const T*>(factors->data()) : nullptr;
      with_ids(ids.type, ids.rows, [&](const auto* given) {
        check_range(ids, given, threads);
        using Id = std::remove_const_t<std::remove_pointer_t<decltype(unsigned_ids(given))>>;
        const Bags<T, Id> all{unsigned_ids(given), starts.data(), w, data, mean};
        unlocked(ids.n * dim_, [&] {
          const std::size_t parts = sparse_threads(ids.n, dim_, threads);
          split(bags, parts, 1, 1, [&](std::size_t first, std::size_t last) {
            kernels.pool(all, ids.n, first, last);
          });
        });
      });
    });
    return to;
  }

  // Params at random or, where `init` is "zeros", as they are; every accumulator.
  void initialise(const std::string& init, double scale, std::uint64_t seed, double accumulator,
                  std::size_t threads) {
    const Start start{
        init != "zeros", init == "normal" ? Distribution::normal : Distribution::uniform,
        key_from(key(seed, Stream::initial_weights, 0), first_row_ * dim_), scale, accumulator};
    read([&](auto& kernels) {
      py::gil_scoped_release release;
      kernels.allocate(dim_, num_threads(threads));
      each_part(threads, [&](std::size_t first, std::size_t last, std::size_t k) {
        kernels.initialise(start, first, last, k);
      });
    });
  }

  // s = max(gamma * s, floor) for every accumulator.
  void fade(double gamma, double floor, std::uint64_t seed, std::uint64_t steps,
            std::size_t threads) {
    read([&](auto& kernels) {
      py::gil_scoped_release release;
      kernels.allocate(dim_, num_threads(threads));
      kernels.set_key(key(seed, Stream::decay, steps));
      each_part(threads, [&](std::size_t first, std::size_t last, std::size_t k) {
        kernels.fade(gamma, floor, first, last, k);
      });
    });
  }

 private:
  char* data() const { return static_cast<char*>(const_cast<void*>(memory_.data())); }

  template <class T>
  Target<T> target() const {
    T* const w = reinterpret_cast<T*>(data());
    const std::size_t stride = stride_ / sizeof(T);
    return {w, w + dim_, stride, stride, dim_, row_state_, whole_pairs_};
  }

  // Calls f with the kernels for the storage of this table.
  template <class F>
  std::size_t with_kernels(const Hyperparameters& rule, double lr, bool limit, F f) const {
    if (half_) {
      HalfTableKernels half{{data(), stride_, dim_, *half_, half_state_, row_state_, 0},
                            rule.params<float>(lr),
                            first_row_};
      return f(half);
    }
    if (is_double_) {
      TargetKernels<double> of{target<double>(), rule.params<double>(lr),
                               kernels_for<double>(limit)};
      return f(of);
    }
    TargetKernels<float> of{target<float>(), rule.params<float>(lr), kernels_for<float>(limit)};
    return f(of);
  }

  // The same where no rule is applied.
  template <class F>
  void read(F f) const {
    if (half_) {
      HalfTableKernels half{
          {data(), stride_, dim_, *half_, half_state_, row_state_, 0}, {}, first_row_};
      f(half);
    } else if (is_double_) {
      TargetKernels<double> of{target<double>(), {}, kernels_for<double>(false)};
      f(of);
    } else {
      TargetKernels<float> of{target<float>(), {}, kernels_for<float>(false)};
      f(of);
    }
  }

  template <class Id, class T, class Kernels>
  std::size_t run(const IdsArgument& ids, const SparseOptions& options, unsigned bits,
                  const Occurrences<T, Id>& all, Kernels& kernels, std::uint64_t seed,
                  std::uint64_t steps) const {
    kernels.prepare(dim_, num_threads(options.threads), seed, steps);
    return step_sparse(ids, options, bits, dim_, stride_, all, kernels);
  }

  template <class F>
  void split_rows(std::size_t n, std::size_t threads, F f) const {
    split(n, sparse_threads(n, dim_, threads), 1, 1, f);
  }

  // f(first, last, k) on thread k, for all rows.
  template <class F>
  void each_part(std::size_t threads, F f) const {
    const std::size_t parts = sparse_threads(rows_, dim_, threads);
    for_each_part(parts, [&](std::size_t k) {
      f(rows_ / parts * k + rows_ % parts * k / parts,
        rows_ / parts * (k + 1) + rows_ % parts * (k + 1) / parts, k);
    });
  }

  IdsArgument check_ids(const char* function, const py::object& rows) const {
    IdsArgument ids = check_ids_array(function, rows, rows_);
    check_disjoint({{function, "the table"}, memory_, Access::write},
                   {{function, "rows"}, ids.rows, Access::read});
    return ids;
  }

  // An array of the compute type with n rows, as many as `reference` has entries.
  py::array check_reals(const Argument& at, const py::object& object, std::size_t n,
                        const char* reference, Access access) const {
    const py::array array = check_memory(at, object, access);
    if (real_type(at, array) != (is_double_ ? Real::f64 : Real::f32)) {
      fail_type(at, "has dtype " + text_of(array.dtype()) + "; this table computes in " +
                        (is_double_ ? "float64" : "float32") + ", and nothing is cast");
    }
    const bool is_wide = dim_ != 1;
    const bool fits = array.ndim() == (is_wide ? 2 : 1) &&
                      static_cast<std::size_t>(array.shape(0)) == n &&
                      (!is_wide || static_cast<std::size_t>(array.shape(1)) == dim_);
    if (!fits) {
      fail_value(at, "has shape " + shape_of(array) + ", but " + reference + " and dim " +
                         std::to_string(dim_) + " need (" + std::to_string(n) +
                         (is_wide ? ", " + std::to_string(dim_) + ")" : ",)"));
    }
    check_disjoint({at.other("the table"), memory_, Access::write}, {at, array, access});
    return array;
  }

  std::optional<py::array> check_weights(const char* function, const py::object& weights,
                                         std::size_t n) const {
    if (weights.is_none()) return std::nullopt;
    const Argument at{function, "weights"};
    const py::array array = check_memory(at, weights, Access::read);
    if (real_type(at, array) != (is_double_ ? Real::f64 : Real::f32)) {
      fail_type(at, "has dtype " + text_of(array.dtype()) + "; this table computes in " +
                        (is_double_ ? "float64" : "float32") + ", and nothing is cast");
    }
    if (array.ndim() != 1 || static_cast<std::size_t>(array.shape(0)) != n) {
      fail_value(at,
                 "has shape " + shape_of(array) + ", but rows need (" + std::to_string(n) + ",)");
    }
    check_disjoint({at.other("the table"), memory_, Access::write}, {at, array, Access::read});
    return array;
  }

  // Where the occurrences stand in a larger call that this one is a part of.
  std::optional<py::array> check_positions(const char* function, const py::object& positions,
                                           std::size_t n) const {
    if (positions.is_none()) return std::nullopt;
    const Argument at{function, "positions"};
    const py::array array = check_memory(at, positions, Access::read);
    if (id_type(at, array) != IdType::i64) {
      fail_type(at, "has dtype " + text_of(array.dtype()) + "; int64 is needed");
    }
    if (array.ndim() != 1 || static_cast<std::size_t>(array.shape(0)) != n) {
      fail_value(at,
                 "has shape " + shape_of(array) + ", but rows need (" + std::to_string(n) + ",)");
    }
    return array;
  }

  py::array make_reals(std::size_t n) const {
    std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(n)};
    if (dim_ != 1) shape.push_back(static_cast<py::ssize_t>(dim_));
    return is_double_ ? py::array(py::array_t<double>(shape))
                      : py::array(py::array_t<float>(shape));
  }

  py::array memory_;
  std::size_t rows_, dim_, stride_ = 0;
  bool is_double_;
  std::optional<Half> half_;
  bool half_state_, row_state_, whole_pairs_;
  std::uint64_t first_row_;
};

}  // namespace

void bind_table(py::module_& m) {
  py::class_<Table>(m, "Table")
      .def(py::init<py::array, std::size_t, std::size_t, const std::string&, bool, bool, bool,
                    std::uint64_t>(),
           py::arg("memory"), py::arg("rows"), py::arg("dim"), py::arg("dtype"),
           py::arg("half_state"), py::arg("row_state"), py::arg("whole_pairs"),
           py::arg("first_row") = 0)
      .def("step", &Table::step, py::arg("rows"), py::arg("g"), py::arg("rule"), py::arg("lr"),
           py::arg("duplicates"), py::arg("check_unique"), py::arg("seed"), py::arg("steps"),
           py::arg("threads"), py::arg("limit") = false, py::arg("positions") = py::none())
      .def("check_step", &Table::check_step, py::arg("n"), py::arg("g"), py::arg("rule"),
           py::arg("duplicates"))
      .def("step_pooled", &Table::step_pooled, py::arg("rows"), py::arg("offsets"), py::arg("g"),
           py::arg("mean"), py::arg("weights"), py::arg("rule"), py::arg("lr"),
           py::arg("duplicates"), py::arg("seed"), py::arg("steps"), py::arg("threads"),
           py::arg("limit") = false)
      .def("gather", &Table::gather, py::arg("rows"), py::arg("out"), py::arg("threads"))
      .def("pool", &Table::pool, py::arg("rows"), py::arg("offsets"), py::arg("mean"),
           py::arg("weights"), py::arg("threads"))
      .def("initialise", &Table::initialise, py::arg("init"), py::arg("scale"), py::arg("seed"),
           py::arg("accumulator"), py::arg("threads"))
      .def("fade", &Table::fade, py::arg("gamma"), py::arg("floor"), py::arg("seed"),
           py::arg("steps"), py::arg("threads"));
}

}  // namespace adagrad
