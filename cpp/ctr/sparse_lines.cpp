#include "sparse_lines.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>

#include "examples.hpp"
#include "stops.hpp"

namespace adagrad {
namespace {

constexpr std::size_t none = static_cast<std::size_t>(-1);

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

inline bool is_blank(char c) { return c == ' ' || c == '\t'; }

// The nearest double of a decimal number that is not of the plainest form; false if the text is
// none. Names of numbers, such as inf, and hexadecimal digits are none.
inline bool read_any_number(const char* p, const char* end, double& out) {
  char text[128];
  const std::size_t length = static_cast<std::size_t>(end - p);
  bool has_digit = false;
  for (const char* c = p; c < end; ++c) {
    has_digit = has_digit || is_digit(*c);
    const bool follows_exponent = c > p && (c[-1] == 'e' || c[-1] == 'E');
    const bool is_sign = (*c == '-' || *c == '+') && (c == p || follows_exponent);
    if (!is_digit(*c) && *c != '.' && *c != 'e' && *c != 'E' && !is_sign) return false;
  }
  if (!has_digit || length >= sizeof text) return false;
  std::memcpy(text, p, length);
  text[length] = '\0';
  char* after = nullptr;
  out = std::strtod(text, &after);  // the process has the "C" locale
  return after == text + length;
}

// Reads a number. With up to 15 digits and a power of ten up to 22, as nearly all have, both are
// exact in double, so that their product or quotient is rounded once.
inline bool read_number(const char* p, const char* end, double& out) {
  constexpr double power[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  const char* const begin = p;
  const bool negative = p < end && *p == '-';
  p += negative;
  std::uint64_t x = 0;
  const auto read_digits = [&] {
    const char* const first = p;
    for (; p < end && is_digit(*p); ++p) x = 10 * x + static_cast<unsigned>(*p - '0');
    return p - first;
  };
  std::ptrdiff_t digits = read_digits(), decimals = 0;
  if (p < end && *p == '.') {
    ++p;
    decimals = read_digits();
    digits += decimals;
  }
  std::ptrdiff_t exponent = 0;
  if (p < end && (*p | 0x20) == 'e') {
    ++p;
    const bool is_negative = p < end && *p == '-';
    p += is_negative;
    if (p == end || end - p > 3) return read_any_number(begin, end, out);
    for (; p < end && is_digit(*p); ++p) exponent = 10 * exponent + (*p - '0');
    exponent = is_negative ? -exponent : exponent;
  }
  exponent -= decimals;
  if (p < end || digits == 0 || digits > 15 || exponent < -22 || exponent > 22) {
    return read_any_number(begin, end, out);
  }
  const double size = exponent < 0 ? static_cast<double>(x) / power[-exponent]
                                   : static_cast<double>(x) * power[exponent];
  out = negative ? -size : size;
  return true;
}

// Reads a number as the nearest float. Rounding the nearest double once more misses it only if the
// double lies in the middle between two floats, or beside a float that is not normal.
inline bool read_number(const char* p, const char* end, float& out) {
  double x;
  if (!read_number(p, end, x)) return false;
  out = static_cast<float>(x);
  std::uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  constexpr std::uint64_t below = (std::uint64_t{1} << 29) - 1, middle = std::uint64_t{1} << 28;
  if ((bits & below) == middle ||
      (std::fabs(out) < std::numeric_limits<float>::min() && x != 0.0)) {
    out = std::strtof(std::string(p, end).c_str(), nullptr);
  }
  return true;
}

// Whether a text is inf, infinity or nan, with or without a sign, in any case.
inline bool is_name_of_number(const char* p, const char* end) {
  p += p < end && (*p == '-' || *p == '+');
  for (const std::string_view name : {"inf", "infinity", "nan"}) {
    if (static_cast<std::size_t>(end - p) != name.size()) continue;
    if (std::equal(p, end, name.begin(), [](char a, char b) { return (a | 0x20) == b; })) {
      return true;
    }
  }
  return false;
}

// Whether a text begins like a number.
inline bool begins_like_number(const char* p, const char* end) {
  p += p < end && (*p == '-' || *p == '+');
  p += p < end && *p == '.';
  return p < end && is_digit(*p);
}

}  // namespace

// Parses one text. A line that has a fault throws `Broken`, and its entries are removed.
template <Syntax syntax>
class SparseLines::Parser {
 public:
  Parser(SparseLines& lines, const char* data, std::size_t size)
      : lines_(lines), out_(lines.collected_), data_(data), end_(data + size), stops_(data, size) {}

  std::vector<LineFaultAt> run() {
    std::vector<LineFaultAt> faults;
    const char* p = data_;
    for (std::size_t line = 0; p < end_; ++line) {
      label_ = std::numeric_limits<double>::quiet_NaN();
      importance_ = 1.0f;
      tag_begin_ = tag_end_ = p;
      try {
        if (*p == '\n' || (*p == '\r' && p[1] == '\n')) {
          next();
          fail(LineFault::empty_line, p, p);
        }
        parse_line(p);
        finish_row();
      } catch (const Broken& broken) {
        faults.push_back({line, broken.fault, place(broken.begin), place(broken.end)});
        remove_row();
        while (*stop_ != '\n') stop_ = stops_.next();
      }
      p = stop_ + 1;
    }
    return faults;
  }

 private:
  struct Broken {
    LineFault fault;
    const char *begin, *end;
  };

  [[noreturn]] static void fail(LineFault fault, const char* begin, const char* end) {
    throw Broken{fault, begin, end};
  }

  std::size_t place(const char* p) const { return static_cast<std::size_t>(p - data_); }

  // Moves to the next stop of the line. Its end is where the last one was, and stays there.
  void next() {
    stop_ = stops_.next();
    if (*stop_ == '\r') {
      if (stop_[1] != '\n') fail(LineFault::carriage_return, stop_, stop_);
      stop_ = stops_.next();
    }
  }

  bool at_end() const { return *stop_ == '\n'; }

  // The end of what precedes the stop.
  const char* text_end() const {
    return at_end() && stop_ > data_ && stop_[-1] == '\r' ? stop_ - 1 : stop_;
  }

  void finish_row() {
    ++out_.rows;
    out_.labels.push_back(label_);
    out_.importances.push_back(importance_);
    out_.tags.insert(out_.tags.end(), tag_begin_, tag_end_);
    out_.tag_ends.push_back(static_cast<std::int32_t>(out_.tags.size()));
    for (MapColumn& c : out_.columns) c.ends.push_back(static_cast<std::int32_t>(c.values.size()));
  }

  void remove_row() {
    for (MapColumn& c : out_.columns) {
      const std::size_t n = static_cast<std::size_t>(c.ends.back());
      c.values.resize(n);
      if (syntax == Syntax::vw) {
        c.key_ends.resize(n + 1);
        c.keys.resize(static_cast<std::size_t>(c.key_ends.back()));
      } else {
        c.ids.resize(n);
      }
    }
  }

  // The column of this name; `none` if it is passed over. Most lines have the same columns in the
  // same order, so the column after the last one is tried first.
  MapColumn* column_of(const char* begin, const char* end) {
    const std::string_view name(begin, static_cast<std::size_t>(end - begin));
    last_ = last_ + 1 < lines_.names_.size() ? last_ + 1 : 0;
    if (last_ >= lines_.names_.size() || lines_.names_[last_] != name) {
      const Found found = lines_.find(name);
      if (found.is_late) fail(LineFault::late_column, begin, end);
      if (!found.is_wanted) return nullptr;
      last_ = found.column;
      if (last_ >= out_.columns.size()) {
        out_.columns.emplace_back();
        out_.columns.back().ends.assign(out_.rows + 1, 0);
      }
    }
    return &out_.columns[last_];
  }

  static float checked(float value, const char* begin, const char* end) {
    if (!std::isfinite(value)) fail(LineFault::not_finite, begin, end);
    if (!(std::fabs(value) <= largest_value)) fail(LineFault::too_large, begin, end);
    return value;
  }

  void parse_line(const char* p) {
    if constexpr (syntax == Syntax::vw) {
      parse_before_bar(p);
      while (!at_end()) parse_namespace();
    } else {
      next();
      parse_fields(p);
    }
  }

  // -- Vowpal Wabbit ------------------------------------------------------------------------------

  // The label, the importance, the base and the tag: words up to the first bar.
  void parse_before_bar(const char* begin) {
    const char* words[4][2];
    std::size_t n = 0;
    const char* p = begin;
    bool touches = false;
    do {
      next();
      if (*stop_ == ':') continue;
      if (*stop_ == '\t') fail(LineFault::tab_before_bar, stop_, stop_);
      touches = p < stop_;
      if (touches && n < 4) words[n][0] = p, words[n][1] = text_end();
      n += touches;
      p = stop_ + 1;
    } while (*stop_ != '|' && !at_end());
    if (at_end()) fail(LineFault::no_bar, begin, text_end());
    if (n > 0 && n <= 4 && (touches || *words[n - 1][0] == '\'')) {
      --n;
      tag_begin_ = words[n][0] + (*words[n][0] == '\'');
      tag_end_ = words[n][1];
      double number;
      if (n == 0 && lines_.needs_label_ && *words[0][0] != '\'' &&
          read_number(tag_begin_, tag_end_, number)) {
        fail(LineFault::missing_label, tag_begin_, tag_end_);
      }
    }
    if (n > 3) fail(LineFault::bad_label, begin, stop_);
    if (n > 0 && !read_number(words[0][0], words[0][1], label_)) {
      fail(LineFault::bad_label, words[0][0], words[0][1]);
    }
    if (n > 1) {
      if (!read_number(words[1][0], words[1][1], importance_) || !(importance_ >= 0.0f)) {
        fail(LineFault::bad_importance, words[1][0], words[1][1]);
      }
      checked(importance_, words[1][0], words[1][1]);
    }
    double number;
    if (n > 2 && (!read_number(words[2][0], words[2][1], number) || number != 0.0)) {
      fail(LineFault::base, words[2][0], words[2][1]);
    }
  }

  // A namespace, whose bar is the current stop, up to the next bar or the end of the line.
  void parse_namespace() {
    const char* p = stop_ + 1;
    next();
    float scale = 1.0f;
    MapColumn* column;
    if (p == text_end()) {
      if (*stop_ == ':') fail(LineFault::bad_namespace, stop_, stop_ + 1);
      constexpr char bar = '|';
      column = at_end() || *stop_ == '|' ? nullptr : column_of(&bar, &bar + 1);
    } else {
      const char* const end = text_end();
      column = column_of(p, end);
      if (*stop_ == ':') {
        const char* const begin = stop_ + 1;
        next();
        if (!read_number(begin, text_end(), scale)) fail(LineFault::bad_scale, begin, text_end());
        checked(scale, begin, text_end());
        if (*stop_ == ':') fail(LineFault::bad_namespace, p, stop_ + 1);
      }
    }
    if (column == nullptr) {
      while (!at_end() && *stop_ != '|') next();
    } else {
      parse_features(*column, scale);
    }
  }

  void parse_features(MapColumn& c, float scale) {
    std::size_t nameless = 0;
    while (is_blank(*stop_)) {
      const char* const begin = stop_ + 1;
      next();
      const char* end = text_end();
      if (*stop_ != ':') {
        if (begin < end) add(c, begin, end, scale);
        continue;
      }
      const char* const value = stop_ + 1;
      next();
      end = text_end();
      float x;
      if (value < end && *stop_ != ':' && read_number(value, end, x)) {
        x = checked(scale * x, value, end);
        if (value - 1 > begin) {
          add(c, begin, value - 1, x);
        } else {
          char name[24];
          add(c, name, std::to_chars(name, name + sizeof name, nameless++).ptr, x);
        }
        continue;
      }
      while (!at_end() && !is_blank(*stop_)) next();  // a text may contain : and |
      end = text_end();
      if (value == end || begins_like_number(value, end)) fail(LineFault::bad_entry, begin, end);
      if (is_name_of_number(value, end)) fail(LineFault::not_finite, begin, end);
      add(c, begin, end, 1.0f);
    }
  }

  static void add(MapColumn& c, const char* begin, const char* end, float value) {
    if (value == 0.0f) return;
    c.keys.insert(c.keys.end(), begin, end);
    c.key_ends.push_back(static_cast<std::int32_t>(c.keys.size()));
    c.values.push_back(value);
  }

  // -- libffm -------------------------------------------------------------------------------------

  // A label and entries field:id:value. The current stop follows the label, or the first part of an
  // entry if there is no label.
  void parse_fields(const char* begin) {
    if (*stop_ == ':' && !lines_.needs_label_) {
      parse_entry(begin);
    } else if (!read_number(begin, text_end(), label_)) {
      skip_word();
      fail(LineFault::bad_label, begin, text_end());
    } else if (*stop_ == ':') {
      skip_word();
      fail(LineFault::missing_label, begin, text_end());
    }
    while (!at_end()) {
      const char* const entry = stop_ + 1;
      next();
      parse_entry(entry);
    }
  }

  void skip_word() {
    while (!at_end() && !is_separator(*stop_)) next();
  }

  // An entry, whose first part ends at the current stop.
  void parse_entry(const char* const entry) {
    const char *parts[3], *ends[3];
    std::size_t n = 0;
    for (const char* p = entry;; next()) {
      if (n < 3) parts[n] = p, ends[n] = text_end();
      ++n;
      if (*stop_ != ':') break;
      p = stop_ + 1;
    }
    const char* const end = text_end();
    if (n == 1 && entry == end) return;  // two separators in a row
    std::int64_t id;
    float value;
    if (n != 3 || !is_integer(parts[0], ends[0], 9) || !read_id(parts[1], ends[1], id)) {
      fail(LineFault::bad_entry, entry, end);
    }
    if (!read_number(parts[2], ends[2], value)) {
      fail(is_name_of_number(parts[2], ends[2]) ? LineFault::not_finite : LineFault::bad_entry,
           entry, end);
    }
    checked(value, entry, end);
    while (parts[0] + 1 < ends[0] && *parts[0] == '0') ++parts[0];
    MapColumn* const c = column_of(parts[0], ends[0]);
    if (c == nullptr) return;
    c->ids.push_back(id);
    c->values.push_back(value);
  }

  static bool is_separator(char c) { return is_blank(c) || c == ','; }

  static bool is_integer(const char* p, const char* end, std::ptrdiff_t most) {
    return p < end && end - p <= most && std::all_of(p, end, is_digit);
  }

  static bool read_id(const char* p, const char* end, std::int64_t& out) {
    std::int64_t x = 0;
    if (!is_integer(p, end, 18)) {
      const auto [after, error] = std::from_chars(p, end, out);
      return p < end && is_digit(*p) && after == end && error == std::errc();
    }
    for (; p < end; ++p) x = 10 * x + (*p - '0');
    out = x;
    return true;
  }

  SparseLines& lines_;
  SparseRows& out_;
  const char *data_, *end_;
  Stops<syntax == Syntax::vw ? '|' : ','> stops_;
  const char* stop_ = nullptr;
  std::size_t last_ = none;
  double label_ = 0.0;
  float importance_ = 1.0f;
  const char *tag_begin_ = nullptr, *tag_end_ = nullptr;
};

SparseLines::SparseLines(Syntax syntax, const std::vector<std::string>& names,
                         const std::vector<std::string>& ignored, Late late, bool needs_label)
    : syntax_(syntax), late_(late), needs_label_(needs_label), names_(names) {
  for (std::size_t c = 0; c < names.size(); ++c) positions_.emplace(names[c], c);
  collected_.columns.resize(names.size());
  for (const std::string& name : ignored) positions_.emplace(name, none);
}

SparseLines::Found SparseLines::find(std::string_view name) {
  const std::string text(name);
  const auto at = positions_.find(text);
  if (at != positions_.end()) return {at->second, at->second != none};
  if (late_ != Late::add) return {none, false, late_ == Late::fault};
  positions_.emplace(text, names_.size());
  names_.push_back(text);
  return {names_.size() - 1, true};
}

std::vector<LineFaultAt> SparseLines::add(const char* data, std::size_t size) {
  if (syntax_ == Syntax::vw) return Parser<Syntax::vw>(*this, data, size).run();
  return Parser<Syntax::libffm>(*this, data, size).run();
}

SparseRows SparseLines::take() {
  // Room for as much as last time, because growing a vector step by step copies it each time.
  const auto reserve = [](auto& next, const auto& last) {
    next.reserve(last.size() + last.size() / 16);
  };
  SparseRows next;
  for (const MapColumn& last : collected_.columns) {
    MapColumn& c = next.columns.emplace_back();
    reserve(c.ends, last.ends);
    reserve(c.key_ends, last.key_ends);
    reserve(c.keys, last.keys);
    reserve(c.ids, last.ids);
    reserve(c.values, last.values);
  }
  std::swap(next, collected_);
  return next;
}

}  // namespace adagrad
