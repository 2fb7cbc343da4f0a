// The learners with pairs of features: factorization machines, plain and field-aware.
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "learners.hpp"

namespace adagrad {
namespace {

void check_factors(std::size_t factors) {
  if (factors == 0) fail_value({"Learner", "factors"}, "must be at least 1, got 0");
}

class FMLearner final : public BoundModel {
 public:
  FMLearner(py::array table, std::size_t slots, py::object bias, py::array factor_table,
            std::size_t factors, Schedule schedule, float l1)
      : BoundModel(slots), linear_(std::move(table), slots, std::move(bias), l1),
        memory_(std::move(factor_table)), schedule_(std::move(schedule)), model_{nullptr, factors} {
    check_factors(factors);
    model_.table = table_memory("factor_table", memory_, slots, 2 * factors);
  }

  std::size_t units() const override { return regions; }
  std::size_t width() const override { return 1 + 2 * model_.factors; }
  std::size_t work(const Examples& x, std::size_t region) const override {
    return count_entries(x, region);
  }
  void sum(const Round& round, const Units& of, float* partial, std::size_t apart) const override {
    kernels().ctr->linear_sums(*linear_, round, of, partial, apart);
    kernels().ctr->factor_sums(model_, round, of, partial + round_size, apart);
  }
  void finish(const Round& round, const float* partial, std::size_t apart, float* totals,
              float* margins) const override {
    const std::size_t n = round.end - round.begin;
    kernels().ctr->add_units(partial, apart, regions, n, margins);
    kernels().ctr->factor_margins(model_.factors, partial + round_size, apart, n, totals, margins);
  }
  void step(const Round& round, const Units& of, const float* totals, const float* g,
            std::uint64_t t) override {
    const Params<float> params = schedule_.at(t);
    kernels().ctr->linear_steps(*linear_, round, of, g, params);
    kernels().ctr->factor_steps(model_, round, of, totals, g, params);
  }

 private:
  LinearPart linear_;
  py::array memory_;
  Schedule schedule_;
  FactorModel model_;
};

// The part of each field, and its place among the fields of that part.
class Fields {
 public:
  Fields(std::vector<std::uint32_t> part_of_field, std::vector<std::uint32_t> place_in_part,
         std::size_t parts)
      : parts_(std::move(part_of_field)), places_(std::move(place_in_part)), counts_(parts) {
    const Argument a{"Learner", "part_of_field"};
    if (places_.size() != parts_.size()) {
      fail_value(a.other("place_in_part"), "has " + std::to_string(places_.size()) +
                                               " elements, but part_of_field has " +
                                               std::to_string(parts_.size()));
    }
    for (std::size_t f = 0; f < parts_.size(); ++f) {
      if (parts_[f] >= parts) fail(a, f, parts_[f], "is not below the number of tables");
      ++counts_[parts_[f]];
    }
    std::vector<std::vector<bool>> taken(parts);
    for (std::size_t part = 0; part < parts; ++part) taken[part].resize(counts_[part]);
    for (std::size_t f = 0; f < parts_.size(); ++f) {
      const std::size_t part = parts_[f], place = places_[f];
      if (place >= counts_[part]) {
        fail(a.other("place_in_part"), f, place, "is not below the number of fields of its part");
      }
      if (taken[part][place]) {
        fail(a.other("place_in_part"), f, place, "is the place of another field of its part too");
      }
      taken[part][place] = true;
    }
  }

  std::size_t count(std::size_t part) const { return counts_[part]; }

  // In a row of its part, the first of the factors for each field.
  std::vector<std::uint32_t> offsets(std::size_t factors) const {
    std::vector<std::uint32_t> result(places_);
    for (std::uint32_t& place : result) place *= static_cast<std::uint32_t>(factors);
    return result;
  }

  // Raises where the part of an entry's region is not that of its field.
  void check(const Examples& x) const {
    if (x.fields == nullptr) {
      throw py::value_error("X has no fields, which a field-aware model needs");
    }
    const std::size_t each = regions / counts_.size();
    for (std::size_t i = 0; i < (x.fixed && x.n > 0 ? 1 : x.n); ++i) {
      for (std::size_t region = 0; region < regions; ++region) {
        const std::size_t end = first(x, i, region + 1);
        for (std::size_t e = first(x, i, region); e < end; ++e) {
          const std::size_t field = x.fields[e], part = region / each;
          if (field < parts_.size() && parts_[field] == part) continue;
          const std::string at = "X: fields[" + std::to_string(e) + "] = " + std::to_string(field);
          if (field >= parts_.size()) {
            throw py::value_error(at + ", but the model has " + std::to_string(parts_.size()) +
                                  " fields");
          }
          throw py::value_error(at + " is a field of part " + std::to_string(parts_[field]) +
                                ", but its slot " + std::to_string(x.slots[e]) +
                                " lies in region " + std::to_string(region) + ", of part " +
                                std::to_string(part));
        }
      }
    }
  }

 private:
  [[noreturn]] static void fail(const Argument& a, std::size_t at, std::size_t value,
                                const char* what) {
    fail_value(a, "[" + std::to_string(at) + "] = " + std::to_string(value) + " " + what);
  }

  std::vector<std::uint32_t> parts_, places_;
  std::vector<std::size_t> counts_;
};

std::size_t check_parts(std::size_t parts) {
  if (parts == 0 || regions % parts != 0) {
    fail_value({"Learner", "tables"}, "must be 1, 2, 4 or 8, got " + std::to_string(parts));
  }
  return parts;
}

class FFMLearner final : public BoundModel {
 public:
  FFMLearner(std::vector<py::array> tables, std::size_t slots, std::size_t factors,
             std::vector<std::uint32_t> part_of_field, std::vector<std::uint32_t> place_in_part,
             std::optional<LinearPart> linear, bool normalise, Schedule schedule)
      : BoundModel(slots), memory_(std::move(tables)),
        fields_(std::move(part_of_field), std::move(place_in_part), check_parts(memory_.size())),
        linear_(std::move(linear)), schedule_(std::move(schedule)) {
    check_factors(factors);
    offsets_ = fields_.offsets(factors);
    model_ = {memory_.size(), factors, {}, {}, offsets_.data(), normalise};
    for (std::size_t part = 0; part < model_.parts; ++part) {
      const std::size_t width = factors * fields_.count(part);
      model_.widths[part] = width;
      if (width == 0) continue;
      model_.tables[part] = table_memory({"Learner", "", static_cast<py::ssize_t>(part), "tables"},
                                         memory_[part], slots, 2 * width);
    }
  }

  std::size_t units() const override { return linear_units() + count_blocks(model_.parts); }
  std::size_t width() const override { return 1; }
  // The rows of 8 examples of many fields stay in a cache between sums and steps, and 8 examples of
  // few fields are worth a barrier.
  std::size_t round_length() const override { return 8; }

  std::size_t work(const Examples& x, std::size_t unit) const override {
    if (unit < linear_units()) return count_entries(x, unit);
    std::size_t pairs = 0;
    for (std::size_t i = 0; i < (x.fixed && x.n > 0 ? 1 : x.n); ++i) {
      const EntriesOfBlock e = entries_of(model_, x, i, block(unit));
      const std::size_t m = e.end_a - e.begin_a, n = e.end_b - e.begin_b;
      pairs += e.begin_a == e.begin_b ? m * (m - 1) / 2 : m * n;
    }
    return 2 * pairs * (x.fixed ? x.n : 1);
  }
  void sum(const Round& round, const Units& of, float* partial, std::size_t apart) const override {
    const Units linear = linear_of(of);
    if (linear.first < linear.last) {
      kernels().ctr->linear_sums(**linear_, round, linear, partial, apart);
    }
    for (std::size_t unit = linear.last; unit < of.last; ++unit) {
      kernels().ctr->pair_sums(model_, round, block(unit), partial + unit * apart);
    }
  }
  void finish(const Round& round, const float* partial, std::size_t apart, float* totals,
              float* margins) const override {
    kernels().ctr->pair_margins(model_, round, partial, apart, linear_units(), totals, margins);
  }
  void step(const Round& round, const Units& of, const float* totals, const float* g,
            std::uint64_t t) override {
    const Params<float> params = schedule_.at(t);
    const Units linear = linear_of(of);
    if (linear.first < linear.last) {
      kernels().ctr->linear_steps(**linear_, round, linear, g, params);
    }
    for (std::size_t unit = linear.last; unit < of.last; ++unit) {
      kernels().ctr->pair_steps(model_, round, block(unit), totals, g, params);
    }
  }

 protected:
  void check(const Examples& x) const override { fields_.check(x); }

 private:
  std::size_t linear_units() const { return linear_ ? regions : 0; }
  // The units that are regions; those after them are blocks of pairs.
  Units linear_of(const Units& of) const {
    return {of.first, std::max(of.first, std::min(of.last, linear_units()))};
  }
  PairBlock block(std::size_t unit) const { return block_at(model_.parts, unit - linear_units()); }

  std::vector<py::array> memory_;
  Fields fields_;
  std::optional<LinearPart> linear_;
  Schedule schedule_;
  std::vector<std::uint32_t> offsets_;
  FieldModel model_;
};

}  // namespace

void bind_factorization(py::module_& m) {
  py::class_<FMLearner, BoundModel>(m, "FMLearner")
      .def(py::init([](py::array table, std::size_t slots, py::object bias, py::array factor_table,
                       std::size_t factors, const Hyperparameters& rule, double lr, double lr_decay,
                       float l1) {
             return std::make_unique<FMLearner>(std::move(table), slots, std::move(bias),
                                                std::move(factor_table), factors,
                                                Schedule(rule, lr, lr_decay), l1);
           }),
           py::arg("table"), py::arg("slots"), py::arg("bias"), py::arg("factor_table"),
           py::arg("factors"), py::arg("rule"), py::arg("lr"), py::arg("lr_decay"),
           py::arg("l1") = 0.0f);
  py::class_<FFMLearner, BoundModel>(m, "FFMLearner")
      .def(py::init([](std::vector<py::array> tables, std::size_t slots, std::size_t factors,
                       std::vector<std::uint32_t> part_of_field,
                       std::vector<std::uint32_t> place_in_part, std::optional<py::array> table,
                       py::object bias, bool normalise, const Hyperparameters& rule, double lr,
                       double lr_decay, float l1) {
             std::optional<LinearPart> linear;
             if (table) linear.emplace(std::move(*table), slots, std::move(bias), l1);
             return std::make_unique<FFMLearner>(std::move(tables), slots, factors,
                                                 std::move(part_of_field), std::move(place_in_part),
                                                 std::move(linear), normalise,
                                                 Schedule(rule, lr, lr_decay));
           }),
           py::arg("tables"), py::arg("slots"), py::arg("factors"), py::arg("part_of_field"),
           py::arg("place_in_part"), py::arg("table"), py::arg("bias"), py::arg("normalise"),
           py::arg("rule"), py::arg("lr"), py::arg("lr_decay"), py::arg("l1") = 0.0f);
}

}  // namespace adagrad
