// _core.tensor_triples: tensors of torch as arrays for a step, read by the exchange API of DLPack.
// It costs a tenth of Tensor.numpy(), and leaves the tensors as they are.
#include <pybind11/numpy.h>

#include <cstddef>
#include <cstdint>

#include "module.hpp"

namespace py = pybind11;

namespace adagrad {
namespace {

// The layouts that DLPack fixes: https://dmlc.github.io/dlpack/latest/c_api.html
struct DLTensor {
  void* data;
  std::int32_t device_type, device_id;
  std::int32_t ndim;
  std::uint8_t code, bits;
  std::uint16_t lanes;
  std::int64_t* shape;
  std::int64_t* strides;
  std::uint64_t byte_offset;
};

struct ExchangeApi {
  std::uint32_t major, minor;
  ExchangeApi* previous;
  void* of_managed_tensors[3];
  int (*read)(void* object, DLTensor* tensor);
  void* current_work_stream;
};

constexpr std::int32_t on_cpu = 1;
constexpr std::uint8_t is_float = 2;

// Reads tensors of exactly two types: of a subclass, memory may not be what a tensor consists of.
class Reader {
 public:
  Reader(const py::capsule& capsule, const py::tuple& types) {
    const ExchangeApi* api = capsule.get_pointer<ExchangeApi>();
    while (api != nullptr && api->major != 1) api = api->previous;
    if (api != nullptr) read_ = api->read;
    if (types.size() != 2) throw py::value_error("tensor_triples: two types are needed");
    types_[0] = py::object(types[0]).ptr();
    types_[1] = py::object(types[1]).ptr();
  }

  // Whether the tensor has the dtype and shape of an array in C order, and memory, which starts
  // `at`. Torch raises for tensors without.
  bool is_like(PyObject* tensor, const py::array& array, void** at) const {
    DLTensor found{};
    if (read_(tensor, &found) != 0) {
      PyErr_Clear();
      return false;
    }
    if (found.device_type != on_cpu || found.code != is_float || found.lanes != 1) return false;
    if (found.data == nullptr || found.ndim != array.ndim()) return false;
    std::int64_t step = 1;
    for (py::ssize_t i = array.ndim(); i-- > 0;) {
      if (found.shape[i] != array.shape(i) || found.strides == nullptr) return false;
      if (found.shape[i] != 1 && found.strides[i] != step) return false;
      step *= found.shape[i];
    }
    using py::detail::npy_api;
    const int num = array.dtype().num();
    if (!(num == npy_api::NPY_FLOAT_ && found.bits == 32) &&
        !(num == npy_api::NPY_DOUBLE_ && found.bits == 64)) {
      return false;
    }
    *at = static_cast<char*>(found.data) + found.byte_offset;
    return true;
  }

  bool is_view(PyObject* array, PyObject* tensor) const {
    if (tensor == nullptr || !is_known(tensor) || !py::isinstance<py::array>(array)) return false;
    const auto view = py::reinterpret_borrow<py::array>(array);
    void* at = nullptr;
    return (view.flags() & py::array::c_style) != 0 && is_like(tensor, view, &at) &&
           at == view.data();
  }

  // A view of a dense gradient that can be read as it is, or null.
  py::object gradient(PyObject* g, const py::array& w, const py::handle& strided) const {
    static PyObject* const layout = PyUnicode_InternFromString("layout");
    static PyObject* const is_neg = PyUnicode_InternFromString("is_neg");
    void* at = nullptr;
    if (!is_known(g) || !own(PyObject_GetAttr(g, layout)).is(strided)) return {};
    if (own(PyObject_CallMethodNoArgs(g, is_neg)).ptr() != Py_False) return {};
    if (!is_like(g, w, &at)) return {};
    // py::array would compute strides, and allocate for them.
    const py::detail::npy_api& api = py::detail::npy_api::get();
    py::object view = own(api.PyArray_NewFromDescr_(
        api.PyArray_Type_, w.dtype().release().ptr(), static_cast<int>(w.ndim()),
        const_cast<py::ssize_t*>(w.shape()), nullptr, at, py::array::c_style, nullptr));
    Py_INCREF(g);
    if (api.PyArray_SetBaseObject_(view.ptr(), g) != 0) throw py::error_already_set();
    return view;
  }

 private:
  bool is_known(PyObject* tensor) const {
    PyObject* const type = reinterpret_cast<PyObject*>(Py_TYPE(tensor));
    return read_ != nullptr && (type == types_[0] || type == types_[1]);
  }

  static py::object own(PyObject* result) {
    if (result == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(result);
  }

  int (*read_)(void*, DLTensor*) = nullptr;
  PyObject* types_[2];
};

PyObject* item(const py::list& list, std::size_t i) {
  return PyList_GET_ITEM(list.ptr(), static_cast<py::ssize_t>(i));
}

// The value of a key of a dict, or null.
PyObject* find(PyObject* dict, PyObject* key) {
  if (dict == nullptr || !PyDict_Check(dict)) return nullptr;
  PyObject* const value = PyDict_GetItemWithError(dict, key);
  if (value == nullptr && PyErr_Occurred()) throw py::error_already_set();
  return value;
}

py::list tensor_triples(const py::capsule& api, const py::tuple& types, const py::handle& strided,
                        const py::list& params, const py::handle& state, const py::list& arrays,
                        const py::list& grads) {
  static PyObject* const sum = PyUnicode_InternFromString("sum");
  static PyObject* const step = PyUnicode_InternFromString("step");
  const Reader reader(api, types);
  const std::size_t n = grads.size();
  if (params.size() != n || arrays.size() != n) {
    throw py::value_error("tensor_triples: params, arrays and grads must have one length");
  }
  py::list triples(n);
  for (std::size_t i = 0; i < n; ++i) {
    py::object triple = py::none();
    PyObject *const g = item(grads, i), *const p = item(params, i), *const of = item(arrays, i);
    if (g != Py_None && of != Py_None) {
      const auto known = py::reinterpret_borrow<py::tuple>(of);  // w, s and the step number
      PyObject* const entries = find(state.ptr(), p);
      if (reader.is_view(known[0].ptr(), p) && reader.is_view(known[1].ptr(), find(entries, sum)) &&
          reader.is_view(known[2].ptr(), find(entries, step))) {
        const py::object view =
            reader.gradient(g, py::reinterpret_borrow<py::array>(known[0]), strided);
        if (view) triple = py::make_tuple(known[0], view, known[1]);
      }
    }
    PyList_SET_ITEM(triples.ptr(), static_cast<py::ssize_t>(i), triple.release().ptr());
  }
  return triples;
}

}  // namespace

void bind_tensors(py::module_& m) {
  m.def("tensor_triples", &tensor_triples, py::arg("api"), py::arg("types"), py::arg("strided"),
        py::arg("params"), py::arg("state"), py::arg("arrays"), py::arg("grads"),
        "Triples (w, g, s) for step_many. None for a gradient that is not plain, or whose param,\n"
        "accumulator and step number are not, as they are now, the memory of its arrays.");
}

}  // namespace adagrad
