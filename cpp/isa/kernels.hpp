// The table of entry points that each instruction set fills in. Included by the kernels, which are
// compiled once per ISA, and by the bindings, which call through the table that cpu.hpp selects.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../adagrad/half_rows.hpp"
#include "../adagrad/mixed.hpp"
#include "../adagrad/owners.hpp"
#include "../adagrad/sums.hpp"

namespace adagrad {

template <class T>
struct KernelsOf {
  using Dense = std::size_t (*)(T* w, const T* g, T* s, std::size_t n, const Params<T>&);
  template <class Ids>
  using StepRows = std::size_t (*)(const Target<T>&, const Batch<T, Ids>&, const Params<T>&, Visit);

  Dense dense;  // all but decay_rows return how many gradients or rows were skipped
  void (*decay_rows)(const Target<T>&, std::size_t first, std::size_t last, const Params<T>&);
  StepRows<EveryRow> every_row;  // dense, one accumulator per row
  StepRows<const std::uint32_t*> rows_u32;
  StepRows<const std::uint64_t*> rows_u64;

  template <class Id>
  using Gather = void (*)(const Target<T>&, const Id* ids, std::size_t n, T* out);
  template <class Id>
  using Pool = void (*)(const Target<T>&, const Bags<T, Id>&, std::size_t all, std::size_t first,
                        std::size_t last);
  Gather<std::uint32_t> gather_u32;
  Gather<std::uint64_t> gather_u64;
  Pool<std::uint32_t> pool_u32;
  Pool<std::uint64_t> pool_u64;
  template <class Id>
  using Collect = std::size_t (*)(const Owner&, const Id* ids, const T* g, std::size_t n,
                                  std::uint32_t* to_ids, T* to_g);
  Collect<std::uint32_t> collect_u32;
  Collect<std::uint64_t> collect_u64;
  template <class Position>
  using Sum = void (*)(const T* g, const Position* at, std::size_t n, std::size_t dim, T* to);
  Sum<std::uint32_t> sum_u32;
  Sum<std::uint64_t> sum_u64;
  template <class Position>
  using Add = void (*)(const T* g, const Position* at, const std::uint32_t* slots, std::size_t n,
                       std::size_t dim, T* sums);
  Add<std::uint32_t> add_u32;
  Add<std::uint64_t> add_u64;
  void (*initialise)(const Target<T>&, const Start&, std::size_t first, std::size_t last);
  void (*fade)(const Target<T>&, std::size_t first, std::size_t last, T gamma, T floor);
};

// The same for tables that are stored in 16 bits.
struct HalfKernels {
  template <class Id>
  using StepRows = std::size_t (*)(const HalfTable&, const Batch<float, const Id*>&,
                                   const Params<float>&, Visit, const HalfScratch&);
  template <class Id>
  using Gather = void (*)(const HalfTable&, const Id* ids, std::size_t n, float* out);
  template <class Id>
  using Pool = void (*)(const HalfTable&, const Bags<float, Id>&, std::size_t all,
                        std::size_t first, std::size_t last);

  void (*decay_rows)(const HalfTable&, std::size_t first, std::size_t last, const Params<float>&,
                     const HalfScratch&);
  StepRows<std::uint32_t> rows_u32;
  StepRows<std::uint64_t> rows_u64;
  Gather<std::uint32_t> gather_u32;
  Gather<std::uint64_t> gather_u64;
  Pool<std::uint32_t> pool_u32;
  Pool<std::uint64_t> pool_u64;
  void (*initialise)(const HalfTable&, const Start&, std::size_t first, std::size_t last,
                     const HalfScratch&);
  void (*fade)(const HalfTable&, std::size_t first, std::size_t last, float gamma, float floor,
               const HalfScratch&);
};

struct CtrKernels;

struct Kernels {
  template <class Id>
  using Count = std::size_t (*)(const Owner&, const Id* ids, std::size_t n);

  const char* isa;
  KernelsOf<float> f32, limit_f32;
  KernelsOf<double> f64, limit_f64;
  std::size_t (*mixed)(const Mixed&, const Params<float>&);
  std::size_t (*limit_mixed)(const Mixed&, const Params<float>&);
  HalfKernels half;
  Count<std::uint32_t> count_u32;
  Count<std::uint64_t> count_u64;
  const CtrKernels* ctr;
};

}  // namespace adagrad
