// What a Parquet file says of its pages: the header of each page, and the footer of the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace adagrad {

struct PageHeader {
  std::int64_t type = -1, uncompressed = -1, compressed = -1;
  std::int64_t values = -1, encoding = -1;
  std::int64_t level_encoding = -1, repetition_encoding = -1;  // of a page of the first version
  std::int64_t nulls = -1, rows = -1, level_bytes = -1, repetition_bytes = -1;  // of the second
  bool is_compressed = true, has_checksum = false;
  std::uint32_t checksum = 0;
  std::size_t size = 0;  // of the header itself
};

// Reads the header at the beginning of the data; false if there is none, or if it lacks a field.
bool read_header(const std::uint8_t* data, std::size_t size, PageHeader& out);

// Where the pages of a column of a row group lie. What a file does not say is -1.
struct PageChunk {
  std::int64_t codec = -1, values = -1, size = -1, data_at = -1, dictionary_at = -1;
  bool elsewhere = false;  // in another file, or encrypted
};

struct RowGroup {
  std::int64_t rows = -1;
  std::vector<PageChunk> columns;
};

// Reads the row groups from the footer of a file; false if it is damaged.
bool read_footer(const std::uint8_t* data, std::size_t size, std::vector<RowGroup>& out);

}  // namespace adagrad
