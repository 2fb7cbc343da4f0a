// Lines of Vowpal Wabbit's text format and of libffm to columns of maps in Apache Arrow's layout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace adagrad {

enum class Syntax : std::uint8_t { vw, libffm };

// What is wrong with a line. The place that a fault names is the text that does not fit.
enum class LineFault : std::uint8_t {
  empty_line,
  no_bar,
  tab_before_bar,
  bad_label,
  missing_label,
  bad_importance,
  base,
  bad_namespace,
  bad_scale,
  bad_entry,
  not_finite,
  too_large,
  late_column,
  carriage_return
};

struct LineFaultAt {
  std::size_t line;  // counted from 0 in the text
  LineFault fault;
  std::size_t begin, end;  // of the place, in the text
};

// The maps of one column: those of row i are the entries [ends[i], ends[i + 1]).
struct MapColumn {
  std::vector<std::int32_t> ends{0}, key_ends{0};
  std::vector<char> keys;         // the bytes of all keys of Vowpal Wabbit
  std::vector<std::int64_t> ids;  // the keys of libffm
  std::vector<float> values;
};

struct SparseRows {
  std::size_t rows = 0;
  std::vector<double> labels;      // NaN for none
  std::vector<float> importances;  // 1 for none
  std::vector<std::int32_t> tag_ends{0};
  std::vector<char> tags;
  std::vector<MapColumn> columns;
};

// Parses lines. A column is a namespace of Vowpal Wabbit, "|" if it has no name, or a field of
// libffm, and is named like it.
class SparseLines {
 public:
  // What becomes of a column that neither `names` nor `ignored` has.
  enum class Late : std::uint8_t { add, pass, fault };

  SparseLines(Syntax syntax, const std::vector<std::string>& names,
              const std::vector<std::string>& ignored, Late late, bool needs_label);

  // Collects the rows of whole lines, each with its end, and returns the faults of the lines that
  // have no row. All texts that are collected together have less than 2^31 bytes.
  std::vector<LineFaultAt> add(const char* data, std::size_t size);

  // Returns what was collected and starts again from 0 rows.
  SparseRows take();

  std::size_t rows() const { return collected_.rows; }

  // All columns, in order, with those that were added.
  const std::vector<std::string>& names() const { return names_; }

 private:
  template <Syntax syntax>
  class Parser;

  struct Found {
    std::size_t column;
    bool is_wanted, is_late = false;
  };

  Found find(std::string_view name);

  Syntax syntax_;
  Late late_;
  bool needs_label_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, std::size_t> positions_;
  SparseRows collected_;
};

}  // namespace adagrad
