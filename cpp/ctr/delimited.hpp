// Lines of delimited text to columns in Apache Arrow's layout, for text that needs no judgment.
// Lines with quotes, empty lines, a wrong number of columns, and numbers in any but the plainest
// notation are left to a reader that handles them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace adagrad {

enum class TextKind : std::uint8_t { text, integer, real };

// The values of one column. Its memory is kept for the next block of lines, because touching new
// memory costs more than writing the values.
struct TextColumn {
  std::size_t position;  // among the columns of a line
  TextKind kind;
  std::size_t missing = 0, n_bytes = 0;
  std::vector<std::uint8_t> validity;  // one bit per value, set beyond the last value
  std::vector<std::int64_t> integers;
  std::vector<double> reals;
  std::vector<std::int32_t> offsets;
  std::vector<char> bytes;

  // Makes room for this many rows and bytes of text in all.
  void make_room(std::size_t rows, std::size_t text);

  // Forgets the values after the first `rows`, of which `missing_before` are missing.
  void cut(std::size_t rows, std::size_t missing_before);
};

using TextColumns = std::vector<TextColumn>;

// Collects the columns of lines.
class LineCollector {
 public:
  // `wanted` has a position below `width` and a kind for each column to collect.
  LineCollector(std::size_t width, char delimiter, bool quotes, TextColumns wanted);

  // Collects `rows` lines, or collects nothing and returns false if any of them is not plain.
  bool add(const char* data, std::size_t size, std::size_t rows);

  // Returns what was collected and starts again from 0 rows. The memory is used again once the last
  // copy of the pointer is gone, on any thread.
  std::shared_ptr<TextColumns> take();

  std::size_t rows() const { return rows_; }

 private:
  class Pool;

  void renew();

  std::size_t width_;
  char delimiter_;
  bool quotes_;
  TextColumns wanted_;
  std::unique_ptr<TextColumns> columns_;
  std::shared_ptr<Pool> pool_;
  std::size_t rows_ = 0, bytes_ = 0;
  // The amounts that were last taken. Memory is reserved for as much, because growing it step by
  // step copies it each time.
  std::size_t expected_rows_ = 0;
  std::vector<std::size_t> expected_bytes_;
};

}  // namespace adagrad
