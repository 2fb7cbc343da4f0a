// _core.step_rows: checks, then the duplicate policy, then the row kernels.
#include <cstdint>

#include "sparse_call.hpp"

namespace adagrad {

IdsArgument check_ids_array(const char* function, py::handle rows, std::uint64_t table_rows) {
  const Argument at{function, "rows"};
  const py::array array = check_memory(at, rows, Access::read);
  const IdType type = id_type(at, array);
  if (array.ndim() != 1) fail_value(at, "must have shape [n], got " + shape_of(array));
  return {function, array, type, static_cast<std::size_t>(array.shape(0)), table_rows};
}

SparseOptions check_options(const char* function, const Hyperparameters& rule,
                            const py::object& duplicates, bool verify_unique, std::size_t threads) {
  const Duplicates policy =
      duplicates.is_none() ? rule.duplicates : parse_duplicates(duplicates.cast<std::string>());
  if (verify_unique && policy != Duplicates::unique) {
    throw py::value_error(std::string(function) + ": check_unique=True needs duplicates='unique'");
  }
  if (policy == Duplicates::each && rule.is_coupled()) {
    throw py::value_error(
        std::string(function) +
        ": duplicates='each' takes all statistics before the first step, and coupled weight decay "
        "makes a gradient depend on the steps before it: use another policy, or "
        "weight_decay_mode='decoupled'");
  }
  return {rule, policy, verify_unique, threads};
}

namespace {

// The checked arguments of step_rows.
struct Arguments {
  py::array w, g, s;
  IdsArgument ids;
  Real real;
  bool row_state;
  std::size_t dim;
};

Arguments check_arguments(py::handle w, py::handle g, py::handle s, py::handle rows) {
  constexpr const char* function = "step_rows";
  const Argument at_w{function, "w"}, at_g{function, "g"}, at_s{function, "s"},
      at_rows{function, "rows"};
  const py::array w_array = check_memory(at_w, w, Access::write),
                  g_array = check_memory(at_g, g, Access::read),
                  s_array = check_memory(at_s, s, Access::write);
  const Real real = real_type(at_w, w_array);
  check_same_real(at_g, real, g_array, "w", w_array);
  check_same_real(at_s, real, s_array, "w", w_array);
  if (w_array.ndim() != 1 && w_array.ndim() != 2) {
    fail_value(at_w, "must have shape [N] or [N, D], got " + shape_of(w_array));
  }
  const IdsArgument ids =
      check_ids_array(function, rows, static_cast<std::uint64_t>(w_array.shape(0)));
  const bool is_wide = w_array.ndim() == 2;
  const bool fits = g_array.ndim() == w_array.ndim() && g_array.shape(0) == ids.rows.shape(0) &&
                    (!is_wide || g_array.shape(1) == w_array.shape(1));
  if (!fits) {
    const std::string wanted = "(" + std::to_string(ids.n) +
                               (is_wide ? ", " + std::to_string(w_array.shape(1)) + ")" : ",)");
    fail_value(at_g, "has shape " + shape_of(g_array) + ", but rows of shape " +
                         shape_of(ids.rows) + " and w of shape " + shape_of(w_array) + " need " +
                         wanted);
  }
  const bool row_state = has_row_state(at_s, w_array, s_array);
  const Span span_w{at_w, w_array, Access::write}, span_s{at_s, s_array, Access::write};
  check_disjoint(span_w, span_s);
  for (const Span& read :
       {Span{at_g, g_array, Access::read}, Span{at_rows, ids.rows, Access::read}}) {
    check_disjoint(span_w, read);
    check_disjoint(span_s, read);
  }
  const std::size_t dim = is_wide ? static_cast<std::size_t>(w_array.shape(1)) : 1;
  return {w_array, g_array, s_array, ids, real, row_state, dim};
}

template <class T, class I>
std::size_t run(const Arguments& a, const I* ids, const SparseOptions& options, double lr,
                bool limit) {
  using Id = std::remove_const_t<std::remove_pointer_t<decltype(unsigned_ids(ids))>>;
  const Params<T> params = options.rule.params<T>(lr);
  const unsigned bits = check_range(a.ids, ids, options.threads);
  if (options.rule.on_nonfinite == NonFinite::raise) check_finite<T>({"step_rows", "g"}, a.g);
  const Target<T> table =
      separate(static_cast<T*>(const_cast<void*>(a.w.data())),
               static_cast<T*>(const_cast<void*>(a.s.data())), a.dim, a.row_state);
  TargetKernels<T> kernels{table, params, kernels_for<T>(limit)};
  const Occurrences<T, Id> all{
      unsigned_ids(ids), static_cast<const T*>(a.g.data()), nullptr, a.ids.n, false, false};
  return step_sparse(a.ids, options, bits, a.dim, a.dim * sizeof(T), all, kernels);
}

std::size_t step_rows(const py::object& w, const py::object& g, const py::object& s,
                      const py::object& rows, const Hyperparameters& rule, double lr,
                      const py::object& duplicates, bool verify_unique, bool limit,
                      std::size_t threads) {
  const SparseOptions options =
      check_options("step_rows", rule, duplicates, verify_unique, threads);
  const Arguments a = check_arguments(w, g, s, rows);
  return with_ids(a.ids.type, a.ids.rows, [&](const auto* ids) {
    return a.real == Real::f32 ? run<float>(a, ids, options, lr, limit)
                               : run<double>(a, ids, options, lr, limit);
  });
}

}  // namespace

void bind_rows(py::module_& m) {
  m.def("step_rows", &step_rows, py::arg("w"), py::arg("g"), py::arg("s"), py::arg("rows"),
        py::arg("rule"), py::arg("lr"), py::arg("duplicates") = py::none(),
        py::arg("check_unique") = false, py::arg("limit") = false, py::arg("threads") = 0,
        "One step of the named rows in place; the number of skipped rows.");
}

}  // namespace adagrad
