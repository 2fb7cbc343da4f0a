// Compiled once per instruction set, with that set's flags and ADAGRAD_KERNELS naming the table:
// see isa.cmake. Nothing but that table may have external linkage, or the linker could give a
// baseline caller a function that was compiled for a newer machine.
#include "kernels.hpp"

namespace adagrad {
namespace {

template <class T>
std::size_t dense_entry(T* w, const T* g, T* s, std::size_t n, const Params<T>& params) {
  with_form(params, [&](auto form) { dense<decltype(form)>(w, g, s, n, params); });
  return params.skip_nonfinite ? count_nonfinite(g, n) : 0;
}

template <class T, class Ids>
std::size_t rows_entry(const Target<T>& table, const Batch<T, Ids>& batch, const Params<T>& params,
                       Visit visit) {
  return with_form(
      params, [&](auto form) { return visit_rows<decltype(form)>(table, batch, params, visit); });
}

template <class T>
std::size_t dense_limit(T* w, const T* g, T* s, std::size_t n, const Params<T>& params) {
  dense<Limit>(w, g, s, n, params);
  return 0;
}

template <class T, class Ids>
std::size_t rows_limit(const Target<T>& table, const Batch<T, Ids>& batch, const Params<T>& params,
                       Visit visit) {
  return visit_rows<Limit>(table, batch, params, visit);
}

template <class Id>
std::size_t half_entry(const HalfTable& table, const Batch<float, const Id*>& batch,
                       const Params<float>& params, Visit visit, const HalfScratch& scratch) {
  return with_form(params, [&](auto form) {
    return visit_half_rows<decltype(form)>(table, batch, params, visit, scratch);
  });
}

std::size_t mixed_entry(const Mixed& arrays, const Params<float>& params) {
  return with_form(params, [&](auto form) { return mixed_step<decltype(form)>(arrays, params); });
}

template <class T, class Id>
std::size_t collect_entry(const Owner& owner, const Id* ids, const T* g, std::size_t n,
                          std::uint32_t* to_ids, T* to_g) {
  return collect(owner, ids, g, n, to_ids, to_g);
}

template <class T>
constexpr KernelsOf<T> kernels_of() {
  using U32 = std::uint32_t;
  using U64 = std::uint64_t;
  return {dense_entry<T>,
          decay_rows<T>,
          rows_entry<T, EveryRow>,
          rows_entry<T, const U32*>,
          rows_entry<T, const U64*>,
          gather_rows<T, U32>,
          gather_rows<T, U64>,
          pool_bags<T, U32>,
          pool_bags<T, U64>,
          collect_entry<T, U32>,
          collect_entry<T, U64>,
          sum_rows<T, U32>,
          sum_rows<T, U64>,
          add_rows<T, U32>,
          add_rows<T, U64>,
          initialise_rows<T>,
          fade_rows<T>};
}

// The same memory, with the least arithmetic.
template <class T>
constexpr KernelsOf<T> limits_of() {
  KernelsOf<T> kernels = kernels_of<T>();
  kernels.dense = dense_limit<T>;
  kernels.every_row = rows_limit<T, EveryRow>;
  kernels.rows_u32 = rows_limit<T, const std::uint32_t*>;
  kernels.rows_u64 = rows_limit<T, const std::uint64_t*>;
  return kernels;
}

constexpr HalfKernels half_kernels() {
  using U32 = std::uint32_t;
  using U64 = std::uint64_t;
  return {decay_half_rows,       half_entry<U32>,       half_entry<U64>,
          gather_half_rows<U32>, gather_half_rows<U64>, pool_half_bags<U32>,
          pool_half_bags<U64>,   initialise_half_rows,  fade_half_rows};
}

}  // namespace

extern const CtrKernels ADAGRAD_CTR_KERNELS;
extern const Kernels ADAGRAD_KERNELS;
const Kernels ADAGRAD_KERNELS = {ADAGRAD_ISA,
                                 kernels_of<float>(),
                                 limits_of<float>(),
                                 kernels_of<double>(),
                                 limits_of<double>(),
                                 mixed_entry,
                                 mixed_step<Limit>,
                                 half_kernels(),
                                 count_owned<std::uint32_t>,
                                 count_owned<std::uint64_t>,
                                 &ADAGRAD_CTR_KERNELS};

}  // namespace adagrad
