// The kernels that this machine can run, and the ones in use.
#pragma once

#include <string>
#include <vector>

#include "kernels.hpp"

namespace adagrad {

// Every table that is compiled in and that this machine can run, the best one last.
const std::vector<const Kernels*>& runnable_kernels();

// The table in use: the best one, until use_isa() names another.
const Kernels& kernels();

// False, and no change, if no runnable table has that name.
bool use_isa(const std::string& name);

}  // namespace adagrad
