// Columns to examples: block by block, the hashes of every field, then of the crosses, then their
// slots to where the learners visit them.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "columns.hpp"
#include "dictionaries.hpp"
#include "hashing.hpp"

namespace adagrad {

enum class Kind : std::uint8_t { category, bins, value };

struct Field {
  std::string name;
  Kind kind;
  std::vector<std::size_t> parts;  // of a cross: numbers of its fields; else empty
  std::uint64_t seed;
  Home home;
};

struct Plan {
  std::vector<Field> fields;  // those of columns, in their order, then the crosses
  unsigned bits;
  bool skip_missing;
  bool mean;        // entries of a list of n weigh 1 / n
  bool has_values;  // some entry may have a value other than 1
};

// What a field has in a block of rows.
struct Entries {
  std::vector<std::uint64_t> hashes;
  std::vector<float> values;        // empty: all are 1
  std::vector<std::size_t> starts;  // of each row, and the end; empty: one entry a row
  std::vector<double> numbers;      // room to read them in

  std::size_t start(std::size_t row) const { return starts.empty() ? row : starts[row]; }
  float value(std::size_t k) const { return values.empty() ? 1.0f : values[k]; }
};

// A number that is too large to be the value of an entry, and in which row of its batch it is.
struct TooLarge {
  std::size_t row;
  double number;
};

struct Batch {
  std::size_t rows;
  std::vector<Column> columns;
};

// Examples of which each has its own number of entries.
struct Varied {
  std::vector<std::uint32_t> bounds{0}, slots;
  std::vector<float> values;
  std::vector<std::uint16_t> fields;
};

namespace {

inline bool is_list(const Column& c) { return c.type == Type::list32 || c.type == Type::list64; }

inline std::size_t offset_at(const Column& c, std::size_t i) {
  return static_cast<std::size_t>(c.type == Type::list32 ? as<std::int32_t>(c.offsets)[i]
                                                         : as<std::int64_t>(c.offsets)[i]);
}

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
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint64_t hash = hash_words(field.seed, bin_of(numbers[i]));
      out.hashes[i] = numbers[i] == numbers[i] ? hash : field.seed;
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

// Rows without those that are missing.
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

// Every entry of a with every one of b, row by row, the first of which is row `begin`.
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

// Whether every row has the same entries, at the same places.
inline bool is_fixed(const Plan& plan, const std::vector<Batch>& batches) {
  for (const Field& field : plan.fields) {
    if (field.home.count != 1) return false;
  }
  for (const Batch& batch : batches) {
    for (const Column& c : batch.columns) {
      if (is_list(c) || (plan.skip_missing && has_missing(c))) return false;
    }
  }
  return true;
}

inline std::string label(const Field& field) { return "X['" + field.name + "']"; }

// Calls emit(entries of each field, rows) for block after block. Messages name the field.
template <class Emit>
void for_each_block(const Plan& plan, std::vector<Batch>& batches, Dictionaries& known, bool fixed,
                    Emit emit) {
  constexpr std::size_t block = 512;  // rows whose hashes and slots stay in the second-level cache
  std::vector<Entries> entries(plan.fields.size());
  const auto read = [&](std::size_t f, const std::vector<Column>& columns, std::size_t begin,
                        std::size_t n) {
    const Field& field = plan.fields[f];
    if (!field.parts.empty()) {
      entries[f] = cross(entries[field.parts[0]], entries[field.parts[1]], field.seed, begin, n);
      for (std::size_t part = 2; part < field.parts.size(); ++part) {
        entries[f] = cross(entries[f], entries[field.parts[part]], field.seed, begin, n);
      }
    } else if (is_list(columns[f])) {
      entries[f] = read_lists(plan, field, columns[f], begin, n);
    } else {
      read_values(field, columns[f], begin, n, entries[f]);
      if (plan.skip_missing && !fixed) drop_missing(field.seed, entries[f]);
    }
  };
  std::size_t before = 0;  // rows of earlier batches
  for (Batch& batch : batches) {
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
          throw std::invalid_argument(
              label(plan.fields[f]) + "[" + std::to_string(before + x.row) + "] = " + number +
              (finite ? " is more than 2**48 in size: scale it" : " is not finite in float32"));
        } catch (const std::invalid_argument& error) {
          throw std::invalid_argument(label(plan.fields[f]) + " " + error.what());
        }
      }
      emit(entries, n);
    }
    before += batch.rows;
    batch.columns.clear();
  }
}

// Numbers of the fields in the order in which an example of a fixed pattern has them.
inline std::vector<std::uint16_t> fixed_order(const Plan& plan) {
  std::vector<std::uint16_t> order;
  for (std::uint32_t r = 0; r < regions; ++r) {
    for (std::size_t f = 0; f < plan.fields.size(); ++f) {
      if (plan.fields[f].home.first == r) order.push_back(static_cast<std::uint16_t>(f));
    }
  }
  return order;
}

// Slots of one entry a row, `width` apart. The home is a copy, as a slot might alias the original.
inline void write_slots(const std::uint64_t* hashes, std::size_t n, Home home, unsigned bits,
                        std::uint32_t* out, std::size_t width) {
  for (std::size_t i = 0; i < n; ++i) out[i * width] = slot_of(hashes[i], home, bits);
}

// Slots (and values, where not null) of [rows, fields].
inline void encode_fixed(const Plan& plan, std::vector<Batch>& batches, Dictionaries& known,
                         std::uint32_t* slots, float* values) {
  const std::vector<std::uint16_t> order = fixed_order(plan);
  const std::size_t width = order.size();
  const auto emit = [&](const std::vector<Entries>& entries, std::size_t n) {
    for (std::size_t place = 0; place < width; ++place) {
      const Entries& x = entries[order[place]];
      write_slots(x.hashes.data(), n, plan.fields[order[place]].home, plan.bits, slots + place,
                  width);
      for (std::size_t i = 0; values != nullptr && i < n; ++i) {
        values[i * width + place] = x.value(i);
      }
    }
    slots += n * width;
    if (values != nullptr) values += n * width;
  };
  for_each_block(plan, batches, known, true, emit);
}

inline void encode_varied(const Plan& plan, std::vector<Batch>& batches, Dictionaries& known,
                          Varied& out) {
  std::size_t rows = 0;
  for (const Batch& batch : batches) rows += batch.rows;
  out.bounds.reserve(rows * regions + 1);
  out.slots.reserve(rows * plan.fields.size());
  out.fields.reserve(rows * plan.fields.size());
  if (plan.has_values) out.values.reserve(rows * plan.fields.size());
  std::vector<std::uint32_t> next;  // where the next entry of each region of each row goes
  for_each_block(plan, batches, known, false,
                 [&](const std::vector<Entries>& entries, std::size_t n) {
                   next.assign(n * regions, 0);
                   std::size_t end = out.slots.size();
                   const auto for_each_entry = [&](auto f) {
                     for (std::size_t field = 0; field < entries.size(); ++field) {
                       const Entries& x = entries[field];
                       const Home& home = plan.fields[field].home;
                       const auto visit = [&](std::size_t row, std::size_t k) {
                         const std::uint32_t slot = slot_of(x.hashes[k], home, plan.bits);
                         f(field, slot, k, next[row * regions + (slot >> (plan.bits - 3))]);
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
                   for_each_entry([](std::size_t, std::uint32_t, std::size_t,
                                     std::uint32_t& count) { ++count; });
                   for (const Entries& x : entries) end += x.hashes.size();
                   if (end > 0xFFFFFFFF) {
                     throw std::length_error("one batch holds fewer than 2**32 entries: slice it");
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
                   if (plan.has_values) out.values.resize(end);
                   for_each_entry([&](std::size_t field, std::uint32_t slot, std::size_t k,
                                      std::uint32_t& at) {
                     out.slots[at] = slot;
                     out.fields[at] = static_cast<std::uint16_t>(field);
                     if (plan.has_values) out.values[at] = entries[field].value(k);
                     ++at;
                   });
                 });
}

}  // namespace
}  // namespace adagrad
