// Columns in Apache Arrow's memory layout (arrow.apache.org/docs/format), viewed without copying.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <vector>

// The C data interface, copied from its specification.
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE
extern "C" {
struct ArrowSchema {
  const char* format;
  const char* name;
  const char* metadata;
  std::int64_t flags;
  std::int64_t n_children;
  struct ArrowSchema** children;
  struct ArrowSchema* dictionary;
  void (*release)(struct ArrowSchema*);
  void* private_data;
};
struct ArrowArray {
  std::int64_t length;
  std::int64_t null_count;
  std::int64_t offset;
  std::int64_t n_buffers;
  std::int64_t n_children;
  const void** buffers;
  struct ArrowArray** children;
  struct ArrowArray* dictionary;
  void (*release)(struct ArrowArray*);
  void* private_data;
};
}
#endif

namespace adagrad {

// A column has a type that cannot be encoded. (Values that cannot raise std::invalid_argument.)
class TypeMismatch : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Texts and lists are named by the width of their offsets. A text is a sequence of any bytes. A map
// is a list of keys, each with a value.
enum class Type : std::uint8_t {
  null,
  boolean,
  i8,
  i16,
  i32,
  i64,
  u8,
  u16,
  u32,
  u64,
  f16,
  f32,
  f64,
  text32,
  text64,
  text_view,
  list32,
  list64,
  dictionary
};

struct Column {
  Type type;
  Type index;  // of a dictionary
  std::size_t offset, length;
  const std::uint8_t* validity;   // one bit per value; null if no value is missing
  const void* data;               // values, indices, views, or the bytes of texts
  const void* offsets;            // of texts and lists
  const void* const* view_bytes;  // the buffers that views point into
  std::vector<Column> child;      // the items of a list, keys and values of maps, or a dictionary's
  std::shared_ptr<const void> copy;  // of values or offsets that are not aligned
  // The hashes of the values of a dictionary, if computing them once pays.
  std::shared_ptr<const std::vector<std::uint64_t>> distinct;
};

// The view of an array, whose memory must outlive it. Throws TypeMismatch, or std::invalid_argument
// if the values [begin, begin + n) cannot be read without leaving the memory of the array. The C
// data interface does not give the size of buffers, except of those that views point into: whoever
// has the array checks that the others are as long as its length and its last offset require. The
// indices of a dictionary are checked where they are read.
Column column_of(const ArrowSchema& schema, const ArrowArray& array, std::int64_t begin,
                 std::int64_t n);

namespace {

inline bool is_number(const Column& c) {
  return c.type == Type::null || (c.type >= Type::i8 && c.type <= Type::f64);
}

inline bool is_list(const Column& c) { return c.type == Type::list32 || c.type == Type::list64; }

inline bool is_map(const Column& c) { return c.child.size() == 2; }

}  // namespace
}  // namespace adagrad
