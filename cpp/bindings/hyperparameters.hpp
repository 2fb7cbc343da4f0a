// What adagrad.Rule hands to the kernels, by its name in Python.
#pragma once

#include "../adagrad/options.hpp"

namespace adagrad {

using Hyperparameters = Options;

}  // namespace adagrad
