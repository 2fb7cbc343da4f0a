// A model that answers: an export file, checked once, and then rows in, probabilities out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../ctr/sigmoid.hpp"
#include "entries.hpp"
#include "file.hpp"
#include "margin.hpp"
#include "plan.hpp"
#include "weights.hpp"

namespace adagrad::score {

// Memory of one thread, for any number of models. After its first rows, none is allocated.
struct Scratch {
  Row row;
  Found found;
};

// The probability of the positive class. NaN if the margin is not finite.
inline double probability_of(float margin) {
  const auto e = static_cast<double>(exp_of_minus(magnitude_of(margin)));
  return sigmoid_from(margin, e) + static_cast<double>(margin - margin);
}

// Immutable, and safe to use from any number of threads, each with a scratch of its own.
class Model {
 public:
  // Maps a file and checks it. Throws std::runtime_error, whose text is one line that begins with
  // the path, if it is no export file, or damaged. It must be replaced as a whole, never written
  // to in place: a file that is cut short while it is mapped ends the process.
  explicit Model(const std::string& path) {
    std::string why;
    if (!open(path, why)) throw std::runtime_error(why);
  }

  // The same of a file in memory, which must outlive the model and begin at a multiple of 8.
  Model(const void* data, std::size_t size) {
    std::string why;
    if (!open({static_cast<const unsigned char*>(data), size}, "the model", why)) {
      throw std::runtime_error(why);
    }
  }

  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // Without exceptions: null, and why, instead.
  static std::unique_ptr<const Model> load(const std::string& path, std::string& why) {
    std::unique_ptr<Model> model(new (std::nothrow) Model());
    if (model == nullptr || !model->open(path, why)) return nullptr;
    return model;
  }
  static std::unique_ptr<const Model> load(const void* data, std::size_t size, std::string& why) {
    std::unique_ptr<Model> model(new (std::nothrow) Model());
    const Bytes bytes{static_cast<const unsigned char*>(data), size};
    if (model == nullptr || !model->open(bytes, "the model", why)) return nullptr;
    return model;
  }

  // "lr", "fm" or "ffm".
  const std::string& kind() const { return kind_; }
  // The column that it predicts; empty if that is not known.
  const std::string& label() const { return label_; }
  // The columns of a row, in the order of its values. Without any, the model takes examples alone.
  const std::vector<Column>& columns() const { return plan_.columns; }
  std::uint64_t slots() const { return plan_.n_slots; }
  float offset() const { return offset_; }
  // The checksum of the file: 16 hexadecimal digits.
  const std::string& version() const { return version_; }
  // The JSON of the file.
  const std::string& description() const { return description_; }
  const Plan& plan() const { return plan_; }
  const Weights& weights() const { return weights_; }

  // The log-odds of a row, of as many values as there are columns. False, with the fault, if a
  // value cannot be encoded.
  bool margin(const Value* row, Scratch& scratch, float& to, Fault& fault) const {
    if (!scratch.row.encode(plan_, row, fault)) return false;
    to = margin(scratch.row.example(plan_.n_slots), scratch.found);
    return true;
  }

  // The log-odds of one example, whose slots are below slots() and whose entries are sorted by
  // region; the pairs of a field-aware model need its fields.
  float margin(const Examples& one, Found& found) const {
    return margin_of(weights_, bias_, offset_, one, found);
  }

  // Margins of n rows, one after the other. Returns the number of rows before the first fault.
  std::size_t margins(const Value* rows, std::size_t n, Scratch& scratch, float* to,
                      Fault& fault) const {
    for (std::size_t i = 0; i < n; ++i) {
      if (!margin(rows + i * columns().size(), scratch, to[i], fault)) return i;
    }
    return n;
  }

  // The probability of the positive class of a row. Throws std::invalid_argument, naming the
  // column, if a value cannot be encoded.
  double probability(const Value* row, Scratch& scratch) const {
    float found = 0.0f;
    Fault fault;
    if (!margin(row, scratch, found, fault)) throw std::invalid_argument(explain(fault));
    return probability_of(found);
  }

  // A fault in words, such as "column 'price' is not a number".
  std::string explain(const Fault& fault) const {
    if (fault.what == nullptr) return {};
    return "column '" + plan_.columns[fault.column].name + "' " + fault.what;
  }

 private:
  Model() = default;

  bool open(const std::string& path, std::string& why) noexcept {
    try {
      mapping_ = std::make_unique<Mapping>(path);
      return open(mapping_->bytes(), path, why);
    } catch (const Damaged& damaged) {
      return refuse(path, damaged.what, why);
    } catch (const std::exception& error) {
      return refuse(path, error.what(), why);
    }
  }

  bool open(const Bytes& file, const std::string& path, std::string& why) noexcept {
    try {
      read(file);
      return true;
    } catch (const Damaged& damaged) {
      return refuse(path, damaged.what, why);
    } catch (const std::exception& error) {
      return refuse(path, error.what(), why);
    }
  }

  static bool refuse(const std::string& path, const std::string& what, std::string& why) noexcept {
    try {
      why = path + " " + what;
    } catch (const std::bad_alloc&) {
      why.clear();
    }
    return false;
  }

  void read(const Bytes& file) {
    const Tensors tensors = read_tensors(file);
    version_ = read_checksum(tensors);
    description_ = tensors.metadata.text_of("model");
    const Json found = JsonReader::read(description_);
    if (!found.is(Json::Type::object)) throw Damaged{"has a model that is not an object"};
    kind_ = found.text_of("kind");
    if (kind_ != "lr" && kind_ != "fm" && kind_ != "ffm") throw Damaged{"is of an unknown kind"};
    label_ = detail::text_or(found, "label", "");
    plan_ = read_plan(found);
    bias_ = number32(found, "bias");
    offset_ = number32(found, "offset");
    const Json& bucket = found.at("bucket");
    const std::uint64_t of = bucket.is(Json::Type::null) ? 0 : bucket.count("bucket", 1, 65536);
    weights_ = Weights(tensors, plan_.n_slots, of, read_pairs(found));
  }

  static float number32(const Json& found, const char* name) {
    const double number = found.number_of(name);
    const auto rounded = static_cast<float>(number);
    if (!std::isfinite(rounded))
      throw Damaged{std::string("has another ") + name + " than a float"};
    return rounded;
  }

  Pairs read_pairs(const Json& found) const {
    Pairs pairs;
    const Json& given = found.at("pairs");
    if (given.is(Json::Type::null)) return pairs;
    if (!given.is(Json::Type::object) || kind_ == "lr") throw Damaged{"has pairs of no model"};
    pairs.factors = static_cast<std::size_t>(given.count_of("factors", 1, 4096));
    pairs.parts = static_cast<std::size_t>(given.count_of("parts", 1, 8));
    if (regions % pairs.parts != 0) throw Damaged{"has a number of parts that does not divide 8"};
    pairs.normalize = given.flag_of("normalize");
    pairs.scale = number32(given, "scale");
    pairs.init_scale = given.number_of("init_scale");
    pairs.seed = given.word_of("seed");
    if (kind_ == "fm") return pairs;
    pairs.n_fields = static_cast<std::size_t>(given.count_of("fields", 1, 65536));
    const bool fits = plan_.has_ids
                          ? pairs.n_fields == plan_.n_slots
                          : plan_.columns.empty() || pairs.n_fields == plan_.fields.size();
    if (!fits) throw Damaged{"has pairs of other fields than its encoder"};
    constexpr std::size_t most = std::size_t{1} << 20;
    if (pairs.vectors() > most) throw Damaged{"has more than 2**20 numbers for each slot"};
    return pairs;
  }

  std::unique_ptr<Mapping> mapping_;
  std::string kind_, label_, version_, description_;
  Plan plan_;
  Weights weights_;
  float bias_ = 0.0f, offset_ = 0.0f;
};

}  // namespace adagrad::score
