// Picking a kernel: by the type of the numbers, by the type of the ids, and by the storage of a
// table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "../adagrad/parallel.hpp"
#include "../adagrad/random.hpp"
#include "cpu.hpp"

namespace adagrad {

template <class T>
const KernelsOf<T>& kernels_for() {
  if constexpr (std::is_same_v<T, float>) {
    return kernels().f32;
  } else {
    return kernels().f64;
  }
}

// Returns the kernels for ids of type Id.
template <class Id, class K>
const auto& kernels_by(const K& kernels) {
  if constexpr (sizeof(Id) == sizeof(std::uint32_t)) {
    return kernels.u32;
  } else {
    return kernels.u64;
  }
}

// The kernels on the memory of a table that computes in T, however it is stored.
template <class T>
class TableKernels {
 public:
  using Real = T;
  using U32 = std::uint32_t;
  using U64 = std::uint64_t;

  Params<T> params;

  explicit TableKernels(const Params<T>& given) : params(given) {}
  TableKernels(const TableKernels&) = delete;
  TableKernels& operator=(const TableKernels&) = delete;
  virtual ~TableKernels() = default;

  // Whether params are rounded stochastically, by the position of an occurrence.
  virtual bool rounds() const = 0;

  // Where rows are, for asking the memory for them ahead of a call.
  virtual RowMemory memory() const = 0;

  // Scratch memory for calls on threads [0, threads), and the key of their random numbers: before
  // any call that writes.
  virtual void prepare(std::size_t threads, std::uint64_t seed, Stream stream,
                       std::uint64_t step) = 0;

  // k is the thread that calls.
  virtual std::size_t apply(const Batch<T, const U32*>&, Visit, std::size_t k) = 0;
  virtual std::size_t apply(const Batch<T, const U64*>&, Visit, std::size_t k) = 0;
  virtual void initialise(const Start&, std::size_t first, std::size_t last, std::size_t k) = 0;
  virtual void fade(double gamma, double floor, std::size_t first, std::size_t last,
                    std::size_t k) = 0;

  // Decoupled weight decay of all rows, which the updates that follow then leave out.
  void decay_rows(std::size_t rows, std::size_t threads, std::size_t grain) {
    decay(rows, threads, grain);
    params.decay = WeightDecay::none;
  }

  virtual void gather(const U32* ids, std::size_t n, T* out) const = 0;
  virtual void gather(const U64* ids, std::size_t n, T* out) const = 0;
  virtual void pool(const Bags<T, U32>&, std::size_t all, std::size_t first,
                    std::size_t last) const = 0;
  virtual void pool(const Bags<T, U64>&, std::size_t all, std::size_t first,
                    std::size_t last) const = 0;

  // What RowsCall needs besides apply(), which does not depend on the storage.
  std::size_t count(const Owner& owner, const U32* ids, std::size_t n) const {
    return kernels().count_u32(owner, ids, n);
  }
  std::size_t count(const Owner& owner, const U64* ids, std::size_t n) const {
    return kernels().count_u64(owner, ids, n);
  }
  template <class Id>
  std::size_t collect(const Owner& owner, const Id* ids, const T* g, std::size_t n, U32* to_ids,
                      T* to_g) const {
    return kernels_by<Id>(kernels_for<T>()).collect(owner, ids, g, n, to_ids, to_g);
  }
  template <class Position>
  void sum(const T* g, const Position* at, std::size_t n, std::size_t dim, T* to) const {
    kernels_by<Position>(kernels_for<T>()).sum(g, at, n, dim, to);
  }
  template <class Position>
  void add(const T* g, const Position* first, std::size_t count, const Position* at, const U32* of,
           std::size_t repeats, std::size_t dim, T* sums) const {
    kernels_by<Position>(kernels_for<T>()).add(g, first, count, at, of, repeats, dim, sums);
  }

 private:
  virtual void decay(std::size_t rows, std::size_t threads, std::size_t grain) = 0;
};

// A table of float or double.
template <class T>
class TargetKernels final : public TableKernels<T> {
 public:
  using typename TableKernels<T>::U32;
  using typename TableKernels<T>::U64;

  TargetKernels(const Target<T>& table, const Params<T>& given)
      : TableKernels<T>(given), table_(table) {}

  bool rounds() const override { return false; }
  RowMemory memory() const override {
    return {reinterpret_cast<const char*>(table_.w), reinterpret_cast<const char*>(table_.s),
            table_.w_stride * sizeof(T), table_.s_stride * sizeof(T)};
  }
  void prepare(std::size_t, std::uint64_t, Stream, std::uint64_t) override {}
  std::size_t apply(const Batch<T, const U32*>& batch, Visit visit, std::size_t) override {
    return kernels_.u32.step(table_, batch, this->params, visit);
  }
  std::size_t apply(const Batch<T, const U64*>& batch, Visit visit, std::size_t) override {
    return kernels_.u64.step(table_, batch, this->params, visit);
  }
  void initialise(const Start& start, std::size_t first, std::size_t last, std::size_t) override {
    kernels_.initialise(table_, start, first, last);
  }
  void fade(double gamma, double floor, std::size_t first, std::size_t last, std::size_t) override {
    kernels_.fade(table_, first, last, static_cast<T>(gamma), static_cast<T>(floor));
  }
  void gather(const U32* ids, std::size_t n, T* out) const override {
    kernels_.u32.gather(table_, ids, n, out);
  }
  void gather(const U64* ids, std::size_t n, T* out) const override {
    kernels_.u64.gather(table_, ids, n, out);
  }
  void pool(const Bags<T, U32>& bags, std::size_t all, std::size_t first,
            std::size_t last) const override {
    kernels_.u32.pool(table_, bags, all, first, last);
  }
  void pool(const Bags<T, U64>& bags, std::size_t all, std::size_t first,
            std::size_t last) const override {
    kernels_.u64.pool(table_, bags, all, first, last);
  }

 private:
  void decay(std::size_t rows, std::size_t threads, std::size_t grain) override {
    split(rows, threads, grain / table_.dim + 1, 1, [&](std::size_t first, std::size_t last) {
      kernels_.decay_rows(table_, first, last, this->params);
    });
  }

  Target<T> table_;
  const KernelsOf<T>& kernels_ = kernels_for<T>();
};

// A table in 16 bits.
class HalfTableKernels final : public TableKernels<float> {
 public:
  // first_row is the row of a larger table where this one, a slice of it, begins; or 0.
  HalfTableKernels(const HalfTable& table, const Params<float>& given, std::uint64_t first_row)
      : TableKernels<float>(given), table_(table), first_row_(first_row) {}

  bool rounds() const override { return true; }
  RowMemory memory() const override {
    return {table_.memory, table_.memory, table_.stride, table_.stride};
  }
  void prepare(std::size_t threads, std::uint64_t seed, Stream stream,
               std::uint64_t step) override {
    memory_.resize(2 * table_.dim * threads);
    words_.resize((table_.dim + 1) * threads);
    seed_ = seed;
    step_ = step;
    table_.key = key_of(stream);
  }
  std::size_t apply(const Batch<float, const U32*>& batch, Visit visit, std::size_t k) override {
    return kernels_.u32.step(table_, batch, params, visit, scratch(k));
  }
  std::size_t apply(const Batch<float, const U64*>& batch, Visit visit, std::size_t k) override {
    return kernels_.u64.step(table_, batch, params, visit, scratch(k));
  }
  void initialise(const Start& start, std::size_t first, std::size_t last, std::size_t k) override {
    kernels_.initialise(table_, start, first, last, scratch(k));
  }
  void fade(double gamma, double floor, std::size_t first, std::size_t last,
            std::size_t k) override {
    kernels_.fade(table_, first, last, static_cast<float>(gamma), static_cast<float>(floor),
                  scratch(k));
  }
  void gather(const U32* ids, std::size_t n, float* out) const override {
    kernels_.u32.gather(table_, ids, n, out);
  }
  void gather(const U64* ids, std::size_t n, float* out) const override {
    kernels_.u64.gather(table_, ids, n, out);
  }
  void pool(const Bags<float, U32>& bags, std::size_t all, std::size_t first,
            std::size_t last) const override {
    kernels_.u32.pool(table_, bags, all, first, last);
  }
  void pool(const Bags<float, U64>& bags, std::size_t all, std::size_t first,
            std::size_t last) const override {
    kernels_.u64.pool(table_, bags, all, first, last);
  }

 private:
  void decay(std::size_t rows, std::size_t, std::size_t) override {
    HalfTable decayed = table_;
    decayed.key = key_of(Stream::weight_decay);
    kernels_.decay_rows(decayed, 0, rows, params, scratch(0));
  }

  std::uint64_t key_of(Stream stream) const {
    return key_from(key(seed_, stream, step_), first_row_);
  }
  HalfScratch scratch(std::size_t k) {
    const std::size_t dim = table_.dim;
    float* const w = memory_.data() + 2 * dim * k;
    return {w, w + dim, words_.data() + (dim + 1) * k};
  }

  HalfTable table_;
  std::uint64_t first_row_, seed_ = 0, step_ = 0;
  std::vector<float> memory_;
  std::vector<std::uint32_t> words_;
  const HalfKernels& kernels_ = kernels().half;
};

}  // namespace adagrad
