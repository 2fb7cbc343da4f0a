#include "encode.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "columns.hpp"
#include "dictionaries.hpp"

namespace adagrad {
namespace {

// The entries of a field in a block of rows.
struct Entries {
  std::vector<std::uint64_t> hashes;
  std::vector<float> values;        // empty if all are 1
  std::vector<std::size_t> starts;  // of each row, and the end; empty if each row has one entry
  std::vector<std::uint64_t> keys;  // scratch memory, as are the numbers
  std::vector<double> numbers;

  std::size_t start(std::size_t row) const { return starts.empty() ? row : starts[row]; }
  float value(std::size_t k) const { return values.empty() ? 1.0f : values[k]; }
};

// Thrown for a number that is too large to be the value of an entry; `row` counts from the start of
// its batch.
struct TooLarge {
  std::size_t row;
  double number;
};

std::string label(const Field& field) { return "X['" + field.name + "']"; }

inline std::size_t offset_at(const Column& c, std::size_t i) {
  return static_cast<std::size_t>(c.type == Type::list32 ? as<std::int32_t>(c.offsets)[i]
                                                         : as<std::int64_t>(c.offsets)[i]);
}

// Whether value i of a column of numbers is not null; NaN is not.
inline bool is_there(const Column& c, std::size_t i) {
  return c.type != Type::null && (c.validity == nullptr || bit(c.validity, c.offset + i));
}

// Hashes the values [begin, begin + n) of a column, one entry per row.
inline void read_values(const Field& field, const Column& c, std::size_t begin, std::size_t n,
                        Entries& out) {
  out.values.clear();
  out.starts.clear();
  out.hashes.resize(n);
  if (field.kind == Kind::category) {
    hash_categories(c, begin, n, field.seed, out.hashes.data());
    return;
  }
  out.numbers.resize(n);
  const double* const numbers = out.numbers.data();
  read_numbers(c, begin, n, out.numbers.data());
  if (field.kind == Kind::bins) {
    std::uint64_t* const hashes = out.hashes.data();
    for (std::size_t i = 0; i < n; ++i) hashes[i] = bin_of(numbers[i]);
    kernels().ctr->hash_words(hashes, n, field.seed, hashes);
    for (std::size_t i = 0; i < n; ++i) {
      hashes[i] = numbers[i] == numbers[i] ? hashes[i] : field.seed;
    }
    return;
  }
  const std::uint64_t present = hash_text({}, field.seed);
  out.values.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    const bool missing = std::isnan(numbers[i]);
    const float x = missing ? 1.0f : static_cast<float>(numbers[i]);
    if (!(std::fabs(x) <= largest_value)) throw TooLarge{begin + i, numbers[i]};
    out.hashes[i] = missing ? field.seed : present;
    out.values[i] = x;
  }
}

// Removes the rows whose hash is that of a missing value. Compacts in place, in order.
inline void drop_missing(std::uint64_t missing, Entries& x) {
  const std::size_t n = x.hashes.size();
  x.starts.assign(1, 0);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (x.hashes[i] != missing) {
      x.hashes[kept] = x.hashes[i];
      if (!x.values.empty()) x.values[kept] = x.values[i];
      ++kept;
    }
    x.starts.push_back(kept);
  }
  x.hashes.resize(kept);
  if (!x.values.empty()) x.values.resize(kept);
}

// Hashes the items of lists [begin, begin + n), in order, one entry per item that is not missing.
inline Entries read_lists(const Plan& plan, const Field& field, const Column& c, std::size_t begin,
                          std::size_t n) {
  const std::size_t at = c.offset + begin, first = offset_at(c, at);
  Entries items;
  read_values(field, c.child[0], first, offset_at(c, at + n) - first, items);
  Entries out;
  out.starts.assign(1, 0);
  for (std::size_t i = at; i < at + n; ++i) {
    if (c.validity != nullptr && !bit(c.validity, i)) {
      if (!plan.skip_missing) out.hashes.push_back(field.seed);
    } else {
      for (std::size_t k = offset_at(c, i); k < offset_at(c, i + 1); ++k) {
        if (items.hashes[k - first] != field.seed) out.hashes.push_back(items.hashes[k - first]);
      }
    }
    const std::size_t count = out.hashes.size() - out.starts.back();
    if (plan.mean) out.values.resize(out.hashes.size(), 1.0f / static_cast<float>(count));
    out.starts.push_back(out.hashes.size());
  }
  return out;
}

// Hashes the keys of maps [begin, begin + n), in order, one entry per key that has a value.
inline void read_maps(const Plan& plan, const Field& field, const Column& c, std::size_t begin,
                      std::size_t n, Entries& out) {
  const Column& values = c.child[1];
  const std::size_t at = c.offset + begin, first = offset_at(c, at);
  const std::size_t count = offset_at(c, at + n) - first;
  read_values(field, c.child[0], first, count, out);
  out.numbers.resize(count);
  read_numbers(values, first, count, out.numbers.data());
  out.keys.swap(out.hashes);
  out.hashes.clear();
  out.starts.assign(1, 0);
  for (std::size_t i = at; i < at + n; ++i) {
    if (c.validity != nullptr && !bit(c.validity, i)) {
      if (!plan.skip_missing) {
        out.hashes.push_back(field.seed);
        out.values.push_back(1.0f);
      }
    } else {
      for (std::size_t k = offset_at(c, i) - first; k < offset_at(c, i + 1) - first; ++k) {
        if (out.keys[k] == field.seed || !is_there(values, first + k)) continue;
        const float value = static_cast<float>(out.numbers[k]);
        if (!(std::fabs(value) <= largest_value)) throw TooLarge{begin + i - at, out.numbers[k]};
        out.hashes.push_back(out.keys[k]);
        out.values.push_back(value);
      }
      const float length = static_cast<float>(out.hashes.size() - out.starts.back());
      for (std::size_t k = out.starts.back(); plan.mean && k < out.values.size(); ++k) {
        out.values[k] /= length;
      }
    }
    out.starts.push_back(out.hashes.size());
  }
}

// Combines every entry of a with every entry of b, row by row. The first row is row `begin`.
inline Entries cross(const Entries& a, const Entries& b, std::uint64_t seed, std::size_t begin,
                     std::size_t rows) {
  Entries out;
  const bool has_values = !a.values.empty() || !b.values.empty();
  const bool has_starts = !a.starts.empty() || !b.starts.empty();
  out.hashes.reserve(rows);
  if (has_starts) out.starts.assign(1, 0);
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t k = a.start(i); k < a.start(i + 1); ++k) {
      for (std::size_t l = b.start(i); l < b.start(i + 1); ++l) {
        out.hashes.push_back(hash_words(seed, a.hashes[k], b.hashes[l]));
        if (!has_values) continue;
        const float value = a.value(k) * b.value(l);
        if (!(std::fabs(value) <= largest_value)) {
          throw TooLarge{begin + i, static_cast<double>(a.value(k)) * b.value(l)};
        }
        out.values.push_back(value);
      }
    }
    if (has_starts) out.starts.push_back(out.hashes.size());
  }
  return out;
}

// For each block of rows, in order, calls emit_field(f, entries, number of rows) for each field and
// then emit_block(entries of each field, number of rows). Consumes the batches.
template <class EmitField, class EmitBlock>
void for_each_block(const Plan& plan, std::vector<ColumnBatch>& batches, Dictionaries& known,
                    bool fixed, EmitField emit_field, EmitBlock emit_block) {
  constexpr std::size_t block = 256;  // rows whose slots fit the first-level cache
  std::vector<Entries> entries(plan.fields.size());
  const auto read = [&](std::size_t f, const std::vector<Column>& columns, std::size_t begin,
                        std::size_t n) {
    const Field& field = plan.fields[f];
    if (!field.parts.empty()) {
      entries[f] = cross(entries[field.parts[0]], entries[field.parts[1]], field.seed, begin, n);
      for (std::size_t part = 2; part < field.parts.size(); ++part) {
        entries[f] = cross(entries[f], entries[field.parts[part]], field.seed, begin, n);
      }
    } else if (is_map(columns[f])) {
      read_maps(plan, field, columns[f], begin, n, entries[f]);
    } else if (is_list(columns[f])) {
      entries[f] = read_lists(plan, field, columns[f], begin, n);
    } else {
      read_values(field, columns[f], begin, n, entries[f]);
      if (plan.skip_missing && !fixed) drop_missing(field.seed, entries[f]);
    }
  };
  std::size_t before = 0;  // rows of earlier batches
  for (ColumnBatch& batch : batches) {
    for (std::size_t f = 0; f < batch.columns.size(); ++f) {
      Column& c = batch.columns[f];
      if (is_list(c) && c.length > 0) {
        const std::size_t items = offset_at(c, c.offset + c.length) - offset_at(c, c.offset);
        prepare(c.child[0], items, f, plan.fields[f].seed, known);
      } else {
        prepare(c, c.length, f, plan.fields[f].seed, known);
      }
    }
    for (std::size_t begin = 0; begin < batch.rows; begin += block) {
      const std::size_t n = std::min(block, batch.rows - begin);
      for (std::size_t f = 0; f < plan.fields.size(); ++f) {
        try {
          read(f, batch.columns, begin, n);
        } catch (const TooLarge& x) {
          char number[32];
          *std::to_chars(number, number + sizeof number - 1, x.number).ptr = '\0';
          const bool finite = std::isfinite(static_cast<float>(x.number));
          throw std::invalid_argument(label(plan.fields[f]) + "[" + std::to_string(before + x.row) +
                                      "] = " + number +
                                      (finite ? " is more than 2**48 in magnitude: scale the column"
                                              : " is not finite in float32"));
        } catch (const std::invalid_argument& error) {
          throw std::invalid_argument(label(plan.fields[f]) + " " + error.what());
        }
        emit_field(f, entries[f], n);
      }
      emit_block(entries, n);
    }
    before += batch.rows;
    batch.columns.clear();
  }
}

// Writes the slots of one entry per row, all of one region, `width` apart.
inline void write_slots(const std::uint64_t* hashes, std::size_t n, std::uint32_t region,
                        unsigned bits, std::uint32_t* out, std::size_t width) {
  const Home home{region, 0, 1};
  for (std::size_t i = 0; i < n; ++i) out[i * width] = slot_of(hashes[i], home, bits);
}

}  // namespace

Plan make_plan(const std::vector<ColumnField>& columns, const std::vector<CrossField>& crosses,
               unsigned bits, std::uint64_t seed, bool skip_missing, bool mean) {
  const std::size_t n = columns.size() + crosses.size();
  if (bits < 8 || bits > 32) {
    throw std::invalid_argument("bits must be from 8 to 32, got " + std::to_string(bits));
  }
  if (n < 1 || n > 0xFFFF) {
    throw std::invalid_argument("an encoder has 1 to 65535 fields, got " + std::to_string(n));
  }
  Plan plan{{}, bits, skip_missing, mean, mean};
  const auto add = [&](const std::string& name, Kind kind, const std::vector<std::size_t>& parts,
                       bool wide) {
    const Home home = home_of(plan.fields.size(), n, wide);
    plan.has_values = plan.has_values || kind == Kind::value;
    plan.fields.push_back({name, kind, parts, hash_text(name, seed), home});
  };
  for (const ColumnField& column : columns) add(column.name, column.kind, {}, column.wide);
  for (const CrossField& cross : crosses) {
    const std::string at = "the cross '" + cross.name + "' has ";
    if (cross.columns.size() < 2) {
      throw std::invalid_argument(at + std::to_string(cross.columns.size()) +
                                  " columns; at least 2 are needed");
    }
    for (const std::size_t column : cross.columns) {
      if (column < columns.size()) continue;
      throw std::out_of_range(at + "column " + std::to_string(column) + ", but there are " +
                              std::to_string(columns.size()) + " columns");
    }
    add(cross.name, Kind::category, cross.columns, cross.wide);
  }
  return plan;
}

Encoder::Encoder(Plan plan, std::size_t n_columns)
    : plan_(std::move(plan)), n_columns_(n_columns),
      known_(std::make_unique<Dictionaries>(n_columns)) {}

Encoder::~Encoder() = default;

ColumnBatch Encoder::batch_of(const ArrowSchema& schema, const ArrowArray& array) const {
  if (std::string_view(schema.format) != "+s" || array.null_count > 0 ||
      static_cast<std::size_t>(schema.n_children) != n_columns_ ||
      schema.n_children != array.n_children) {
    throw TypeMismatch("a record batch of " + std::to_string(n_columns_) +
                       " columns without missing rows is needed");
  }
  ColumnBatch batch{static_cast<std::size_t>(array.length), {}};
  for (std::size_t f = 0; f < n_columns_; ++f) {
    const std::string name = label(plan_.fields[f]) + " ";
    try {
      batch.columns.push_back(
          column_of(*schema.children[f], *array.children[f], array.offset, array.length));
    } catch (const TypeMismatch& error) {
      throw TypeMismatch(name + error.what());
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(name + error.what());
    }
    Column& c = batch.columns.back();
    c.offset += static_cast<std::size_t>(array.offset);
    c.length = batch.rows;
    const Kind kind = plan_.fields[f].kind;
    const bool fits = kind == Kind::category || is_number(c) ||
                      (kind == Kind::bins && is_list(c) && is_number(c.child[0]));
    if (!fits) throw TypeMismatch(name + "must hold numbers");
    if (is_map(c) && !(kind == Kind::category && is_number(c.child[1]))) {
      throw TypeMismatch(name + "must map categories to numbers");
    }
  }
  return batch;
}

bool Encoder::is_fixed(const std::vector<ColumnBatch>& batches) const {
  for (const Field& field : plan_.fields) {
    if (field.home.count != 1) return false;
  }
  for (const ColumnBatch& batch : batches) {
    for (const Column& c : batch.columns) {
      if (is_list(c) || (plan_.skip_missing && has_missing(c))) return false;
    }
  }
  return true;
}

bool Encoder::has_values(const std::vector<ColumnBatch>& batches) const {
  if (plan_.has_values) return true;
  for (const ColumnBatch& batch : batches) {
    if (std::any_of(batch.columns.begin(), batch.columns.end(), is_map)) return true;
  }
  return false;
}

std::vector<std::uint32_t> Encoder::fixed_bounds() const {
  std::vector<std::uint32_t> bounds(regions + 1);
  for (const Field& field : plan_.fields) ++bounds[field.home.first + 1];
  for (std::size_t r = 0; r < regions; ++r) bounds[r + 1] += bounds[r];
  return bounds;
}

std::vector<std::uint16_t> Encoder::fixed_fields() const {
  std::vector<std::uint16_t> order;
  for (std::uint32_t r = 0; r < regions; ++r) {
    for (std::size_t f = 0; f < plan_.fields.size(); ++f) {
      if (plan_.fields[f].home.first == r) order.push_back(static_cast<std::uint16_t>(f));
    }
  }
  return order;
}

void Encoder::encode_fixed(std::vector<ColumnBatch>& batches, std::uint32_t* slots,
                           float* values) const {
  const std::vector<std::uint16_t> order = fixed_fields();
  const std::size_t width = order.size();
  std::vector<std::size_t> places(width);  // of the fields in a row
  for (std::size_t place = 0; place < width; ++place) places[order[place]] = place;
  const auto emit_field = [&](std::size_t f, const Entries& x, std::size_t n) {
    const std::size_t place = places[f];
    write_slots(x.hashes.data(), n, plan_.fields[f].home.first, plan_.bits, slots + place, width);
    for (std::size_t i = 0; values != nullptr && i < n; ++i) {
      values[i * width + place] = x.value(i);
    }
  };
  const auto emit_block = [&](const std::vector<Entries>&, std::size_t n) {
    slots += n * width;
    if (values != nullptr) values += n * width;
  };
  for_each_block(plan_, batches, *known_, true, emit_field, emit_block);
}

Varied Encoder::encode_varied(std::vector<ColumnBatch>& batches) const {
  Varied out;
  const bool has_values = this->has_values(batches);
  std::size_t rows = 0;
  for (const ColumnBatch& batch : batches) rows += batch.rows;
  out.bounds.reserve(rows * regions + 1);
  out.slots.reserve(rows * plan_.fields.size());
  out.fields.reserve(rows * plan_.fields.size());
  if (has_values) out.values.reserve(rows * plan_.fields.size());
  std::vector<std::uint32_t> next;  // where the next entry of each region of each row goes
  // A counting sort of each block by row and region: count, add up, move. It is stable, so the
  // entries of a region keep the order of their fields.
  const auto emit = [&](const std::vector<Entries>& entries, std::size_t n) {
    next.assign(n * regions, 0);
    std::size_t end = out.slots.size();
    const auto for_each_entry = [&](auto f) {
      for (std::size_t field = 0; field < entries.size(); ++field) {
        const Entries& x = entries[field];
        const Home& home = plan_.fields[field].home;
        const auto visit = [&](std::size_t row, std::size_t k) {
          const std::uint32_t slot = slot_of(x.hashes[k], home, plan_.bits);
          f(field, slot, k, next[row * regions + (slot >> (plan_.bits - 3))]);
        };
        if (x.starts.empty()) {
          for (std::size_t i = 0; i < n; ++i) visit(i, i);
        } else {
          for (std::size_t i = 0; i < n; ++i) {
            for (std::size_t k = x.starts[i]; k < x.starts[i + 1]; ++k) visit(i, k);
          }
        }
      }
    };
    for_each_entry([](std::size_t, std::uint32_t, std::size_t, std::uint32_t& count) { ++count; });
    for (const Entries& x : entries) end += x.hashes.size();
    if (end > 0xFFFFFFFF) {
      throw std::length_error(
          "the rows have 2**32 entries or more, but bounds are 32 bits: encode fewer at a time");
    }
    std::uint32_t total = out.bounds.back();
    for (std::uint32_t& count : next) {
      const std::uint32_t begin = total;
      total += count;
      count = begin;
      out.bounds.push_back(total);
    }
    out.slots.resize(end);
    out.fields.resize(end);
    if (has_values) out.values.resize(end);
    for_each_entry([&](std::size_t field, std::uint32_t slot, std::size_t k, std::uint32_t& at) {
      out.slots[at] = slot;
      out.fields[at] = static_cast<std::uint16_t>(field);
      if (has_values) out.values[at] = entries[field].value(k);
      ++at;
    });
  };
  for_each_block(plan_, batches, *known_, false, [](auto&&...) {}, emit);
  return out;
}

std::vector<FieldEntries> Encoder::entries(std::vector<ColumnBatch>& batches) const {
  std::vector<FieldEntries> all(plan_.fields.size());
  const auto emit = [&](const std::vector<Entries>& entries, std::size_t rows) {
    for (std::size_t f = 0; f < all.size(); ++f) {
      const Entries& x = entries[f];
      for (std::size_t i = 0; i < rows; ++i) {
        all[f].lengths.push_back(static_cast<std::uint32_t>(x.start(i + 1) - x.start(i)));
      }
      for (const std::uint64_t hash : x.hashes) {
        all[f].hashes.push_back(hash);
        all[f].slots.push_back(slot_of(hash, plan_.fields[f].home, plan_.bits));
      }
    }
  };
  for_each_block(plan_, batches, *known_, false, [](auto&&...) {}, emit);
  return all;
}

}  // namespace adagrad
