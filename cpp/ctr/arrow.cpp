#include "arrow.hpp"

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
      {"+L", Type::list64},
  };
  for (const auto& [name, type] : names) {
    if (format == name) return type;
  }
  throw TypeMismatch("has Arrow format '" + std::string(format) + "', which is not supported");
}

}  // namespace

Column column_of(const ArrowSchema& schema, const ArrowArray& array) {
  const Type type = type_of(schema.format);
  const auto buffer = [&](std::int64_t i) {
    return i < array.n_buffers ? array.buffers[i] : nullptr;
  };
  Column c{};
  c.type = type;
  c.offset = static_cast<std::size_t>(array.offset);
  c.length = static_cast<std::size_t>(array.length);
  if (array.null_count != 0) c.validity = static_cast<const std::uint8_t*>(buffer(0));
  const bool is_text = type == Type::text32 || type == Type::text64;
  if (is_text || is_list(c)) c.offsets = buffer(1);
  c.data = buffer(is_text ? 2 : 1);
  if (type == Type::text_view) c.view_bytes = array.buffers + 2;
  if (schema.dictionary != nullptr) {
    c.type = Type::dictionary;
    c.index = type;
    c.child.push_back(column_of(*schema.dictionary, *array.dictionary));
  } else if (is_list(c)) {
    c.child.push_back(column_of(*schema.children[0], *array.children[0]));
  }
  if (!c.child.empty() && (is_list(c.child[0]) ||
                           (schema.dictionary != nullptr && c.child[0].type == Type::dictionary))) {
    throw TypeMismatch("is nested more deeply than a list of values");
  }
  return c;
}

}  // namespace adagrad
