// _core.step_rows: checks, then a sparse step.
#include <cstdint>

#include "calls.hpp"
#include "sparse_call.hpp"

namespace adagrad {
namespace {

// The checked arguments of step_rows.
struct RowsArguments {
  py::array w, g, s;
  IdsArgument ids;
  Real real;
  bool row_state;
  std::size_t dim;
};

RowsArguments check_arguments(py::handle w, py::handle g, py::handle s, py::handle rows) {
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
      check_ids_array(at_rows, rows, static_cast<std::uint64_t>(w_array.shape(0)));
  const bool is_wide = w_array.ndim() == 2;
  const bool fits = g_array.ndim() == w_array.ndim() && g_array.shape(0) == ids.array.shape(0) &&
                    (!is_wide || g_array.shape(1) == w_array.shape(1));
  if (!fits) {
    const std::string wanted = "(" + std::to_string(ids.n) +
                               (is_wide ? ", " + std::to_string(w_array.shape(1)) + ")" : ",)");
    fail_value(at_g, "has shape " + shape_of(g_array) + ", but rows of shape " +
                         shape_of(ids.array) + " and w of shape " + shape_of(w_array) + " need " +
                         wanted);
  }
  const bool row_state = has_row_state(at_s, w_array, s_array);
  const Span span_w{at_w, w_array, Access::write}, span_s{at_s, s_array, Access::write};
  check_disjoint(span_w, span_s);
  for (const Span& read :
       {Span{at_g, g_array, Access::read}, Span{at_rows, ids.array, Access::read}}) {
    check_disjoint(span_w, read);
    check_disjoint(span_s, read);
  }
  const std::size_t dim = is_wide ? static_cast<std::size_t>(w_array.shape(1)) : 1;
  return {w_array, g_array, s_array, ids, real, row_state, dim};
}

template <class T>
std::size_t run(const RowsArguments& a, const SparseOptions& options, double lr) {
  const Params<T> params = options.rule.params<T>(lr);
  const std::uint64_t largest = check_range(a.ids, options.threads);
  if (options.rule.on_nonfinite == NonFinite::raise) check_finite<T>({"step_rows", "g"}, a.g);
  const Target<T> table =
      separate(static_cast<T*>(const_cast<void*>(a.w.data())),
               static_cast<T*>(const_cast<void*>(a.s.data())), a.dim, a.row_state);
  TargetKernels<T> kernels(table, params);
  const T* const g = static_cast<const T*>(a.g.data());
  return a.ids.with([&](const auto* ids) {
    const Occurrences<T, std::decay_t<decltype(*ids)>> all{ids, g, nullptr, a.ids.n, false, false};
    return run_sparse<T>(a.ids, options, largest, a.dim, a.dim * sizeof(T), all, kernels);
  });
}

std::size_t step_rows(const py::object& w, const py::object& g, const py::object& s,
                      const py::object& rows, const Hyperparameters& rule, double lr,
                      const py::object& duplicates, bool verify_unique, std::size_t threads) {
  const SparseOptions options =
      check_options("step_rows", rule, duplicates, verify_unique, threads);
  const RowsArguments a = check_arguments(w, g, s, rows);
  return a.real == Real::f32 ? run<float>(a, options, lr) : run<double>(a, options, lr);
}

// (w, g, s, rows, lr, duplicates, eps, rule, t, threads, check_unique), the arguments of
// adagrad.step_rows
py::object step_rows_of(Arguments given) {
  const RuleArgument how(given[4], given[6], given[7], given[8]);
  check_policy(given[5]);
  const std::size_t threads = threads_argument(given[9]);
  const bool unique = flag_argument("check_unique", given[10]);
  const auto of = [&](std::size_t i) { return py::reinterpret_borrow<py::object>(given[i]); };
  return how.result(
      step_rows(of(0), of(1), of(2), of(3), how.rule(), how.lr(), of(5), unique, threads));
}

}  // namespace

void bind_rows(py::module_& m) {
  define<11, step_rows_of>(
      m, "step_rows_of",
      "step_rows_of(w, g, s, rows, lr, duplicates, eps, rule, t, threads, check_unique)\n\n"
      "adagrad.step_rows.");
  m.def("step_rows", &step_rows, py::arg("w"), py::arg("g"), py::arg("s"), py::arg("rows"),
        py::arg("rule"), py::arg("lr"), py::arg("duplicates") = py::none(),
        py::arg("check_unique") = false, py::arg("threads") = 0,
        "One step of the named rows in place; the number of skipped rows.");
}

}  // namespace adagrad
