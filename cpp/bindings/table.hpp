// _core.Table: the memory of an adagrad.Table as the kernels see it. Python owns the memory, the
// rule and the step count; every check of an array argument is here, and in bags.cpp those of bags.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../adagrad/parallel.hpp"
#include "sparse_call.hpp"

namespace adagrad {

inline std::optional<Half> half_of(const std::string& dtype) {
  if (dtype == "bfloat16") return Half::bfloat16;
  if (dtype == "float16") return Half::float16;
  return std::nullopt;
}

// How a step is taken. `seed` and `steps` are for stochastic rounding.
struct Step {
  const Hyperparameters& rule;
  double lr;
  const py::object& duplicates;
  bool verify_unique;
  std::uint64_t seed, steps;
  std::size_t threads;
};

class Table {
 public:
  Table(py::array memory, std::size_t rows, std::size_t dim, const std::string& dtype,
        bool half_state, bool row_state, bool whole_pairs, std::uint64_t first_row)
      : memory_(std::move(memory)), rows_(rows), dim_(dim), is_double_(dtype == "float64"),
        half_(half_of(dtype)), half_state_(half_state), row_state_(row_state),
        whole_pairs_(whole_pairs), first_row_(first_row) {
    const std::size_t state = row_state ? 1 : dim, size = is_double_ ? 8 : 4;
    stride_ = (half_ ? 2 : size) * dim + (half_state ? 2 : size) * state;
    check_memory({"Table", "memory"}, memory_, Access::read);
    if (static_cast<std::size_t>(memory_.nbytes()) != rows * stride_) {
      throw py::value_error("Table: memory has another size than its rows");
    }
  }

  // `positions` are those of the ids in a larger call that this one is a part of, or None.
  std::size_t step(const py::object& rows, const py::object& g, const py::object& positions,
                   const Step& how) {
    constexpr const char* function = "Table.step";
    const SparseOptions options = options_of(function, how);
    const IdsArgument ids = check_ids(function, rows);
    const py::array gradients = check_reals({function, "g"}, g, ids.n, "rows", Access::read);
    const std::optional<py::array> places = check_positions(function, positions, ids.n);
    check_writeable();
    std::size_t skipped = 0;
    with_kernels(&how.rule, how.lr, [&](auto& kernels) {
      using T = typename std::decay_t<decltype(kernels)>::Real;
      const std::uint64_t largest = check_range(ids, how.threads);
      if (how.rule.on_nonfinite == NonFinite::raise) check_finite<T>({function, "g"}, gradients);
      // NumPy's index type has the size of std::size_t, and no position is negative.
      const std::size_t* const of_call =
          places ? static_cast<const std::size_t*>(places->data()) : nullptr;
      kernels.prepare(num_threads(how.threads), how.seed, Stream::step, how.steps);
      skipped = ids.with([&](const auto* named) {
        const Occurrences<T, std::decay_t<decltype(*named)>> all{
            named, static_cast<const T*>(gradients.data()), nullptr, ids.n, false, false, of_call};
        return run_sparse<T>(ids, options, largest, dim_, stride_, all, kernels);
      });
    });
    return skipped;
  }

  // The checks of step() except those of its n ids, which may be of other tables: a sharded table
  // makes these checks before it calls any shard.
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

  py::array gather(const py::object& rows, const py::object& out, std::size_t threads) {
    constexpr const char* function = "Table.gather";
    const IdsArgument ids = check_ids(function, rows);
    const py::array to = out.is_none()
                             ? make_reals(ids.n)
                             : check_reals({function, "out"}, out, ids.n, "rows", Access::write);
    if (!out.is_none()) {
      check_disjoint({{function, "out"}, to, Access::write}, {ids.at, ids.array, Access::read});
    }
    check_range(ids, threads);
    with_kernels(nullptr, 0.0, [&](auto& kernels) {
      using T = typename std::decay_t<decltype(kernels)>::Real;
      T* const data = static_cast<T*>(const_cast<void*>(to.data()));
      ids.with([&](const auto* given) {
        unlocked(ids.n * dim_, [&] {
          split(ids.n, parts_of(ids.n, threads), 1, 1, [&](std::size_t first, std::size_t last) {
            kernels.gather(given + first, last - first, data + first * dim_);
          });
        });
      });
    });
    return to;
  }

  // Sets every accumulator, and every param unless `init` is "zeros".
  void initialise(const std::string& init, double scale, std::uint64_t seed, double accumulator,
                  std::size_t threads) {
    const Start start{
        init != "zeros", init == "normal" ? Distribution::normal : Distribution::uniform,
        key_from(key(seed, Stream::initial_weights, 0), first_row_ * dim_), scale, accumulator};
    each_part(threads, seed, Stream::initial_weights, 0,
              [&](auto& kernels, std::size_t first, std::size_t last, std::size_t k) {
                kernels.initialise(start, first, last, k);
              });
  }

  // s = max(gamma * s, floor) for every accumulator.
  void fade(double gamma, double floor, std::uint64_t seed, std::uint64_t steps,
            std::size_t threads) {
    each_part(threads, seed, Stream::decay, steps,
              [&](auto& kernels, std::size_t first, std::size_t last, std::size_t k) {
                kernels.fade(gamma, floor, first, last, k);
              });
  }

 private:
  friend class BagsOfTables;

  char* data() const { return static_cast<char*>(const_cast<void*>(memory_.data())); }

  template <class T>
  Target<T> target() const {
    T* const w = reinterpret_cast<T*>(data());
    const std::size_t stride = stride_ / sizeof(T);
    return {w, w + dim_, stride, stride, dim_, row_state_, whole_pairs_};
  }

  // Calls f with the kernels for the storage of this table, and the params of a rule or none.
  template <class F>
  void with_kernels(const Hyperparameters* rule, double lr, F f) const {
    is_double_ ? f(*kernels<double>(rule, lr)) : f(*kernels<float>(rule, lr));
  }

  template <class T>
  static Params<T> params_of(const Hyperparameters* rule, double lr) {
    return rule == nullptr ? Params<T>{} : rule->params<T>(lr);
  }

  SparseOptions options_of(const char* function, const Step& how) const {
    return check_options(function, how.rule, how.duplicates, how.verify_unique, how.threads);
  }

  // Of a table that computes in T.
  template <class T>
  std::unique_ptr<TableKernels<T>> kernels(const Hyperparameters* rule, double lr) const {
    const Params<T> params = params_of<T>(rule, lr);
    if constexpr (std::is_same_v<T, float>) {
      if (half_) {
        const HalfTable table{data(), stride_, dim_, *half_, half_state_, row_state_, 0};
        return std::make_unique<HalfTableKernels>(table, params, first_row_);
      }
    }
    return std::make_unique<TargetKernels<T>>(target<T>(), params);
  }

  // The memory may be that of a file which is only read, so far.
  void check_writeable() const { check_memory({"Table", "memory"}, memory_, Access::write); }

  // How many threads share n rows.
  std::size_t parts_of(std::size_t n, std::size_t threads) const {
    return sparse_threads(n, dim_, num_threads(threads), sparse_grain());
  }

  // f(kernels, first, last, k) on thread k, for all rows.
  template <class F>
  void each_part(std::size_t threads, std::uint64_t seed, Stream stream, std::uint64_t step,
                 F f) const {
    check_writeable();
    with_kernels(nullptr, 0.0, [&](auto& kernels) {
      py::gil_scoped_release release;
      const std::size_t parts = parts_of(rows_, threads);
      kernels.prepare(parts, seed, stream, step);
      for_each_part(parts, [&](std::size_t k) {
        f(kernels, rows_ / parts * k + rows_ % parts * k / parts,
          rows_ / parts * (k + 1) + rows_ % parts * (k + 1) / parts, k);
      });
    });
  }

  IdsArgument check_ids(const char* function, const py::object& rows) const {
    const IdsArgument ids = check_ids_array({function, "rows"}, rows, rows_);
    check_disjoint({{function, "the table"}, memory_, Access::write},
                   {ids.at, ids.array, Access::read});
    return ids;
  }

  // An array of the compute type with n rows, as many as `reference` has entries.
  py::array check_reals(const Argument& at, const py::object& object, std::size_t n,
                        const char* reference, Access access) const {
    const py::array array = check_memory(at, object, access);
    check_compute(at, array);
    const bool is_wide = dim_ != 1;
    const bool fits = array.ndim() == (is_wide ? 2 : 1) &&
                      static_cast<std::size_t>(array.shape(0)) == n &&
                      (!is_wide || static_cast<std::size_t>(array.shape(1)) == dim_);
    if (!fits) {
      fail_value(at, "has shape " + shape_of(array) + ", but " + reference + " and dim " +
                         std::to_string(dim_) + " need (" + std::to_string(n) +
                         (is_wide ? ", " + std::to_string(dim_) + ")" : ",)"));
    }
    check_apart(at, array, access);
    return array;
  }

  void check_compute(const Argument& at, const py::array& array) const {
    if (real_type(at, array) != (is_double_ ? Real::f64 : Real::f32)) {
      fail_type(at, "has dtype " + text_of(array.dtype()) + "; this table computes in " +
                        (is_double_ ? "float64" : "float32") + ", and nothing is cast");
    }
  }

  void check_apart(const Argument& at, const py::array& array, Access access) const {
    check_disjoint({at.other("the table"), memory_, Access::write}, {at, array, access});
  }

  bool overlaps(const py::array& array) const {
    const Span table({"", ""}, memory_, Access::write), other({"", ""}, array, Access::read);
    return table.begin < other.end && other.begin < table.end;
  }

  // The positions of the occurrences in a larger call that this one is a part of.
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

}  // namespace adagrad
