// A row to the entries of an example, with the bits of the encoder in ctr/encode.cpp.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../ctr/examples.hpp"
#include "../ctr/hashing.hpp"
#include "moments.hpp"
#include "plan.hpp"
#include "values.hpp"

namespace adagrad::score {

// Memory for a row, which a thread reuses: after a few rows, none is allocated.
class Row {
 public:
  // Encodes the values of all columns, in their order. False, with the fault, if one cannot be.
  bool encode(const Plan& plan, const Value* row, Fault& fault) {
    hashes_.clear();
    values_.clear();
    starts_.clear();
    if (plan.has_ids) return encode_ids(plan, row, fault);
    for (std::size_t c = 0; c < plan.columns.size(); ++c) {
      const Column& column = plan.columns[c];
      fault.what = column.n_fields == 3 ? add_moment(plan, column, row[c])
                                        : add_column(plan, plan.fields[column.first_field], row[c]);
      if (fault.what == nullptr) continue;
      fault.column = c;
      return false;
    }
    for (std::size_t f = plan.n_simple; f < plan.fields.size(); ++f) {
      if (add_cross(plan.fields[f])) continue;
      fault = {"has a cross whose value is more than 2**48 in magnitude, or not finite", 0};
      return false;
    }
    starts_.push_back(hashes_.size());
    slots.resize(hashes_.size());
    fields.resize(hashes_.size());
    for (std::size_t f = 0; f < plan.fields.size(); ++f) {
      const Home& home = plan.fields[f].home;
      for (std::size_t k = starts_[f]; k < starts_[f + 1]; ++k) {
        slots[k] = slot_of(hashes_[k], home, plan.bits);
        fields[k] = static_cast<std::uint16_t>(f);
      }
    }
    return true;
  }

  // The example, whose entries are sorted by region.
  Examples example(std::uint64_t n_slots) {
    const std::size_t n = slots.size();
    const auto size = static_cast<std::uint32_t>(region_size(static_cast<std::size_t>(n_slots)));
    for (std::uint32_t& bound : bounds_) bound = 0;
    for (const std::uint32_t slot : slots) ++bounds_[slot / size + 1];
    for (std::size_t r = 0; r < regions; ++r) bounds_[r + 1] += bounds_[r];
    sorted_slots_.resize(n);
    sorted_values_.resize(n);
    sorted_fields_.resize(n);
    std::uint32_t next[regions];
    for (std::size_t r = 0; r < regions; ++r) next[r] = bounds_[r];
    for (std::size_t k = 0; k < n; ++k) {
      const std::uint32_t to = next[slots[k] / size]++;
      sorted_slots_[to] = slots[k];
      sorted_values_[to] = value(k);
      sorted_fields_[to] = fields[k];
    }
    const float* const all = values_.empty() ? nullptr : sorted_values_.data();
    return {sorted_slots_.data(), all, bounds_, sorted_fields_.data(), 1, false};
  }

  float value(std::size_t k) const { return values_.empty() ? 1.0f : values_[k]; }

  // The entries in the order of their fields.
  std::vector<std::uint32_t> slots;
  std::vector<std::uint16_t> fields;

 private:
  static constexpr const char* not_a_number = "is not a number";
  static constexpr const char* too_large =
      "is more than 2**48 in magnitude, or not finite in float32";

  // Values are listed from the first one on that is not 1.
  void add(std::uint64_t hash, float value) {
    if (value != 1.0f && values_.empty()) values_.assign(hashes_.size(), 1.0f);
    if (value != 1.0f || !values_.empty()) values_.push_back(value);
    hashes_.push_back(hash);
  }

  const char* add_column(const Plan& plan, const Field& field, const Value& x) {
    starts_.push_back(hashes_.size());
    FieldKind kind = field.kind;
    if (kind == FieldKind::by_type) kind = x.is_number() ? plan.of_numbers : FieldKind::category;
    if (x.type == Type::list) return add_list(plan, field, kind, x);
    if (x.type == Type::map) return add_map(plan, field, kind, x);
    std::uint64_t hash = 0;
    float value = 1.0f;
    if (kind == FieldKind::category) {
      hash_category(x, field.seed, hash);
    } else {
      double number = 0.0;
      if (!number_of(x, number)) return not_a_number;
      if (std::isnan(number)) {
        hash = field.seed;
      } else if (kind == FieldKind::bins) {
        hash = hash_words(field.seed, bin_of(number));
      } else {
        hash = field.present;
        value = static_cast<float>(number);
        if (!(std::fabs(value) <= largest_value)) return too_large;
      }
    }
    if (hash != field.seed || !plan.skip_missing) add(hash, value);
    return nullptr;
  }

  const char* add_list(const Plan& plan, const Field& field, FieldKind kind, const Value& x) {
    if (kind == FieldKind::value) return "is a list, but its kind needs one number";
    const std::size_t first = hashes_.size();
    for (std::size_t i = 0; i < x.size; ++i) {
      std::uint64_t hash = 0;
      if (kind == FieldKind::category) {
        if (!hash_category(x.items[i], field.seed, hash)) return "has a list in a list";
      } else {
        double number = 0.0;
        const bool fits = number_of(x.items[i], number) &&
                          (x.items[i].type != Type::text || x.items[i].size != 0);
        if (!fits) return "has an element that is not a number";
        hash = std::isnan(number) ? field.seed : hash_words(field.seed, bin_of(number));
      }
      if (hash != field.seed) add(hash, 1.0f);
    }
    const std::size_t count = hashes_.size() - first;
    if (!plan.mean || count < 2) return nullptr;
    if (values_.empty()) values_.assign(hashes_.size(), 1.0f);
    for (std::size_t k = first; k < hashes_.size(); ++k) {
      values_[k] = 1.0f / static_cast<float>(count);
    }
    return nullptr;
  }

  // One entry for each name that has a number.
  const char* add_map(const Plan& plan, const Field& field, FieldKind kind, const Value& x) {
    if (kind != FieldKind::category) return "is a map, but its kind needs numbers";
    const std::size_t first = hashes_.size();
    for (std::size_t i = 0; i < 2 * x.size; i += 2) {
      const Value &name = x.items[i], &of_name = x.items[i + 1];
      std::uint64_t hash = 0;
      double number = 0.0;
      if (!hash_category(name, field.seed, hash)) return "has a list or a map as a name";
      if (of_name.type == Type::text || !number_of(of_name, number)) {
        return "has a value that is not a number";
      }
      if (of_name.type == Type::null || hash == field.seed) continue;
      const auto value = static_cast<float>(number);
      if (!(std::fabs(value) <= largest_value)) return too_large;
      add(hash, value);
    }
    const auto count = static_cast<float>(hashes_.size() - first);
    if (!plan.mean || hashes_.size() - first < 2) return nullptr;
    if (values_.empty()) values_.assign(hashes_.size(), 1.0f);
    for (std::size_t k = first; k < hashes_.size(); ++k) values_[k] /= count;
    return nullptr;
  }

  const char* add_moment(const Plan& plan, const Column& column, const Value& x) {
    std::int64_t seconds = 0;
    bool missing = false;
    if (!seconds_of(x, seconds, missing)) {
      return "is not a moment: give ISO text, Unix seconds or YYMMDDHH";
    }
    const Calendar calendar = missing ? Calendar{} : calendar_of(seconds);
    const std::int32_t parts[] = {calendar.hour, calendar.weekday, calendar.week_hour};
    for (std::size_t part = 0; part < 3; ++part) {
      starts_.push_back(hashes_.size());
      const std::uint64_t seed = plan.fields[column.first_field + part].seed;
      if (!missing) {
        add(hash_integer(parts[part], seed), 1.0f);
      } else if (!plan.skip_missing) {
        add(seed, 1.0f);
      }
    }
    return nullptr;
  }

  // Every entry of the first field with every entry of the next one, and so on.
  bool add_cross(const Field& field) {
    const std::size_t first = hashes_.size();
    starts_.push_back(first);
    const auto part = [&](std::size_t i) { return field.parts[i]; };
    // starts_[f + 1] of the last field of columns is set, since crosses follow it.
    left_.clear();
    for (std::size_t k = starts_[part(0)]; k < starts_[part(0) + 1]; ++k) {
      left_.push_back({hashes_[k], value(k)});
    }
    for (std::size_t i = 1; i < field.parts.size(); ++i) {
      next_.clear();
      for (const Entry& a : left_) {
        for (std::size_t k = starts_[part(i)]; k < starts_[part(i) + 1]; ++k) {
          const float product = a.value * value(k);
          if (!(std::fabs(product) <= largest_value)) return false;
          next_.push_back({hash_words(field.seed, a.hash, hashes_[k]), product});
        }
      }
      left_.swap(next_);
    }
    for (const Entry& a : left_) add(a.hash, a.value);
    return true;
  }

  bool encode_ids(const Plan& plan, const Value* row, Fault& fault) {
    const Value &ids = row[0], &numbers = row[1];
    fault = {nullptr, 0};
    const auto count = [](const Value& x) { return x.type == Type::list ? x.size : 0; };
    if (ids.type != Type::list) fault.what = "is not a list of ids";
    const bool has_values = numbers.type != Type::null;
    if (fault.what == nullptr && has_values && count(numbers) != count(ids)) {
      fault = {"has another number of values than ids", 1};
    }
    if (fault.what != nullptr) return false;
    slots.clear();
    fields.clear();
    for (std::size_t i = 0; i < count(ids); ++i) {
      const Value& id = ids.items[i];
      const bool is_integer =
          id.type == Type::natural || (id.type == Type::integer && id.integer >= 0);
      if (!is_integer) {
        fault = {"has an id that is no integer, or negative", 0};
        return false;
      }
      if (id.natural >= plan.n_slots && !plan.hashes_ids) {
        fault = {"has an id that is beyond the slots of the model", 0};
        return false;
      }
      double number = 1.0;
      const bool is_value =
          !has_values || (numbers.items[i].is_number() && number_of(numbers.items[i], number));
      const float value = static_cast<float>(number);
      if (!is_value || !(std::fabs(value) <= largest_value)) {
        fault = {"has a value that is no number, not finite, or more than 2**48 in magnitude", 1};
        return false;
      }
      constexpr std::uint64_t golden = 0x9e3779b97f4a7c15;
      const std::uint64_t hashed = id.natural * golden >> (64 - plan.bits) % 64;
      slots.push_back(static_cast<std::uint32_t>(id.natural < plan.n_slots ? id.natural : hashed));
      fields.push_back(static_cast<std::uint16_t>(slots.back()));
      add(id.natural, value);
    }
    return true;
  }

  struct Entry {
    std::uint64_t hash;
    float value;
  };

  std::vector<std::uint64_t> hashes_;
  std::vector<float> values_;        // empty if all are 1
  std::vector<std::size_t> starts_;  // of each field, in hashes_
  std::vector<Entry> left_, next_;   // of a cross
  std::vector<std::uint32_t> sorted_slots_;
  std::vector<float> sorted_values_;
  std::vector<std::uint16_t> sorted_fields_;
  std::uint32_t bounds_[regions + 1] = {};
};

}  // namespace adagrad::score
