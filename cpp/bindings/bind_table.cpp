// Binds _core.Table, and the calls on several tables.
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "bags.hpp"
#include "calls.hpp"
#include "table.hpp"

namespace adagrad {
namespace {

// The rule of a step of one table, its rate, the table's seed and the number of the step.
using StepOf = std::tuple<const Hyperparameters*, double, std::uint64_t, std::uint64_t>;

// (table, rows, g, rule, lr, duplicates, check_unique, seed, steps, threads): what Table.step of
// Python passes.
py::object step_table(Arguments given) {
  const auto of = [&](std::size_t i) { return py::reinterpret_borrow<py::object>(given[i]); };
  check_policy(given[5]);
  const py::object duplicates = of(5);
  const Step how{*py::handle(given[3]).cast<const Hyperparameters*>(),
                 py::handle(given[4]).cast<double>(),
                 duplicates,
                 flag_argument("check_unique", given[6]),
                 py::handle(given[7]).cast<std::uint64_t>(),
                 py::handle(given[8]).cast<std::uint64_t>(),
                 py::handle(given[9]).cast<std::size_t>()};
  Table& table = *py::handle(given[0]).cast<Table*>();
  return py::int_(table.step(of(1), of(2), py::none(), how));
}

}  // namespace

void bind_table(py::module_& m) {
  define<10, step_table>(
      m, "step_table",
      "step_table(table, rows, g, rule, lr, duplicates, check_unique, seed, steps, threads)\n\n"
      "Table.step, for calls that are made often.");
  py::class_<Table>(m, "Table")
      .def(py::init<py::array, std::size_t, std::size_t, const std::string&, bool, bool, bool,
                    std::uint64_t>(),
           py::arg("memory"), py::arg("rows"), py::arg("dim"), py::arg("dtype"),
           py::arg("half_state"), py::arg("row_state"), py::arg("whole_pairs"),
           py::arg("first_row") = 0)
      .def(
          "step",
          [](Table& table, const py::object& rows, const py::object& g, const Hyperparameters& rule,
             double lr, const py::object& duplicates, bool check_unique, std::uint64_t seed,
             std::uint64_t steps, std::size_t threads, const py::object& positions) {
            return table.step(rows, g, positions,
                              {rule, lr, duplicates, check_unique, seed, steps, threads});
          },
          py::arg("rows"), py::arg("g"), py::arg("rule"), py::arg("lr"), py::arg("duplicates"),
          py::arg("check_unique"), py::arg("seed"), py::arg("steps"), py::arg("threads"),
          py::arg("positions") = py::none())
      .def("check_step", &Table::check_step, py::arg("n"), py::arg("g"), py::arg("rule"),
           py::arg("duplicates"))
      .def(
          "step_pooled",
          [](const Table& table, const py::object& rows, const py::object& offsets,
             const py::object& g, bool mean, const py::object& weights, const Hyperparameters& rule,
             double lr, const py::object& duplicates, std::uint64_t seed, std::uint64_t steps,
             std::size_t threads) {
            const std::vector<Step> how{{rule, lr, duplicates, false, seed, steps, threads}};
            return step_bags(
                {"Table.step_pooled", {&table}, rows, offsets, mean, weights, threads, true}, g,
                how)[0];
          },
          py::arg("rows"), py::arg("offsets"), py::arg("g"), py::arg("mean"), py::arg("weights"),
          py::arg("rule"), py::arg("lr"), py::arg("duplicates"), py::arg("seed"), py::arg("steps"),
          py::arg("threads"))
      .def("gather", &Table::gather, py::arg("rows"), py::arg("out"), py::arg("threads"))
      .def(
          "pool",
          [](const Table& table, const py::object& rows, const py::object& offsets, bool mean,
             const py::object& weights, std::size_t threads) {
            return pool_bags({"Table.pool", {&table}, rows, offsets, mean, weights, threads, true});
          },
          py::arg("rows"), py::arg("offsets"), py::arg("mean"), py::arg("weights"),
          py::arg("threads"))
      .def("initialise", &Table::initialise, py::arg("init"), py::arg("scale"), py::arg("seed"),
           py::arg("accumulator"), py::arg("threads"))
      .def("fade", &Table::fade, py::arg("gamma"), py::arg("floor"), py::arg("seed"),
           py::arg("steps"), py::arg("threads"));

  m.def(
      "check_bags",
      [](const std::vector<const Table*>& tables, const py::object& rows,
         const py::object& offsets) {
        check_bags({"TableEmbeddingBag", tables, rows, offsets, false, py::none(), 1, false});
      },
      py::arg("tables"), py::arg("rows"), py::arg("offsets"),
      "Raise unless rows and offsets are bags of these tables; ids may be out of range.");
  m.def(
      "pool_tables",
      [](const std::vector<const Table*>& tables, const py::object& rows, const py::object& offsets,
         bool mean, const py::object& weights, std::size_t threads) {
        return pool_bags(
            {"TableEmbeddingBag", tables, rows, offsets, mean, weights, threads, false});
      },
      py::arg("tables"), py::arg("rows"), py::arg("offsets"), py::arg("mean"), py::arg("weights"),
      py::arg("threads"), "Pool the bags of each table, side by side.");
  m.def(
      "step_tables",
      [](const std::vector<const Table*>& tables, const py::object& rows, const py::object& offsets,
         const py::object& g, bool mean, const py::object& weights,
         const std::vector<StepOf>& steps, std::size_t threads) {
        const py::none by_rule;
        std::vector<Step> how;
        for (const auto& [rule, lr, seed, count] : steps) {
          how.push_back({*rule, lr, by_rule, false, seed, count, threads});
        }
        return step_bags(
            {"TableEmbeddingBag", tables, rows, offsets, mean, weights, threads, false}, g, how);
      },
      py::arg("tables"), py::arg("rows"), py::arg("offsets"), py::arg("g"), py::arg("mean"),
      py::arg("weights"), py::arg("steps"), py::arg("threads"),
      "One step of each table, by the gradients of pool_tables(); the skipped rows of each.");
}

}  // namespace adagrad
