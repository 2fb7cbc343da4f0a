// Moments as features: hour of day, day of week and hour of week, as HashingEncoder reads them.
//
// An integer below 10^8 is YYMMDDHH, such as 14102100; below 10^11 Unix seconds; below 10^14 Unix
// milliseconds. A text is one of these integers or ISO 8601; with an offset, it is read in UTC.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#include "values.hpp"

namespace adagrad::score {

struct Calendar {
  std::int32_t hour, weekday, week_hour;
};

constexpr std::int64_t seconds_of_day = 86400;

inline bool is_leap(std::int64_t year) {
  return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

inline std::int64_t days_of_month(std::int64_t year, std::int64_t month) {
  constexpr int days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return days[month - 1] + (month == 2 && is_leap(year) ? 1 : 0);
}

// Days from 1970-01-01 to a date of the Gregorian calendar; years from 0 on.
inline std::int64_t days_before(std::int64_t year, std::int64_t month, std::int64_t day) {
  // A year that begins with March ends with its leap day.
  const std::int64_t from_march = month > 2 ? month - 3 : month + 9;
  const std::int64_t y = (month > 2 ? year : year - 1) + 400;  // so that no division is of less
  const std::int64_t before = y * 365 + y / 4 - y / 100 + y / 400;
  constexpr std::int64_t epoch = 719468 + 146097;
  return before + (153 * from_march + 2) / 5 + day - 1 - epoch;
}

inline Calendar calendar_of(std::int64_t seconds) {
  std::int64_t days = seconds / seconds_of_day;
  if (seconds % seconds_of_day < 0) --days;
  const auto hour = static_cast<std::int32_t>((seconds - days * seconds_of_day) / 3600);
  std::int64_t weekday = (days + 3) % 7;  // 1970-01-01 was a Thursday
  if (weekday < 0) weekday += 7;
  const auto day = static_cast<std::int32_t>(weekday);
  return {hour, day, 24 * day + hour};
}

inline bool seconds_of(std::int64_t x, std::int64_t& seconds) {
  constexpr std::int64_t date = 100000000, second = 100000000000, millisecond = 100000000000000;
  if (x < 0 || x >= millisecond) return false;
  if (x >= date) {
    seconds = x < second ? x : x / 1000;
    return true;
  }
  const std::int64_t hour = x % 100, day = x / 100 % 100, month = x / 10000 % 100;
  const std::int64_t year = 2000 + x / 1000000;
  if (hour > 23 || month < 1 || month > 12 || day < 1 || day > days_of_month(year, month)) {
    return false;
  }
  seconds = days_before(year, month, day) * seconds_of_day + hour * 3600;
  return true;
}

// ISO 8601: 2024-05-06, 2024-05-06 07, 2024-05-06T07:08, 07:08:09, 07:08:09.123, and after minutes
// an offset: Z, +02, +0200 or +02:00.
class IsoReader {
 public:
  static bool read(std::string_view text, std::int64_t& seconds) {
    IsoReader reader{text};
    return reader.moment(seconds);
  }

 private:
  explicit IsoReader(std::string_view text) : text_(text) {}

  bool digits(std::size_t n, std::int64_t least, std::int64_t most, std::int64_t& to) {
    if (text_.size() < n) return false;
    to = 0;
    for (std::size_t i = 0; i < n; ++i) {
      if (text_[i] < '0' || text_[i] > '9') return false;
      to = 10 * to + (text_[i] - '0');
    }
    text_.remove_prefix(n);
    return to >= least && to <= most;
  }

  bool accept(char c) {
    if (text_.empty() || text_[0] != c) return false;
    text_.remove_prefix(1);
    return true;
  }

  void fraction() {
    if (text_.size() < 2 || (text_[0] != '.' && text_[0] != ',')) return;
    if (text_[1] < '0' || text_[1] > '9') return;
    text_.remove_prefix(2);
    while (!text_.empty() && text_[0] >= '0' && text_[0] <= '9') text_.remove_prefix(1);
  }

  bool moment(std::int64_t& seconds) {
    std::int64_t year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
    const bool is_date = digits(4, 0, 9999, year) && accept('-') && digits(2, 1, 12, month) &&
                         accept('-') && digits(2, 1, days_of_month(year, month), day);
    if (!is_date) return false;
    seconds = days_before(year, month, day) * seconds_of_day;
    if (text_.empty()) return true;
    if (!accept('T') && !accept(' ')) return false;
    if (!digits(2, 0, 23, hour)) return false;
    seconds += hour * 3600;
    if (text_.empty()) return true;
    if (!accept(':') || !digits(2, 0, 59, minute)) return false;
    seconds += minute * 60;
    if (accept(':')) {
      if (!digits(2, 0, 59, second)) return false;
      seconds += second;
      fraction();
    }
    return text_.empty() || zone(seconds);
  }

  bool zone(std::int64_t& seconds) {
    if (accept('Z')) return text_.empty();
    const bool east = accept('+');
    if (!east && !accept('-')) return false;
    std::int64_t hours = 0, minutes = 0;
    if (!digits(2, 0, 23, hours)) return false;
    if (!text_.empty()) {
      accept(':');
      if (!digits(2, 0, 59, minutes) || !text_.empty()) return false;
    }
    const std::int64_t offset = hours * 3600 + minutes * 60;
    seconds += east ? -offset : offset;
    return true;
  }

  std::string_view text_;
};

// The local seconds of a moment since 1970. `missing` says that there is none; false is returned if
// the value cannot be a moment.
inline bool seconds_of(const Value& x, std::int64_t& seconds, bool& missing) {
  missing = false;
  switch (x.type) {
    case Type::null: missing = true; return true;
    case Type::integer: return seconds_of(x.integer, seconds);
    case Type::natural:
      return x.natural < std::uint64_t{1} << 63 &&
             seconds_of(static_cast<std::int64_t>(x.natural), seconds);
    case Type::real:
    case Type::real32: {
      const double number = x.type == Type::real ? x.real : static_cast<double>(x.real32);
      missing = std::isnan(number);
      if (missing) return true;
      if (!(std::fabs(number) < 9223372036854775808.0) || std::trunc(number) != number)
        return false;
      return seconds_of(static_cast<std::int64_t>(number), seconds);
    }
    case Type::text: {
      std::string_view text = x.string();
      while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
      while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
      missing = text.empty();
      if (missing) return true;
      std::int64_t integer = 0;
      const char* const end = text.data() + text.size();
      const std::from_chars_result read = std::from_chars(text.data(), end, integer);
      if (read.ptr == end && text.front() != '-') {
        return read.ec == std::errc() && seconds_of(integer, seconds);
      }
      return IsoReader::read(text, seconds);
    }
    default: return false;
  }
}

}  // namespace adagrad::score
