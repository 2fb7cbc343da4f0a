// The extension module adagrad._core: what the Python files call, and nothing a user calls himself.
#include "module.hpp"

#include <pybind11/stl.h>

#include <atomic>
#include <string>
#include <vector>

#include "../adagrad/savings.hpp"
#include "../isa/cpu.hpp"

namespace adagrad {
namespace {

std::atomic<std::size_t> default_threads{1}, least_work{std::size_t{1} << 19};

std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (const Kernels* table : runnable_kernels()) names.emplace_back(table->isa);
  return names;
}

Sharing sharing_named(const std::string& name) {
  if (name == "by account") return Sharing::by_account;
  if (name == "always") return Sharing::always;
  if (name == "restless") return Sharing::restless;
  throw pybind11::value_error("set_sharing: no such name: " + name);
}

}  // namespace

std::size_t num_threads(std::size_t asked) {
  return asked != 0 ? asked : default_threads.load(std::memory_order_relaxed);
}

std::size_t sparse_grain() { return least_work.load(std::memory_order_relaxed); }

}  // namespace adagrad

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  using namespace adagrad;
  m.doc() = "Compiled kernels of adagrad.";
  m.attr("__version__") = ADAGRAD_VERSION;
  m.def("isas", &isas, "Names of the instruction sets this machine can run, the best one last.");
  m.def("isa", [] { return std::string(kernels().isa); }, "Name of the instruction set in use.");
  m.def("use_isa", &use_isa, pybind11::arg("name"),
        "Use another one; False if it cannot run here.");
  m.def("num_threads", [] { return num_threads(0); }, "Threads that a call may use.");
  m.def(
      "set_num_threads", [](std::size_t n) { default_threads.store(n, std::memory_order_relaxed); },
      pybind11::arg("n"), "Set how many threads a call may use.");
  m.def(
      "set_sparse_grain",
      [](std::size_t elements) { return least_work.exchange(elements, std::memory_order_relaxed); },
      pybind11::arg("elements"), "Set the least work of a thread of a sparse call; the old one.");
  m.def(
      "set_sharing", [](const std::string& name) { Savings::set_sharing(sharing_named(name)); },
      pybind11::arg("name"),
      "For tests: how calls decide whether to use threads: 'by account', 'always', 'restless'.");
  m.def("compiler", [] {
#if defined(__VERSION__)
    return std::string(__VERSION__);
#else
    return std::string("unknown");
#endif
  });
  bind_rule(m);
  bind_calls(m);
  bind_dense(m);
  bind_rows(m);
  bind_coalesce(m);
  bind_bucket(m);
  bind_table(m);
  bind_tensors(m);
  bind_examples(m);
  bind_hashing(m);
  bind_pages(m);
  bind_learners(m);
  bind_matrix(m);
  bind_mixture(m);
  bind_scorer(m);
}
