// _core.Hasher, _core.LineSplitter and _core.SparseSplitter: Arrow record batches to the arrays of
// examples, and lines of text to the buffers of Arrow columns.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "../ctr/delimited.hpp"
#include "../ctr/encode.hpp"
#include "../ctr/sparse_lines.hpp"
#include "held_array.hpp"
#include "module.hpp"

namespace py = pybind11;

namespace adagrad {
namespace {

Kind kind_of(const std::string& name) {
  if (name == "categorical") return Kind::category;
  if (name == "log2-bins") return Kind::bins;
  if (name == "value") return Kind::value;
  throw py::value_error("the kind of a field must be 'categorical', 'log2-bins' or 'value', got '" +
                        name + "'");
}

TextKind text_kind_of(const std::string& name) {
  if (name == "text") return TextKind::text;
  if (name == "integer") return TextKind::integer;
  if (name == "real") return TextKind::real;
  throw py::value_error("the kind of a column must be 'text', 'integer' or 'real', got '" + name +
                        "'");
}

class LineSplitter {
 public:
  LineSplitter(std::size_t width, char delimiter, bool quotes,
               const std::vector<std::pair<std::size_t, std::string>>& columns)
      : lines_(width, delimiter, quotes, wanted(width, columns)) {}

  bool add(const py::buffer& lines, std::size_t rows) {
    const py::buffer_info info = lines.request();
    if (info.ndim != 1 || info.itemsize != 1) throw py::type_error("lines must be bytes");
    py::gil_scoped_release unlocked;
    return lines_.add(static_cast<const char*>(info.ptr), static_cast<std::size_t>(info.size),
                      rows);
  }

  // The buffers of each column in Arrow's order. All of them share the columns that were taken.
  py::list take() {
    const std::size_t rows = lines_.rows();
    const std::shared_ptr<const TextColumns> taken = lines_.take();
    const auto array = [&](const auto& values, std::size_t size) -> py::object {
      return array_of(values.data(), size, taken);
    };
    py::list out;
    for (const TextColumn& c : *taken) {
      py::list buffers;
      buffers.append(c.missing > 0 ? array(c.validity, (rows + 7) / 8) : py::none());
      if (c.kind == TextKind::integer) buffers.append(array(c.integers, rows));
      if (c.kind == TextKind::real) buffers.append(array(c.reals, rows));
      if (c.kind == TextKind::text) {
        buffers.append(array(c.offsets, rows + 1));
        buffers.append(array(c.bytes, c.n_bytes));
      }
      out.append(buffers);
    }
    return out;
  }

  std::size_t rows() const { return lines_.rows(); }

 private:
  static TextColumns wanted(std::size_t width,
                            const std::vector<std::pair<std::size_t, std::string>>& columns) {
    TextColumns out;
    for (const auto& [position, kind] : columns) {
      if (position >= width) {
        throw py::index_error("column " + std::to_string(position) +
                              " is out of range for lines of " + std::to_string(width) +
                              " columns");
      }
      out.emplace_back();
      out.back().position = position;
      out.back().kind = text_kind_of(kind);
    }
    return out;
  }

  LineCollector lines_;
};

class SparseSplitter {
 public:
  SparseSplitter(const std::string& syntax, const std::vector<std::string>& names,
                 const std::vector<std::string>& ignored, const std::string& late, bool needs_label)
      : is_vw_(syntax == "vw"),
        lines_(is_vw_ ? Syntax::vw : Syntax::libffm, names, ignored, late_of(late), needs_label) {
    if (!is_vw_ && syntax != "libffm") {
      throw py::value_error("the syntax must be 'vw' or 'libffm', got '" + syntax + "'");
    }
  }

  py::list add(const py::buffer& lines) {
    const py::buffer_info info = lines.request();
    if (info.ndim != 1 || info.itemsize != 1) throw py::type_error("lines must be bytes");
    const char* const data = static_cast<const char*>(info.ptr);
    const std::size_t size = static_cast<std::size_t>(info.size);
    constexpr std::size_t most = 0x7FFFFFFF;  // what an offset can hold
    if (size == 0 || size > most - size_ || data[size - 1] != '\n') {
      throw py::value_error("lines must end with a line end and have less than 2**31 bytes in all");
    }
    std::vector<LineFaultAt> faults;
    {
      py::gil_scoped_release unlocked;
      faults = lines_.add(data, size);
    }
    size_ += size;
    py::list out;
    for (const LineFaultAt& x : faults) {
      out.append(py::make_tuple(x.line, name_of(x.fault), x.begin, x.end));
    }
    return out;
  }

  // The memory of each column is that of an Arrow array.
  py::dict take() {
    SparseRows rows = lines_.take();
    size_ = 0;
    py::list columns;
    for (MapColumn& c : rows.columns) {
      py::list keys;
      if (is_vw_) keys.append(array_of(std::move(c.key_ends)));
      keys.append(is_vw_ ? array_of(std::move(c.keys)) : array_of(std::move(c.ids)));
      columns.append(
          py::make_tuple(array_of(std::move(c.ends)), keys, array_of(std::move(c.values))));
    }
    py::dict out;
    out["labels"] = array_of(std::move(rows.labels));
    out["importances"] = array_of(std::move(rows.importances));
    out["tags"] =
        py::make_tuple(array_of(std::move(rows.tag_ends)), array_of(std::move(rows.tags)));
    out["columns"] = columns;
    return out;
  }

  std::size_t rows() const { return lines_.rows(); }

  std::vector<py::bytes> names() const { return {lines_.names().begin(), lines_.names().end()}; }

 private:
  static SparseLines::Late late_of(const std::string& name) {
    if (name == "add") return SparseLines::Late::add;
    if (name == "pass") return SparseLines::Late::pass;
    if (name == "fault") return SparseLines::Late::fault;
    throw py::value_error("late must be 'add', 'pass' or 'fault', got '" + name + "'");
  }

  static const char* name_of(LineFault fault) {
    switch (fault) {
      case LineFault::empty_line: return "empty line";
      case LineFault::no_bar: return "no bar";
      case LineFault::tab_before_bar: return "tab before bar";
      case LineFault::bad_label: return "bad label";
      case LineFault::missing_label: return "missing label";
      case LineFault::bad_importance: return "bad importance";
      case LineFault::base: return "base";
      case LineFault::bad_namespace: return "bad namespace";
      case LineFault::bad_scale: return "bad scale";
      case LineFault::bad_entry: return "bad entry";
      case LineFault::not_finite: return "not finite";
      case LineFault::too_large: return "too large";
      case LineFault::late_column: return "late column";
      case LineFault::carriage_return: return "carriage return";
    }
    return "";
  }

  bool is_vw_;
  SparseLines lines_;
  std::size_t size_ = 0;  // of the texts that are collected
};

using ColumnTuple = std::tuple<std::string, std::string, bool>;
using CrossTuple = std::tuple<std::string, std::vector<std::size_t>, bool>;

class Hasher {
 public:
  Hasher(const std::vector<ColumnTuple>& columns, const std::vector<CrossTuple>& crosses,
         unsigned bits, std::uint64_t seed, bool skip_missing, bool mean)
      : encoder_(plan_of(columns, crosses, bits, seed, skip_missing, mean), columns.size()) {}

  py::tuple encode(const py::list& objects) const {
    Lent lent(encoder_, objects);
    const bool has_values = encoder_.has_values(lent.batches);
    if (!encoder_.is_fixed(lent.batches)) {
      Varied out;
      {
        py::gil_scoped_release unlocked;
        out = encoder_.encode_varied(lent.batches);
      }
      py::object values = py::none();
      if (has_values) values = array_of(std::move(out.values));
      return py::make_tuple(array_of(std::move(out.bounds)), array_of(std::move(out.fields)),
                            array_of(std::move(out.slots)), values);
    }
    const py::ssize_t size = static_cast<py::ssize_t>(lent.rows * encoder_.plan().fields.size());
    py::array_t<std::uint32_t> slots(size);
    py::array_t<float> values(has_values ? size : 0);
    std::uint32_t* const to_slots = slots.mutable_data();
    float* const to_values = has_values ? values.mutable_data() : nullptr;
    {
      py::gil_scoped_release unlocked;
      encoder_.encode_fixed(lent.batches, to_slots, to_values);
    }
    return py::make_tuple(array_of(encoder_.fixed_bounds()), array_of(encoder_.fixed_fields()),
                          slots, has_values ? py::object(values) : py::none());
  }

  py::list hashes(const py::list& objects) const {
    Lent lent(encoder_, objects);
    std::vector<FieldEntries> all;
    {
      py::gil_scoped_release unlocked;
      all = encoder_.entries(lent.batches);
    }
    py::list out;
    for (FieldEntries& x : all) {
      out.append(py::make_tuple(array_of(std::move(x.hashes)), array_of(std::move(x.slots)),
                                array_of(std::move(x.lengths))));
    }
    return out;
  }

  py::list homes() const {
    py::list out;
    for (const Field& field : encoder_.plan().fields) {
      out.append(py::make_tuple(field.home.first, field.home.step, field.home.count));
    }
    return out;
  }

 private:
  // Views of batches, and the capsules that keep their memory alive.
  struct Lent {
    std::vector<ColumnBatch> batches;
    std::vector<py::tuple> capsules;
    std::size_t rows = 0;

    Lent(const Encoder& encoder, const py::list& objects) {
      for (const py::handle object : objects) {
        capsules.push_back(object.attr("__arrow_c_array__")());
        const auto& schema = *static_cast<const ArrowSchema*>(
            PyCapsule_GetPointer(py::object(capsules.back()[0]).ptr(), "arrow_schema"));
        const auto& array = *static_cast<const ArrowArray*>(
            PyCapsule_GetPointer(py::object(capsules.back()[1]).ptr(), "arrow_array"));
        try {
          py::gil_scoped_release unlocked;
          batches.push_back(encoder.batch_of(schema, array));
        } catch (const TypeMismatch& error) {
          throw py::type_error(error.what());
        }
        rows += batches.back().rows;
      }
    }
  };

  static Plan plan_of(const std::vector<ColumnTuple>& columns,
                      const std::vector<CrossTuple>& crosses, unsigned bits, std::uint64_t seed,
                      bool skip_missing, bool mean) {
    std::vector<ColumnField> of_columns;
    for (const auto& [name, kind, wide] : columns) {
      of_columns.push_back({name, kind_of(kind), wide});
    }
    std::vector<CrossField> of_crosses;
    for (const auto& [name, parts, wide] : crosses) of_crosses.push_back({name, parts, wide});
    return make_plan(of_columns, of_crosses, bits, seed, skip_missing, mean);
  }

  Encoder encoder_;
};

}  // namespace

void bind_hashing(py::module_& m) {
  py::class_<Hasher>(m, "Hasher")
      .def(py::init<const std::vector<ColumnTuple>&, const std::vector<CrossTuple>&, unsigned,
                    std::uint64_t, bool, bool>(),
           py::arg("columns"), py::arg("crosses"), py::arg("bits"), py::arg("seed"),
           py::arg("skip_missing"), py::arg("mean"))
      .def("encode", &Hasher::encode, py::arg("batches"),
           "Bounds, fields, slots and values (or None) of the rows of record batches.")
      .def("hashes", &Hasher::hashes, py::arg("batches"),
           "Per field, the hashes and slots of its entries and the number of entries of each row.")
      .def("homes", &Hasher::homes, "First region, step and number of regions of each field.");
  py::class_<LineSplitter>(m, "LineSplitter")
      .def(py::init<std::size_t, char, bool,
                    const std::vector<std::pair<std::size_t, std::string>>&>(),
           py::arg("width"), py::arg("delimiter"), py::arg("quotes"), py::arg("columns"))
      .def("add", &LineSplitter::add, py::arg("lines"), py::arg("rows"),
           "Collect lines, or collect nothing and return False if they are not plain.")
      .def("take", &LineSplitter::take,
           "The buffers of each column for all collected lines, which are then forgotten.")
      .def_property_readonly("rows", &LineSplitter::rows);
  py::class_<SparseSplitter>(m, "SparseSplitter")
      .def(py::init<const std::string&, const std::vector<std::string>&,
                    const std::vector<std::string>&, const std::string&, bool>(),
           py::arg("syntax"), py::arg("names"), py::arg("ignored"), py::arg("late"),
           py::arg("needs_label"))
      .def("add", &SparseSplitter::add, py::arg("lines"),
           "Collect the rows of lines; return the faults of those that have none.")
      .def("take", &SparseSplitter::take,
           "The arrays of all collected rows, which are then forgotten.")
      .def_property_readonly("rows", &SparseSplitter::rows)
      .def_property_readonly("names", &SparseSplitter::names);
  m.def(
      "xxh64",
      [](const py::buffer& data, std::uint64_t seed) {
        const py::buffer_info bytes = data.request();
        if (PyBuffer_IsContiguous(bytes.view(), 'C') == 0) {
          throw py::value_error("data must be contiguous");
        }
        const std::string_view text(static_cast<const char*>(bytes.ptr),
                                    static_cast<std::size_t>(bytes.view()->len));
        const py::gil_scoped_release release;
        return hash_text(text, seed);
      },
      py::arg("data"), py::arg("seed") = 0, "XXH64 of contiguous memory, such as bytes.");
}

}  // namespace adagrad
