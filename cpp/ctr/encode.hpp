// Columns to examples: what a field becomes, and the encoder that hashes batches of rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "arrow.hpp"
#include "hashing.hpp"

namespace adagrad {

enum class Kind : std::uint8_t { category, bins, value };

struct Field {
  std::string name;
  Kind kind;
  std::vector<std::size_t> parts;  // of a cross: the indices of its fields; else empty
  std::uint64_t seed;
  Home home;
};

struct Plan {
  std::vector<Field> fields;  // one per column, in order, followed by the crosses
  unsigned bits;
  bool skip_missing;
  bool mean;        // an entry of a list of n has the value 1 / n
  bool has_values;  // some entry may have a value other than 1, even if no column holds maps
};

struct ColumnField {
  std::string name;
  Kind kind;
  bool wide;  // its slots come from all regions
};

struct CrossField {
  std::string name;
  std::vector<std::size_t> columns;
  bool wide;
};

// Throws std::invalid_argument or std::out_of_range if the fields make no valid plan.
Plan make_plan(const std::vector<ColumnField>& columns, const std::vector<CrossField>& crosses,
               unsigned bits, std::uint64_t seed, bool skip_missing, bool mean);

struct ColumnBatch {
  std::size_t rows;
  std::vector<Column> columns;
};

// Examples that may each have a different number of entries.
struct Varied {
  std::vector<std::uint32_t> bounds{0}, slots;
  std::vector<float> values;
  std::vector<std::uint16_t> fields;
};

// The entries of one field, row after row.
struct FieldEntries {
  std::vector<std::uint64_t> hashes;
  std::vector<std::uint32_t> slots, lengths;  // lengths: the number of entries of each row
};

class Dictionaries;

// Encodes batches of rows by a plan. Safe to use from several threads. The calls that take batches
// consume them and throw std::invalid_argument, naming field and row, if a value cannot be encoded.
class Encoder {
 public:
  Encoder(Plan plan, std::size_t n_columns);
  ~Encoder();
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  const Plan& plan() const { return plan_; }

  // The view of a record batch, whose memory must outlive it. Throws TypeMismatch, or
  // std::invalid_argument for damaged memory.
  ColumnBatch batch_of(const ArrowSchema& schema, const ArrowArray& array) const;

  // Whether every row has the same entries in the same order.
  bool is_fixed(const std::vector<ColumnBatch>& batches) const;

  // Whether the entries have values; if not, all of them are 1.
  bool has_values(const std::vector<ColumnBatch>& batches) const;

  // For batches that are fixed: bounds [regions + 1] and the field of each entry of a row.
  std::vector<std::uint32_t> fixed_bounds() const;
  std::vector<std::uint16_t> fixed_fields() const;
  // Writes slots [rows, fields] and, unless `values` is null, values [rows, fields].
  void encode_fixed(std::vector<ColumnBatch>& batches, std::uint32_t* slots, float* values) const;

  Varied encode_varied(std::vector<ColumnBatch>& batches) const;

  // One per field, before entries are sorted by region.
  std::vector<FieldEntries> entries(std::vector<ColumnBatch>& batches) const;

 private:
  Plan plan_;
  std::size_t n_columns_;
  std::unique_ptr<Dictionaries> known_;
};

}  // namespace adagrad
