// The learners of adagrad.ctr: models over the memory of tables, trained and asked in rounds.
#include <utility>

#include "learners.hpp"

namespace adagrad {
namespace {

class BoundModel : public Model {
 public:
  explicit BoundModel(std::size_t slots) : slots_(slots) {}

  py::array_t<float> learn_from(py::handle x, const py::array& y, const py::object& weights,
                                std::uint64_t t, std::size_t threads) {
    const HeldExamples examples(x, slots_);
    check(*examples);
    const Targets targets{
        check_targets("y", y, examples->n),
        weights.is_none() ? nullptr
                          : check_targets("sample_weight",
                                          py::reinterpret_borrow<py::array>(weights), examples->n)};
    for (std::size_t i = 0; i < examples->n; ++i) {
      if (targets.y[i] != 0.0f && targets.y[i] != 1.0f) {
        fail_value({"learn", "y"}, "must be 0 or 1");
      }
    }
    py::array_t<float> margins(static_cast<py::ssize_t>(examples->n));
    float* const to = margins.mutable_data();
    const std::size_t most = num_threads(threads);
    py::gil_scoped_release unlocked;
    learn(*this, *examples, targets, t, most < units() ? most : units(), kernels().ctr->gradients,
          to);
    return margins;
  }

  py::array_t<float> margins_of(py::handle x, std::size_t threads) const {
    const HeldExamples examples(x, slots_);
    check(*examples);
    py::array_t<float> margins(static_cast<py::ssize_t>(examples->n));
    float* const to = margins.mutable_data();
    const std::size_t most = num_threads(threads);
    unlocked(64 * examples->n, [&] { predict(*this, *examples, most, to); });
    return margins;
  }

 protected:
  virtual void check(const Examples&) const {}

  const std::size_t slots_;
};

std::size_t entries_of(const Examples& x, std::size_t region) {
  if (x.fixed) return x.n * (x.bounds[region + 1] - x.bounds[region]);
  std::size_t count = 0;
  for (std::size_t i = 0; i < x.n; ++i) {
    count += first<false>(x, i, region + 1) - first<false>(x, i, region);
  }
  return count;
}

class LinearLearner final : public BoundModel {
 public:
  LinearLearner(py::array table, std::size_t slots, py::object bias, Schedule schedule, float l1)
      : BoundModel(slots), table_(std::move(table)), bias_(std::move(bias)),
        schedule_(std::move(schedule)),
        model_{table_memory("table", table_, slots, 2), nullptr, l1} {
    if (!bias_.is_none()) {
      model_.bias = table_memory("bias", py::reinterpret_borrow<py::array>(bias_), 1, 2);
    }
  }

  std::size_t units() const override { return regions; }
  std::size_t width() const override { return 1; }
  std::size_t work(const Examples& x, std::size_t region) const override {
    return entries_of(x, region);
  }
  void sum(const Round& round, std::size_t region, float* to) const override {
    kernels().ctr->linear_sums(model_, round, region, to);
  }
  void finish(const Round& round, const float* partial, std::size_t apart, float*,
              float* margins) const override {
    kernels().ctr->linear_margins(partial, apart, round.end - round.begin, margins);
  }
  void step(const Round& round, std::size_t region, const float*, const float* g,
            std::uint64_t t) override {
    kernels().ctr->linear_steps(model_, round, region, g, schedule_.at(t));
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
        kernels().ctr->linear_rates(model_, {&*examples, begin, end}, params, to + begin);
      });
    });
    return rates;
  }

 private:
  py::array table_;
  py::object bias_;
  Schedule schedule_;
  LinearModel model_;
};

}  // namespace

void bind_learners(py::module_& m) {
  py::class_<BoundModel>(m, "Learner")
      .def("learn", &BoundModel::learn_from, py::arg("x"), py::arg("y"), py::arg("weights"),
           py::arg("t"), py::arg("threads"),
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
      .def("rates", &LinearLearner::rates_of, py::arg("x"), py::arg("t"), py::arg("threads"));
}

}  // namespace adagrad
