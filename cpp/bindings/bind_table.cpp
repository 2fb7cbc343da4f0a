// _core.Table: the memory of an adagrad.Table as the kernels see it. Python owns the memory, the
// rule and the step count; every check of an array argument is here.
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../adagrad/parallel.hpp"
#include "calls.hpp"
#include "sparse_call.hpp"

namespace adagrad {
namespace {

std::optional<Half> half_of(const std::string& dtype) {
  if (dtype == "bfloat16") return Half::bfloat16;
  if (dtype == "float16") return Half::float16;
  return std::nullopt;
}

// Where each bag begins, and the end of the last.
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

// How a step is taken. `seed` and `steps` are for stochastic rounding.
struct Step {
  const Hyperparameters& rule;
  double lr;
  const py::object& duplicates;
  bool verify_unique;
  std::uint64_t seed, steps;
  std::size_t threads;
};

// The gradients of a step; see Occurrences.
template <class T>
struct Gradients {
  const T* g;
  const std::uint32_t* source;
  const std::size_t* positions;
  std::unique_ptr<BagGradients<T>> memory;  // of g and source, unless the caller has it
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
    return run(ids, options, how, [&](auto zero) {
      using T = decltype(zero);
      if (how.rule.on_nonfinite == NonFinite::raise) check_finite<T>({function, "g"}, gradients);
      // NumPy's index type has the size of std::size_t, and no position is negative.
      return Gradients<T>{static_cast<const T*>(gradients.data()), nullptr,
                          places ? static_cast<const std::size_t*>(places->data()) : nullptr,
                          nullptr};
    });
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

  // The backward pass of pool() and the step in one call, without a copy of each row's gradient.
  std::size_t step_pooled(const py::object& rows, const py::object& offsets, const py::object& g,
                          bool mean, const py::object& weights, const Step& how) {
    constexpr const char* function = "Table.step_pooled";
    const SparseOptions options = options_of(function, how);
    const IdsArgument ids = check_ids(function, rows);
    const std::vector<std::size_t> starts = check_offsets(function, offsets, ids.n);
    const std::size_t bags = starts.size() - 1;
    if (bags > ~std::uint32_t{0}) {
      fail_value({function, "offsets"}, "has 2**32 bags or more; pass fewer in each call");
    }
    const py::array gradients = check_reals({function, "g"}, g, bags, "offsets", Access::read);
    const std::optional<py::array> factors = check_weights(function, weights, ids.n);
    return run(ids, options, how, [&](auto zero) {
      using T = decltype(zero);
      const bool raises = how.rule.on_nonfinite == NonFinite::raise;
      if (raises) {
        check_finite<T>({function, "g"}, gradients);
        if (factors) check_finite<T>({function, "weights"}, *factors);
      }
      const T* const w = factors ? static_cast<const T*>(factors->data()) : nullptr;
      auto each = std::make_unique<BagGradients<T>>(static_cast<const T*>(gradients.data()), w,
                                                    starts, dim_, mean);
      if (raises && !each->is_finite()) {
        throw py::value_error(std::string(function) +
                              ": a gradient times its weight is not finite, and on_nonfinite is "
                              "'raise'");
      }
      return Gradients<T>{each->g(), each->source(), nullptr, std::move(each)};
    });
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

  py::array pool(const py::object& rows, const py::object& offsets, bool mean,
                 const py::object& weights, std::size_t threads) {
    constexpr const char* function = "Table.pool";
    const IdsArgument ids = check_ids(function, rows);
    const std::vector<std::size_t> starts = check_offsets(function, offsets, ids.n);
    const std::size_t bags = starts.size() - 1;
    const std::optional<py::array> factors = check_weights(function, weights, ids.n);
    const py::array to = make_reals(bags);
    check_range(ids, threads);
    with_kernels(nullptr, 0.0, [&](auto& kernels) {
      using T = typename std::decay_t<decltype(kernels)>::Real;
      T* const data = static_cast<T*>(const_cast<void*>(to.data()));
      const T* const w = factors ? static_cast<const T*>(factors->data()) : nullptr;
      ids.with([&](const auto* given) {
        const Bags<T, std::decay_t<decltype(*given)>> all{given, starts.data(), w, data, mean};
        unlocked(ids.n * dim_, [&] {
          split(bags, parts_of(ids.n, threads), 1, 1, [&](std::size_t first, std::size_t last) {
            kernels.pool(all, ids.n, first, last);
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
    if (is_double_) {
      TargetKernels<double> kernels(target<double>(), params_of<double>(rule, lr));
      f(static_cast<TableKernels<double>&>(kernels));
      return;
    }
    std::unique_ptr<TableKernels<float>> kernels;
    const Params<float> params = params_of<float>(rule, lr);
    if (half_) {
      const HalfTable table{data(), stride_, dim_, *half_, half_state_, row_state_, 0};
      kernels = std::make_unique<HalfTableKernels>(table, params, first_row_);
    } else {
      kernels = std::make_unique<TargetKernels<float>>(target<float>(), params);
    }
    f(*kernels);
  }

  template <class T>
  static Params<T> params_of(const Hyperparameters* rule, double lr) {
    return rule == nullptr ? Params<T>{} : rule->params<T>(lr);
  }

  SparseOptions options_of(const char* function, const Step& how) const {
    return check_options(function, how.rule, how.duplicates, how.verify_unique, how.threads);
  }

  // One step by the Gradients<T> that gradients(T()) returns, once all arguments are checked.
  template <class F>
  std::size_t run(const IdsArgument& ids, const SparseOptions& options, const Step& how,
                  F gradients) const {
    check_writeable();
    std::size_t skipped = 0;
    with_kernels(&how.rule, how.lr, [&](auto& kernels) {
      using T = typename std::decay_t<decltype(kernels)>::Real;
      const std::uint64_t largest = check_range(ids, how.threads);
      const Gradients<T> given = gradients(T());
      kernels.prepare(num_threads(how.threads), how.seed, Stream::step, how.steps);
      skipped = ids.with([&](const auto* named) {
        const Occurrences<T, std::decay_t<decltype(*named)>> all{
            named, given.g, given.source, ids.n, false, false, given.positions};
        return run_sparse<T>(ids, options, largest, dim_, stride_, all, kernels);
      });
    });
    return skipped;
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

// (table, rows, g, rule, lr, duplicates, check_unique, seed, steps, threads): what Table.step of
// Python passes.
py::object step_table(Arguments given) {
  const auto of = [&](std::size_t i) { return py::reinterpret_borrow<py::object>(given[i]); };
  check_policy(given[5]);
  const py::object duplicates = of(5);
  const Step how{*py::handle(given[3]).cast<const Hyperparameters*>(),
                 py::handle(given[4]).cast<double>(),
                 duplicates,
                 flag_argument("check_unique", given[6]),
                 py::handle(given[7]).cast<std::uint64_t>(),
                 py::handle(given[8]).cast<std::uint64_t>(),
                 py::handle(given[9]).cast<std::size_t>()};
  Table& table = *py::handle(given[0]).cast<Table*>();
  return py::int_(table.step(of(1), of(2), py::none(), how));
}

}  // namespace

void bind_table(py::module_& m) {
  define<10, step_table>(
      m, "step_table",
      "step_table(table, rows, g, rule, lr, duplicates, check_unique, seed, steps, threads)\n\n"
      "Table.step, for calls that are made often.");
  py::class_<Table>(m, "Table")
      .def(py::init<py::array, std::size_t, std::size_t, const std::string&, bool, bool, bool,
                    std::uint64_t>(),
           py::arg("memory"), py::arg("rows"), py::arg("dim"), py::arg("dtype"),
           py::arg("half_state"), py::arg("row_state"), py::arg("whole_pairs"),
           py::arg("first_row") = 0)
      .def(
          "step",
          [](Table& table, const py::object& rows, const py::object& g, const Hyperparameters& rule,
             double lr, const py::object& duplicates, bool check_unique, std::uint64_t seed,
             std::uint64_t steps, std::size_t threads, const py::object& positions) {
            return table.step(rows, g, positions,
                              {rule, lr, duplicates, check_unique, seed, steps, threads});
          },
          py::arg("rows"), py::arg("g"), py::arg("rule"), py::arg("lr"), py::arg("duplicates"),
          py::arg("check_unique"), py::arg("seed"), py::arg("steps"), py::arg("threads"),
          py::arg("positions") = py::none())
      .def("check_step", &Table::check_step, py::arg("n"), py::arg("g"), py::arg("rule"),
           py::arg("duplicates"))
      .def(
          "step_pooled",
          [](Table& table, const py::object& rows, const py::object& offsets, const py::object& g,
             bool mean, const py::object& weights, const Hyperparameters& rule, double lr,
             const py::object& duplicates, std::uint64_t seed, std::uint64_t steps,
             std::size_t threads) {
            return table.step_pooled(rows, offsets, g, mean, weights,
                                     {rule, lr, duplicates, false, seed, steps, threads});
          },
          py::arg("rows"), py::arg("offsets"), py::arg("g"), py::arg("mean"), py::arg("weights"),
          py::arg("rule"), py::arg("lr"), py::arg("duplicates"), py::arg("seed"), py::arg("steps"),
          py::arg("threads"))
      .def("gather", &Table::gather, py::arg("rows"), py::arg("out"), py::arg("threads"))
      .def("pool", &Table::pool, py::arg("rows"), py::arg("offsets"), py::arg("mean"),
           py::arg("weights"), py::arg("threads"))
      .def("initialise", &Table::initialise, py::arg("init"), py::arg("scale"), py::arg("seed"),
           py::arg("accumulator"), py::arg("threads"))
      .def("fade", &Table::fade, py::arg("gamma"), py::arg("floor"), py::arg("seed"),
           py::arg("steps"), py::arg("threads"));
}

}  // namespace adagrad
