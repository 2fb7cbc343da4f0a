// Rows of Python, a dict each, as entries of examples: what predict_one of learners and scorers
// reads. It knows the types that most rows have, exactly as HashingEncoder takes them. Of any other
// row it says so, and the caller encodes that as a batch of one, or gets the error of it.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "../score/entries.hpp"
#include "../score/margin.hpp"
#include "../score/plan.hpp"

namespace adagrad {

// What a thread keeps between two rows.
struct RowScratch {
  score::Row row;
  score::Found found;
  std::vector<score::Value> values;
  std::vector<std::vector<score::Value>> lists;  // of each column
  std::vector<pybind11::object> held;            // without the GIL, what values point into
};

inline RowScratch& scratch_of_thread() {
  static thread_local RowScratch scratch;
  return scratch;
}

class RowReader {
 public:
  explicit RowReader(const score::Plan& plan) : plan_(plan) {
    for (const score::Column& column : plan_.columns) {
      PyObject* name = PyUnicode_FromStringAndSize(
          column.name.data(), static_cast<pybind11::ssize_t>(column.name.size()));
      if (name == nullptr) throw pybind11::error_already_set();
      PyUnicode_InternInPlace(&name);
      names_.push_back(pybind11::reinterpret_steal<pybind11::object>(name));
    }
  }

  const score::Plan& plan() const { return plan_; }

  // Reads a row, whose entries are then in scratch.row. False if the caller must do it.
  bool read(pybind11::handle row, RowScratch& scratch) const {
    if (!PyDict_CheckExact(row.ptr()) || names_.empty()) return false;
    const std::size_t n = names_.size();
    scratch.values.resize(n);
    if (scratch.lists.size() < n) scratch.lists.resize(n);
    scratch.held.clear();
    pybind11::ssize_t known = 0;
    for (std::size_t c = 0; c < n; ++c) {
      PyObject* const value = get(row.ptr(), names_[c].ptr(), scratch);
      if (value != nullptr) {
        ++known;
        if (!convert(value, scratch.values[c], scratch.lists[c], scratch)) return false;
      } else {
        if (PyErr_Occurred() != nullptr) throw pybind11::error_already_set();
        scratch.values[c] = score::Value();
      }
    }
    if (known != PyDict_GET_SIZE(row.ptr()) && !has_text_keys(row.ptr())) return false;
    score::Fault fault;
    const bool encoded = scratch.row.encode(plan_, scratch.values.data(), fault);
    scratch.held.clear();
    return encoded;
  }

 private:
  using Values = std::vector<score::Value>;

#if defined(Py_GIL_DISABLED)
  // Another thread may change the dict meanwhile.
  static PyObject* get(PyObject* row, PyObject* name, RowScratch& scratch) {
    PyObject* value = nullptr;
    if (PyDict_GetItemRef(row, name, &value) <= 0) return nullptr;
    scratch.held.push_back(pybind11::reinterpret_steal<pybind11::object>(value));
    return value;
  }
#else
  static PyObject* get(PyObject* row, PyObject* name, RowScratch& /*scratch*/) {
    return PyDict_GetItemWithError(row, name);
  }
#endif

  static bool has_text_keys(PyObject* row) {
    PyObject *key = nullptr, *value = nullptr;
    for (pybind11::ssize_t at = 0; PyDict_Next(row, &at, &key, &value) != 0;) {
      if (PyUnicode_Check(key) == 0) return false;
    }
    return true;
  }

  static bool convert(PyObject* from, score::Value& to, Values& list, RowScratch& scratch) {
    if (PyList_CheckExact(from) || PyTuple_CheckExact(from)) {
      return convert_list(from, to, list, scratch);
    }
#if !defined(Py_GIL_DISABLED)  // or another thread might change it meanwhile
    if (PyDict_CheckExact(from)) return convert_map(from, to, list);
#endif
    return convert_scalar(from, to);
  }

  static bool convert_scalar(PyObject* from, score::Value& to) {
    if (PyUnicode_Check(from) != 0) {
      pybind11::ssize_t size = 0;
      const char* const text = PyUnicode_AsUTF8AndSize(from, &size);
      if (text == nullptr) {  // it has half of a surrogate pair
        PyErr_Clear();
        return false;
      }
      to = score::Value(std::string_view(text, static_cast<std::size_t>(size)));
      return true;
    }
    if (from == Py_None) {
      to = score::Value();
      return true;
    }
    if (PyFloat_Check(from) != 0) {
      to = score::Value(PyFloat_AS_DOUBLE(from));
      return true;
    }
    if (PyBool_Check(from) != 0) {
      to = score::Value(from == Py_True);
      return true;
    }
    if (PyLong_Check(from) == 0) return false;
    int overflow = 0;
    const long long integer = PyLong_AsLongLongAndOverflow(from, &overflow);
    to = score::Value(static_cast<std::int64_t>(integer));
    return overflow == 0;
  }

  // Text alone, bools alone or numbers alone, beside None: other lists are no arrays of one type.
  static bool convert_list(PyObject* from, score::Value& to, Values& list, RowScratch& scratch) {
    using score::Type;
    const auto n = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(from));
    list.resize(n);
    bool texts = false, bools = false, integers = false, reals = false, long_integers = false;
    for (std::size_t i = 0; i < n; ++i) {
      PyObject* const item = item_of(from, static_cast<pybind11::ssize_t>(i), scratch);
      if (item == nullptr || !convert_scalar(item, list[i])) {
        PyErr_Clear();
        return false;
      }
      const score::Value& x = list[i];
      texts = texts || x.type == Type::text;
      bools = bools || x.type == Type::boolean;
      reals = reals || x.type == Type::real;
      constexpr std::int64_t exact = std::int64_t{1} << 53;
      if (x.type == Type::integer) {
        integers = true;
        long_integers = long_integers || x.integer > exact || x.integer < -exact;
      }
    }
    to = score::Value::list(list.data(), n);
    if (reals && long_integers) return false;
    return texts + bools + (integers || reals) <= 1;
  }

  // Keys that are text alone or integers alone, with numbers.
  static bool convert_map(PyObject* from, score::Value& to, Values& list) {
    using score::Type;
    const auto n = static_cast<std::size_t>(PyDict_GET_SIZE(from));
    list.resize(2 * n);
    PyObject *key = nullptr, *value = nullptr;
    pybind11::ssize_t at = 0;
    for (std::size_t i = 0; i < n && PyDict_Next(from, &at, &key, &value) != 0; ++i) {
      score::Value &name = list[2 * i], &number = list[2 * i + 1];
      if (!convert_scalar(key, name) || !convert_scalar(value, number)) return false;
      const bool fits = (name.type == Type::text || name.type == Type::integer) &&
                        name.type == list[0].type && number.type != Type::text;
      if (!fits) return false;
    }
    to = score::Value::map(list.data(), n);
    return true;
  }

#if defined(Py_GIL_DISABLED)
  static PyObject* item_of(PyObject* from, pybind11::ssize_t i, RowScratch& scratch) {
    if (PyTuple_CheckExact(from)) return PyTuple_GET_ITEM(from, i);
    PyObject* const item = PyList_GetItemRef(from, i);
    if (item != nullptr) {
      scratch.held.push_back(pybind11::reinterpret_steal<pybind11::object>(item));
    }
    return item;
  }
#else
  static PyObject* item_of(PyObject* from, pybind11::ssize_t i, RowScratch& /*scratch*/) {
    return PySequence_Fast_GET_ITEM(from, i);
  }
#endif

  score::Plan plan_;
  std::vector<pybind11::object> names_;
};

}  // namespace adagrad
