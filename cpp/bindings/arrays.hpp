// Every check of an array argument, and every message that such a check can raise. Nothing is
// converted: an array that cannot be updated in place is refused, because the update of a copy
// would be lost.
#pragma once

#include <pybind11/numpy.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../adagrad/half.hpp"
#include "../adagrad/types.hpp"

namespace adagrad {

namespace py = pybind11;

enum class Real : std::uint8_t { f32, f64, bfloat16, float16 };
enum class IdType : std::uint8_t { i32, i64, u32, u64 };
enum class Access : std::uint8_t { read, write };

// "step: w", or "step_many: w of tensors[3]".
struct Argument {
  const char* function;
  const char* name;
  py::ssize_t index = -1;
  const char* list = "tensors";

  std::string role() const {
    const std::string item = std::string(list) + "[" + std::to_string(index) + "]";
    return index < 0 ? name : *name == '\0' ? item : name + std::string(" of ") + item;
  }
  std::string text() const { return std::string(function) + ": " + role(); }
  Argument other(const char* other_name) const { return {function, other_name, index, list}; }
};

[[noreturn]] inline void fail_type(const Argument& a, const std::string& what) {
  throw py::type_error(a.text() + " " + what);
}
[[noreturn]] inline void fail_value(const Argument& a, const std::string& what) {
  throw py::value_error(a.text() + " " + what);
}

inline std::string text_of(py::handle object) { return std::string(py::str(object)); }

inline std::string shape_of(const py::array& array) { return text_of(array.attr("shape")); }

// An ndarray that the kernels can use without a copy.
inline py::array check_memory(const Argument& a, py::handle object, Access access) {
  if (!py::isinstance<py::array>(object)) {
    fail_type(a, "must be a numpy.ndarray, got " + text_of(py::type::of(object).attr("__name__")) +
                     " (numpy.asarray, or Tensor.numpy() in torch, gives a view to pass instead)");
  }
  using py::detail::npy_api;
  const bool is_subclass = py::handle(py::type::handle_of(object)).ptr() !=
                           reinterpret_cast<PyObject*>(npy_api::get().PyArray_Type_);
  if (is_subclass && py::hasattr(object, "mask")) {
    fail_type(a, "is a masked array; an update would ignore its mask, so pass a.data");
  }
  py::array array = py::reinterpret_borrow<py::array>(object);
  const int flags = array.flags();
  if ((flags & npy_api::NPY_ARRAY_C_CONTIGUOUS_) == 0) {
    fail_value(a, "must be C-contiguous, got strides " + text_of(array.attr("strides")) +
                      " for shape " + shape_of(array));
  }
  if ((flags & npy_api::NPY_ARRAY_ALIGNED_) == 0) {
    fail_value(a, "is not aligned to its dtype " + text_of(array.dtype()));
  }
  if (access == Access::write && (flags & npy_api::NPY_ARRAY_WRITEABLE_) == 0) {
    fail_value(a, "is read-only, and is updated in place");
  }
  return array;
}

inline bool is_native(const py::dtype& dtype) {
  return dtype.byteorder() == '=' || dtype.byteorder() == '|';
}

inline bool is_half(Real real) { return real == Real::bfloat16 || real == Real::float16; }

// NumPy itself has no bfloat16. The dtype that ml_dtypes and others register has this name.
inline std::optional<Real> find_real(const py::dtype& dtype) {
  if (dtype.num() == py::detail::npy_api::NPY_FLOAT_) return Real::f32;
  if (dtype.num() == py::detail::npy_api::NPY_DOUBLE_) return Real::f64;
  if (dtype.itemsize() != 2) return std::nullopt;
  if (dtype.kind() == 'f') return Real::float16;
  if (text_of(dtype.attr("name")) == "bfloat16") return Real::bfloat16;
  return std::nullopt;
}

// Only dense steps take arrays in 16 bits.
inline Real real_type(const Argument& a, const py::array& array, bool halves_allowed = false) {
  const char* const wanted =
      halves_allowed ? "float32, float64, bfloat16 or float16" : "float32 or float64";
  const py::dtype dtype = array.dtype();
  if (!is_native(dtype)) {
    fail_type(a, "has byte-swapped dtype " + text_of(dtype.attr("str")) + "; native " + wanted +
                     " is needed");
  }
  const std::optional<Real> real = find_real(dtype);
  if (real && (halves_allowed || !is_half(*real))) return *real;
  fail_type(a, "has dtype " + text_of(dtype) + "; " + wanted + " is needed" +
                   (real ? " (step and step_many take 16 bits)" : ""));
}

inline IdType id_type(const Argument& a, const py::array& array) {
  const py::dtype dtype = array.dtype();
  const bool is_signed = dtype.kind() == 'i', is_unsigned = dtype.kind() == 'u';
  if ((is_signed || is_unsigned) && is_native(dtype)) {
    if (dtype.itemsize() == 4) return is_signed ? IdType::i32 : IdType::u32;
    if (dtype.itemsize() == 8) return is_signed ? IdType::i64 : IdType::u64;
  }
  fail_type(a, "has dtype " + text_of(dtype.attr("str")) +
                   "; native int32, int64, uint32 or uint64 is needed");
}

inline void check_same_real(const Argument& a, Real real, const py::array& array,
                            const char* reference, const py::array& reference_array) {
  if (real_type(a, array) != real) {
    fail_type(a, "has dtype " + text_of(array.dtype()) + ", but " + reference + " has " +
                     text_of(reference_array.dtype()) + "; nothing is cast");
  }
}

// Whether g or s of a dense step is in 16 bits. Its dtype is that of w, or float32 beside a w in 16
// bits.
inline bool check_storage(const Argument& a, Real real, const py::array& array,
                          const py::array& w) {
  const Real found = real_type(a, array, true);
  if (found == real) return is_half(real);
  if (is_half(real) && found == Real::f32) return false;
  const std::string type = text_of(w.dtype());
  fail_type(a, "has dtype " + text_of(array.dtype()) + ", but w has " + type +
                   (is_half(real) ? ", beside which float32 or " + type + " is needed"
                                  : "; nothing is cast"));
}

inline bool same_shape(const py::array& a, const py::array& b) {
  return a.ndim() == b.ndim() && std::equal(a.shape(), a.shape() + a.ndim(), b.shape());
}

// Whether s has one accumulator per row of w instead of one per element. Raises if it has neither.
inline bool has_row_state(const Argument& at_s, const py::array& w, const py::array& s) {
  if (same_shape(w, s)) return false;
  if (w.ndim() == 2 && s.ndim() == 1 && s.shape(0) == w.shape(0)) return true;
  fail_value(at_s, "has shape " + shape_of(s) + ", but w has " + shape_of(w) +
                       "; s has the shape of w, or [N] for a w of shape [N, D]");
}

// The bytes of an argument, to find overlaps. Memory that is written must not overlap any other.
struct Span {
  const char* begin;
  const char* end;
  bool written;
  Argument argument;

  Span(const Argument& a, const py::array& array, Access access)
      : begin(static_cast<const char*>(array.data())), end(begin + array.nbytes()),
        written(access == Access::write), argument(a) {}
};

inline void check_disjoint(const Span& a, const Span& b) {
  if ((a.written || b.written) && a.begin < b.end && b.begin < a.end) {
    throw py::value_error(a.argument.text() + " and " + b.argument.role() + " overlap in memory");
  }
}

// No written span overlaps any other: O(k log k) for k spans.
inline void check_all_disjoint(std::vector<Span> spans) {
  spans.erase(
      std::remove_if(spans.begin(), spans.end(), [](const Span& s) { return s.begin == s.end; }),
      spans.end());
  std::sort(spans.begin(), spans.end(),
            [](const Span& a, const Span& b) { return a.begin < b.begin; });
  const Span* widest = nullptr;   // the span so far that ends last
  const Span* written = nullptr;  // the same among the written ones
  for (const Span& span : spans) {
    if (widest != nullptr && span.written) check_disjoint(*widest, span);
    if (written != nullptr) check_disjoint(*written, span);
    if (widest == nullptr || span.end > widest->end) widest = &span;
    if (span.written && (written == nullptr || span.end > written->end)) written = &span;
  }
}

// "g[3, 5]" for the flat position 3 * columns + 5 of an array of that shape.
inline std::string element_text(const py::array& array, std::size_t flat) {
  std::string text;
  for (py::ssize_t axis = array.ndim(); axis-- > 0;) {
    const std::size_t length = static_cast<std::size_t>(array.shape(axis));
    text = std::to_string(flat % length) + (text.empty() ? "" : ", ") + text;
    flat /= length;
  }
  return "[" + text + "]";
}

[[noreturn]] inline void fail_nonfinite(const Argument& a, const py::array& array, std::size_t i,
                                        double value) {
  throw py::value_error(a.text() + element_text(array, i) + " = " + text_of(py::float_(value)) +
                        " is not finite, and on_nonfinite is 'raise'");
}

// Raises ValueError that names the first gradient that is not finite.
template <class T>
void check_finite(const Argument& a, const py::array& array) {
  const T* data = static_cast<const T*>(array.data());
  const std::size_t n = static_cast<std::size_t>(array.size());
  for (std::size_t i = 0; i < n; ++i) {
    if (!std::isfinite(data[i])) fail_nonfinite(a, array, i, static_cast<double>(data[i]));
  }
}

inline void check_finite(const Argument& a, const py::array& array, Half half) {
  const char* data = static_cast<const char*>(array.data());
  const std::size_t n = static_cast<std::size_t>(array.size());
  for (std::size_t i = 0; i < n; ++i) {
    float x;
    load_half(half, data + 2 * i, &x, 1);
    if (!std::isfinite(x)) fail_nonfinite(a, array, i, static_cast<double>(x));
  }
}

}  // namespace adagrad
