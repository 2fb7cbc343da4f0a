// JSON as the header of an export file has it: strict, of bounded depth, and no key twice.
#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <locale>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace adagrad::score {

// What is wrong with a file, in words that follow its path.
struct Damaged {
  std::string what;
};

// The number that a whole text spells, as IEEE reads decimals: "1", "-.5", "1e5", "inf" and "nan"
// in any case. False if it spells none.
inline bool parse_number(std::string_view text, double& to) {
  if (!text.empty() && text[0] == '+' && text.size() > 1 && text[1] != '-') text.remove_prefix(1);
  if (text.empty() || text[0] == '+') return false;
#if defined(__cpp_lib_to_chars) && __cpp_lib_to_chars >= 201611L
  const char* const end = text.data() + text.size();
  const std::from_chars_result read = std::from_chars(text.data(), end, to);
  if (read.ptr != end) return false;
  if (read.ec == std::errc()) return true;
  if (read.ec != std::errc::result_out_of_range) return false;
#else
  for (const char c : text) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 'x' || c == 'X') return false;
  }
#endif
  // The value is too large or too small for a double, or the library reads no doubles from chars.
  std::istringstream stream{std::string(text)};
  stream.imbue(std::locale::classic());
  double value = 0.0;
  stream >> value;
  if (stream.fail() && std::fabs(value) < 1.0) return false;
  to = stream.fail() ? std::copysign(HUGE_VAL, value) : value;
  return stream.fail() || stream.peek() == std::istringstream::traits_type::eof();
}

struct Json {
  enum class Type : std::uint8_t { null, boolean, number, text, array, object };

  Type type = Type::null;
  double number = 0.0;  // 0 or 1 of a boolean
  std::string text;
  std::vector<Json> items;         // of an array, or the values of an object
  std::vector<std::string> names;  // the keys of an object

  bool is(Type other) const { return type == other; }

  // The value of a key of an object; null if it has none.
  const Json* find(std::string_view name) const {
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i] == name) return &items[i];
    }
    return nullptr;
  }

  const Json& at(std::string_view name) const {
    const Json* const found = find(name);
    if (found == nullptr) throw Damaged{"lacks " + std::string(name)};
    return *found;
  }

  const Json& at(std::string_view name, Type wanted) const {
    const Json& found = at(name);
    if (found.type != wanted) throw Damaged{"has another " + std::string(name) + " than expected"};
    return found;
  }

  const std::string& text_of(std::string_view name) const { return at(name, Type::text).text; }

  bool flag_of(std::string_view name) const { return at(name, Type::boolean).number != 0.0; }

  double number_of(std::string_view name) const { return at(name, Type::number).number; }

  // An integer from `least` to `most`, which doubles hold.
  std::uint64_t count_of(std::string_view name, double least, double most) const {
    return at(name, Type::number).count(name, least, most);
  }

  std::uint64_t count(std::string_view name, double least, double most) const {
    const bool fits =
        type == Type::number && number >= least && number <= most && std::floor(number) == number;
    if (!fits) throw Damaged{"has a " + std::string(name) + " that is out of range"};
    return static_cast<std::uint64_t>(number);
  }

  // An integer of 64 bits as decimal text.
  std::uint64_t word_of(std::string_view name) const {
    const std::string& digits = text_of(name);
    std::uint64_t value = 0;
    const char* const end = digits.data() + digits.size();
    const std::from_chars_result read = std::from_chars(digits.data(), end, value);
    if (read.ec != std::errc() || read.ptr != end) {
      throw Damaged{"has a " + std::string(name) + " that is not an integer"};
    }
    return value;
  }
};

class JsonReader {
 public:
  // Throws Damaged unless the whole text is one JSON value.
  static Json read(std::string_view text) {
    JsonReader reader(text);
    Json value = reader.value(0);
    reader.space();
    if (reader.at_ != reader.end_) throw Damaged{"has text after its JSON"};
    return value;
  }

 private:
  explicit JsonReader(std::string_view text) : at_(text.data()), end_(at_ + text.size()) {}

  [[noreturn]] static void fail() { throw Damaged{"has a header that is not JSON"}; }

  void space() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
  }

  bool accept(char c) {
    space();
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }

  void expect(char c) {
    if (!accept(c)) fail();
  }

  bool accept_word(std::string_view word) {
    if (static_cast<std::size_t>(end_ - at_) < word.size()) return false;
    if (std::string_view(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Json value(int depth) {
    constexpr int deepest = 16;
    // So that a file of brackets takes no more memory than one of weights.
    constexpr std::size_t most = std::size_t{1} << 21;
    if (depth == deepest) throw Damaged{"has JSON that is nested too deeply"};
    if (++count_ > most) throw Damaged{"has JSON of too many values"};
    Json out;
    space();
    if (at_ == end_) fail();
    if (accept('{')) {
      out.type = Json::Type::object;
      members(out, depth);
    } else if (accept('[')) {
      out.type = Json::Type::array;
      if (accept(']')) return out;
      do out.items.push_back(value(depth + 1));
      while (accept(','));
      expect(']');
    } else if (*at_ == '"') {
      out.type = Json::Type::text;
      out.text = string();
    } else if (accept_word("null")) {
      out.type = Json::Type::null;
    } else if (accept_word("true") || accept_word("false")) {
      out.type = Json::Type::boolean;
      out.number = at_[-2] == 'u' ? 1.0 : 0.0;  // true, false
    } else {
      out.type = Json::Type::number;
      out.number = number();
    }
    return out;
  }

  void members(Json& out, int depth) {
    if (accept('}')) return;
    do {
      space();
      if (at_ == end_ || *at_ != '"') fail();
      constexpr std::size_t most = 256;  // keys of an object
      if (out.names.size() == most) throw Damaged{"has an object of too many keys"};
      std::string name = string();
      if (out.find(name) != nullptr) throw Damaged{"has a key twice"};
      expect(':');
      out.names.push_back(std::move(name));
      out.items.push_back(value(depth + 1));
    } while (accept(','));
    expect('}');
  }

  double number() {
    const char* const first = at_;
    const auto digits = [&] {
      const char* const from = at_;
      while (at_ != end_ && *at_ >= '0' && *at_ <= '9') ++at_;
      if (at_ == from) fail();
    };
    if (at_ != end_ && *at_ == '-') ++at_;
    const bool zero = at_ != end_ && *at_ == '0';
    const char* const whole = at_;
    digits();
    if (zero && at_ - whole > 1) fail();
    if (at_ != end_ && *at_ == '.') {
      ++at_;
      digits();
    }
    if (at_ != end_ && (*at_ == 'e' || *at_ == 'E')) {
      ++at_;
      if (at_ != end_ && (*at_ == '-' || *at_ == '+')) ++at_;
      digits();
    }
    double out = 0.0;
    if (!parse_number({first, static_cast<std::size_t>(at_ - first)}, out) || !std::isfinite(out)) {
      fail();
    }
    return out;
  }

  std::string string() {
    std::string out;
    ++at_;  // the quote
    for (; at_ != end_ && *at_ != '"'; ++at_) {
      if (static_cast<unsigned char>(*at_) < 0x20) fail();
      if (*at_ == '\\') {
        escape(out);
      } else {
        out.push_back(*at_);
      }
    }
    if (at_ == end_) fail();
    ++at_;
    return out;
  }

  // Leaves the last character of the escape to be skipped.
  void escape(std::string& out) {
    if (++at_ == end_) fail();
    switch (*at_) {
      case 'n': out.push_back('\n'); return;
      case 't': out.push_back('\t'); return;
      case 'r': out.push_back('\r'); return;
      case 'b': out.push_back('\b'); return;
      case 'f': out.push_back('\f'); return;
      case '"':
      case '\\':
      case '/': out.push_back(*at_); return;
      case 'u': break;
      default: fail();
    }
    std::uint32_t code = hex();
    if (code >= 0xD800 && code < 0xDC00) {
      if (end_ - at_ < 3 || at_[1] != '\\' || at_[2] != 'u') fail();
      at_ += 2;
      const std::uint32_t low = hex();
      if (low < 0xDC00 || low > 0xDFFF) fail();
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    append_utf8(code, out);
  }

  // Reads the four digits behind at_, which then is at the last of them.
  std::uint32_t hex() {
    if (end_ - at_ < 5) fail();
    std::uint32_t code = 0;
    const std::from_chars_result read = std::from_chars(at_ + 1, at_ + 5, code, 16);
    if (read.ec != std::errc() || read.ptr != at_ + 5) fail();
    at_ += 4;
    return code;
  }

  static void append_utf8(std::uint32_t code, std::string& out) {
    const auto byte = [&](std::uint32_t bits) { out.push_back(static_cast<char>(bits)); };
    if (code < 0x80) return byte(code);
    if (code < 0x800) {
      byte(0xC0 | code >> 6);
    } else {
      if (code < 0x10000) {
        byte(0xE0 | code >> 12);
      } else {
        byte(0xF0 | code >> 18);
        byte(0x80 | (code >> 12 & 0x3F));
      }
      byte(0x80 | (code >> 6 & 0x3F));
    }
    byte(0x80 | (code & 0x3F));
  }

  const char* at_;
  const char* end_;
  std::size_t count_ = 0;  // of all values
};

}  // namespace adagrad::score
