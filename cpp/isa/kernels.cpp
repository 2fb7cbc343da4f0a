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
std::size_t rows_entry(const Rows<T, Ids>& rows, const Params<T>& params, Visit visit) {
  return with_form(params,
                   [&](auto form) { return visit_rows<decltype(form)>(rows, params, visit); });
}

template <class T>
std::size_t dense_limit(T* w, const T* g, T* s, std::size_t n, const Params<T>& params) {
  dense<Limit>(w, g, s, n, params);
  return 0;
}

template <class T, class Ids>
std::size_t rows_limit(const Rows<T, Ids>& rows, const Params<T>& params, Visit visit) {
  return visit_rows<Limit>(rows, params, visit);
}

template <class T>
constexpr KernelsOf<T> kernels_of() {
  return {dense_entry<T>, decay_all<T>, rows_entry<T, EveryRow>,
          rows_entry<T, const std::uint32_t*>, rows_entry<T, const std::uint64_t*>};
}

template <class T>
constexpr KernelsOf<T> limits_of() {
  return {dense_limit<T>, decay_all<T>, rows_limit<T, EveryRow>,
          rows_limit<T, const std::uint32_t*>, rows_limit<T, const std::uint64_t*>};
}

}  // namespace

extern const Kernels ADAGRAD_KERNELS;
const Kernels ADAGRAD_KERNELS = {ADAGRAD_ISA, kernels_of<float>(), limits_of<float>(),
                                 kernels_of<double>(), limits_of<double>()};

}  // namespace adagrad
