// _core.Scorer: an export file, mapped or in memory, that answers rows and examples; and
// _core.RowReader, which reads rows for the learners.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../adagrad/parallel.hpp"
#include "../score/model.hpp"
#include "arrays.hpp"
#include "learner_arguments.hpp"
#include "module.hpp"
#include "row_reader.hpp"

namespace adagrad {
namespace {

class Scorer {
 public:
  // Maps the file at a path.
  explicit Scorer(const std::string& path) { keep(score::Model::load(path, why_)); }

  // Copies a file from memory.
  explicit Scorer(const py::bytes& data) {
    char* from = nullptr;
    py::ssize_t size = 0;
    if (PyBytes_AsStringAndSize(data.ptr(), &from, &size) != 0) throw py::error_already_set();
    const auto n = static_cast<std::size_t>(size);
    copy_.resize((n + sizeof(std::uint64_t) - 1) / sizeof(std::uint64_t));
    std::memcpy(copy_.data(), from, n);
    keep(score::Model::load(copy_.data(), n, why_));
  }

  const score::Model& model() const { return *model_; }

  // The probability of a row; None if the row must be encoded as a batch.
  py::object predict_one(py::handle row) const {
    const std::optional<float> margin = margin_of_row(row);
    if (!margin) return py::none();
    return py::float_(score::probability_of(*margin));
  }

  std::optional<float> margin_of_row(py::handle row) const {
    RowScratch& scratch = scratch_of_thread();
    if (!reader_->read(row, scratch)) return std::nullopt;
    return margin_of(scratch.row.example(model_->slots()), scratch.found);
  }

  py::array_t<float> margins(py::handle x, std::size_t threads) const {
    const HeldExamples held(x, static_cast<std::size_t>(model_->slots()));
    const Examples& all = *held;
    if (model_->weights().pairs().n_fields != 0) check_fields(all);
    py::array_t<float> out(static_cast<py::ssize_t>(all.n));
    float* const to = out.mutable_data();
    const std::size_t most = num_threads(threads);
    unlocked(64 * all.n, [&] {
      split(all.n, most, 256, 1, [&](std::size_t begin, std::size_t end) {
        score::Found found;
        for (std::size_t i = begin; i < end; ++i) to[i] = margin_of_example(all, i, found);
      });
    });
    return out;
  }

  py::array_t<float> weights(const py::array_t<std::uint32_t, py::array::c_style>& slots) const {
    py::array_t<float> out(slots.size());
    float* const to = out.mutable_data();
    const std::uint32_t* const ids = slots.data();
    for (std::size_t i = 0; i < static_cast<std::size_t>(slots.size()); ++i) {
      if (ids[i] >= model_->slots()) {
        throw py::index_error("slot " + std::to_string(ids[i]) + " is out of range for " +
                              std::to_string(model_->slots()) + " slots");
      }
      to[i] = model_->weights().weight(model_->weights().find(ids[i]));
    }
    return out;
  }

 private:
  void keep(std::unique_ptr<const score::Model> model) {
    if (model == nullptr) throw py::value_error(why_);
    model_ = std::move(model);
    reader_.emplace(model_->plan());
  }

  float margin_of(const Examples& one, score::Found& found) const {
    return model_->margin(one, found);
  }

  float margin_of_example(const Examples& all, std::size_t i, score::Found& found) const {
    std::uint32_t bounds[regions + 1];
    const std::size_t start = first(all, i, 0);
    for (std::size_t r = 0; r <= regions; ++r) {
      bounds[r] = static_cast<std::uint32_t>(first(all, i, r) - start);
    }
    const Examples one{all.slots + start,
                       all.values == nullptr ? nullptr : all.values + start,
                       bounds,
                       all.fields == nullptr || all.fixed ? all.fields : all.fields + start,
                       1,
                       false};
    return margin_of(one, found);
  }

  void check_fields(const Examples& x) const {
    if (x.fields == nullptr) throw py::value_error("X has no fields, but the model needs them");
    const std::size_t n = x.fixed ? x.bounds[regions] : first(x, x.n, 0);
    for (std::size_t k = 0; k < n; ++k) {
      if (x.fields[k] < model_->weights().pairs().n_fields) continue;
      throw py::value_error("X has field " + std::to_string(x.fields[k]) + ", but the model has " +
                            std::to_string(model_->weights().pairs().n_fields) + " fields");
    }
  }

  std::vector<std::uint64_t> copy_;
  std::string why_;
  std::unique_ptr<const score::Model> model_;
  std::optional<RowReader> reader_;
};

score::Plan plan_of_text(const std::string& text) {
  try {
    return score::read_plan(score::JsonReader::read(text));
  } catch (const score::Damaged& damaged) {
    throw py::value_error("the description of an encoder " + damaged.what);
  }
}

}  // namespace

void bind_scorer(py::module_& m) {
  py::class_<RowReader>(m, "RowReader")
      .def(py::init([](const std::string& text) { return RowReader(plan_of_text(text)); }),
           py::arg("description"));
  py::class_<Scorer>(m, "Scorer")
      .def(py::init<const py::bytes&>(), py::arg("data"))
      .def(py::init<const std::string&>(), py::arg("path"))
      .def("predict_one", &Scorer::predict_one, py::arg("row"),
           "The probability of a dict; None if it must be encoded as a batch of one.")
      .def("weights", &Scorer::weights, py::arg("slots"), "The linear weights of slots.")
      .def("margins", &Scorer::margins, py::arg("x"), py::arg("threads") = 0,
           "The margins of Examples.")
      .def_property_readonly("version", [](const Scorer& s) { return s.model().version(); })
      .def_property_readonly("description",
                             [](const Scorer& s) { return s.model().description(); });
  m.def("probability", &score::probability_of, py::arg("margin"),
        "The probability of the positive class.");
}

}  // namespace adagrad
