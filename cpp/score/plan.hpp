// How the columns of a row become entries: the description of an encoder, read and checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "../ctr/hashing.hpp"
#include "json.hpp"

namespace adagrad::score {

enum class FieldKind : std::uint8_t {
  category,
  bins,
  value,
  by_type,  // numbers are of the kind of numbers, and all else is a category
  hour,
  weekday,
  week_hour,
};

struct Field {
  FieldKind kind = FieldKind::category;
  std::vector<std::size_t> parts;  // of a cross: the indices of its fields; else empty
  std::uint64_t seed = 0;
  std::uint64_t present = 0;  // the hash of a number that is the value of an entry
  Home home{};
};

struct Column {
  std::string name, type, kind;
  std::size_t first_field = 0, n_fields = 0;
};

struct Plan {
  std::vector<Column> columns;
  std::vector<Field> fields;  // those of columns, in order, then crosses
  std::size_t n_simple = 0;   // the fields of columns
  std::uint64_t n_slots = 0;
  unsigned bits = 0;
  FieldKind of_numbers = FieldKind::bins;
  bool skip_missing = false, mean = false;

  // Instead of columns, a row has ids, which are slots, and values.
  bool has_ids = false;
  bool hashes_ids = false;  // an id beyond the slots is hashed into them
};

namespace detail {

inline FieldKind kind_named(const std::string& name) {
  if (name == "categorical") return FieldKind::category;
  if (name == "log2-bins") return FieldKind::bins;
  if (name == "value") return FieldKind::value;
  throw Damaged{"has a field of an unknown kind"};
}

inline FieldKind kind_of(const Json& field) {
  const Json& kind = field.at("kind");
  if (kind.is(Json::Type::null)) return FieldKind::by_type;
  if (!kind.is(Json::Type::text)) throw Damaged{"has a field without a kind"};
  if (kind.text != "calendar") return kind_named(kind.text);
  const std::string& part = field.text_of("part");
  if (part == "hour") return FieldKind::hour;
  if (part == "weekday") return FieldKind::weekday;
  if (part == "week_hour") return FieldKind::week_hour;
  throw Damaged{"has an unknown part of a moment"};
}

inline Home home_of_field(const Json& field) {
  const Json& found = field.at("regions", Json::Type::array);
  if (found.items.size() != 3) throw Damaged{"has a field without regions"};
  const auto number = [&](std::size_t i, double least) {
    return static_cast<std::uint32_t>(found.items[i].count("region", least, regions));
  };
  const Home home{number(0, 0), number(1, 1), number(2, 1)};
  if (home.first + home.step * (home.count - 1) >= regions) {
    throw Damaged{"has a field outside of the regions"};
  }
  return home;
}

inline const std::string& text_or(const Json& object, const char* name, const std::string& other) {
  const Json* const found = object.find(name);
  return found != nullptr && found->is(Json::Type::text) ? found->text : other;
}

// The fields of columns come in the order of their columns, then the crosses.
inline void read_fields(const Json& found, Plan& plan) {
  std::size_t column = 0;
  for (const Json& item : found.items) {
    if (!item.is(Json::Type::object)) throw Damaged{"has a field that is not an object"};
    Field field;
    field.kind = kind_of(item);
    field.seed = item.word_of("seed");
    field.present = hash_text({}, field.seed);
    field.home = home_of_field(item);
    if (const Json* const cross = item.find("cross"); cross != nullptr) {
      if (plan.n_simple == 0) plan.n_simple = plan.fields.size();
      if (!cross->is(Json::Type::array) || cross->items.size() < 2 || plan.n_simple == 0) {
        throw Damaged{"has a cross of less than two fields"};
      }
      for (const Json& part : cross->items) {
        const double last = static_cast<double>(plan.n_simple - 1);
        field.parts.push_back(static_cast<std::size_t>(part.count("cross", 0, last)));
      }
    } else {
      if (plan.n_simple != 0) throw Damaged{"has a field behind its crosses"};
      const double last = static_cast<double>(plan.columns.size()) - 1.0;
      const auto of = static_cast<std::size_t>(item.count_of("column", 0, last));
      if (of < column) throw Damaged{"has fields that are not in the order of its columns"};
      column = of;
      Column& own = plan.columns[of];
      if (own.n_fields++ == 0) own.first_field = plan.fields.size();
      const bool is_part = field.kind >= FieldKind::hour;
      const auto expected =
          static_cast<std::size_t>(field.kind) - static_cast<std::size_t>(FieldKind::hour);
      const bool fits = own.n_fields == (is_part ? expected + 1 : 1);
      if (!fits || is_part != (own.kind == "calendar"))
        throw Damaged{"has a column with other fields than expected"};
    }
    plan.fields.push_back(std::move(field));
  }
  if (plan.n_simple == 0) plan.n_simple = plan.fields.size();
  for (const Column& own : plan.columns) {
    const std::size_t wanted = own.kind == "calendar" ? 3 : 1;
    if (own.n_fields != wanted) throw Damaged{"has a column with other fields than expected"};
  }
}

inline void read_encoder(const Json& found, Plan& plan) {
  plan.bits = static_cast<unsigned>(found.count_of("bits", 8, 32));
  if (plan.n_slots != std::uint64_t{1} << plan.bits) {
    throw Damaged{"has an encoder for another number of slots"};
  }
  plan.of_numbers = kind_named(found.text_of("numeric"));
  const std::string &null = found.text_of("null"), &multi = found.text_of("multi");
  if ((null != "value" && null != "skip") || (multi != "sum" && multi != "mean")) {
    throw Damaged{"has an encoder with unknown options"};
  }
  plan.skip_missing = null == "skip";
  plan.mean = multi == "mean";
  std::unordered_set<std::string> names;
  for (const Json& item : found.at("columns", Json::Type::array).items) {
    Column column;
    column.name = item.text_of("name");
    column.type = text_or(item, "type", "string");
    column.kind = text_or(item, "kind", "");
    if (!names.insert(column.name).second) throw Damaged{"has a column twice"};
    plan.columns.push_back(std::move(column));
  }
  const Json& fields = found.at("fields", Json::Type::array);
  if (plan.columns.empty() || fields.items.empty() || fields.items.size() > 0xFFFF) {
    throw Damaged{"has an encoder without columns, or with too many fields"};
  }
  read_fields(fields, plan);
}

}  // namespace detail

// Reads what `found` says of an encoder and of ids; n_slots is that of the model.
inline Plan read_plan(const Json& found) {
  Plan plan;
  plan.n_slots = found.count_of("n_slots", 1, 4294967296.0);
  const Json &encoder = found.at("encoder"), &ids = found.at("ids");
  if (encoder.is(Json::Type::object)) {
    detail::read_encoder(encoder, plan);
  } else if (ids.is(Json::Type::object)) {
    plan.has_ids = true;
    plan.hashes_ids = ids.flag_of("hashes");
    while (plan.bits < 32 && std::uint64_t{1} << plan.bits < plan.n_slots) ++plan.bits;
    if (plan.hashes_ids && (plan.bits == 0 || plan.n_slots != std::uint64_t{1} << plan.bits)) {
      throw Damaged{"hashes ids into a number of slots that is not a power of two"};
    }
    plan.columns = {{"ids", "list<int64>", "", 0, 0}, {"values", "list<float>", "", 0, 0}};
  }
  return plan;
}

}  // namespace adagrad::score
