// Runs recorded cases through the kernels and the sparse call without Python:
// replay <cases> <results>. tests/kernels/test_cpp.py writes the cases and compares the results
// with those of the Python module, on this machine and on an emulated one.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "../../cpp/adagrad/half.hpp"
#include "../../cpp/adagrad/options.hpp"
#include "../../cpp/isa/sparse_step.hpp"

using namespace adagrad;

namespace {

enum class Layout : std::uint64_t { dense, every_row, rows_u32, rows_u64 };
enum class Policy : std::uint64_t { sequential, sum_in_batches, sum_sorted, each };

// The header of a case, field by field as test_cpp.py packs it. The options of the rule follow as
// text, and then the arrays w, s, g and ids.
struct Case {
  std::uint64_t item_size;  // of float or double
  Layout layout;
  Policy policy;
  std::uint64_t table_rows, dim, gradients, row_state, interleaved, threads;
  std::uint64_t half, half_state, seed, step;  // half: 0 for none, or 1 + the type
  std::uint64_t options;                       // bytes of text
};

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

// The fields of an adagrad.Rule, a line "name=value" each.
class Fields {
 public:
  explicit Fields(const std::vector<char>& text)
      : text_("\n" + std::string(text.begin(), text.end())) {}

  std::string text(const char* name) const {
    const std::string key = "\n" + std::string(name) + "=";
    const std::size_t begin = text_.find(key);
    if (begin == std::string::npos) std::abort();
    const std::size_t first = begin + key.size();
    return text_.substr(first, text_.find('\n', first) - first);
  }
  double number(const char* name) const {
    const std::string value = text(name);
    return value == "None" ? std::numeric_limits<double>::infinity()
                           : std::strtod(value.c_str(), nullptr);
  }
  bool flag(const char* name) const { return text(name) == "True"; }

 private:
  std::string text_;
};

struct Rule {
  explicit Rule(const Fields& fields) : options(fields), lr(fields.number("lr")) {}
  Options options;
  double lr;
};

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

template <class T, class Id>
void step(const Case& c, const Rule& rule, const std::vector<Id>& ids, const std::vector<T>& g,
          std::size_t row_bytes, TableKernels<T>& kernels) {
  const Duplicates duplicates = c.policy == Policy::sequential ? Duplicates::sequential
                                : c.policy == Policy::each     ? Duplicates::each
                                                               : Duplicates::sum;
  const std::size_t threads = static_cast<std::size_t>(c.threads);
  // A grain of 1, so that small cases are shared by threads too.
  const SparseCall call{duplicates,
                        false,
                        false,
                        rule.options.decay_all_rows,
                        c.table_rows - 1,
                        static_cast<std::size_t>(c.table_rows),
                        static_cast<std::size_t>(c.dim),
                        row_bytes,
                        threads,
                        1};
  kernels.prepare(threads, c.seed, Stream::step, c.step);
  const Occurrences<T, Id> all{ids.data(), g.data(), nullptr, ids.size(), false, false};
  const SparseOutcome outcome = step_sparse(call, all, kernels);
  if (outcome.fault != SparseOutcome::Fault::none) std::abort();
}

template <class T, class Id>
void step_rows(const Case& c, const Rule& rule, const Target<T>& table, const std::vector<T>& g,
               const std::vector<Id>& ids) {
  TargetKernels<T> kernels(table, rule.options.params<T>(rule.lr));
  if (c.policy != Policy::sum_sorted) {
    return step(c, rule, ids, g, table.w_stride * sizeof(T), kernels);
  }
  if (rule.options.decay_all_rows) {
    kernels.decay_rows(static_cast<std::size_t>(c.table_rows), 1, 1);
  }
  std::vector<Id> unique(ids.size());
  std::vector<T> sums(ids.size());
  const std::size_t n = coalesce_scalars(ids.data(), g.data(), ids.size(), c.table_rows - 1,
                                         unique.data(), sums.data());
  kernels.apply(Batch<T, const Id*>{unique.data(), sums.data(), nullptr, nullptr, n, true, false},
                Visit::update, 0);
}

template <class T>
void replay(const Case& c, const Rule& rule, std::FILE* cases, std::FILE* results) {
  const Params<T> p = rule.options.params<T>(rule.lr);
  Memory<T> memory;
  memory.w = read<T>(cases, c.table_rows * c.dim);
  memory.s = read<T>(cases, c.row_state != 0 ? c.table_rows : c.table_rows * c.dim);
  const std::vector<T> g = read<T>(cases, c.gradients * c.dim);
  const KernelsOf<T>& k = kernels_for<T>();
  const Target<T> table = memory.target(c);
  if (c.interleaved != 0) each_element(memory, table, [](T& from, T& to) { to = from; });
  switch (c.layout) {
    case Layout::dense: k.dense(table.w, g.data(), table.s, memory.w.size(), p); break;
    case Layout::every_row:
      k.every_row(table, {{}, g.data(), nullptr, nullptr, g.size() / table.dim, true, false}, p,
                  Visit::update);
      break;
    case Layout::rows_u32:
      step_rows(c, rule, table, g, read<std::uint32_t>(cases, c.gradients));
      break;
    case Layout::rows_u64:
      step_rows(c, rule, table, g, read<std::uint64_t>(cases, c.gradients));
      break;
  }
  if (c.interleaved != 0) each_element(memory, table, [](T& to, T& from) { to = from; });
  write(results, memory.w);
  write(results, memory.s);
}

// A step of a table of 16 bits, and the mean of the rows that it named.
template <class Id>
void replay_half(const Case& c, const Rule& rule, std::FILE* cases, std::FILE* results) {
  const std::size_t dim = static_cast<std::size_t>(c.dim), state = c.row_state != 0 ? 1 : dim;
  const std::size_t stride = 2 * dim + (c.half_state != 0 ? 2 : 4) * state;
  std::vector<char> memory = read<char>(cases, c.table_rows * stride);
  const std::vector<float> g = read<float>(cases, c.gradients * c.dim);
  const std::vector<Id> ids = read<Id>(cases, c.gradients);
  const HalfTable table{
      memory.data(),     stride,           dim, c.half == 1 ? Half::bfloat16 : Half::float16,
      c.half_state != 0, c.row_state != 0, 0};
  HalfTableKernels kernels(table, rule.options.params<float>(rule.lr), 0);
  step<float>(c, rule, ids, g, stride, kernels);
  std::vector<float> mean(dim);
  const std::size_t offsets[] = {0, ids.size()};
  kernels.pool(Bags<float, Id>{ids.data(), offsets, nullptr, mean.data(), true}, ids.size(), 0, 1);
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
    const Rule rule(Fields(read<char>(cases, c.options)));
    if (c.half != 0) {
      c.layout == Layout::rows_u32 ? replay_half<std::uint32_t>(c, rule, cases, results)
                                   : replay_half<std::uint64_t>(c, rule, cases, results);
    } else {
      c.item_size == sizeof(float) ? replay<float>(c, rule, cases, results)
                                   : replay<double>(c, rule, cases, results);
    }
  }
  std::printf("%lu cases on %s\n", count, kernels().isa);
  return std::fclose(results);
}
