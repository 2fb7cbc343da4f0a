#include "arrow.hpp"

#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

namespace adagrad {
namespace {

Type type_of(std::string_view format) {
  constexpr std::pair<std::string_view, Type> names[] = {
      {"n", Type::null},    {"b", Type::boolean},    {"c", Type::i8},         {"s", Type::i16},
      {"i", Type::i32},     {"l", Type::i64},        {"C", Type::u8},         {"S", Type::u16},
      {"I", Type::u32},     {"L", Type::u64},        {"e", Type::f16},        {"f", Type::f32},
      {"g", Type::f64},     {"u", Type::text32},     {"z", Type::text32},     {"U", Type::text64},
      {"Z", Type::text64},  {"vu", Type::text_view}, {"vz", Type::text_view}, {"+l", Type::list32},
      {"+L", Type::list64}, {"+m", Type::list32},
  };
  for (const auto& [name, type] : names) {
    if (format == name) return type;
  }
  throw TypeMismatch("has Arrow format '" + std::string(format) + "', which is not supported");
}

void require(bool holds, const std::string& what) {
  if (!holds) throw std::invalid_argument("has damaged memory: " + what);
}

inline bool is_valid(const Column& c, std::size_t i) {
  return c.validity == nullptr || (c.validity[i / 8] >> i % 8 & 1) != 0;
}

// Bytes of one value, or of each of the four parts of a view. Bits and bytes of texts count as 1.
std::size_t width_of(Type type) {
  switch (type) {
    case Type::i16:
    case Type::u16:
    case Type::f16: return 2;
    case Type::i32:
    case Type::u32:
    case Type::f32:
    case Type::text_view: return 4;
    case Type::i64:
    case Type::u64:
    case Type::f64: return 8;
    default: return 1;
  }
}

// The buffer, or a copy of its first n values if they are not aligned, as in a message that begins
// at an odd byte.
const void* aligned(Column& c, const void* buffer, std::size_t width, std::size_t n) {
  if (reinterpret_cast<std::uintptr_t>(buffer) % width == 0) return buffer;
  const auto words = std::make_shared<std::vector<std::uint64_t>>((width * n + 7) / 8);
  std::memcpy(words->data(), buffer, width * n);
  c.copy = words;
  return words->data();
}

// Checks that n + 1 offsets ascend, and returns the first and the last one.
template <class Offset>
std::pair<std::int64_t, std::int64_t> ends_of(Column& c, std::size_t at, std::size_t n) {
  require(c.offsets != nullptr, "it has no offsets");
  c.offsets = aligned(c, c.offsets, sizeof(Offset), at + n + 1);
  const Offset* const x = static_cast<const Offset*>(c.offsets) + at;
  bool ascend = x[0] >= 0;
  for (std::size_t i = 0; i < n; ++i) ascend &= x[i] <= x[i + 1];
  require(ascend, "its offsets do not ascend");
  return {x[0], x[n]};
}

std::pair<std::int64_t, std::int64_t> ends_of(Column& c, std::size_t at, std::size_t n) {
  const bool narrow = c.type == Type::text32 || c.type == Type::list32;
  return narrow ? ends_of<std::int32_t>(c, at, n) : ends_of<std::int64_t>(c, at, n);
}

void check_views(const Column& c, std::size_t at, std::size_t n, const std::int64_t* sizes,
                 std::int64_t n_sizes) {
  for (std::size_t i = at; i < at + n; ++i) {
    if (!is_valid(c, i)) continue;
    const std::int32_t* const view = static_cast<const std::int32_t*>(c.data) + 4 * i;
    const bool inside = view[0] <= 12 || (view[2] >= 0 && view[2] < n_sizes && view[3] >= 0 &&
                                          std::int64_t{view[3]} + view[0] <= sizes[view[2]]);
    if (view[0] < 0 || !inside) require(false, "a text is outside its buffer");
  }
}

// Checks the values [at, at + n) of a column; returns the first and last offset of texts and lists.
std::pair<std::int64_t, std::int64_t> check_values(Column& c, const ArrowArray& array,
                                                   std::size_t at, std::size_t n) {
  if (c.type == Type::null || n == 0) return {0, 0};
  if (c.type == Type::text32 || c.type == Type::text64 || is_list(c)) {
    const auto ends = ends_of(c, at, n);
    require(is_list(c) || c.data != nullptr || ends.first == ends.second, "it has no texts");
    return ends;
  }
  require(c.data != nullptr, "it has no values");
  const std::size_t parts = c.type == Type::text_view ? 4 : 1;
  c.data = aligned(c, c.data, width_of(c.type), parts * (at + n));
  if (c.type == Type::text_view) {
    const std::int64_t buffers = array.n_buffers - 3;  // the last buffer has the sizes of these
    require(buffers >= 0, "it has no sizes of buffers");
    const void* const sizes = array.buffers[array.n_buffers - 1];
    require(buffers == 0 || sizes != nullptr, "it has no sizes of buffers");
    check_views(c, at, n, static_cast<const std::int64_t*>(sizes), buffers);
  }
  return {0, 0};
}

enum class Inside : std::uint8_t { batch, list, dictionary };

Column view_of(const ArrowSchema& schema, const ArrowArray& array, std::int64_t begin,
               std::int64_t n, Inside inside);

// The keys and the values [first, first + n) of maps, which Arrow stores as lists of structs.
std::vector<Column> entries_of(const ArrowSchema& schema, const ArrowArray& array,
                               std::int64_t first, std::int64_t n) {
  require(std::string_view(schema.format) == "+s" && schema.n_children == 2 &&
              array.n_children == 2 && array.offset >= 0 && first <= array.length - n,
          "it has no entries");
  const auto* const validity =
      static_cast<const std::uint8_t*>(array.n_buffers > 0 ? array.buffers[0] : nullptr);
  const std::int64_t begin = array.offset + first;
  for (std::int64_t i = begin; validity != nullptr && array.null_count != 0 && i < begin + n; ++i) {
    require((validity[i / 8] >> i % 8 & 1) != 0, "an entry of a map is missing");
  }
  std::vector<Column> out;
  for (int child = 0; child < 2; ++child) {
    out.push_back(view_of(*schema.children[child], *array.children[child], begin, n, Inside::list));
    out.back().offset += static_cast<std::size_t>(array.offset);
  }
  return out;
}

Column view_of(const ArrowSchema& schema, const ArrowArray& array, std::int64_t begin,
               std::int64_t n, Inside inside) {
  Column c{};
  c.type = type_of(schema.format);
  if ((is_list(c) && inside != Inside::batch) ||
      (schema.dictionary != nullptr && inside == Inside::dictionary)) {
    throw TypeMismatch("is nested more deeply than a list of values");
  }
  // Far below what overflows in the computation of an address.
  constexpr std::int64_t longest = std::numeric_limits<std::int64_t>::max() / 64;
  require(array.offset >= 0 && array.offset <= longest && array.length >= 0 &&
              array.length <= longest,
          "its length is " + std::to_string(array.length));
  require(n >= 0 && begin >= 0 && begin <= array.length - n,
          "values " + std::to_string(begin) + " to " + std::to_string(begin + n) +
              " are needed, but it has " + std::to_string(array.length));
  const auto buffer = [&](std::int64_t i) {
    return i < array.n_buffers ? array.buffers[i] : nullptr;
  };
  c.offset = static_cast<std::size_t>(array.offset);
  c.length = static_cast<std::size_t>(array.length);
  if (array.null_count != 0 && c.type != Type::null) {
    c.validity = static_cast<const std::uint8_t*>(buffer(0));
    require(c.validity != nullptr || array.null_count < 0, "it has no bitmap of missing values");
  }
  const bool is_text = c.type == Type::text32 || c.type == Type::text64;
  if (is_text || is_list(c)) c.offsets = buffer(1);
  c.data = buffer(is_text ? 2 : 1);
  if (c.type == Type::text_view) c.view_bytes = array.buffers + 2;
  const auto [first, last] = check_values(c, array, c.offset + static_cast<std::size_t>(begin),
                                          static_cast<std::size_t>(n));
  if (schema.dictionary != nullptr) {
    if (c.type < Type::i8 || c.type > Type::u64) {
      throw TypeMismatch("has a dictionary with indices that are not integers");
    }
    require(array.dictionary != nullptr, "it has no dictionary");
    c.index = c.type;
    c.type = Type::dictionary;
    c.child.push_back(view_of(*schema.dictionary, *array.dictionary, 0, array.dictionary->length,
                              Inside::dictionary));
  } else if (is_list(c)) {
    require(array.n_children == 1, "it has no items");
    const ArrowSchema& items = *schema.children[0];
    if (std::string_view(schema.format) == "+m") {
      c.child = entries_of(items, *array.children[0], first, last - first);
    } else {
      c.child.push_back(view_of(items, *array.children[0], first, last - first, Inside::list));
    }
  }
  return c;
}

}  // namespace

Column column_of(const ArrowSchema& schema, const ArrowArray& array, std::int64_t begin,
                 std::int64_t n) {
  return view_of(schema, array, begin, n, Inside::batch);
}

}  // namespace adagrad
