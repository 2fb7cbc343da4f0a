// The tables of entry points that each instruction set fills in. The kernels, which are compiled
// once per set, define them; the rest of the library calls through the one that cpu.hpp selects.
//
// In front of every entry, callers have checked that ids are in range and arrays disjoint. Arrays
// are aligned to their types, rows of a HalfTable to nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../adagrad/types.hpp"

namespace adagrad {

// The kernels that read ids, or positions, of one type.
template <class T, class Id>
struct KernelsById {
  // The number of rows that on_nonfinite="skip" left alone.
  std::size_t (*step)(const Target<T>&, const Batch<T, const Id*>&, const Params<T>&, Visit);
  // out + i * dim = row ids[i]
  void (*gather)(const Target<T>&, const Id* ids, std::size_t n, T* out);
  // Bags [first, last), of `all` ids in all bags
  void (*pool)(const Target<T>&, const Bags<T, Id>&, std::size_t all, std::size_t first,
               std::size_t last);
  // The ids that are owned and their gradients; how many they are. Room for 8 more is needed.
  std::size_t (*collect)(const Owner&, const Id* ids, const T* g, std::size_t n,
                         std::uint32_t* to_ids, T* to_g);
  // to = the sum of the rows g + at[i] * dim, in order; n is at least 1
  void (*sum)(const T* g, const Id* at, std::size_t n, std::size_t dim, T* to);
  // sums + k * dim = the row g + first[k] * dim, for k < count; then
  // sums + of[r] * dim += the row g + at[r] * dim, for r < repeats, in order
  void (*add)(const T* g, const Id* first, std::size_t count, const Id* at, const std::uint32_t* of,
              std::size_t repeats, std::size_t dim, T* sums);
};

template <class T>
struct KernelsOf {
  // The number of gradients that on_nonfinite="skip" left alone.
  std::size_t (*dense)(T* w, const T* g, T* s, std::size_t n, const Params<T>&);
  void (*decay_rows)(const Target<T>&, std::size_t first, std::size_t last, const Params<T>&);
  // Dense, with one accumulator per row
  std::size_t (*every_row)(const Target<T>&, const Batch<T, EveryRow>&, const Params<T>&, Visit);
  KernelsById<T, std::uint32_t> u32;
  KernelsById<T, std::uint64_t> u64;
  void (*initialise)(const Target<T>&, const Start&, std::size_t first, std::size_t last);
  void (*fade)(const Target<T>&, std::size_t first, std::size_t last, T gamma, T floor);
};

// The same for tables that are stored in 16 bits.
template <class Id>
struct HalfKernelsById {
  std::size_t (*step)(const HalfTable&, const Batch<float, const Id*>&, const Params<float>&, Visit,
                      const HalfScratch&);
  void (*gather)(const HalfTable&, const Id* ids, std::size_t n, float* out);
  void (*pool)(const HalfTable&, const Bags<float, Id>&, std::size_t all, std::size_t first,
               std::size_t last);
};

struct HalfKernels {
  void (*decay_rows)(const HalfTable&, std::size_t first, std::size_t last, const Params<float>&,
                     const HalfScratch&);
  HalfKernelsById<std::uint32_t> u32;
  HalfKernelsById<std::uint64_t> u64;
  void (*initialise)(const HalfTable&, const Start&, std::size_t first, std::size_t last,
                     const HalfScratch&);
  void (*fade)(const HalfTable&, std::size_t first, std::size_t last, float gamma, float floor,
               const HalfScratch&);
};

struct CtrKernels;

struct Kernels {
  const char* isa;
  KernelsOf<float> f32;
  KernelsOf<double> f64;
  std::size_t (*mixed)(const Mixed&, const Params<float>&);
  HalfKernels half;
  // How many of n ids are owned
  std::size_t (*count_u32)(const Owner&, const std::uint32_t* ids, std::size_t n);
  std::size_t (*count_u64)(const Owner&, const std::uint64_t* ids, std::size_t n);
  const CtrKernels* ctr;
};

}  // namespace adagrad
