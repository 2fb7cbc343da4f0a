// The encoder's kernels.
#include "module.hpp"

namespace adagrad {

void bind_hashing(pybind11::module_&) {}

}  // namespace adagrad
