// Compiled once per instruction set, with that set's flags and ADAGRAD_KERNELS naming the table:
// see isa.cmake. Nothing but that table may have external linkage, or the linker could give a
// baseline caller a function that was compiled for a newer machine.
#include "kernels.hpp"

#include "../adagrad/half_rows.hpp"
#include "../adagrad/mixed.hpp"
#include "../adagrad/owners.hpp"
#include "../adagrad/pooling.hpp"
#include "../adagrad/sums.hpp"

namespace adagrad {
namespace {

template <class T>
std::size_t dense_entry(T* w, const T* g, T* s, std::size_t n, const Params<T>& params) {
  with_form(params, [&](auto form) { dense<decltype(form)>(w, g, s, n, params); });
  return params.skip_nonfinite ? count_nonfinite(g, n) : 0;
}

// Tells the processor that the upper halves of vector registers are empty. While they are not, each
// SSE instruction of the caller waits for the one before it, and compilers forget to tell after
// some loops over hand-written vectors.
inline void clear_upper_halves() {
#if defined(__GNUC__) && defined(__AVX__)
  _mm256_zeroupper();
#endif
}

template <class T, class Ids>
std::size_t rows_entry(const Target<T>& table, const Batch<T, Ids>& batch, const Params<T>& params,
                       Visit visit) {
  const std::size_t skipped = with_form(
      params, [&](auto form) { return visit_rows<decltype(form)>(table, batch, params, visit); });
  clear_upper_halves();
  return skipped;
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

template <class T, class Id>
constexpr KernelsById<T, Id> kernels_by() {
  return {rows_entry<T, const Id*>, gather_rows<T, Id>, pool_bags<T, Id>,
          collect_entry<T, Id>,     sum_rows<T, Id>,    add_rows<T, Id>};
}

template <class T>
constexpr KernelsOf<T> kernels_of() {
  return {dense_entry<T>,
          decay_rows<T>,
          rows_entry<T, EveryRow>,
          kernels_by<T, std::uint32_t>(),
          kernels_by<T, std::uint64_t>(),
          initialise_rows<T>,
          fade_rows<T>};
}

template <class Id>
constexpr HalfKernelsById<Id> half_kernels_by() {
  return {half_entry<Id>, gather_half_rows<Id>, pool_half_bags<Id>};
}

constexpr HalfKernels half_kernels() {
  return {decay_half_rows, half_kernels_by<std::uint32_t>(), half_kernels_by<std::uint64_t>(),
          initialise_half_rows, fade_half_rows};
}

}  // namespace

extern const CtrKernels ADAGRAD_CTR_KERNELS;
extern const Kernels ADAGRAD_KERNELS;
const Kernels ADAGRAD_KERNELS = {
    ADAGRAD_ISA,    kernels_of<float>(),        kernels_of<double>(),       mixed_entry,
    half_kernels(), count_owned<std::uint32_t>, count_owned<std::uint64_t>, &ADAGRAD_CTR_KERNELS};

}  // namespace adagrad
