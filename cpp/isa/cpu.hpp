// Which kernels this machine can run, and which of them is in use.
#pragma once

#include <string>
#include <vector>

#include "kernels.hpp"

namespace adagrad {

// Every table that is compiled in and that this machine can run, the best one last.
const std::vector<const Kernels*>& runnable_kernels();

// The table in use: the best one, until use_isa() names another.
const Kernels& kernels();

// False, and no change, where no runnable table has that name.
bool use_isa(const std::string& name);

template <class T>
const KernelsOf<T>& kernels_for(bool limit);
template <>
inline const KernelsOf<float>& kernels_for<float>(bool limit) {
  return limit ? kernels().limit_f32 : kernels().f32;
}
template <>
inline const KernelsOf<double>& kernels_for<double>(bool limit) {
  return limit ? kernels().limit_f64 : kernels().f64;
}

}  // namespace adagrad
