#include "delimited.hpp"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "../adagrad/buckets.hpp"
#include "columns.hpp"
#include "hashing.hpp"
#include "separators.hpp"

namespace adagrad {

// The loops below are declared inline although they are used only here: otherwise g++ 12 calls
// them, which costs 7 % of a block.
namespace {

// Finds where columns begin: the positions after each delimiter and each end of a line.
class Scan {
 public:
  Scan(const char* data, std::size_t size, char delimiter)
      : data_(data), size_(size), delimiter_(delimiter) {}

  // Positions are written in groups. A group is large enough that 64 bytes rarely need a second
  // one: a mispredicted branch costs more than writing positions that are not needed.
  static constexpr std::size_t at_a_time = 12;
  static constexpr std::size_t beyond = 63 + at_a_time;

  // Appends positions to the `count` in `out` until there are `wanted`, or until the text ends.
  // Returns their number, which exceeds `wanted` by at most 63. May overwrite up to `beyond`
  // elements after the wanted ones.
  std::size_t run(std::uint32_t* out, std::size_t count, std::size_t wanted) {
    for (; count < wanted && at_ < size_; at_ += 64) {
      Separators found;
      if (size_ - at_ >= 64) {
        found = separators(data_ + at_, delimiter_);
      } else {
        char rest[64];
        std::memset(rest, delimiter_ == '\0', sizeof rest);
        std::memcpy(rest, data_ + at_, size_ - at_);
        found = separators(rest, delimiter_);
      }
      line_ends_ += found.ends;
      std::uint64_t bits = found.bits;
      std::uint32_t* to = out + count;
      for (std::size_t written = 0; written < found.count; written += at_a_time) {
        for (std::size_t i = 0; i < at_a_time; ++i, bits &= bits - 1) {
          constexpr std::uint64_t not_zero = std::uint64_t{1} << 63;
          *to++ = static_cast<std::uint32_t>(at_ + count_trailing_zeros(bits | not_zero) + 1);
        }
      }
      count += found.count;
    }
    return count;
  }

  // In the text scanned so far.
  std::size_t line_ends() const { return line_ends_; }

 private:
  const char* data_;
  std::size_t size_;
  char delimiter_;
  std::size_t at_ = 0, line_ends_ = 0;
};

// Reads 1 to 8 digits. The lowest byte of `word` is the first digit; bytes after the digits are
// ignored. The digits are combined in pairs, fours and eights, because the branch that ends a loop
// over them would be mispredicted.
inline bool read_digits(std::uint64_t word, std::size_t length, std::int64_t& out) {
  const unsigned unused = static_cast<unsigned>(8 * (8 - length));
  constexpr std::uint64_t zeros = 0x3030303030303030, tops = 0xF0F0F0F0F0F0F0F0;
  const std::uint64_t text = word << unused | (((std::uint64_t{1} << unused) - 1) & zeros);
  const bool good = (text & tops) == zeros && ((text + 0x0606060606060606) & tops) == zeros;
  std::uint64_t x = text - zeros;
  x = (x * 10 + (x >> 8)) & 0x00FF00FF00FF00FF;
  x = (x * 100 + (x >> 16)) & 0x0000FFFF0000FFFF;
  x = (x * 10000 + (x >> 32)) & 0xFFFFFFFF;
  out = static_cast<std::int64_t>(x);
  return good;
}

// Reads digits after an optional minus sign; false if it finds anything else or more than 18
// digits. Reads no byte at or after `limit`.
inline bool read_integer(const char* p, const char* end, const char* limit, std::int64_t& out) {
  if (end - p <= 8 && limit - p >= 8 && *p != '-') {
    return read_digits(load64(reinterpret_cast<const unsigned char*>(p)),
                       static_cast<std::size_t>(end - p), out);
  }
  const bool negative = *p == '-';
  p += negative;
  if (p == end || end - p > 18) return false;
  std::int64_t x = 0;
  for (; p < end; ++p) {
    const unsigned digit = static_cast<unsigned char>(*p) - 48u;
    if (digit > 9) return false;
    x = 10 * x + digit;
  }
  out = negative ? -x : x;
  return true;
}

// Reads digits with an optional decimal point; false if it finds anything else or too many digits.
// The digits as an integer and the power of ten are both exact in double, so their quotient is
// rounded once and is the correctly rounded value.
inline bool read_real(const char* p, const char* end, const char*, double& out) {
  constexpr double power[16] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
  const bool negative = p < end && *p == '-';
  p += negative;
  const char* const point = std::find(p, end, '.');
  if (point == p || point + 1 == end || end - p > 16) return false;
  std::int64_t x = 0;
  for (; p < end; ++p) {
    if (p == point) continue;
    const unsigned digit = static_cast<unsigned char>(*p) - 48u;
    if (digit > 9) return false;
    x = 10 * x + digit;
  }
  const std::size_t decimals = point == end ? 0 : static_cast<std::size_t>(end - point - 1);
  if (x > std::int64_t{1} << 53) return false;
  const double size = static_cast<double>(x) / power[decimals];
  out = negative ? -size : size;
  return true;
}

// The positions where the values of a column begin, and one byte after they end. Functions take a
// copy, because the compiler must assume that their output aliases the original.
struct Places {
  const std::uint32_t *begins, *ends;
  std::size_t stride, end_stride, n;

  std::size_t begin(std::size_t i) const { return begins[i * stride]; }
  std::size_t length(std::size_t i) const { return ends[i * end_stride] - begin(i) - 1; }
};

// Clears the validity bits of missing values. The first value has the number `row`.
inline void mark_missing(TextColumn& c, const Places at, std::size_t row) {
  std::uint8_t* const validity = c.validity.data();
  unsigned missing = 0;  // of 8 values
  for (std::size_t i = 0; i < at.n; ++i) {
    const std::size_t bit = (row + i) % 8;
    missing |= static_cast<unsigned>(at.length(i) == 0) << bit;
    if (bit == 7 || i + 1 == at.n) {
      validity[(row + i) / 8] &= static_cast<std::uint8_t>(~missing);
      missing = 0;
    }
  }
}

// Reads a column of numbers; false if a value is not one. Reads no byte at or after `end`.
template <class T, class F>
ADAGRAD_NOINLINE bool read_numbers(TextColumn& c, T* out, const char* data, const char* end,
                                   const Places at, std::size_t row, F read) {
  bool good = true;
  std::size_t missing = 0;
  for (std::size_t i = 0; i < at.n; ++i) {
    const char* const p = data + at.begin(i);
    const std::size_t length = at.length(i);
    T x = 0;
    if (length == 0) {
      ++missing;
    } else {
      good &= read(p, p + length, end, x);
    }
    prefetch_ahead(reinterpret_cast<const char*>(out + i));
    out[i] = x;
  }
  c.missing += missing;
  if (missing > 0) mark_missing(c, at, row);
  return good;
}

// Copies a column of texts. Short ones are copied with a constant length, which is faster; that
// reads no byte at or after `end`, and there is room for what it writes beyond the text.
ADAGRAD_NOINLINE inline void read_texts(TextColumn& c, const char* data, const char* end,
                                        const Places at, std::size_t row) {
  constexpr std::size_t most = 16;  // bytes copied for any shorter text
  std::size_t to = c.n_bytes, room = c.bytes.size(), missing = 0;
  char* bytes = c.bytes.data();
  std::int32_t* const ends = c.offsets.data() + row + 1;
  for (std::size_t i = 0; i < at.n; ++i) {
    const char* const p = data + at.begin(i);
    const std::size_t length = at.length(i);
    if (room - to < length + most) {
      c.bytes.resize(to + length + most + room / 2 + 1024);
      room = c.bytes.size();
      bytes = c.bytes.data();
    }
    prefetch_ahead(bytes + to);
    if (length <= most && static_cast<std::size_t>(end - p) >= most) {
      std::memcpy(bytes + to, p, most);
    } else {
      std::memcpy(bytes + to, p, length);
    }
    missing += length == 0;
    to += length;
    ends[i] = static_cast<std::int32_t>(to);
  }
  c.n_bytes = to;
  c.missing += missing;
  if (missing > 0) mark_missing(c, at, row);
}

// Reads a column; false if a value should be a number and is not.
inline bool read_column(TextColumn& c, const char* data, const char* end, const Places& at,
                        std::size_t row) {
  if (c.kind == TextKind::integer)
    return read_numbers(c, c.integers.data() + row, data, end, at, row, read_integer);
  if (c.kind == TextKind::real)
    return read_numbers(c, c.reals.data() + row, data, end, at, row, read_real);
  read_texts(c, data, end, at, row);
  return true;
}

// Splits `rows` lines of `width` columns into values, the first of which has the number `before`;
// false if any line is not plain. Relies on room for the values, on a size below 2^31, and on a
// last byte that ends a line.
inline bool split_lines(const char* data, std::size_t size, std::size_t rows, std::size_t width,
                        char delimiter, std::size_t before, TextColumns& columns) {
  constexpr std::size_t block = 128;  // lines whose text and positions fit the first-level cache
  // places[0] is where the first line begins; the scan writes from places[1] on.
  std::vector<std::uint32_t> places(1 + block * width + Scan::beyond), line_ends(block);
  Scan scan(data, size, delimiter);
  std::size_t held = 0;
  for (std::size_t row = 0; row < rows; row += block) {
    const std::size_t n = std::min(block, rows - row);
    held = scan.run(places.data() + 1, held, n * width);
    if (held < n * width) return false;
    bool good = true;
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint32_t* const line = places.data() + i * width;
      const std::uint32_t end = line[width];
      const bool returns = end - line[0] > 1 && data[end - 2] == '\r';
      line_ends[i] = end - returns;
      good &= data[end - 1] == '\n' && line_ends[i] - line[0] > 1;
    }
    if (!good) return false;
    for (TextColumn& c : columns) {
      const std::uint32_t* const begins = places.data() + c.position;
      const bool is_last = c.position + 1 == width;
      const Places at{begins, is_last ? line_ends.data() : begins + 1, width, is_last ? 1 : width,
                      n};
      if (!read_column(c, data, data + size, at, before + row)) return false;
    }
    held -= n * width;
    std::copy_n(places.data() + n * width, held + 1, places.data());
  }
  // Every line has ended after `width` columns. As there are exactly `rows` ends of lines, every
  // other position follows a delimiter, so no line was shorter or longer.
  return held == 0 && places[0] == size && scan.line_ends() == rows;
}

}  // namespace

void TextColumn::make_room(std::size_t rows, std::size_t text) {
  const auto grow = [](auto& room, std::size_t size, auto value) {
    if (room.size() < size) room.resize(size, value);
  };
  grow(validity, (rows + 7) / 8, std::uint8_t{0xFF});
  if (kind == TextKind::integer) grow(integers, rows, std::int64_t{0});
  if (kind == TextKind::real) grow(reals, rows, 0.0);
  if (kind == TextKind::text) grow(offsets, rows + 1, 0);
  grow(bytes, text, '\0');
}

void TextColumn::cut(std::size_t rows, std::size_t missing_before) {
  missing = missing_before;
  std::fill(validity.begin() + static_cast<std::ptrdiff_t>((rows + 7) / 8), validity.end(),
            std::uint8_t{0xFF});
  if (rows % 8 != 0) validity[rows / 8] |= static_cast<std::uint8_t>(0xFF << rows % 8);
  if (kind == TextKind::text) n_bytes = static_cast<std::size_t>(offsets[rows]);
}

// Columns that came back after they were taken, from any thread.
class LineCollector::Pool {
 public:
  void add(TextColumns* columns) {
    const std::lock_guard<std::mutex> lock(mutex_);
    columns_.emplace_back(columns);
  }

  std::unique_ptr<TextColumns> take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (columns_.empty()) return nullptr;
    std::unique_ptr<TextColumns> last = std::move(columns_.back());
    columns_.pop_back();
    return last;
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<TextColumns>> columns_;
};

LineCollector::LineCollector(std::size_t width, char delimiter, bool quotes, TextColumns wanted)
    : width_(width), delimiter_(delimiter), quotes_(quotes), wanted_(std::move(wanted)),
      pool_(std::make_shared<Pool>()), expected_bytes_(wanted_.size()) {
  renew();
}

bool LineCollector::add(const char* data, std::size_t size, std::size_t rows) {
  constexpr std::size_t most = 0x7FFFFFFF;  // what an offset can hold
  if (rows == 0 || size == 0 || size + bytes_ >= most || data[size - 1] != '\n') return false;
  if (quotes_ && std::memchr(data, '"', size) != nullptr) return false;
  std::vector<std::size_t> missing;
  for (std::size_t i = 0; i < columns_->size(); ++i) {
    TextColumn& c = (*columns_)[i];
    missing.push_back(c.missing);
    c.make_room(std::max(rows_ + rows, expected_rows_), expected_bytes_[i]);
  }
  const bool good = split_lines(data, size, rows, width_, delimiter_, rows_, *columns_);
  rows_ += good ? rows : 0;
  bytes_ += good ? size : 0;
  for (std::size_t i = 0; !good && i < missing.size(); ++i) (*columns_)[i].cut(rows_, missing[i]);
  return good;
}

std::shared_ptr<TextColumns> LineCollector::take() {
  std::shared_ptr<TextColumns> taken(columns_.release(),
                                     [pool = pool_](TextColumns* columns) { pool->add(columns); });
  expected_rows_ = rows_;
  for (std::size_t i = 0; i < taken->size(); ++i) {
    expected_bytes_[i] = (*taken)[i].n_bytes + (*taken)[i].n_bytes / 16;
  }
  renew();
  return taken;
}

void LineCollector::renew() {
  columns_ = pool_->take();
  if (columns_ == nullptr) columns_ = std::make_unique<TextColumns>(wanted_);
  for (TextColumn& c : *columns_) {
    c.make_room(0, 0);
    c.cut(0, 0);
  }
  rows_ = bytes_ = 0;
}

}  // namespace adagrad
