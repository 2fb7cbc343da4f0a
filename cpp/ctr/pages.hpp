// The pages of a column of a Parquet file (parquet.apache.org/docs/file-format) to the buffers of
// an Arrow column, for pages that need no judgment: numbers and texts without nesting, as plain
// values or as indices into a dictionary. Everything else is left to a reader that handles it, and
// so is whatever does not add up, because that reader says what is wrong with it. No function reads
// outside the memory that it is given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace adagrad {

struct PageHeader {
  std::int64_t type = -1, uncompressed = -1, compressed = -1;
  std::int64_t values = -1, encoding = -1, level_encoding = -1;
  std::int64_t level_bytes = 0, repetition_bytes = 0;  // of a page of the second version
  bool is_compressed = true, has_checksum = false;
  std::uint32_t checksum = 0;
  std::size_t size = 0;  // of the header itself
};

// Reads the header at the beginning of the data; false if there is none.
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

// Numbers of a fixed width in bits, in Parquet's hybrid of runs and packed groups.
class HybridNumbers {
 public:
  HybridNumbers() = default;
  HybridNumbers(const std::uint8_t* data, const std::uint8_t* end, unsigned width)
      : at_(data), end_(end), width_(width) {}

  // Reads n numbers; false if there are fewer.
  bool read(std::uint32_t* out, std::size_t n);

  // Passes over n numbers if all are `value` and in one run.
  bool pass(std::uint32_t value, std::size_t n);

 private:
  bool next_run();

  const std::uint8_t *at_ = nullptr, *end_ = nullptr;
  unsigned width_ = 0;
  std::size_t left_ = 0, done_ = 0;  // numbers of the current run
  bool packed_ = false;
  std::uint32_t value_ = 0;              // of a run
  const std::uint8_t* group_ = nullptr;  // where a packed run begins
};

// Texts in Arrow's layout.
struct PageTexts {
  std::vector<std::int32_t> offsets{0};
  std::vector<char> bytes;

  std::size_t size() const { return offsets.size() - 1; }

  // Appends n texts, each after its length; returns where they end, or null if they do not fit.
  const std::uint8_t* append(const std::uint8_t* p, const std::uint8_t* end, std::size_t n);
};

enum class PageKind : std::uint8_t { words32, words64, texts, categories };

// Collects the values of one column. Categories are texts as indices into a dictionary, which is
// that of the file or, for pages of plain values, the values themselves.
class PageCollector {
 public:
  PageCollector(PageKind kind, bool nullable);

  // Forgets everything, before the pages of another row group.
  void begin();
  // The functions return false for data that do not fit; nothing but begin() is of use then.
  bool set_dictionary(const std::uint8_t* data, std::size_t size, std::size_t n);
  // Begins a page of n values. The memory must outlive its use. `levels` is null for a page of the
  // first version, which holds them.
  bool set_page(const std::uint8_t* data, std::size_t size, std::size_t n, bool indexed,
                const std::uint8_t* levels, std::size_t level_bytes);
  // Appends values of the page.
  bool append(std::size_t n);

  std::size_t left() const { return left_; }
  PageKind kind() const { return kind_; }

  // Its memory is kept for the next rows, because touching new memory costs more than decoding.
  struct Values {
    std::size_t rows = 0, missing = 0;
    std::vector<std::uint8_t> validity;  // empty if no value is missing
    std::vector<std::uint32_t> words32;  // or indices
    std::vector<std::uint64_t> words64;
    PageTexts texts;  // or the plain categories

    void clear();
  };
  // Returns what was appended, and begins again. The memory is used again once the last copy of the
  // pointer is gone, on any thread.
  std::shared_ptr<Values> take();

  const std::shared_ptr<PageTexts>& dictionary() const { return dictionary_; }

 private:
  class Pool;

  bool append_present(std::size_t n);
  template <class Word>
  bool append_words(std::vector<Word>& to, const std::vector<Word>& dictionary, std::size_t n);

  PageKind kind_;
  bool nullable_;
  std::shared_ptr<PageTexts> dictionary_ = std::make_shared<PageTexts>();
  std::vector<std::uint32_t> words32_;
  std::vector<std::uint64_t> words64_;
  bool indexed_ = false;
  std::size_t left_ = 0;
  const std::uint8_t *at_ = nullptr, *end_ = nullptr;
  HybridNumbers levels_, indices_;
  std::vector<std::uint32_t> scratch_;
  std::unique_ptr<Values> values_ = std::make_unique<Values>();
  std::shared_ptr<Pool> pool_;
};

}  // namespace adagrad
