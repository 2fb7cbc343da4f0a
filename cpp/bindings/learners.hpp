// What the learners of bind_learners.cpp share: examples and targets as arrays, and the calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "../ctr/rounds.hpp"
#include "../isa/cpu.hpp"
#include "../isa/ctr_kernels.hpp"
#include "arrays.hpp"
#include "hyperparameters.hpp"
#include "module.hpp"

namespace adagrad {

// adagrad.ctr.Examples, which were checked when they were made; holds on to their arrays.
class HeldExamples {
 public:
  HeldExamples(py::handle x, std::size_t slots)
      : slots_(x.attr("slots")), bounds_(x.attr("bounds")), values_(x.attr("values")),
        fields_(x.attr("fields")) {
    const std::size_t n_slots = x.attr("n_slots").cast<std::size_t>();
    if (n_slots != slots) {
      throw py::value_error("X has " + std::to_string(n_slots) + " slots, but the model has " +
                            std::to_string(slots));
    }
    const auto* bounds = static_cast<const std::uint32_t*>(array(bounds_).data());
    const std::size_t n = x.attr("n_examples").cast<std::size_t>();
    const bool fixed = array(bounds_).size() == static_cast<py::ssize_t>(regions + 1);
    view_ = {static_cast<const std::uint32_t*>(array(slots_).data()),
             values_.is_none() ? nullptr : static_cast<const float*>(array(values_).data()),
             bounds,
             fields_.is_none() ? nullptr : static_cast<const std::uint16_t*>(array(fields_).data()),
             n,
             fixed};
  }

  const Examples& operator*() const { return view_; }
  const Examples* operator->() const { return &view_; }

 private:
  static py::array array(py::handle object) { return py::reinterpret_borrow<py::array>(object); }

  py::object slots_, bounds_, values_, fields_;
  Examples view_;
};

// The rule of a learner: the params of the step after t examples.
class Schedule {
 public:
  Schedule(const Hyperparameters& rule, double lr, double lr_decay)
      : rule_(rule), lr_(lr), lr_decay_(lr_decay), first_(rule.params<float>(lr)) {}

  bool is_constant() const { return lr_decay_ == 0.0; }
  Params<float> at(std::uint64_t t) const {
    return is_constant() ? first_ : rule_.params<float>(decayed_rate(lr_, lr_decay_, t + 1));
  }

 private:
  Hyperparameters rule_;
  double lr_, lr_decay_;
  Params<float> first_;
};

// The memory of a table of adagrad.Table: rows of `length` float32, in all.
inline float* table_memory(const Argument& a, const py::array& memory, std::size_t rows,
                           std::size_t length) {
  check_memory(a, memory, Access::write);
  if (static_cast<std::size_t>(memory.nbytes()) != rows * length * sizeof(float)) {
    fail_value(a, "has " + std::to_string(memory.nbytes()) + " bytes; " + std::to_string(rows) +
                      " rows of " + std::to_string(length) + " float32 are needed");
  }
  return static_cast<float*>(const_cast<void*>(memory.data()));
}

inline float* table_memory(const char* name, const py::array& memory, std::size_t rows,
                           std::size_t length) {
  return table_memory({"Learner", name}, memory, rows, length);
}

// Raises where an array of targets is not float32 [n].
inline const float* check_targets(const char* name, const py::array& array, std::size_t n) {
  const Argument a{"learn", name};
  check_memory(a, array, Access::read);
  if (real_type(a, array) != Real::f32) fail_type(a, "must have dtype float32");
  if (array.ndim() != 1 || static_cast<std::size_t>(array.size()) != n) {
    fail_value(a,
               "has shape " + shape_of(array) + ", but X has " + std::to_string(n) + " examples");
  }
  return static_cast<const float*>(array.data());
}

// The arrays of a LinearModel, which it holds on to.
class LinearPart {
 public:
  LinearPart(py::array table, std::size_t slots, py::object bias, float l1 = 0.0f)
      : table_(std::move(table)), bias_(std::move(bias)),
        model_{table_memory("table", table_, slots, 2), nullptr, l1} {
    if (!bias_.is_none()) {
      model_.bias = table_memory("bias", py::reinterpret_borrow<py::array>(bias_), 1, 2);
    }
  }

  const LinearModel& operator*() const { return model_; }

 private:
  py::array table_;
  py::object bias_;
  LinearModel model_;
};

class BoundModel : public Model {
 public:
  explicit BoundModel(std::size_t slots) : slots_(slots) {}

  py::array_t<float> learn_from(py::handle x, const py::array& y, const py::object& weights,
                                std::uint64_t t, std::uint64_t alone, std::size_t threads) {
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
    learn(*this, *examples, targets, t, alone, most < units() ? most : units(),
          kernels().ctr->gradients, to);
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

  void each(const Round& round, const Targets& targets, std::uint64_t t, float* margins) override {
    const std::size_t apart = round_size * width();
    std::vector<float> partial(units() * apart), totals(apart);
    const Units all{0, units()};
    for (std::size_t i = round.begin; i < round.end; ++i) {
      const Round one{round.x, i, i + 1};
      const Targets of_one = targets.from(i);
      sum(one, all, partial.data(), apart);
      finish(one, partial.data(), apart, totals.data(), margins + i);
      float g;
      kernels().ctr->gradients(margins + i, of_one.y, of_one.weights, 1, &g);
      step(one, all, totals.data(), &g, t + i);
    }
  }

 protected:
  virtual void check(const Examples&) const {}

  const std::size_t slots_;
};

inline std::size_t count_entries(const Examples& x, std::size_t region) {
  if (x.fixed) return x.n * (x.bounds[region + 1] - x.bounds[region]);
  std::size_t count = 0;
  for (std::size_t i = 0; i < x.n; ++i) {
    count += first<false>(x, i, region + 1) - first<false>(x, i, region);
  }
  return count;
}

}  // namespace adagrad
