#include "calls.hpp"

#include <pybind11/pytypes.h>

#include <cmath>
#include <string>
#include <utility>

#include "module.hpp"

namespace adagrad {
namespace {

// What Python registers when it is imported, and never changes.
struct Registered {
  py::object rule_type;      // adagrad.Rule
  py::object textbook;       // Hyperparameters of Rule()
  py::object resolve;        // (lr, eps, rule, t) to (Hyperparameters, rate), or raises
  py::object check_threads;  // threads to an int, or raises
  PyObject* compiled;        // "_compiled"
};
Registered* registered = nullptr;  // never freed: the interpreter may be gone before its destructor

// Whether x is a float that any rule takes.
bool is_rate(py::handle x) {
  return PyFloat_CheckExact(x.ptr()) && std::isfinite(PyFloat_AS_DOUBLE(x.ptr())) &&
         PyFloat_AS_DOUBLE(x.ptr()) >= 0.0;
}

}  // namespace

RuleArgument::RuleArgument(py::handle lr, py::handle eps, py::handle rule, py::handle t)
    : textbook_(*registered->textbook.cast<const Hyperparameters*>()) {
  if (read(lr, eps, rule, t)) return;
  const py::tuple found = registered->resolve(lr, eps, rule, t);
  point_to(found[0]);
  lr_ = py::cast<double>(found[1]);
}

void RuleArgument::point_to(py::object compiled) {
  compiled_ = std::move(compiled);
  rule_ = compiled_.cast<const Hyperparameters*>();
}

bool RuleArgument::read(py::handle lr, py::handle eps, py::handle rule, py::handle t) {
  if (!t.is_none()) return false;
  const bool by_position = rule.is_none();
  const py::handle given = by_position ? lr : rule;
  if (Py_TYPE(given.ptr()) == reinterpret_cast<PyTypeObject*>(registered->rule_type.ptr())) {
    if (!eps.is_none() || (!by_position && !lr.is_none())) return false;
    PyObject* const compiled = PyObject_GetAttr(given.ptr(), registered->compiled);
    if (compiled == nullptr) throw py::error_already_set();
    point_to(py::reinterpret_steal<py::object>(compiled));
    lr_ = rule_->first_lr;
    return rule_->lr_decay == 0.0;
  }
  if (!by_position || !(lr.is_none() || is_rate(lr)) || !(eps.is_none() || is_rate(eps))) {
    return false;
  }
  lr_ = lr.is_none() ? textbook_.first_lr : PyFloat_AS_DOUBLE(lr.ptr());
  if (!eps.is_none()) textbook_.set_eps(PyFloat_AS_DOUBLE(eps.ptr()));
  return true;
}

std::size_t threads_argument(py::handle threads) {
  if (threads.is_none()) return 0;
  return py::cast<std::size_t>(registered->check_threads(threads));
}

void check_policy(py::handle duplicates) {
  if (duplicates.is_none()) return;
  for (const Name<Duplicates>& entry : Names<Duplicates>::all) {
    if (PyUnicode_Check(duplicates.ptr()) &&
        PyUnicode_CompareWithASCIIString(duplicates.ptr(), entry.name) == 0) {
      return;
    }
  }
  std::string known;
  for (const Name<Duplicates>& entry : Names<Duplicates>::all) {
    known += (known.empty() ? "'" : ", '") + std::string(entry.name) + "'";
  }
  throw py::value_error("duplicates must be one of " + known + ", got " +
                        std::string(py::repr(duplicates)));
}

bool flag_argument(const char* name, py::handle flag) {
  py::detail::make_caster<bool> caster;
  if (!caster.load(flag, true)) {
    throw py::type_error(std::string(name) + " must be a bool, got " + std::string(py::repr(flag)));
  }
  return caster;
}

void define(py::module_& m, const char* name, const char* doc, PyCFunction function) {
  // Python keeps a pointer to the definition for as long as it runs.
  auto* const definition = new PyMethodDef{name, function, METH_FASTCALL, doc};
  const py::str module(m.attr("__name__"));
  m.attr(name) =
      py::reinterpret_steal<py::object>(PyCFunction_NewEx(definition, nullptr, module.ptr()));
}

void bind_calls(py::module_& m) {
  m.def(
      "register_rules",
      [](py::object rule_type, py::object textbook, py::object resolve, py::object check_threads) {
        registered =
            new Registered{std::move(rule_type), std::move(textbook), std::move(resolve),
                           std::move(check_threads), PyUnicode_InternFromString("_compiled")};
      },
      py::arg("rule_type"), py::arg("textbook"), py::arg("resolve"), py::arg("check_threads"),
      "How calls read their rule: adagrad.Rule, what Rule() compiles to, and two functions.");
}

}  // namespace adagrad
