// Bags of rows of one or several tables, side by side: the forward pass of embedding bags, and the
// backward pass with a step of each table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "table.hpp"

namespace adagrad {

// What a function receives: `function` is what messages name, bags are those of the first table
// first, and each table has as many as another. `flat` says that rows of one element are scalars,
// so that there is a single table, and results and gradients have its shape.
struct BagsCall {
  const char* function;
  std::vector<const Table*> tables;
  const py::object& rows;
  const py::object& offsets;
  bool mean;
  const py::object& weights;
  std::size_t threads;
  bool flat;
};

// Raises unless rows and offsets are bags of these tables. Ids may be out of range.
void check_bags(const BagsCall& call);

// The results of the bags of each table, side by side.
py::array pool_bags(const BagsCall& call);

// Takes one step of each table, by steps[t], with the gradients of the results. Everything is
// checked before the first step, except that the sums and products of gradients are finite where
// there are several tables. Returns the number of skipped rows by table.
std::vector<std::size_t> step_bags(const BagsCall& call, const py::object& g,
                                   const std::vector<Step>& steps);

}  // namespace adagrad
