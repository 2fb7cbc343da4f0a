// The learners of adagrad.ctr: models over the memory of tables, trained and asked in rounds.
#include <pybind11/stl.h>

#include <utility>
#include <vector>

#include "../ctr/sigmoid.hpp"
#include "learners.hpp"

namespace adagrad {
namespace {

class LinearLearner final : public BoundModel {
 public:
  LinearLearner(py::array table, std::size_t slots, py::object bias, Schedule schedule, float l1)
      : BoundModel(slots), linear_(std::move(table), slots, std::move(bias), l1),
        schedule_(std::move(schedule)) {}

  std::size_t units() const override { return regions; }
  std::size_t width() const override { return 1; }
  std::size_t work(const Examples& x, std::size_t region) const override {
    return count_entries(x, region);
  }
  void sum(const Round& round, const Units& of, float* partial, std::size_t apart) const override {
    kernels().ctr->linear_sums(*linear_, round, of, partial, apart);
  }
  void finish(const Round& round, const float* partial, std::size_t apart, float*,
              float* margins) const override {
    kernels().ctr->add_units(partial, apart, regions, round.end - round.begin, margins);
  }
  void step(const Round& round, const Units& of, const float*, const float* g,
            std::uint64_t t) override {
    kernels().ctr->linear_steps(*linear_, round, of, g, schedule_.at(t));
  }
  void each(const Round& round, const Targets& targets, std::uint64_t t, float* margins) override {
    // A rate that falls is that of one example.
    const std::size_t at_once = schedule_.is_constant() ? round.end - round.begin : 1;
    for (std::size_t i = round.begin; i < round.end; i += at_once) {
      const Targets of_round = targets.from(i);
      kernels().ctr->linear_each(*linear_, {round.x, i, i + at_once}, of_round.y, of_round.weights,
                                 schedule_.at(t + i), margins + i);
    }
  }

  // One step of each of some slots, after t others. The gradients are those of whole batches.
  void apply(const py::array& slots, const py::array& g, std::uint64_t t) {
    const Argument a{"apply", "slots"};
    check_memory(a, slots, Access::read);
    if (!slots.dtype().is(py::dtype::of<std::uint32_t>()) || slots.ndim() != 1) {
      fail_type(a, "must be uint32 of shape [n]");
    }
    const std::size_t n = static_cast<std::size_t>(slots.size());
    const auto* const ids = static_cast<const std::uint32_t*>(slots.data());
    check_memory(a.other("g"), g, Access::read);
    if (real_type(a.other("g"), g) != Real::f32 || static_cast<std::size_t>(g.size()) != n) {
      fail_type(a.other("g"), "must be float32 of the shape of slots");
    }
    const auto* const gradients = static_cast<const float*>(g.data());
    for (std::size_t i = 0; i < n; ++i) {
      if (ids[i] >= slots_) {
        throw py::index_error("apply: slots[" + std::to_string(i) +
                              "] = " + std::to_string(ids[i]) + " is out of range");
      }
    }
    const Params<float> params = schedule_.at(t);
    unlocked(n, [&] { kernels().ctr->linear_apply(*linear_, ids, gradients, n, params); });
  }

  // What learning one by one reads and writes, for bench/ctr.py. Params mean nothing afterwards.
  void limit(py::handle x, const py::array& y) {
    const HeldExamples examples(x, slots_);
    const float* const labels = check_targets("y", y, examples->n);
    std::vector<float> margins(examples->n);
    kernels().ctr->linear_limit(*linear_, {&*examples, 0, examples->n}, labels, nullptr,
                                schedule_.at(0), margins.data());
  }

  // The sums over the entries of effective learning rate times x^2.
  py::array_t<float> rates_of(py::handle x, std::uint64_t t, std::size_t threads) const {
    const HeldExamples examples(x, slots_);
    py::array_t<float> rates(static_cast<py::ssize_t>(examples->n));
    float* const to = rates.mutable_data();
    const Params<float> params = schedule_.at(t);
    const std::size_t most = num_threads(threads);
    unlocked(64 * examples->n, [&] {
      split(examples->n, most, 1024, round_size, [&](std::size_t begin, std::size_t end) {
        kernels().ctr->linear_rates(*linear_, {&*examples, begin, end}, params, to + begin);
      });
    });
    return rates;
  }

 private:
  LinearPart linear_;
  Schedule schedule_;
};

// Adds examples to the tally that the arrays hold: sums [4], and bins [2, 32768].
void add_tally(const py::array& margins, const py::array& y, const py::object& weights,
               py::array_t<double, py::array::c_style> sums,
               py::array_t<double, py::array::c_style> counts) {
  const std::size_t n = static_cast<std::size_t>(margins.size());
  const float* const of_examples = check_targets("margins", margins, n);
  const float* const labels = check_targets("y", y, n);
  const float* const given =
      weights.is_none()
          ? nullptr
          : check_targets("sample_weight", py::reinterpret_borrow<py::array>(weights), n);
  double* const sum = sums.mutable_data();
  double* const bin = counts.mutable_data();
  Tally tally{sum[0], sum[1], sum[2], sum[3], bin, bin + bins};
  unlocked(n, [&] { kernels().ctr->tally(of_examples, labels, given, n, tally); });
  sum[0] = tally.weight;
  sum[1] = tally.positive;
  sum[2] = tally.loss;
  sum[3] = tally.predicted;
}

// Margins [n, 8] of eight models that learn at eight rates; table and bias hold them.
py::array_t<float> sweep_rates(py::handle x, const py::array& y, const py::object& weights,
                               const py::array& table, const py::object& bias,
                               const Hyperparameters& rule, const std::vector<double>& lrs) {
  const HeldExamples examples(x, x.attr("n_slots").cast<std::size_t>());
  const std::size_t n = examples->n;
  const std::size_t rows = static_cast<std::size_t>(table.nbytes()) / (2 * rates * sizeof(float));
  if (lrs.size() != rates || rows == 0 || (rows & (rows - 1)) != 0 || rows > (1u << 31)) {
    fail_value({"sweep", "table"}, "needs eight rates and a power of two rows");
  }
  const SweepModel model{
      table_memory("table", table, rows, 2 * rates), static_cast<std::uint32_t>(rows - 1),
      bias.is_none() ? nullptr
                     : table_memory("bias", py::reinterpret_borrow<py::array>(bias), 1, 2 * rates)};
  Params<float> params[rates];
  for (std::size_t k = 0; k < rates; ++k) params[k] = rule.params<float>(lrs[k]);
  const float* const labels = check_targets("y", y, n);
  const float* const given =
      weights.is_none()
          ? nullptr
          : check_targets("sample_weight", py::reinterpret_borrow<py::array>(weights), n);
  py::array_t<float> margins({static_cast<py::ssize_t>(n), static_cast<py::ssize_t>(rates)});
  float* const to = margins.mutable_data();
  unlocked(64 * n, [&] { kernels().ctr->sweep(model, *examples, labels, given, params, to); });
  return margins;
}

// 1 / (1 + e^-margin) of each.
py::array_t<double> probabilities(const py::array& margins) {
  const std::size_t n = static_cast<std::size_t>(margins.size());
  const float* const from = check_targets("margins", margins, n);
  py::array_t<double> result({static_cast<py::ssize_t>(n), py::ssize_t{2}});
  double* const to = result.mutable_data();
  unlocked(n, [&] {
    for (std::size_t i = 0; i < n; ++i) {
      const double e = static_cast<double>(exp_of_minus(from[i] < 0.0f ? -from[i] : from[i]));
      const double likely = 1.0 / (1.0 + e), unlikely = e / (1.0 + e);
      const double nan = static_cast<double>(from[i] - from[i]);
      to[2 * i] = (from[i] < 0.0f ? likely : unlikely) + nan;
      to[2 * i + 1] = (from[i] < 0.0f ? unlikely : likely) + nan;
    }
  });
  return result;
}

}  // namespace

void bind_learners(py::module_& m) {
  py::class_<BoundModel>(m, "Learner")
      .def("learn", &BoundModel::learn_from, py::arg("x"), py::arg("y"), py::arg("weights"),
           py::arg("t"), py::arg("alone"), py::arg("threads"),
           "Learn from examples in order; the margins that each had before.")
      .def("margins", &BoundModel::margins_of, py::arg("x"), py::arg("threads"));
  py::class_<LinearLearner, BoundModel>(m, "LinearLearner")
      .def(py::init([](py::array table, std::size_t slots, py::object bias,
                       const Hyperparameters& rule, double lr, double lr_decay, float l1) {
             return new LinearLearner(std::move(table), slots, std::move(bias),
                                      Schedule(rule, lr, lr_decay), l1);
           }),
           py::arg("table"), py::arg("slots"), py::arg("bias"), py::arg("rule"), py::arg("lr"),
           py::arg("lr_decay"), py::arg("l1"))
      .def("apply", &LinearLearner::apply, py::arg("slots"), py::arg("g"), py::arg("t"),
           "Take one step of each of some slots.")
      .def("limit", &LinearLearner::limit, py::arg("x"), py::arg("y"))
      .def("rates", &LinearLearner::rates_of, py::arg("x"), py::arg("t"), py::arg("threads"));
  m.def("tally", &add_tally, py::arg("margins"), py::arg("y"), py::arg("weights"), py::arg("sums"),
        py::arg("bins"), "Add predictions to sums [4] and bins [2, 32768].");
  m.def("sweep", &sweep_rates, py::arg("x"), py::arg("y"), py::arg("weights"), py::arg("table"),
        py::arg("bias"), py::arg("rule"), py::arg("lrs"),
        "Learn at eight rates side by side; the margins [n, 8].");
  m.def("probabilities", &probabilities, py::arg("margins"),
        "Of the negative and the positive class: [n, 2].");
}

}  // namespace adagrad
