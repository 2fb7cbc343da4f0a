#include "pages.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <utility>

#include "hashing.hpp"

namespace adagrad {
namespace {

// The compact protocol of Thrift. After the first mistake, every read gives 0.
class Thrift {
 public:
  Thrift(const std::uint8_t* data, std::size_t size) : begin_(data), at_(data), end_(data + size) {}

  // Calls f(number, type) for each field of a structure; f reads the value, or returns false.
  template <class F>
  void structure(F f, int depth = 0) {
    std::int64_t field = 0;
    while (good_) {
      const unsigned head = byte();
      const unsigned type = head & 15;
      if (head == 0 || !good_) return;
      field = head >> 4 == 0 ? number() : field + (head >> 4);
      if (!f(field, type)) pass(type, depth);
    }
  }

  // Calls f() for each element of a list of structures.
  template <class F>
  void list_of_structures(F f) {
    const auto [n, type] = list_head();
    good_ = good_ && type == record;
    for (std::uint64_t i = 0; i < n && good_; ++i) f();
  }

  std::int64_t number() {
    const std::uint64_t x = varint();
    return static_cast<std::int64_t>(x >> 1 ^ (0 - (x & 1)));
  }

  bool good() const { return good_; }
  std::size_t read() const { return static_cast<std::size_t>(at_ - begin_); }

  enum : unsigned { yes = 1, no, i8, i16, i32, i64, real, binary, list, set, map, record };

 private:
  unsigned byte() {
    good_ = good_ && at_ < end_;
    return good_ ? *at_++ : 0;
  }

  std::uint64_t varint() {
    std::uint64_t x = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const std::uint64_t next = byte();
      x |= (next & 127) << shift;
      if (next < 128) return x;
    }
    good_ = false;
    return 0;
  }

  std::pair<std::uint64_t, unsigned> list_head() {
    const unsigned head = byte();
    return {head >> 4 == 15 ? varint() : head >> 4, head & 15};
  }

  void pass_bytes(std::uint64_t n) {
    good_ = good_ && n <= static_cast<std::uint64_t>(end_ - at_);
    if (good_) at_ += n;
  }

  // Passes over a value. No structure here has sets or maps.
  void pass(unsigned type, int depth) {
    constexpr int deepest = 8;
    if (type == yes || type == no) return;
    if (type == i8) return pass_bytes(1);
    if (type == real) return pass_bytes(8);
    if (type == binary) return pass_bytes(varint());
    if (type >= i16 && type <= i64) {
      varint();
    } else if (type == list && depth < deepest) {
      const auto [n, of] = list_head();
      for (std::uint64_t i = 0; i < n && good_; ++i) {
        of == yes || of == no ? pass_bytes(1) : pass(of, depth + 1);
      }
    } else if (type == record && depth < deepest) {
      structure([](std::int64_t, unsigned) { return false; }, depth + 1);
    } else {
      good_ = false;
    }
  }

  const std::uint8_t *begin_, *at_, *end_;
  bool good_ = true;
};

// Unpacks groups of 8 numbers of `width` bits. Reads up to 8 bytes beyond them.
template <unsigned width>
void unpack(const std::uint8_t* p, std::size_t groups, std::uint32_t* out) {
  constexpr std::uint64_t mask = (std::uint64_t{1} << width) - 1;
  for (; groups > 0; --groups, p += width, out += 8) {
    for (unsigned i = 0; i < 8; ++i) {
      out[i] = static_cast<std::uint32_t>(load64(p + i * width / 8) >> i * width % 8 & mask);
    }
  }
}

using Unpack = void (*)(const std::uint8_t*, std::size_t, std::uint32_t*);

template <std::size_t... widths>
constexpr std::array<Unpack, sizeof...(widths)> unpacks(std::index_sequence<widths...>) {
  return {unpack<static_cast<unsigned>(widths)>...};
}

constexpr unsigned widest = 32;
constexpr auto unpack_by_width = unpacks(std::make_index_sequence<widest + 1>());

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

bool read_header(const std::uint8_t* data, std::size_t size, PageHeader& out) {
  Thrift thrift(data, size);
  const auto number_to = [&](unsigned type, std::int64_t& to) {
    if (type != Thrift::i32) return false;
    to = thrift.number();
    return true;
  };
  const auto of_data = [&](std::int64_t field, unsigned type) {
    if (field == 1) return number_to(type, out.values);
    if (field == 2) return number_to(type, out.encoding);
    return field == 3 && number_to(type, out.level_encoding);
  };
  const auto of_dictionary = [&](std::int64_t field, unsigned type) {
    if (field == 1) return number_to(type, out.values);
    return field == 2 && number_to(type, out.encoding);
  };
  const auto of_second_version = [&](std::int64_t field, unsigned type) {
    if (field == 1) return number_to(type, out.values);
    if (field == 4) return number_to(type, out.encoding);
    if (field == 5) return number_to(type, out.level_bytes);
    if (field == 6) return number_to(type, out.repetition_bytes);
    if (field == 7) out.is_compressed = type != Thrift::no;
    return false;
  };
  thrift.structure([&](std::int64_t field, unsigned type) {
    if (field == 1) return number_to(type, out.type);
    if (field == 2) return number_to(type, out.uncompressed);
    if (field == 3) return number_to(type, out.compressed);
    if (field == 4 && type == Thrift::i32) {
      out.has_checksum = true;
      out.checksum = static_cast<std::uint32_t>(thrift.number());
      return true;
    }
    if (type != Thrift::record || (field != 5 && field != 7 && field != 8)) return false;
    if (field == 5) thrift.structure(of_data, 1);
    if (field == 7) thrift.structure(of_dictionary, 1);
    if (field == 8) thrift.structure(of_second_version, 1);
    return true;
  });
  out.size = thrift.read();
  return thrift.good();
}

bool read_footer(const std::uint8_t* data, std::size_t size, std::vector<RowGroup>& out) {
  Thrift thrift(data, size);
  const auto number_to = [&](unsigned type, std::int64_t& to) {
    if (type != Thrift::i32 && type != Thrift::i64) return false;
    to = thrift.number();
    return true;
  };
  const auto read_chunk = [&](PageChunk& chunk) {
    const auto of_metadata = [&](std::int64_t field, unsigned type) {
      if (field == 4) return number_to(type, chunk.codec);
      if (field == 5) return number_to(type, chunk.values);
      if (field == 7) return number_to(type, chunk.size);
      if (field == 9) return number_to(type, chunk.data_at);
      return field == 11 && number_to(type, chunk.dictionary_at);
    };
    thrift.structure([&](std::int64_t field, unsigned type) {
      chunk.elsewhere = chunk.elsewhere || field == 1 || field >= 8;
      if (field != 3 || type != Thrift::record) return false;
      thrift.structure(of_metadata, 3);
      return true;
    });
  };
  const auto read_group = [&] {
    out.emplace_back();
    thrift.structure([&](std::int64_t field, unsigned type) {
      if (field == 3) return number_to(type, out.back().rows);
      if (field != 1 || type != Thrift::list) return false;
      thrift.list_of_structures([&] { read_chunk(out.back().columns.emplace_back()); });
      return true;
    });
  };
  thrift.structure([&](std::int64_t field, unsigned type) {
    if (field != 4 || type != Thrift::list) return false;
    thrift.list_of_structures(read_group);
    return true;
  });
  return thrift.good();
}

bool HybridNumbers::next_run() {
  std::uint64_t head = 0;
  for (unsigned shift = 0;; shift += 7) {
    if (at_ == end_ || shift > 28) return false;
    const std::uint64_t next = *at_++;
    head |= (next & 127) << shift;
    if (next < 128) break;
  }
  const std::size_t available = static_cast<std::size_t>(end_ - at_);
  packed_ = (head & 1) != 0;
  done_ = 0;
  if (packed_) {
    const std::size_t bytes = static_cast<std::size_t>(head >> 1) * width_;
    if (bytes > available) return false;
    left_ = static_cast<std::size_t>(head >> 1) * 8;
    group_ = at_;
    at_ += bytes;
  } else {
    const std::size_t bytes = (width_ + 7) / 8;
    if (bytes > available) return false;
    left_ = static_cast<std::size_t>(head >> 1);
    value_ = 0;
    for (std::size_t i = 0; i < bytes; ++i) value_ |= static_cast<std::uint32_t>(*at_++) << 8 * i;
  }
  return left_ > 0;
}

bool HybridNumbers::read(std::uint32_t* out, std::size_t n) {
  while (n > 0) {
    if (left_ == 0 && !next_run()) return false;
    std::size_t count = std::min(left_, n);
    if (!packed_) {
      std::fill_n(out, count, value_);
    } else {
      const std::uint8_t* const p = group_ + done_ / 8 * width_;
      const std::size_t beyond = static_cast<std::size_t>(end_ - p);
      const std::size_t safe = beyond < 8 ? 0 : (beyond - 8) / std::max(width_, 1u);
      if (done_ % 8 == 0 && count >= 8 && safe > 0) {
        const std::size_t groups = std::min(count / 8, safe);
        unpack_by_width[width_](p, groups, out);
        count = 8 * groups;
      } else {  // a group that is not read as a whole, or that ends with the data
        std::uint8_t group[widest + 8] = {};
        std::uint32_t numbers[8];
        std::memcpy(group, p, std::min<std::size_t>(beyond, width_));
        unpack_by_width[width_](group, 1, numbers);
        count = std::min(count, 8 - done_ % 8);
        std::copy_n(numbers + done_ % 8, count, out);
      }
      done_ += count;
    }
    left_ -= count;
    out += count;
    n -= count;
  }
  return true;
}

bool HybridNumbers::pass(std::uint32_t value, std::size_t n) {
  if (n == 0) return true;
  if (left_ == 0 && !next_run()) return false;
  if (packed_ || value_ != value || left_ < n) return false;
  left_ -= n;
  return true;
}

const std::uint8_t* PageTexts::append(const std::uint8_t* p, const std::uint8_t* end,
                                      std::size_t n) {
  constexpr std::size_t most = 0x7FFFFFFF;  // what an offset can hold
  if (n > static_cast<std::size_t>(end - p) / 4) return nullptr;
  offsets.reserve(offsets.size() + n);
  std::size_t to = bytes.size();
  if (static_cast<std::size_t>(end - p) - 4 * n > most - to) return nullptr;
  bytes.resize(to + static_cast<std::size_t>(end - p) - 4 * n);
  for (std::size_t i = 0; i < n; ++i) {
    if (end - p < 4) return nullptr;
    const std::size_t length = load32(p);
    p += 4;
    if (length > static_cast<std::size_t>(end - p) || length > bytes.size() - to) return nullptr;
    std::memcpy(bytes.data() + to, p, length);
    p += length;
    to += length;
    offsets.push_back(static_cast<std::int32_t>(to));
  }
  bytes.resize(to);
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
}

bool PageCollector::set_dictionary(const std::uint8_t* data, std::size_t size, std::size_t n) {
  if (kind_ == PageKind::words32) return read_words(data, size, n, words32_);
  if (kind_ == PageKind::words64) return read_words(data, size, n, words64_);
  dictionary_ = std::make_shared<PageTexts>();
  return dictionary_->append(data, data + size, n) != nullptr;
}

bool PageCollector::set_page(const std::uint8_t* data, std::size_t size, std::size_t n,
                             bool indexed, const std::uint8_t* levels, std::size_t level_bytes) {
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
  if (indexed && (kind_ == PageKind::texts || size == 0 || *data > widest)) return false;
  if (indexed) indices_ = HybridNumbers(data + 1, data + size, *data);
  indexed_ = indexed;
  at_ = data;
  end_ = data + size;
  left_ = n;
  return true;
}

bool PageCollector::append(std::size_t n) {
  if (n > left_) return false;
  left_ -= n;
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
