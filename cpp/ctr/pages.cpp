#include "pages.hpp"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "hashing.hpp"

namespace adagrad {
namespace {

template <class Word>
Word load(const std::uint8_t* p) {
  if constexpr (sizeof(Word) == 4)
    return load32(p);
  else
    return load64(p);
}

template <class Word>
bool read_words(const std::uint8_t* p, std::size_t size, std::size_t n, std::vector<Word>& to) {
  if (n > size / sizeof(Word)) return false;
  to.resize(n);
  for (std::size_t i = 0; i < n; ++i) to[i] = load<Word>(p + i * sizeof(Word));
  return true;
}

// Moves the last `present` of n values to the places of those that are not missing.
template <class Word>
void spread(Word* x, const std::uint32_t* levels, std::size_t n, std::size_t present) {
  for (std::size_t i = n; i > 0; --i) x[i - 1] = levels[i - 1] == 0 ? Word{0} : x[--present];
}

}  // namespace

const std::uint8_t* PageTexts::append(const std::uint8_t* p, const std::uint8_t* end,
                                      std::size_t n) {
  constexpr std::size_t most = 0x7FFFFFFF;  // what an offset can hold
  std::size_t left = static_cast<std::size_t>(end - p), to = bytes.size();
  std::size_t room = most - to;
  const std::uint8_t* text = p;
  for (std::size_t i = 0; i < n; ++i) {
    if (left < 4) return nullptr;
    const std::size_t length = load32(text);
    left -= 4;
    if (length > left || length > room) return nullptr;
    left -= length;
    room -= length;
    text += 4 + length;
  }
  bytes.resize(most - room);
  offsets.reserve(offsets.size() + n);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t length = load32(p);
    if (length > 0) std::memcpy(bytes.data() + to, p + 4, length);
    p += 4 + length;
    to += length;
    offsets.push_back(static_cast<std::int32_t>(to));
  }
  return p;
}

// Values that came back after they were taken, from any thread.
class PageCollector::Pool {
 public:
  void add(Values* values) {
    const std::lock_guard<std::mutex> lock(mutex_);
    values_.emplace_back(values);
  }

  std::unique_ptr<Values> take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (values_.empty()) return nullptr;
    std::unique_ptr<Values> last = std::move(values_.back());
    values_.pop_back();
    return last;
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Values>> values_;
};

PageCollector::PageCollector(PageKind kind, bool nullable)
    : kind_(kind), nullable_(nullable), pool_(std::make_shared<Pool>()) {}

void PageCollector::begin() {
  dictionary_ = std::make_shared<PageTexts>();
  words32_.clear();
  words64_.clear();
  values_->clear();
  left_ = 0;
  at_ = end_ = nullptr;
}

bool PageCollector::set_dictionary(const std::uint8_t* data, std::size_t size, std::size_t n) {
  if (kind_ == PageKind::words32) return read_words(data, size, n, words32_);
  if (kind_ == PageKind::words64) return read_words(data, size, n, words64_);
  dictionary_ = std::make_shared<PageTexts>();
  return dictionary_->append(data, data + size, n) != nullptr;
}

bool PageCollector::set_page(const std::uint8_t* data, std::size_t size, std::size_t n,
                             bool indexed, const std::uint8_t* levels, std::size_t level_bytes) {
  left_ = 0;
  if (nullable_) {
    if (levels == nullptr) {
      if (size < 4) return false;
      level_bytes = load32(data);
      if (level_bytes > size - 4) return false;
      levels = data + 4;
      data += 4 + level_bytes;
      size -= 4 + level_bytes;
    }
    levels_ = HybridNumbers(levels, levels + level_bytes, 1);
  }
  if (indexed && (kind_ == PageKind::texts || size == 0 || *data > HybridNumbers::widest))
    return false;
  if (indexed) indices_ = HybridNumbers(data + 1, data + size, *data);
  indexed_ = indexed;
  at_ = data;
  end_ = data + size;
  left_ = n;
  return true;
}

bool PageCollector::append(std::size_t n) {
  if (n > left_ || !append_some(n)) {
    left_ = 0;
    return false;
  }
  left_ -= n;
  return true;
}

bool PageCollector::append_some(std::size_t n) {
  if (n == 0) return true;
  const std::size_t before = values_->rows;
  if (!nullable_ || levels_.pass(1, n)) {
    values_->rows += n;
    if (!values_->validity.empty()) {
      for (std::size_t i = before; i < values_->rows; ++i) {
        if (i % 8 == 0) values_->validity.push_back(0);
        values_->validity[i / 8] |= static_cast<std::uint8_t>(1 << i % 8);
      }
    }
    return append_present(n);
  }
  scratch_.resize(n);
  if (!levels_.read(scratch_.data(), n)) return false;
  std::size_t present = 0;
  for (std::size_t i = 0; i < n; ++i) present += scratch_[i];
  values_->missing += n - present;
  values_->rows += n;
  if (values_->validity.empty()) {
    values_->validity.assign((before + 7) / 8, 0xFF);
    if (before % 8 != 0)
      values_->validity.back() = static_cast<std::uint8_t>((1 << before % 8) - 1);
  }
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t at = before + i;
    if (at % 8 == 0) values_->validity.push_back(0);
    values_->validity[at / 8] |= static_cast<std::uint8_t>(scratch_[i] << at % 8);
  }
  if (kind_ == PageKind::texts) {
    PageTexts& texts = values_->texts;
    const std::vector<std::int32_t> first = std::exchange(texts.offsets, {texts.offsets.back()});
    if (!append_present(present)) return false;
    std::vector<std::int32_t> all = first;
    all.reserve(first.size() + n);
    for (std::size_t i = 0, k = 0; i < n; ++i) {
      k += scratch_[i];
      all.push_back(texts.offsets[k]);
    }
    texts.offsets = std::move(all);
    return true;
  }
  if (!append_present(present)) return false;
  if (kind_ == PageKind::words64) {
    values_->words64.resize(before + n);
    spread(values_->words64.data() + before, scratch_.data(), n, present);
  } else {
    values_->words32.resize(before + n);
    spread(values_->words32.data() + before, scratch_.data(), n, present);
  }
  return true;
}

template <class Word>
bool PageCollector::append_words(std::vector<Word>& to, const std::vector<Word>& dictionary,
                                 std::size_t n) {
  const std::size_t before = to.size();
  to.resize(before + n);
  Word* const out = to.data() + before;
  if (!indexed_) {
    if (n > static_cast<std::size_t>(end_ - at_) / sizeof(Word)) return false;
    for (std::size_t i = 0; i < n; ++i) out[i] = load<Word>(at_ + i * sizeof(Word));
    at_ += n * sizeof(Word);
    return true;
  }
  constexpr std::size_t block = 256;
  std::uint32_t indices[block];
  for (std::size_t i = 0; i < n; i += block) {
    const std::size_t count = std::min(block, n - i);
    if (!indices_.read(indices, count)) return false;
    for (std::size_t k = 0; k < count; ++k) {
      if (indices[k] >= dictionary.size()) return false;
      out[i + k] = dictionary[indices[k]];
    }
  }
  return true;
}

bool PageCollector::append_present(std::size_t n) {
  if (kind_ == PageKind::words32) return append_words(values_->words32, words32_, n);
  if (kind_ == PageKind::words64) return append_words(values_->words64, words64_, n);
  if (kind_ == PageKind::texts) {
    at_ = values_->texts.append(at_, end_, n);
    return at_ != nullptr;
  }
  std::vector<std::uint32_t>& to = values_->words32;
  const std::size_t before = to.size();
  to.resize(before + n);
  if (indexed_) {
    if (!indices_.read(to.data() + before, n)) return false;
    std::uint32_t largest = 0;
    for (std::size_t i = before; i < to.size(); ++i) largest = std::max(largest, to[i]);
    return n == 0 || largest < dictionary_->size();
  }
  std::size_t index = values_->texts.size();
  at_ = values_->texts.append(at_, end_, n);
  for (std::size_t i = before; i < to.size(); ++i) to[i] = static_cast<std::uint32_t>(index++);
  return at_ != nullptr;
}

void PageCollector::Values::clear() {
  rows = missing = 0;
  validity.clear();
  words32.clear();
  words64.clear();
  texts.offsets.assign(1, 0);
  texts.bytes.clear();
}

std::shared_ptr<PageCollector::Values> PageCollector::take() {
  std::shared_ptr<Values> taken(values_.release(),
                                [pool = pool_](Values* values) { pool->add(values); });
  values_ = pool_->take();
  if (values_ == nullptr) values_ = std::make_unique<Values>();
  values_->clear();
  return taken;
}

}  // namespace adagrad
