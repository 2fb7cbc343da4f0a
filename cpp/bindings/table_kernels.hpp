// The kernels on the memory of a Table behind one interface, whatever it is stored in: what is not
// 16 bits has no scratch memory and no random numbers.
#pragma once

#include <memory>
#include <vector>

#include "sparse_call.hpp"

namespace adagrad {

struct HalfTableKernels {
  using Real = float;
  static constexpr bool rounds = true;
  HalfTable table;
  Params<float> params;
  std::uint64_t first_row;  // where the table begins in one that it may be a slice of
  const HalfKernels& kernels = adagrad::kernels().half;
  std::vector<float> memory = {};
  std::vector<std::uint32_t> words = {};
  std::uint64_t seed = 0, steps = 0;

  void allocate(std::size_t dim, std::size_t threads) {
    memory.resize(2 * dim * threads);
    words.resize((dim + 1) * threads);
  }
  HalfScratch scratch(std::size_t k) {
    const std::size_t dim = table.dim;
    return {memory.data() + 2 * dim * k, memory.data() + 2 * dim * k + dim,
            words.data() + (dim + 1) * k};
  }
  void set_key(std::uint64_t key) { table.key = key_from(key, first_row); }
  void prepare(std::size_t dim, std::size_t threads, std::uint64_t of_seed,
               std::uint64_t of_steps) {
    allocate(dim, threads);
    seed = of_seed;
    steps = of_steps;
    set_key(key(seed, Stream::step, steps));
  }
  template <class Id>
  std::size_t apply(const Batch<float, const Id*>& batch, Visit visit, std::size_t k) {
    return pick_rows(kernels, batch.ids)(table, batch, params, visit, scratch(k));
  }
  template <class Id>
  std::size_t count(const Owner& owner, const Id* ids, std::size_t n) const {
    return count_occurrences(owner, ids, n);
  }
  template <class Id>
  std::size_t collect(const Owner& owner, const Id* ids, const float* g, std::size_t n,
                      std::uint32_t* to_ids, float* to_g) const {
    return pick_collect(adagrad::kernels().f32, ids)(owner, ids, g, n, to_ids, to_g);
  }
  template <class Position>
  void sum(const float* g, const Position* at, std::size_t n, std::size_t dim, float* to) const {
    pick_sum(adagrad::kernels().f32, at)(g, at, n, dim, to);
  }
  template <class Position>
  void add(const float* g, const Position* at, const std::uint32_t* slots, std::size_t n,
           std::size_t dim, float* sums) const {
    pick_add(adagrad::kernels().f32, at)(g, at, slots, n, dim, sums);
  }
  void sweep(std::uint64_t rows, std::size_t) {
    HalfTable swept = table;
    swept.key = key_from(key(seed, Stream::weight_decay, steps), first_row);
    kernels.decay_rows(swept, 0, static_cast<std::size_t>(rows), params, scratch(0));
    params.decay = WeightDecay::none;
  }
  template <class Id>
  void gather(const Id* ids, std::size_t n, float* out) const {
    pick_gather(kernels, ids)(table, ids, n, out);
  }
  template <class Id>
  void pool(const Bags<float, Id>& bags, std::size_t all, std::size_t first,
            std::size_t last) const {
    pick_pool(kernels, bags.ids)(table, bags, all, first, last);
  }
  void initialise(const Start& start, std::size_t first, std::size_t last, std::size_t k) {
    kernels.initialise(table, start, first, last, scratch(k));
  }
  void fade(double gamma, double floor, std::size_t first, std::size_t last, std::size_t k) {
    kernels.fade(table, first, last, static_cast<float>(gamma), static_cast<float>(floor),
                 scratch(k));
  }
};

// The gradients of the occurrences in bags: that of the bag, over its size where it is a mean,
// times the weight of the occurrence. Only scalars, and rows that weights make different, are
// copied.
template <class T>
class BagGradients {
 public:
  BagGradients(const T* g, const T* weights, const std::vector<std::size_t>& starts,
               std::size_t dim, bool mean)
      : g_(g) {
    const std::size_t bags = starts.size() - 1, n = starts.back();
    if (mean) {
      scaled_.reset(new T[bags * dim]);
      for (std::size_t b = 0; b < bags; ++b) {
        const T count = static_cast<T>(starts[b + 1] - starts[b]);
        for (std::size_t j = b * dim; j < (b + 1) * dim; ++j) scaled_[j] = g[j] / count;
      }
      g_ = scaled_.get();
    }
    const bool spreads = dim == 1 || weights != nullptr;
    spreads ? spread_.reset(new T[n * dim]) : source_.reset(new std::uint32_t[n]);
    for (std::size_t b = 0; b < bags; ++b) {
      for (std::size_t i = starts[b]; i < starts[b + 1]; ++i) {
        if (!spreads) source_[i] = static_cast<std::uint32_t>(b);
        for (std::size_t j = 0; spreads && j < dim; ++j) {
          const T of_bag = g_[b * dim + j];
          spread_[i * dim + j] = weights != nullptr ? weights[i] * of_bag : of_bag;
        }
      }
    }
    if (spreads) g_ = spread_.get();
  }

  const T* g() const { return g_; }
  const std::uint32_t* source() const { return source_.get(); }  // null: one for each occurrence

 private:
  const T* g_;
  std::unique_ptr<T[]> scaled_, spread_;
  std::unique_ptr<std::uint32_t[]> source_;
};

}  // namespace adagrad
