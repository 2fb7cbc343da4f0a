// Runs recorded cases through the kernels, the policies and the coalescer of the machine it is
// compiled for, with no Python in sight: replay <cases> <results>. tests/test_cpp.py writes the
// cases, and compares the results with those of the Python module, also for a machine that this one
// only emulates.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../../cpp/adagrad/policies.hpp"
#include "../../cpp/isa/cpu.hpp"

using namespace adagrad;

namespace {

enum class Layout : std::uint64_t { dense, every_row, rows_u32, rows_u64 };
enum class Policy : std::uint64_t { sequential, sum_in_batches, sum_sorted, each };

// What precedes the arrays w, s, g and ids of a case, field by field as test_cpp.py packs it.
struct Case {
  std::uint64_t item_size;  // of float or double
  Layout layout;
  Policy policy;
  std::uint64_t table_rows, dim, gradients, row_state, interleaved, threads;
  std::uint64_t half, half_state, seed, step, decay_all;  // half: 0 for none, or 1 + the type
  std::uint64_t digits, whole, evaluation, statistic, row_statistic, decay;
  std::uint64_t lagged, skip_zero, skip_nonfinite;
  double lr, eps_inside, eps_outside, scale, clip_value, weight_decay, accumulator_decay;
};

template <class T>
Params<T> params_of(const Case& c) {
  Params<T> p;
  p.lr = static_cast<T>(c.lr);
  p.eps_inside = static_cast<T>(c.eps_inside);
  p.eps_outside = static_cast<T>(c.eps_outside);
  p.scale = static_cast<T>(c.scale);
  p.clip_value = static_cast<T>(c.clip_value);
  p.weight_decay = static_cast<T>(c.weight_decay);
  p.accumulator_decay = static_cast<T>(c.accumulator_decay);
  p.power.digits = c.digits;
  p.power.whole = c.whole != 0;
  p.evaluation = static_cast<Evaluation>(c.evaluation);
  p.statistic = static_cast<Statistic>(c.statistic);
  p.row_statistic = static_cast<RowStatistic>(c.row_statistic);
  p.decay = static_cast<WeightDecay>(c.decay);
  p.lagged = c.lagged != 0;
  p.skip_zero_accumulator = c.skip_zero != 0;
  p.skip_nonfinite = c.skip_nonfinite != 0;
  return p;
}

template <class T>
std::vector<T> read(std::FILE* file, std::uint64_t count) {
  std::vector<T> values(static_cast<std::size_t>(count));
  if (std::fread(values.data(), sizeof(T), values.size(), file) != values.size()) std::abort();
  return values;
}

template <class T>
void write(std::FILE* file, const std::vector<T>& values) {
  if (std::fwrite(values.data(), sizeof(T), values.size(), file) != values.size()) std::abort();
}

// Params and accumulators in arrays of their own, or side by side as in a Table.
template <class T>
struct Memory {
  std::vector<T> w, s, both;

  Target<T> target(const Case& c) {
    const std::size_t dim = static_cast<std::size_t>(c.dim), state = c.row_state != 0 ? 1 : dim;
    if (c.interleaved == 0) return separate(w.data(), s.data(), dim, c.row_state != 0);
    both.resize(w.size() + s.size());
    return {both.data(), both.data() + dim, dim + state, dim + state, dim, c.row_state != 0};
  }
};

// copy(a, b) for each element of w and s, a where it was read and b where it is updated.
template <class T, class Copy>
void each_element(Memory<T>& memory, const Target<T>& table, Copy copy) {
  const std::size_t dim = table.dim, state = table.row_state ? 1 : dim;
  for (std::size_t i = 0; i < memory.w.size(); ++i) {
    copy(memory.w[i], table.w[i / dim * table.w_stride + i % dim]);
  }
  for (std::size_t i = 0; i < memory.s.size(); ++i) {
    copy(memory.s[i], table.s[i / state * table.s_stride + i % state]);
  }
}

template <class K>
const auto& rows_kernel(const K& k, const std::uint32_t*) {
  return k.rows_u32;
}
template <class K>
const auto& rows_kernel(const K& k, const std::uint64_t*) {
  return k.rows_u64;
}
template <class K>
const auto& pool_kernel(const K& k, const std::uint32_t*) {
  return k.pool_u32;
}
template <class K>
const auto& pool_kernel(const K& k, const std::uint64_t*) {
  return k.pool_u64;
}

// What a RowsCall calls: apply(batch, visit, thread), and the kernels that find what a thread owns.
template <class T, class Apply>
struct Callee {
  const Apply& apply;
  const KernelsOf<T>& kernels = kernels_for<T>(false);

  std::size_t count(const Owner& owner, const std::uint32_t* ids, std::size_t n) const {
    return adagrad::kernels().count_u32(owner, ids, n);
  }
  std::size_t count(const Owner& owner, const std::uint64_t* ids, std::size_t n) const {
    return adagrad::kernels().count_u64(owner, ids, n);
  }
  std::size_t collect(const Owner& owner, const std::uint32_t* ids, const T* g, std::size_t n,
                      std::uint32_t* to_ids, T* to_g) const {
    return kernels.collect_u32(owner, ids, g, n, to_ids, to_g);
  }
  std::size_t collect(const Owner& owner, const std::uint64_t* ids, const T* g, std::size_t n,
                      std::uint32_t* to_ids, T* to_g) const {
    return kernels.collect_u64(owner, ids, g, n, to_ids, to_g);
  }
  void sum(const T* g, const std::uint32_t* at, std::size_t n, std::size_t dim, T* to) const {
    kernels.sum_u32(g, at, n, dim, to);
  }
  void add(const T* g, const std::uint32_t* at, const std::uint32_t* slots, std::size_t n,
           std::size_t dim, T* sums) const {
    kernels.add_u32(g, at, slots, n, dim, sums);
  }
  void sum(const T* g, const std::uint64_t* at, std::size_t n, std::size_t dim, T* to) const {
    kernels.sum_u64(g, at, n, dim, to);
  }
  void add(const T* g, const std::uint64_t* at, const std::uint32_t* slots, std::size_t n,
           std::size_t dim, T* sums) const {
    kernels.add_u64(g, at, slots, n, dim, sums);
  }
};

Duplicates duplicates_of(const Case& c) {
  return c.policy == Policy::sequential ? Duplicates::sequential
         : c.policy == Policy::each     ? Duplicates::each
                                        : Duplicates::sum;
}

template <class T, class Id>
void step_rows(const Case& c, const Params<T>& p, const Target<T>& table, const std::vector<T>& g,
               const std::vector<Id>& ids) {
  const auto apply = [&](const auto& batch, Visit visit, std::size_t) {
    return rows_kernel(kernels_for<T>(false), batch.ids)(table, batch, p, visit);
  };
  const unsigned bits = bit_width(c.table_rows - 1);
  if (c.policy == Policy::sum_sorted) {
    sum_sorted<Id>(ids.data(), g.data(), ids.size(), bits, [&](Id id, T sum) {
      const Batch<T, const Id*> one{&id, &sum, nullptr, nullptr, 1, true, false};
      apply(one, Visit::update, 0);
    });
    return;
  }
  const Occurrences<T, Id> all{ids.data(), g.data(), nullptr, ids.size(), false, false};
  const Callee<T, decltype(apply)> callee{apply};
  RowsCall call(all, table.dim, bits, duplicates_of(c), static_cast<std::size_t>(c.threads),
                table.w_stride * sizeof(T), callee);
  call.run(p.lagged);
}

template <class T>
void replay(const Case& c, std::FILE* cases, std::FILE* results) {
  Params<T> p = params_of<T>(c);
  Memory<T> memory;
  memory.w = read<T>(cases, c.table_rows * c.dim);
  memory.s = read<T>(cases, c.row_state != 0 ? c.table_rows : c.table_rows * c.dim);
  const std::vector<T> g = read<T>(cases, c.gradients * c.dim);
  const KernelsOf<T>& k = kernels_for<T>(false);
  const Target<T> table = memory.target(c);
  if (c.interleaved != 0) each_element(memory, table, [](T& from, T& to) { to = from; });
  if (c.decay_all != 0) {
    k.decay_rows(table, 0, static_cast<std::size_t>(c.table_rows), p);
    p.decay = WeightDecay::none;
  }
  switch (c.layout) {
    case Layout::dense: k.dense(table.w, g.data(), table.s, memory.w.size(), p); break;
    case Layout::every_row:
      k.every_row(table, {{}, g.data(), nullptr, nullptr, g.size() / table.dim, true, false}, p,
                  Visit::update);
      break;
    case Layout::rows_u32:
      step_rows(c, p, table, g, read<std::uint32_t>(cases, c.gradients));
      break;
    case Layout::rows_u64:
      step_rows(c, p, table, g, read<std::uint64_t>(cases, c.gradients));
      break;
  }
  if (c.interleaved != 0) each_element(memory, table, [](T& to, T& from) { to = from; });
  write(results, memory.w);
  write(results, memory.s);
}

// A step of a table of 16 bits, and the mean of the rows that it named.
template <class Id>
void replay_half(const Case& c, std::FILE* cases, std::FILE* results) {
  Params<float> p = params_of<float>(c);
  const HalfKernels& k = kernels().half;
  const std::size_t dim = static_cast<std::size_t>(c.dim), state = c.row_state != 0 ? 1 : dim;
  const std::size_t stride = 2 * dim + (c.half_state != 0 ? 2 : 4) * state;
  std::vector<char> memory = read<char>(cases, c.table_rows * stride);
  const std::vector<float> g = read<float>(cases, c.gradients * c.dim);
  const std::vector<Id> ids = read<Id>(cases, c.gradients);
  const auto table = [&](Stream stream) {
    return HalfTable{memory.data(),
                     stride,
                     dim,
                     c.half == 1 ? Half::bfloat16 : Half::float16,
                     c.half_state != 0,
                     c.row_state != 0,
                     key(c.seed, stream, c.step)};
  };
  const std::size_t threads = static_cast<std::size_t>(c.threads);
  std::vector<float> room(2 * dim * threads);
  std::vector<std::uint32_t> random(threads * (dim + 1));
  const auto scratch = [&](std::size_t part) {
    float* const w = room.data() + 2 * dim * part;
    return HalfScratch{w, w + dim, random.data() + (dim + 1) * part};
  };
  if (c.decay_all != 0) {
    const std::size_t rows = static_cast<std::size_t>(c.table_rows);
    k.decay_rows(table(Stream::weight_decay), 0, rows, p, scratch(0));
    p.decay = WeightDecay::none;
  }
  const auto apply = [&](const auto& batch, Visit visit, std::size_t part) {
    return rows_kernel(k, batch.ids)(table(Stream::step), batch, p, visit, scratch(part));
  };
  const bool by_position = c.policy == Policy::sequential || c.policy == Policy::each;
  const Occurrences<float, Id> all{ids.data(), g.data(), nullptr, ids.size(), false, by_position};
  const Callee<float, decltype(apply)> callee{apply};
  RowsCall call(all, dim, bit_width(c.table_rows - 1), duplicates_of(c), threads, stride, callee);
  call.run(p.lagged);
  std::vector<float> mean(dim);
  const std::size_t offsets[] = {0, ids.size()};
  const Bags<float, Id> bag{ids.data(), offsets, nullptr, mean.data(), true};
  pool_kernel(k, ids.data())(table(Stream::step), bag, ids.size(), 0, 1);
  write(results, memory);
  write(results, mean);
}

}  // namespace

int main(int argc, char** argv) {
  std::FILE* const cases = argc == 3 ? std::fopen(argv[1], "rb") : nullptr;
  std::FILE* const results = argc == 3 ? std::fopen(argv[2], "wb") : nullptr;
  if (cases == nullptr || results == nullptr) return 1;
  Case c;
  unsigned long count = 0;
  for (; std::fread(&c, sizeof c, 1, cases) == 1; ++count) {
    if (c.half != 0) {
      c.layout == Layout::rows_u32 ? replay_half<std::uint32_t>(c, cases, results)
                                   : replay_half<std::uint64_t>(c, cases, results);
    } else {
      c.item_size == sizeof(float) ? replay<float>(c, cases, results)
                                   : replay<double>(c, cases, results);
    }
  }
  std::printf("%lu cases on %s\n", count, kernels().isa);
  return std::fclose(results);
}
