// Runs recorded cases through the kernels and the coalescer of the machine it is compiled for, with
// no Python in sight: replay <cases> <results>. tests/test_cpp.py writes the cases, and compares
// the results with those of the Python module, also for a machine that this one only emulates.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../../cpp/adagrad/coalesce.hpp"
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
  std::uint64_t table_rows, dim, gradients, row_state, decay_all;
  std::uint64_t digits, whole, evaluation, statistic, decay, lagged, skip_zero, skip_nonfinite;
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

const auto& kernel(const KernelsOf<float>& k, std::uint32_t) { return k.rows_u32; }
const auto& kernel(const KernelsOf<float>& k, std::uint64_t) { return k.rows_u64; }
const auto& kernel(const KernelsOf<double>& k, std::uint32_t) { return k.rows_u32; }
const auto& kernel(const KernelsOf<double>& k, std::uint64_t) { return k.rows_u64; }

template <class T, class Id>
void step_rows(const Case& c, const Params<T>& p, std::vector<T>& w, std::vector<T>& s,
               const std::vector<T>& g, const std::vector<Id>& ids) {
  const std::size_t n = ids.size(), dim = static_cast<std::size_t>(c.dim);
  const auto visit = [&](const Id* rows, const T* gradients, std::size_t count, Visit parts) {
    kernel(kernels_for<T>(false),
           Id{})({w.data(), s.data(), rows, gradients, count, dim, c.row_state != 0}, p, parts);
  };
  const unsigned bits = bit_width(c.table_rows - 1);
  if (c.policy == Policy::sequential) {
    visit(ids.data(), g.data(), n, Visit::update);
  } else if (c.policy == Policy::each) {
    visit(ids.data(), g.data(), n, p.lagged ? Visit::advance : Visit::accumulate);
    visit(ids.data(), g.data(), n, p.lagged ? Visit::accumulate : Visit::advance);
  } else if (dim > 1) {
    std::vector<T> sum(dim);
    group_rows<Id, std::uint64_t>(ids.data(), n, bits,
                                  [&](Id id, const auto* items, std::size_t k) {
                                    sum_row(g.data(), items, k, dim, sum.data());
                                    visit(&id, sum.data(), 1, Visit::update);
                                  });
  } else if (c.policy == Policy::sum_sorted) {
    sum_sorted<Id>(ids.data(), g.data(), n, bits,
                   [&](Id id, T sum) { visit(&id, &sum, 1, Visit::update); });
  } else {
    sum_batches<Id>(ids.data(), g.data(), n, bits,
                    [&](const Id* rows, const T* sums, std::size_t count) {
                      visit(rows, sums, count, Visit::update);
                    });
  }
}

template <class T>
void replay(const Case& c, std::FILE* cases, std::FILE* results) {
  Params<T> p = params_of<T>(c);
  std::vector<T> w = read<T>(cases, c.table_rows * c.dim);
  std::vector<T> s = read<T>(cases, c.row_state != 0 ? c.table_rows : c.table_rows * c.dim);
  const std::vector<T> g = read<T>(cases, c.gradients * c.dim);
  const KernelsOf<T>& k = kernels_for<T>(false);
  if (c.decay_all != 0) {
    k.decay_all(w.data(), w.size(), p);
    p.decay = WeightDecay::none;
  }
  switch (c.layout) {
    case Layout::dense: k.dense(w.data(), g.data(), s.data(), w.size(), p); break;
    case Layout::every_row:
      k.every_row({w.data(), s.data(), {}, g.data(), g.size() / c.dim, c.dim, true}, p,
                  Visit::update);
      break;
    case Layout::rows_u32: step_rows(c, p, w, s, g, read<std::uint32_t>(cases, c.gradients)); break;
    case Layout::rows_u64: step_rows(c, p, w, s, g, read<std::uint64_t>(cases, c.gradients)); break;
  }
  write(results, w);
  write(results, s);
}

}  // namespace

int main(int argc, char** argv) {
  std::FILE* const cases = argc == 3 ? std::fopen(argv[1], "rb") : nullptr;
  std::FILE* const results = argc == 3 ? std::fopen(argv[2], "wb") : nullptr;
  if (cases == nullptr || results == nullptr) return 1;
  Case c;
  unsigned long count = 0;
  for (; std::fread(&c, sizeof c, 1, cases) == 1; ++count) {
    c.item_size == sizeof(float) ? replay<float>(c, cases, results)
                                 : replay<double>(c, cases, results);
  }
  std::printf("%lu cases on %s\n", count, kernels().isa);
  return std::fclose(results);
}
