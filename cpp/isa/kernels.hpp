// The table of entry points that each instruction set fills in. Included by the kernels, which are
// compiled once per ISA, and by the bindings, which call through the table that cpu.hpp selects.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../adagrad/loops.hpp"

namespace adagrad {

template <class T>
struct KernelsOf {
  using Dense = std::size_t (*)(T* w, const T* g, T* s, std::size_t n, const Params<T>&);
  template <class Ids>
  using StepRows = std::size_t (*)(const Rows<T, Ids>&, const Params<T>&, Visit);

  Dense dense;  // all but decay_all return how many gradients or rows were skipped
  void (*decay_all)(T* w, std::size_t n, const Params<T>&);
  StepRows<EveryRow> every_row;  // dense, one accumulator per row
  StepRows<const std::uint32_t*> rows_u32;
  StepRows<const std::uint64_t*> rows_u64;
};

struct Kernels {
  const char* isa;
  KernelsOf<float> f32, limit_f32;
  KernelsOf<double> f64, limit_f64;
};

}  // namespace adagrad
