// The mixture of experts of adagrad.ctr, and the mixing of pairs beside it: arrays checked and
// handed to ctr/models.hpp.
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "../ctr/models.hpp"
#include "../isa/cpu.hpp"
#include "arrays.hpp"
#include "learner_arguments.hpp"
#include "module.hpp"
#include "row_reader.hpp"

namespace adagrad {
namespace {

// A mixture in the memory of three arrays, which it keeps alive.
class MixtureLearner {
 public:
  MixtureLearner(const py::array& table, std::size_t slots, const py::object& bias,
                 const py::array& state, double half_life)
      : slots_(slots), held_{table, bias, state},
        mixture_(memory(table, slots, bias), mixing(state), slots, checked(half_life)) {}

  py::array_t<float> learn_from(py::handle x, const py::array& y, const py::object& weights,
                                std::uint64_t t, bool scaled, bool mixes, std::size_t threads,
                                const py::object& mixed) {
    const HeldExamples examples(x, slots_);
    const Targets targets = check_labels(y, weights, examples->n);
    float* const unguarded = mixed.is_none() ? nullptr : check_mixed(mixed, examples->n);
    return margins(
        examples->n,
        [&](float* to, std::size_t most) {
          mixture_.learn(*kernels().ctr, *examples, targets, t,
                         scaled || examples->values != nullptr, mixes, num_threads(most), to,
                         unguarded);
        },
        threads);
  }

  py::array_t<float> margins_of(py::handle x, double slope, double offset,
                                std::size_t threads) const {
    const HeldRows rows(x, slots_);
    return margins(
        rows->n,
        [&](float* to, std::size_t most) {
          mixture_.predict(*kernels().ctr, *rows, {slope, offset}, num_threads(most), to);
        },
        threads);
  }

  py::array_t<float> variances_of(py::handle x, std::size_t threads) const {
    const HeldExamples examples(x, slots_);
    return margins(
        examples->n,
        [&](float* to, std::size_t most) {
          mixture_.variances(*kernels().ctr, *examples, num_threads(most), to);
        },
        threads);
  }

  // The margin of a row of Python; None if the row must be encoded as a batch.
  py::object margin_of_row(const RowReader& reader, py::handle row, double slope,
                           double offset) const {
    RowScratch& scratch = scratch_of_thread();
    if (reader.plan().n_slots != slots_ || !reader.read(row, scratch)) return py::none();
    const Examples one = scratch.row.example(slots_);
    float margin = 0.0f;
    mixture_.predict(*kernels().ctr, rows_of(one), {slope, offset}, 1, &margin);
    return py::float_(static_cast<double>(margin));
  }

  std::pair<py::array_t<float>, float> weights(double slope, double offset,
                                               std::size_t threads) const {
    py::array_t<float> all(static_cast<py::ssize_t>(slots_));
    float* const to = all.mutable_data();
    float bias = 0.0f;
    const Affine as{slope, offset};
    unlocked(slots_,
             [&] { bias = mixture_.weights(*kernels().ctr, as, num_threads(threads), to); });
    return {all, bias};
  }

  void check_examples(py::handle x) const { HeldExamples examples(x, slots_); }

 private:
  static MixtureModel memory(const py::array& table, std::size_t slots, const py::object& bias) {
    const Argument a{"Mixture", "table"};
    return {check_table(a, table, slots, mixture_row),
            check_table_or_none(a.other("bias"), bias, mixture_row)};
  }

  static MixingState& mixing(const py::array& state) {
    constexpr std::size_t n = sizeof(MixingState) / sizeof(double);
    // The array is one of doubles, and a MixingState consists of nothing else.
    return *reinterpret_cast<MixingState*>(check_sums({"Mixture", "state"}, state, n));
  }

  static float* check_mixed(const py::object& mixed, std::size_t n) {
    const Argument a{"learn", "mixed"};
    const auto& array = py::reinterpret_borrow<py::array>(mixed);
    check_memory(a, array, Access::write);
    return const_cast<float*>(check_floats(a, array, n));
  }

  static double checked(double half_life) {
    if (half_life == 0.0 || half_life >= 64.0) return half_life;
    throw py::value_error("half_life must be at least 64 examples, got " +
                          text_of(py::float_(half_life)));
  }

  template <class F>
  static py::array_t<float> margins(std::size_t n, F f, std::size_t threads) {
    py::array_t<float> out(static_cast<py::ssize_t>(n));
    float* const to = out.mutable_data();
    unlocked(64 * n, [&] { f(to, threads); });
    return out;
  }

  const std::size_t slots_;
  const std::vector<py::object> held_;
  Mixture mixture_;
};

py::array_t<float> mixed_pairs(const py::array& state, const py::array& linear,
                               const py::array& guarded, const py::array& pairs, bool has_bias,
                               const py::array& y, const py::object& weights, double half_life,
                               bool learns) {
  const Argument a{"mix_pairs", "state"};
  constexpr std::size_t length = sizeof(PairMixingState) / sizeof(double);
  // The array is one of doubles, and a PairMixingState consists of nothing else.
  auto& mixing = *reinterpret_cast<PairMixingState*>(check_sums(a, state, length));
  const std::size_t n = static_cast<std::size_t>(pairs.size());
  const PairMargins of{check_floats(a.other("linear"), linear, n),
                       check_floats(a.other("guarded"), guarded, n),
                       check_floats(a.other("pairs"), pairs, n)};
  const Targets targets = check_labels(y, weights, n);
  py::array_t<float> margins(static_cast<py::ssize_t>(n));
  float* const to = margins.mutable_data();
  const double lambda = 1.0 / growth_in(half_life);
  unlocked(n, [&] { mix_pairs(mixing, of, has_bias, targets, n, lambda, learns, to); });
  return margins;
}

}  // namespace

void bind_mixture(py::module_& m) {
  py::class_<MixtureLearner>(m, "MixtureLearner")
      .def(py::init<const py::array&, std::size_t, const py::object&, const py::array&, double>(),
           py::arg("table"), py::arg("slots"), py::arg("bias"), py::arg("state"),
           py::arg("half_life"))
      .def("learn", &MixtureLearner::learn_from, py::arg("x"), py::arg("y"), py::arg("weights"),
           py::arg("t"), py::arg("scaled"), py::arg("mixes"), py::arg("threads"),
           py::arg("mixed") = py::none(),
           "Learn from examples in order. Return the guarded margin of each before it was learned;"
           " write the one without the guard to mixed.")
      .def("margins", &MixtureLearner::margins_of, py::arg("x"), py::arg("slope"),
           py::arg("offset"), py::arg("threads"))
      .def("margin_of_row", &MixtureLearner::margin_of_row, py::arg("reader"), py::arg("row"),
           py::arg("slope"), py::arg("offset"))
      .def("variances", &MixtureLearner::variances_of, py::arg("x"), py::arg("threads"),
           "The variance of the margin of the Bayesian expert, for each example.")
      .def("weights", &MixtureLearner::weights, py::arg("slope"), py::arg("offset"),
           py::arg("threads"),
           "The linear model, slope times the margin plus offset: weights [slots], and the bias.")
      .def("check", &MixtureLearner::check_examples, py::arg("x"),
           "Raise if the examples do not fit the model.");
  m.def("mix_pairs", &mixed_pairs, py::arg("state"), py::arg("linear"), py::arg("guarded"),
        py::arg("pairs"), py::arg("has_bias"), py::arg("y"), py::arg("weights"),
        py::arg("half_life"), py::arg("learns"),
        "Mix the margins of pairs with those of a mixture, and learn how. Return the margins.");
}

}  // namespace adagrad
