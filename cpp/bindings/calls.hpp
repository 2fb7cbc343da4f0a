// Arguments of the public functions as a user passes them: a rate or a rule, a number of threads, a
// policy. What most calls pass is read here; the rest, and every error, is left to Python.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <exception>
#include <new>
#include <stdexcept>

#include "hyperparameters.hpp"

namespace adagrad {

namespace py = pybind11;

// The rule of a call and its rate.
class RuleArgument {
 public:
  // Any may be None.
  RuleArgument(py::handle lr, py::handle eps, py::handle rule, py::handle t);

  const Hyperparameters& rule() const { return *rule_; }
  double lr() const { return lr_; }

  // What a step that skipped so many gradients returns.
  py::object result(std::size_t skipped) const {
    return rule_->on_nonfinite == NonFinite::skip ? py::object(py::int_(skipped))
                                                  : py::object(py::none());
  }

 private:
  bool read(py::handle lr, py::handle eps, py::handle rule, py::handle t);
  void point_to(py::object compiled);

  Hyperparameters textbook_;
  py::object compiled_;  // keeps *rule_ alive
  const Hyperparameters* rule_ = &textbook_;
  double lr_ = 0.0;
};

// A number of threads; 0, which stands for the library's setting, if None.
std::size_t threads_argument(py::handle threads);

// Raises ValueError unless `duplicates` is None or the name of a policy.
void check_policy(py::handle duplicates);

// The truth of a flag. What has none, such as a string, raises TypeError.
bool flag_argument(const char* name, py::handle flag);

// Defines a function that takes exactly `count` arguments, by position, in m. pybind11's own
// dispatcher costs as much as a step of 500 elements. `doc` begins with the signature.
void define(py::module_& m, const char* name, const char* doc, PyCFunction function);

using Arguments = PyObject* const*;

// f(arguments) with C++ exceptions raised in Python, as pybind11 raises them.
template <std::size_t count, py::object (*f)(Arguments)>
PyObject* guarded(PyObject*, PyObject* const* arguments, Py_ssize_t given) {
  if (given != static_cast<Py_ssize_t>(count)) {
    PyErr_Format(PyExc_TypeError, "%zu arguments are needed, got %zd", count, given);
    return nullptr;
  }
  try {
    return f(arguments).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc& error) {
    PyErr_SetString(PyExc_MemoryError, error.what());
  } catch (const std::invalid_argument& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

template <std::size_t count, py::object (*f)(Arguments)>
void define(py::module_& m, const char* name, const char* doc) {
  // The protocol of METH_FASTCALL goes through a cast; by way of void (*)() no compiler warns.
  define(m, name, doc,
         reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&guarded<count, f>)));
}

}  // namespace adagrad
