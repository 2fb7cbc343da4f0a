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

#include "hybrid_numbers.hpp"

namespace adagrad {

// Texts in Arrow's layout.
struct PageTexts {
  std::vector<std::int32_t> offsets{0};
  std::vector<char> bytes;

  std::size_t size() const { return offsets.size() - 1; }

  // Appends n texts, each after its length; returns where they end. Appends none, and returns null,
  // if they do not fit.
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
  // The functions return false for data that do not fit. No values are left in the page then.
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

  bool append_some(std::size_t n);
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
