// The learners of adagrad.ctr: models over the memory of tables, trained and asked in rounds.
#include <pybind11/stl.h>

#include <utility>
#include <vector>

#include "../ctr/sigmoid.hpp"
#include "learners.hpp"

namespace adagrad {
namespace {
