// The values of a row as a program has them, and what a field makes of one: its hash, or a number.
// The rules are those of HashingEncoder; the hashes are those of ctr/hashing.hpp.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include "../ctr/hashing.hpp"
#include "json.hpp"

namespace adagrad::score {

enum class Type : std::int32_t {
  null,     // a missing value
  boolean,  // integer: 0 or 1
  integer,  // integer
  natural,  // natural: an integer of 64 bits without a sign
  real,     // real
  real32,   // real32: as a category, its shortest text as a float32
  text,     // text: UTF-8, size bytes
  list,     // items: size values
  map,      // items: 2 * size values, each name followed by its number
};

// The memory that a value points to must outlive the call that reads it.
struct Value {
  Type type = Type::null;
  std::size_t size = 0;  // of text: bytes; of a list or a map: entries
  union {
    std::int64_t integer;
    std::uint64_t natural;
    double real;
    float real32;
    const char* text;
    const Value* items;
  };

  Value() : integer(0) {}
  Value(bool x) : type(Type::boolean), integer(x ? 1 : 0) {}
  Value(int x) : type(Type::integer), integer(x) {}
  Value(std::int64_t x) : type(Type::integer), integer(x) {}
  Value(std::uint64_t x) : type(Type::natural), natural(x) {}
  Value(double x) : type(Type::real), real(x) {}
  Value(float x) : type(Type::real32), real32(x) {}
  Value(std::string_view x) : type(Type::text), size(x.size()), text(x.data()) {}
  Value(const char* x) : Value(std::string_view(x)) {}

  static Value list(const Value* items, std::size_t n) { return of(Type::list, items, n); }
  static Value map(const Value* items, std::size_t n) { return of(Type::map, items, n); }

  std::string_view string() const { return {text, size}; }
  bool is_number() const { return type >= Type::integer && type <= Type::real32; }

 private:
  static Value of(Type type, const Value* items, std::size_t n) {
    Value out;
    out.type = type;
    out.size = n;
    out.items = items;
    return out;
  }
};

// Why a row has no margin: in words, and the column; null without a fault.
struct Fault {
  const char* what = nullptr;
  std::size_t column = 0;
};

// The hash of a value as a category; the seed itself if the value is missing. Null for a list.
inline bool hash_category(const Value& x, std::uint64_t seed, std::uint64_t& to) {
  switch (x.type) {
    case Type::null: to = seed; return true;
    case Type::boolean: to = hash_text(x.integer != 0 ? "1" : "0", seed); return true;
    case Type::integer: to = hash_integer(x.integer, seed); return true;
    case Type::natural: to = hash_integer(x.natural, seed); return true;
    case Type::real: to = std::isnan(x.real) ? seed : hash_real(x.real, seed); return true;
    case Type::real32: to = std::isnan(x.real32) ? seed : hash_real(x.real32, seed); return true;
    case Type::text: to = hash_text(x.string(), seed); return true;
    default: return false;
  }
}

// The number that a value is or spells; NaN if it is missing. False if it is none.
inline bool number_of(const Value& x, double& to) {
  switch (x.type) {
    case Type::null: to = std::numeric_limits<double>::quiet_NaN(); return true;
    case Type::boolean:
    case Type::integer: to = static_cast<double>(x.integer); return true;
    case Type::natural: to = static_cast<double>(x.natural); return true;
    case Type::real: to = x.real; return true;
    case Type::real32: to = static_cast<double>(x.real32); return true;
    case Type::text:
      if (x.size == 0) return number_of(Value(), to);
      return parse_number(x.string(), to);
    default: return false;
  }
}

}  // namespace adagrad::score
