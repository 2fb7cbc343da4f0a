// The learners of adagrad.ctr: arrays and rules checked and handed to the models of ctr/models.hpp.
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../ctr/models.hpp"
#include "../isa/cpu.hpp"
#include "arrays.hpp"
#include "hyperparameters.hpp"
#include "learner_arguments.hpp"
#include "module.hpp"
#include "row_reader.hpp"

namespace adagrad {
namespace {

// The penalties of a linear part that is learned by FTRL-proximal; otherwise none.
using L1AndL2 = std::optional<std::pair<float, float>>;

// The arguments that all learners have in common.
struct LearnerArguments {
  std::size_t slots;
  const Hyperparameters& rule;
  double lr, lr_decay;
};

class Learner {
 public:
  py::array_t<float> learn_from(py::handle x, const py::array& y, const py::object& weights,
                                std::uint64_t t, std::size_t threads, const py::object& beside) {
    const HeldExamples examples = hold(x);
    const Targets targets = check_labels(y, weights, examples->n);
    const float* const of_others =
        beside.is_none() ? nullptr
                         : check_floats({"learn", "beside"},
                                        py::reinterpret_borrow<py::array>(beside), examples->n);
    if (examples->n > 0) check_rate(t + examples->n - 1);
    py::array_t<float> margins(static_cast<py::ssize_t>(examples->n));
    float* const to = margins.mutable_data();
    const std::size_t most = num_threads(threads);
    py::gil_scoped_release unlocked;
    learn(*kernels().ctr, *model_, *examples, targets, of_others, t, most, to);
    return margins;
  }

  void check_examples(py::handle x) const { hold(x); }

  py::array_t<float> margins_of(py::handle x, std::size_t threads) const {
    const HeldExamples examples = hold(x);
    py::array_t<float> margins(static_cast<py::ssize_t>(examples->n));
    float* const to = margins.mutable_data();
    const std::size_t most = num_threads(threads);
    unlocked(64 * examples->n, [&] { predict(*kernels().ctr, *model_, *examples, most, to); });
    return margins;
  }

  // The margin of a row of Python; None if the row must be encoded as a batch.
  py::object margin_of_row(const RowReader& reader, py::handle row) const {
    RowScratch& scratch = scratch_of_thread();
    if (reader.plan().n_slots != slots_ || !reader.read(row, scratch)) return py::none();
    const Examples one = scratch.row.example(slots_);
    check(one);
    float margin = 0.0f;
    predict(*kernels().ctr, *model_, one, 1, &margin);
    return py::float_(static_cast<double>(margin));
  }

  Learner(const Learner&) = delete;
  Learner& operator=(const Learner&) = delete;
  virtual ~Learner() = default;

 protected:
  explicit Learner(const LearnerArguments& given)
      : slots_(given.slots), rule_(given.rule),
        schedule_(given.rule.params<float>(given.lr), given.lr, given.lr_decay) {}

  // Raises if the examples do not fit the model.
  virtual void check(const Examples&) const {}

  HeldExamples hold(py::handle x) const {
    HeldExamples examples(x, slots_);
    check(*examples);
    return examples;
  }

  // Raises if the rate after t examples is 0 in float32. Earlier rates are larger.
  void check_rate(std::uint64_t t) const {
    if (!schedule_.is_constant()) static_cast<void>(rule_.params<float>(schedule_.lr(t)));
  }

  // A table with rows of `length` float32, which is kept alive.
  float* hold_table(const Argument& a, const py::array& memory, std::size_t length) {
    held_.push_back(memory);
    return check_table(a, memory, slots_, length);
  }

  // None for a model without a linear part.
  std::optional<LinearModel> hold_linear_or_none(const py::object& table, const py::object& bias,
                                                 const L1AndL2& given) {
    if (table.is_none()) return std::nullopt;
    return hold_linear(py::reinterpret_borrow<py::array>(table), bias, given);
  }

  // l1 and l2 are applied at the rate of the rule, which must be constant.
  LinearModel hold_linear(const py::array& table, const py::object& bias, const L1AndL2& given) {
    const Argument a{"Learner", "table"};
    held_.push_back(bias);
    Penalties penalties{};
    if (given) {
      if (!schedule_.is_constant()) fail_value(a.other("penalties"), "need a constant rate");
      const Params<float> p = schedule_.at(0);
      const auto& [l1, l2] = *given;
      penalties = {true, p.lr * l1, p.eps_outside + p.lr * l2, p.eps_inside};
    }
    return {hold_table(a, table, 2), check_table_or_none(a.other("bias"), bias, 2), penalties};
  }

  const std::size_t slots_;
  const Hyperparameters rule_;
  const Schedule schedule_;
  std::unique_ptr<Model> model_;

 private:
  std::vector<py::object> held_;
};

class LinearLearner final : public Learner {
 public:
  LinearLearner(const LearnerArguments& given, const py::array& table, const py::object& bias,
                const L1AndL2& penalties)
      : Learner(given) {
    auto model = std::make_unique<Linear>(hold_linear(table, bias, penalties), schedule_);
    linear_ = model.get();
    model_ = std::move(model);
  }

  void apply(const py::array& slots, const py::array& g, std::uint64_t t) {
    const Argument a{"apply", "slots"};
    const std::uint32_t* const ids = check_slots(a, slots);
    const std::size_t n = static_cast<std::size_t>(slots.size());
    const float* const gradients = check_floats(a.other("g"), g, n);
    check_rate(t);
    unlocked(n, [&] { linear_->apply(*kernels().ctr, ids, gradients, n, t); });
  }

  py::array_t<float> weights_of(const std::optional<py::array>& slots) const {
    const std::uint32_t* const ids = slots ? check_slots({"weights", "slots"}, *slots) : nullptr;
    const std::size_t n = slots ? static_cast<std::size_t>(slots->size()) : slots_;
    py::array_t<float> weights(static_cast<py::ssize_t>(n));
    float* const to = weights.mutable_data();
    unlocked(n, [&] { linear_->weights_of(*kernels().ctr, ids, n, to); });
    return weights;
  }

  py::array_t<float> rates_of(py::handle x, std::uint64_t t, std::size_t threads) const {
    const HeldExamples examples = hold(x);
    check_rate(t);
    py::array_t<float> rates(static_cast<py::ssize_t>(examples->n));
    float* const to = rates.mutable_data();
    const std::size_t most = num_threads(threads);
    unlocked(64 * examples->n, [&] { linear_->rates_of(*kernels().ctr, *examples, t, most, to); });
    return rates;
  }

 private:
  const std::uint32_t* check_slots(const Argument& a, const py::array& slots) const {
    check_memory(a, slots, Access::read);
    if (!py::isinstance<py::array_t<std::uint32_t>>(slots) || slots.ndim() != 1) {
      fail_type(a, "has dtype " + text_of(slots.dtype()) + " and shape " + shape_of(slots) +
                       "; uint32 and (n,) are needed");
    }
    const auto* const ids = static_cast<const std::uint32_t*>(slots.data());
    for (std::size_t i = 0; i < static_cast<std::size_t>(slots.size()); ++i) {
      if (ids[i] < slots_) continue;
      throw py::index_error(a.text() + element_text(slots, i) + " = " + std::to_string(ids[i]) +
                            " is out of range for " + std::to_string(slots_) + " slots");
    }
    return ids;
  }

  Linear* linear_;
};

void check_factors(std::size_t factors) {
  if (factors == 0) fail_value({"Learner", "factors"}, "must be at least 1, got 0");
}

class FMLearner final : public Learner {
 public:
  FMLearner(const LearnerArguments& given, const py::object& table, const py::object& bias,
            const L1AndL2& penalties, const py::array& factor_table, std::size_t factors,
            bool normalize)
      : Learner(given) {
    check_factors(factors);
    const std::optional<LinearModel> linear = hold_linear_or_none(table, bias, penalties);
    float* const memory = hold_table({"Learner", "factor_table"}, factor_table, 2 * factors);
    model_ = std::make_unique<FM>(linear, FactorModel{memory, factors, normalize}, schedule_);
  }
};

// Raises unless every field has a part below `parts`, and the fields of a part have the places 0,
// 1, ... in some order.
FieldLayout check_fields(std::vector<std::uint32_t> part_of_field,
                         std::vector<std::uint32_t> place_in_part, std::size_t parts) {
  const auto fail = [](const char* list, std::size_t field, std::size_t value,
                       const std::string& what) {
    const Argument a{"Learner", "", static_cast<py::ssize_t>(field), list};
    fail_value(a, "= " + std::to_string(value) + " " + what);
  };
  const std::size_t n = part_of_field.size();
  if (place_in_part.size() != n) {
    fail_value({"Learner", "place_in_part"}, "has " + std::to_string(place_in_part.size()) +
                                                 " elements, but part_of_field has " +
                                                 std::to_string(n));
  }
  std::vector<std::vector<std::size_t>> fields(parts);  // of each part
  for (std::size_t f = 0; f < n; ++f) {
    const std::size_t part = part_of_field[f];
    if (part >= parts) {
      fail("part_of_field", f, part, "is out of range for " + std::to_string(parts) + " tables");
    }
    fields[part].push_back(f);
  }
  std::vector<std::size_t> fields_in_part(parts);
  for (std::size_t part = 0; part < parts; ++part) {
    const std::size_t count = fields_in_part[part] = fields[part].size();
    std::vector<bool> taken(count);
    for (const std::size_t f : fields[part]) {
      const std::size_t place = place_in_part[f];
      const std::string of_part = "part " + std::to_string(part);
      if (place >= count) {
        fail("place_in_part", f, place,
             "is out of range for the " + std::to_string(count) + " fields of " + of_part);
      }
      if (taken[place]) {
        fail("place_in_part", f, place, "is the place of another field of " + of_part);
      }
      taken[place] = true;
    }
  }
  return {std::move(part_of_field), std::move(place_in_part), std::move(fields_in_part)};
}

struct FFMArguments {
  std::vector<py::array> tables;  // one per part
  std::size_t factors;
  std::vector<std::uint32_t> part_of_field, place_in_part;
  bool normalize;
  py::object table;  // of the linear part; None for a model without one
  py::object bias;
  L1AndL2 penalties;
};

class FFMLearner final : public Learner {
 public:
  FFMLearner(const LearnerArguments& given, FFMArguments&& ffm) : Learner(given) {
    const std::size_t parts = ffm.tables.size();
    if (parts == 0 || regions % parts != 0) {
      fail_value({"Learner", "tables"},
                 "must be 1, 2, 4 or 8 arrays, got " + std::to_string(parts));
    }
    fields_ = check_fields(std::move(ffm.part_of_field), std::move(ffm.place_in_part), parts);
    check_factors(ffm.factors);
    std::vector<float*> memory(parts);
    for (std::size_t part = 0; part < parts; ++part) {
      const std::size_t width = ffm.factors * fields_.fields_in_part[part];
      if (width == 0) continue;
      const Argument a{"Learner", "", static_cast<py::ssize_t>(part), "tables"};
      memory[part] = hold_table(a, ffm.tables[part], 2 * width);
    }
    const auto linear = hold_linear_or_none(ffm.table, ffm.bias, ffm.penalties);
    model_ = std::make_unique<FFM>(fields_, memory, ffm.factors, ffm.normalize, linear, schedule_);
  }

 protected:
  // Raises unless the part that owns the region of an entry is the part of its field.
  void check(const Examples& x) const override {
    if (x.fields == nullptr) {
      throw py::value_error("X has no fields; a field-aware model needs a field for every entry");
    }
    const std::vector<std::uint32_t>& parts = fields_.part_of_field;
    const std::size_t regions_of_part = regions / fields_.fields_in_part.size();
    for (std::size_t i = 0; i < (x.fixed && x.n > 0 ? 1 : x.n); ++i) {
      for (std::size_t region = 0; region < regions; ++region) {
        const std::size_t part = region / regions_of_part, end = first(x, i, region + 1);
        for (std::size_t e = first(x, i, region); e < end; ++e) {
          const std::size_t field = x.fields[e];
          if (field < parts.size() && parts[field] == part) continue;
          const std::string at = "X: fields[" + std::to_string(e) + "] = " + std::to_string(field);
          if (field >= parts.size()) {
            throw py::value_error(at + ", but the model has " + std::to_string(parts.size()) +
                                  " fields");
          }
          throw py::value_error(at + " is a field of part " + std::to_string(parts[field]) +
                                ", but its slot " + std::to_string(x.slots[e]) +
                                " lies in region " + std::to_string(region) + " of part " +
                                std::to_string(part));
        }
      }
    }
  }

 private:
  FieldLayout fields_;
};

void add_tally(const py::array& margins, const py::array& y, const py::object& weights,
               const py::array& sums, const py::array& histograms) {
  const Argument a{"tally", "margins"};
  const std::size_t n = static_cast<std::size_t>(margins.size());
  const float* const predicted = check_floats(a, margins, n);
  const Targets targets = check_targets(a.other("y"), y, weights, n);
  double* const sum = check_sums(a.other("sums"), sums, 4);
  double* const bin = check_sums(a.other("bins"), histograms, 2 * bins);
  Tally tally{sum[0], sum[1], sum[2], sum[3], bin, bin + bins};
  unlocked(n, [&] { kernels().ctr->tally(predicted, targets, n, tally); });
  sum[0] = tally.weight;
  sum[1] = tally.positive;
  sum[2] = tally.loss;
  sum[3] = tally.predicted;
}

py::array_t<float> stored_margins(const py::array& weights, float bias, py::handle x,
                                  std::size_t threads) {
  const Argument a{"stored_margins", "weights"};
  const std::size_t n_slots = x.attr("n_slots").cast<std::size_t>();
  const std::size_t length = static_cast<std::size_t>(weights.size());
  const float* const from = check_floats(a, weights, length);
  if (length != n_slots && length != 2 * n_slots) {
    fail_value(a, "has " + std::to_string(length) + " elements; 1 or 2 for each of " +
                      std::to_string(n_slots) + " slots are needed");
  }
  const StoredModel model{from, length / n_slots, bias, region_size(n_slots)};
  const HeldRows rows(x, n_slots);
  py::array_t<float> margins(static_cast<py::ssize_t>(rows->n));
  float* const to = margins.mutable_data();
  const std::size_t most = num_threads(threads);
  unlocked(64 * rows->n, [&] { predict_stored(*kernels().ctr, model, *rows, most, to); });
  return margins;
}

py::array_t<double> probabilities(const py::array& margins, std::size_t threads) {
  const std::size_t n = static_cast<std::size_t>(margins.size());
  const float* const from = check_floats({"probabilities", "margins"}, margins, n);
  py::array_t<double> result({static_cast<py::ssize_t>(n), py::ssize_t{2}});
  double* const to = result.mutable_data();
  const std::size_t most = num_threads(threads);
  unlocked(n, [&] { class_probabilities(from, n, most, to); });
  return result;
}

}  // namespace

void bind_learners(py::module_& m) {
  py::class_<Learner>(m, "Learner")
      .def("learn", &Learner::learn_from, py::arg("x"), py::arg("y"), py::arg("weights"),
           py::arg("t"), py::arg("threads"), py::arg("beside") = py::none(),
           "Learn from examples in order. Return the margin of each before it was learned.")
      .def("margins", &Learner::margins_of, py::arg("x"), py::arg("threads"))
      .def("margin_of_row", &Learner::margin_of_row, py::arg("reader"), py::arg("row"))
      .def("check", &Learner::check_examples, py::arg("x"),
           "Raise if the examples do not fit the model.");
  py::class_<LinearLearner, Learner>(m, "LinearLearner")
      .def(py::init([](const py::array& table, std::size_t slots, const py::object& bias,
                       const Hyperparameters& rule, double lr, double lr_decay,
                       const L1AndL2& penalties) {
             return std::make_unique<LinearLearner>(LearnerArguments{slots, rule, lr, lr_decay},
                                                    table, bias, penalties);
           }),
           py::arg("table"), py::arg("slots"), py::arg("bias"), py::arg("rule"), py::arg("lr"),
           py::arg("lr_decay"), py::arg("penalties"))
      .def("apply", &LinearLearner::apply, py::arg("slots"), py::arg("g"), py::arg("t"),
           "Step slots by their gradients, in order, after t other steps.")
      .def("weights", &LinearLearner::weights_of, py::arg("slots") = py::none(),
           "The weights of some slots, or of all.")
      .def("rates", &LinearLearner::rates_of, py::arg("x"), py::arg("t"), py::arg("threads"),
           "Sum effective rate times x^2 over the entries of each example.");
  py::class_<FMLearner, Learner>(m, "FMLearner")
      .def(py::init([](const py::object& table, std::size_t slots, const py::object& bias,
                       const py::array& factor_table, std::size_t factors, bool normalize,
                       const Hyperparameters& rule, double lr, double lr_decay,
                       const L1AndL2& penalties) {
             return std::make_unique<FMLearner>(LearnerArguments{slots, rule, lr, lr_decay}, table,
                                                bias, penalties, factor_table, factors, normalize);
           }),
           py::arg("table"), py::arg("slots"), py::arg("bias"), py::arg("factor_table"),
           py::arg("factors"), py::arg("normalize"), py::arg("rule"), py::arg("lr"),
           py::arg("lr_decay"), py::arg("penalties") = py::none());
  py::class_<FFMLearner, Learner>(m, "FFMLearner")
      .def(py::init([](std::vector<py::array> tables, std::size_t slots, std::size_t factors,
                       std::vector<std::uint32_t> part_of_field,
                       std::vector<std::uint32_t> place_in_part, py::object table, py::object bias,
                       bool normalize, const Hyperparameters& rule, double lr, double lr_decay,
                       const L1AndL2& penalties) {
             return std::make_unique<FFMLearner>(
                 LearnerArguments{slots, rule, lr, lr_decay},
                 FFMArguments{std::move(tables), factors, std::move(part_of_field),
                              std::move(place_in_part), normalize, std::move(table),
                              std::move(bias), penalties});
           }),
           py::arg("tables"), py::arg("slots"), py::arg("factors"), py::arg("part_of_field"),
           py::arg("place_in_part"), py::arg("table"), py::arg("bias"), py::arg("normalize"),
           py::arg("rule"), py::arg("lr"), py::arg("lr_decay"), py::arg("penalties") = py::none());
  m.def("tally", &add_tally, py::arg("margins"), py::arg("y"), py::arg("weights"), py::arg("sums"),
        py::arg("bins"), "Add predictions to sums [4] and bins [2, 32768], in place.");
  m.def("stored_margins", &stored_margins, py::arg("weights"), py::arg("bias"), py::arg("x"),
        py::arg("threads"),
        "The margins of a linear model, of which slot i has weights[i], or weights[2 * i].");
  m.def("probabilities", &probabilities, py::arg("margins"), py::arg("threads") = 0,
        "Probabilities of the negative and the positive class [n, 2].");
}

}  // namespace adagrad
