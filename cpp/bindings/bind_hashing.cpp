// _core.Hasher: record batches, taken through Arrow's C data interface, to the parts of examples.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "../ctr/delimited.hpp"
#include "../ctr/encode.hpp"
#include "module.hpp"

namespace py = pybind11;

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
  throw py::type_error("has Arrow format '" + std::string(format) + "', which is not encoded");
}

Kind kind_of(const std::string& name) {
  if (name == "categorical") return Kind::category;
  if (name == "log2-bins") return Kind::bins;
  if (name == "value") return Kind::value;
  throw py::value_error("no kind of field: '" + name + "'");
}

bool is_number(const Column& c) {
  return c.type == Type::null || (c.type >= Type::i8 && c.type <= Type::f64);
}

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
    throw py::type_error("is nested more deeply than a list of values");
  }
  return c;
}

template <class T>
py::array array_of(std::vector<T>&& vector) {
  auto* const owned = new std::vector<T>(std::move(vector));
  const py::capsule owner(owned, [](void* p) { delete static_cast<std::vector<T>*>(p); });
  return py::array_t<T>(static_cast<py::ssize_t>(owned->size()), owned->data(), owner);
}

// Collects the columns of plain lines.
class LineSplitter {
 public:
  LineSplitter(std::size_t width, char delimiter, bool quotes,
               const std::vector<std::pair<std::size_t, std::string>>& columns)
      : width_(width), delimiter_(delimiter), quotes_(quotes) {
    for (const auto& [position, kind] : columns) {
      if (position >= width) throw py::index_error("a column is beyond the width");
      wanted_.emplace_back();
      wanted_.back().position = position;
      wanted_.back().kind = kind == "integer" ? TextKind::integer
                            : kind == "real"  ? TextKind::real
                                              : TextKind::text;
    }
    expected_bytes_.resize(wanted_.size());
    renew();
  }

  // False, and nothing collected, where something is in doubt.
  bool add(const py::buffer& lines, std::size_t rows) {
    const py::buffer_info info = lines.request();
    if (info.ndim != 1 || info.itemsize != 1) throw py::type_error("lines must be bytes");
    const char* const data = static_cast<const char*>(info.ptr);
    const std::size_t size = static_cast<std::size_t>(info.size);
    constexpr std::size_t most = 0x7FFFFFFF;  // of an offset
    if (rows == 0 || size == 0 || size + bytes_ >= most || data[size - 1] != '\n') return false;
    py::gil_scoped_release unlocked;
    if (quotes_ && std::memchr(data, '"', size) != nullptr) return false;
    std::vector<std::size_t> missing;
    for (std::size_t i = 0; i < columns_->size(); ++i) {
      TextColumn& c = (*columns_)[i];
      missing.push_back(c.missing);
      c.make_room(std::max(rows_ + rows, expected_rows_), expected_bytes_[i]);
    }
    const bool good = split(data, size, rows, width_, delimiter_, rows_, *columns_);
    rows_ += good ? rows : 0;
    bytes_ += good ? size : 0;
    for (std::size_t i = 0; !good && i < missing.size(); ++i) (*columns_)[i].cut(rows_, missing[i]);
    return good;
  }

  // For each column its buffers in Arrow's order, and starts anew. Their room is used again when
  // all of them are forgotten.
  py::list take() {
    const std::shared_ptr<Columns> lent(
        columns_.release(), [unused = unused_](Columns* columns) { unused->add(columns); });
    const auto array = [&](const auto& values, std::size_t size) {
      const py::capsule owner(new std::shared_ptr<Columns>(lent),
                              [](void* p) { delete static_cast<std::shared_ptr<Columns>*>(p); });
      using Value = typename std::decay_t<decltype(values)>::value_type;
      return py::array_t<Value>(static_cast<py::ssize_t>(size), values.data(), owner);
    };
    py::list out;
    expected_rows_ = rows_;
    for (std::size_t i = 0; i < lent->size(); ++i) {
      const TextColumn& c = (*lent)[i];
      expected_bytes_[i] = c.n_bytes + c.n_bytes / 16;
      py::list buffers;
      buffers.append(c.missing > 0 ? py::object(array(c.validity, (rows_ + 7) / 8)) : py::none());
      if (c.kind == TextKind::integer) buffers.append(array(c.integers, rows_));
      if (c.kind == TextKind::real) buffers.append(array(c.reals, rows_));
      if (c.kind == TextKind::text) {
        buffers.append(array(c.offsets, rows_ + 1));
        buffers.append(array(c.bytes, c.n_bytes));
      }
      out.append(buffers);
    }
    renew();
    return out;
  }

  std::size_t rows() const { return rows_; }

 private:
  using Columns = std::vector<TextColumn>;

  // What was lent and came back, from any thread.
  class Unused {
   public:
    void add(Columns* columns) {
      const std::lock_guard<std::mutex> lock(mutex_);
      columns_.emplace_back(columns);
    }

    std::unique_ptr<Columns> take() {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (columns_.empty()) return nullptr;
      std::unique_ptr<Columns> last = std::move(columns_.back());
      columns_.pop_back();
      return last;
    }

   private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<Columns>> columns_;
  };

  void renew() {
    columns_ = unused_->take();
    if (columns_ == nullptr) columns_ = std::make_unique<Columns>(wanted_);
    for (TextColumn& c : *columns_) {
      c.make_room(0, 0);
      c.cut(0, 0);
    }
    rows_ = bytes_ = 0;
  }

  std::size_t width_;
  char delimiter_;
  bool quotes_;
  Columns wanted_;
  std::unique_ptr<Columns> columns_;
  std::shared_ptr<Unused> unused_ = std::make_shared<Unused>();
  std::size_t rows_ = 0, bytes_ = 0;
  // As many as were taken last: room that grows step by step is copied at each.
  std::size_t expected_rows_ = 0;
  std::vector<std::size_t> expected_bytes_;
};

class Hasher {
 public:
  Hasher(const std::vector<std::tuple<std::string, std::string, bool>>& columns,
         const std::vector<std::tuple<std::string, std::vector<std::size_t>, bool>>& crosses,
         unsigned bits, std::uint64_t seed, bool skip_missing, bool mean)
      : plan_{{}, bits, skip_missing, mean, mean}, n_columns_(columns.size()), known_(n_columns_) {
    const std::size_t n = columns.size() + crosses.size();
    if (bits < 8 || bits > 32) throw py::value_error("bits must be from 8 to 32");
    if (n < 1 || n > 0xFFFF) throw py::value_error("1 to 65535 fields are needed");
    const auto add = [&](const std::string& name, Kind kind, std::vector<std::size_t> parts,
                         bool wide) {
      const std::size_t j = plan_.fields.size();
      plan_.has_values = plan_.has_values || kind == Kind::value;
      plan_.fields.push_back(
          {name, kind, std::move(parts), hash_text(name, seed), home_of(j, n, wide)});
    };
    for (const auto& [name, kind, wide] : columns) add(name, kind_of(kind), {}, wide);
    for (const auto& [name, parts, wide] : crosses) {
      for (const std::size_t part : parts) {
        if (part >= n_columns_) throw py::index_error("a cross is of columns");
      }
      if (parts.size() < 2) throw py::value_error("a cross has at least two parts");
      add(name, Kind::category, parts, wide);
    }
  }

  // Bounds, fields, slots and values (or None) of the examples that are the rows of the batches.
  py::tuple encode(const py::list& objects) const {
    Lent lent(*this, objects);
    const bool fixed = is_fixed(plan_, lent.batches);
    if (!fixed) {
      Varied out;
      {
        py::gil_scoped_release unlocked;
        encode_varied(plan_, lent.batches, known_, out);
      }
      py::object values = py::none();
      if (plan_.has_values) values = array_of(std::move(out.values));
      return py::make_tuple(array_of(std::move(out.bounds)), array_of(std::move(out.fields)),
                            array_of(std::move(out.slots)), values);
    }
    std::vector<std::uint32_t> bounds(regions + 1);
    for (const Field& field : plan_.fields) ++bounds[field.home.first + 1];
    for (std::size_t r = 0; r < regions; ++r) bounds[r + 1] += bounds[r];
    const py::ssize_t size = static_cast<py::ssize_t>(lent.rows * plan_.fields.size());
    py::array_t<std::uint32_t> slots(size);
    py::array_t<float> values(plan_.has_values ? size : 0);
    std::uint32_t* const to_slots = slots.mutable_data();
    float* const to_values = plan_.has_values ? values.mutable_data() : nullptr;
    {
      py::gil_scoped_release unlocked;
      encode_fixed(plan_, lent.batches, known_, to_slots, to_values);
    }
    return py::make_tuple(array_of(std::move(bounds)), array_of(fixed_order(plan_)), slots,
                          plan_.has_values ? py::object(values) : py::none());
  }

  // For each field the hashes and slots of its entries, in the order of rows, and how many entries
  // each row has.
  py::list hashes(const py::list& objects) const {
    Lent lent(*this, objects);
    const std::size_t n_fields = plan_.fields.size();
    std::vector<std::vector<std::uint64_t>> all(n_fields);
    std::vector<std::vector<std::uint32_t>> slots(n_fields), lengths(n_fields);
    {
      py::gil_scoped_release unlocked;
      for_each_block(plan_, lent.batches, known_, false,
                     [&](const std::vector<Entries>& entries, std::size_t rows) {
                       for (std::size_t f = 0; f < n_fields; ++f) {
                         const Entries& x = entries[f];
                         for (std::size_t i = 0; i < rows; ++i) {
                           lengths[f].push_back(
                               static_cast<std::uint32_t>(x.start(i + 1) - x.start(i)));
                         }
                         for (const std::uint64_t hash : x.hashes) {
                           all[f].push_back(hash);
                           slots[f].push_back(slot_of(hash, plan_.fields[f].home, plan_.bits));
                         }
                       }
                     });
    }
    py::list out;
    for (std::size_t f = 0; f < n_fields; ++f) {
      out.append(py::make_tuple(array_of(std::move(all[f])), array_of(std::move(slots[f])),
                                array_of(std::move(lengths[f]))));
    }
    return out;
  }

  // For each field how many slots are its own to choose from, and in which regions.
  py::list homes() const {
    py::list out;
    for (const Field& field : plan_.fields) {
      out.append(py::make_tuple(field.home.first, field.home.step, field.home.count));
    }
    return out;
  }

 private:
  // Batches, and the capsules that keep their memory.
  struct Lent {
    std::vector<Batch> batches;
    std::vector<py::tuple> capsules;
    std::size_t rows = 0;

    Lent(const Hasher& hasher, const py::list& objects) {
      for (const py::handle object : objects) {
        capsules.push_back(object.attr("__arrow_c_array__")());
        const auto& schema = *static_cast<const ArrowSchema*>(
            PyCapsule_GetPointer(py::object(capsules.back()[0]).ptr(), "arrow_schema"));
        const auto& array = *static_cast<const ArrowArray*>(
            PyCapsule_GetPointer(py::object(capsules.back()[1]).ptr(), "arrow_array"));
        batches.push_back(hasher.batch_of(schema, array));
        rows += batches.back().rows;
      }
    }
  };

  Batch batch_of(const ArrowSchema& schema, const ArrowArray& array) const {
    if (std::string_view(schema.format) != "+s" || array.null_count > 0 ||
        static_cast<std::size_t>(schema.n_children) != n_columns_) {
      throw py::type_error("record batches of the columns are needed");
    }
    Batch batch{static_cast<std::size_t>(array.length), {}};
    for (std::size_t f = 0; f < n_columns_; ++f) {
      const std::string name = label(plan_.fields[f]) + " ";
      try {
        batch.columns.push_back(column_of(*schema.children[f], *array.children[f]));
      } catch (const py::type_error& error) {
        throw py::type_error(name + error.what());
      }
      Column& c = batch.columns.back();
      c.offset += static_cast<std::size_t>(array.offset);
      c.length = batch.rows;
      const Kind kind = plan_.fields[f].kind;
      const bool fits = kind == Kind::category || is_number(c) ||
                        (kind == Kind::bins && is_list(c) && is_number(c.child[0]));
      if (!fits) throw py::type_error(name + "needs numbers");
    }
    return batch;
  }

  Plan plan_;
  std::size_t n_columns_;
  mutable Dictionaries known_;
};

}  // namespace

void bind_hashing(py::module_& m) {
  py::class_<Hasher>(m, "Hasher")
      .def(py::init<const std::vector<std::tuple<std::string, std::string, bool>>&,
                    const std::vector<std::tuple<std::string, std::vector<std::size_t>, bool>>&,
                    unsigned, std::uint64_t, bool, bool>(),
           py::arg("columns"), py::arg("crosses"), py::arg("bits"), py::arg("seed"),
           py::arg("skip_missing"), py::arg("mean"))
      .def("encode", &Hasher::encode, py::arg("batches"),
           "Bounds, fields, slots and values of the rows of record batches.")
      .def("hashes", &Hasher::hashes, py::arg("batches"),
           "For each field, hashes and slots of its entries, and how many each row has.")
      .def("homes", &Hasher::homes, "First region, step and number of regions of each field.");
  py::class_<LineSplitter>(m, "LineSplitter")
      .def(py::init<std::size_t, char, bool,
                    const std::vector<std::pair<std::size_t, std::string>>&>(),
           py::arg("width"), py::arg("delimiter"), py::arg("quotes"), py::arg("columns"))
      .def("add", &LineSplitter::add, py::arg("lines"), py::arg("rows"),
           "Collect lines; False, and nothing collected, where they are not plain.")
      .def("take", &LineSplitter::take, "The buffers of each column, of all lines collected.")
      .def_property_readonly("rows", &LineSplitter::rows);
  m.def(
      "xxh64",
      [](const py::bytes& data, std::uint64_t seed) {
        const std::string_view text = data;
        return hash_text(text, seed);
      },
      py::arg("data"), py::arg("seed") = 0, "XXH64 of bytes.");
}

}  // namespace adagrad
