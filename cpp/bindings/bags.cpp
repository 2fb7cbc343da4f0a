// The checks of bags, and how their tables share the work.
#include "bags.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace adagrad {

// Where each bag begins, and the end of the last.
class Offsets {
 public:
  Offsets(const char* function, py::handle object, std::size_t n)
      : array_(check_memory({function, "offsets"}, object, Access::read)) {
    const Argument at{function, "offsets"};
    const IdType type = id_type(at, array_);
    if (array_.ndim() != 1 || array_.shape(0) < 1) {
      fail_value(at, "must have shape [B + 1], got " + shape_of(array_));
    }
    size_ = static_cast<std::size_t>(array_.shape(0));
    with_ids(type, array_, [&](const auto* given) { check(at, given, n); });
    if (type == IdType::i32 || type == IdType::u32) {
      const auto* const given = static_cast<const std::uint32_t*>(array_.data());
      converted_.assign(given, given + size_);
      begin_ = converted_.data();
    } else {  // no offset is negative, so each has the bits of a std::size_t
      begin_ = static_cast<const std::size_t*>(array_.data());
    }
  }
  Offsets(const Offsets&) = delete;
  Offsets& operator=(const Offsets&) = delete;

  std::size_t bags() const { return size_ - 1; }
  const std::size_t* begin() const { return begin_; }
  bool single() const { return single_; }  // whether every bag has one id

 private:
  template <class I>
  void check(const Argument& at, const I* given, std::size_t n) {
    std::uint64_t before = 0;
    bool single = size_ - 1 == n;
    for (std::size_t b = 0; b < size_; ++b) {
      // A negative offset sign-extends to more than any number of rows.
      const std::uint64_t offset = static_cast<std::uint64_t>(given[b]);
      const bool is_last = b + 1 == size_;
      if ((b == 0 && offset != 0) || offset < before || offset > n || (is_last && offset != n)) {
        throw py::value_error(
            at.text() + "[" + std::to_string(b) + "] = " + std::to_string(given[b]) +
            ", but offsets ascend from 0 to " + std::to_string(n) + ", the number of rows");
      }
      single = single && offset == b;
      before = offset;
    }
    single_ = single;
  }

  py::array array_;
  std::size_t size_ = 0;
  std::vector<std::size_t> converted_;
  const std::size_t* begin_ = nullptr;
  bool single_ = false;
};

// The checked arguments of a call.
class BagsOfTables {
 public:
  explicit BagsOfTables(const BagsCall& call)
      : function_(call.function), tables_(call.tables), flat_(call.flat), mean_(call.mean),
        ids_(check_ids_array({call.function, "rows"}, call.rows, 0)),
        offsets_(call.function, call.offsets, ids_.n), threads_(num_threads(call.threads)) {
    const std::size_t count = tables_.size();
    if (count == 0 || offsets_.bags() % count != 0) {
      throw py::value_error(std::string(function_) + ": " + std::to_string(offsets_.bags()) +
                            " bags cannot be divided evenly among " + std::to_string(count) +
                            " tables");
    }
    bags_ = offsets_.bags() / count;
    if (bags_ > ~std::uint32_t{0}) {
      fail_value({function_, "offsets"}, "has 2**32 bags or more; pass fewer in each call");
    }
    for (const Table* const table : tables_) {
      if (table->is_double_ != tables_[0]->is_double_) {
        throw py::value_error(std::string(function_) + ": tables compute in different dtypes");
      }
      table->check_apart(ids_.at, ids_.array, Access::read);
      columns_.push_back(width_);
      width_ += table->dim_;
    }
    if (!call.weights.is_none()) check_weights(call.weights);
  }

  py::array pool() {
    check_range();
    return tables_[0]->is_double_ ? pool_as<double>() : pool_as<float>();
  }

  std::vector<std::size_t> step(const py::object& object, const std::vector<Step>& steps) {
    py::array g = check_gradients(object);
    for (const Table* const table : tables_) table->check_writeable();
    return tables_[0]->is_double_ ? step_as<double>(g, steps) : step_as<float>(g, steps);
  }

 private:
  std::size_t first(std::size_t t) const { return offsets_.begin()[t * bags_]; }
  std::size_t count(std::size_t t) const { return first(t + 1) - first(t); }

  void check_weights(const py::object& object) {
    const Argument at{function_, "weights"};
    weights_ = check_memory(at, object, Access::read);
    tables_[0]->check_compute(at, *weights_);
    if (weights_->ndim() != 1 || static_cast<std::size_t>(weights_->shape(0)) != ids_.n) {
      fail_value(at, "has shape " + shape_of(*weights_) + ", but rows need (" +
                         std::to_string(ids_.n) + ",)");
    }
    for (const Table* const table : tables_) table->check_apart(at, *weights_, Access::read);
  }

  py::array check_gradients(const py::object& object) const {
    const Argument at{function_, "g"};
    if (flat_) return tables_[0]->check_reals(at, object, bags_, "offsets", Access::read);
    const py::array g = check_memory(at, object, Access::read);
    tables_[0]->check_compute(at, g);
    if (g.ndim() != 2 || static_cast<std::size_t>(g.shape(0)) != bags_ ||
        static_cast<std::size_t>(g.shape(1)) != width_) {
      fail_value(at, "has shape " + shape_of(g) + ", but offsets and dims need (" +
                         std::to_string(bags_) + ", " + std::to_string(width_) + ")");
    }
    for (const Table* const table : tables_) {
      if (table->overlaps(g)) return g.attr("copy")();
    }
    return g;
  }

  // Raises IndexError if an id is out of range of its table. Returns the largest of each table.
  std::vector<std::uint64_t> check_range() const {
    return with_ids(ids_.type, ids_.array, [&](const auto* given) {
      std::vector<std::uint64_t> largest;
      for (std::size_t t = 0; t < tables_.size(); ++t) {
        const std::uint64_t rows = tables_[t]->rows_;
        largest.push_back(largest_id(given + first(t), count(t), threads_, sparse_grain()));
        if (count(t) != 0 && largest.back() >= rows) {
          fail_range(ids_, rows, " for a table of " + std::to_string(rows) + " rows", first(t));
        }
      }
      return largest;
    });
  }

  // What the ids cost, in elements.
  std::size_t work() const {
    std::size_t sum = 0;
    for (std::size_t t = 0; t < tables_.size(); ++t) sum += count(t) * (tables_[t]->dim_ + 8);
    return sum;
  }

  template <class T>
  const T* weights() const {
    return weights_ ? static_cast<const T*>(weights_->data()) : nullptr;
  }

  template <class T>
  py::array pool_as() {
    std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(bags_)};
    if (!flat_ || width_ != 1) shape.push_back(static_cast<py::ssize_t>(width_));
    const py::array_t<T> to(shape);
    T* const out = const_cast<T*>(to.data());
    std::vector<std::unique_ptr<TableKernels<T>>> of;
    std::size_t widest = 0;
    for (const Table* const table : tables_) {
      of.push_back(table->kernels<T>(nullptr, 0.0));
      widest = std::max(widest, table->dim_);
    }
    const std::size_t parts = share(work(), threads_, sparse_grain());
    const bool alone = tables_.size() == 1;
    // The results of some bags at a time, so that all their columns stay in the cache.
    const std::size_t some = std::max<std::size_t>(16, (std::size_t{1} << 17) / sizeof(T) / width_);
    std::vector<T> scratch(alone ? 0 : parts * some * widest);
    ids_.with([&](const auto* given) {
      unlocked(work(), [&] {
        for_each_part(parts, [&](std::size_t k) {
          const std::size_t begin = bags_ * k / parts, end = bags_ * (k + 1) / parts;
          Bags<T, std::decay_t<decltype(*given)>> bags{given, offsets_.begin(), weights<T>(), out,
                                                       mean_};
          if (alone) return of[0]->pool(bags, ids_.n, begin, end);
          bags.out = scratch.data() + k * some * widest;
          for (std::size_t b = begin; b < end; b += some) {
            const std::size_t n = std::min(some, end - b);
            for (std::size_t t = 0; t < tables_.size(); ++t) {
              const std::size_t dim = tables_[t]->dim_;
              bags.offsets = offsets_.begin() + t * bags_ + b;
              of[t]->pool(bags, first(t + 1), 0, n);
              T* const columns = out + b * width_ + columns_[t];
              for (std::size_t i = 0; i < n; ++i) {
                std::memcpy(columns + i * width_, bags.out + i * dim, dim * sizeof(T));
              }
            }
          }
        });
      });
    });
    return to;
  }

  // The kernels and options of the step of a table.
  template <class T>
  struct Stepping {
    std::unique_ptr<TableKernels<T>> kernels;
    SparseOptions options;
  };

  template <class T>
  Stepping<T> prepare(std::size_t t, const Step& how) const {
    const auto in_table = [&](const std::exception& error) {
      const std::string name = tables_.size() == 1 ? "" : "tables[" + std::to_string(t) + "]: ";
      return py::value_error(name + error.what());
    };
    try {
      return {tables_[t]->kernels<T>(&how.rule, how.lr), tables_[t]->options_of(function_, how)};
    } catch (const std::invalid_argument& error) {
      throw in_table(error);
    } catch (const py::value_error& error) {
      throw in_table(error);
    }
  }

  template <class T>
  std::vector<std::size_t> step_as(const py::array& g, const std::vector<Step>& steps) {
    const std::size_t tables = tables_.size();
    std::vector<Stepping<T>> stepping;
    for (std::size_t t = 0; t < tables; ++t) stepping.push_back(prepare<T>(t, steps[t]));
    const std::vector<std::uint64_t> largest = check_range();
    if (tables == 1 && steps[0].rule.on_nonfinite == NonFinite::raise) {
      check_finite<T>({function_, "g"}, g);
      if (weights_) check_finite<T>({function_, "weights"}, *weights_);
    }
    // Tables that are too small for several threads each are shared out, whole.
    const std::size_t grain = sparse_grain();
    std::size_t parts = std::min(share(work(), threads_, grain), tables);
    for (std::size_t t = 0; t < tables; ++t) {
      if (sparse_threads(count(t), tables_[t]->dim_, threads_, grain) > 1) parts = 1;
    }
    const std::size_t threads = parts == 1 ? threads_ : 1;
    for (std::size_t t = 0; t < tables; ++t) {
      const Step& how = steps[t];
      stepping[t].kernels->prepare(threads, how.seed, Stream::step, how.steps);
    }
    std::vector<SparseOutcome> outcomes(tables);
    std::vector<std::exception_ptr> errors(tables);
    std::atomic<std::size_t> next{0};
    const auto run = [&] {
      for_each_part(parts, [&](std::size_t) {
        for (std::size_t t = next++; t < tables; t = next++) {
          try {
            outcomes[t] =
                step_table<T>(t, stepping[t], static_cast<const T*>(g.data()), largest[t], threads);
          } catch (...) {
            errors[t] = std::current_exception();
          }
        }
      });
    };
    unlocked(work() + decayed(steps), run);
    std::vector<std::size_t> skipped;
    for (std::size_t t = 0; t < tables; ++t) {
      if (errors[t]) std::rethrow_exception(errors[t]);
      if (outcomes[t].fault != SparseOutcome::Fault::none) fail_step(function_, outcomes[t]);
      skipped.push_back(outcomes[t].skipped);
    }
    return skipped;
  }

  // The elements that a rule decays without a gradient.
  std::size_t decayed(const std::vector<Step>& steps) const {
    std::size_t sum = 0;
    for (std::size_t t = 0; t < tables_.size(); ++t) {
      if (steps[t].rule.decay_all_rows) sum += tables_[t]->rows_ * tables_[t]->dim_;
    }
    return sum;
  }

  // The step of table t, on up to `threads` threads. The GIL may be released.
  template <class T>
  SparseOutcome step_table(std::size_t t, const Stepping<T>& of, const T* g, std::uint64_t largest,
                           std::size_t threads) const {
    const Table& table = *tables_[t];
    const std::size_t start = first(t);
    const BagGradients<T> each(g + columns_[t], width_, weights<T>(), offsets_.begin() + t * bags_,
                               bags_, table.dim_, mean_, offsets_.single());
    const SparseCall call =
        sparse_call(of.options, largest, table.rows_, table.dim_, table.stride_, threads);
    if (call.refuse_nonfinite && tables_.size() == 1 && !each.is_finite()) {
      throw py::value_error(std::string(function_) +
                            ": a gradient times its weight is not finite, and on_nonfinite is "
                            "'raise'");
    }
    return ids_.with([&](const auto* given) {
      const Occurrences<T, std::decay_t<decltype(*given)>> all{
          given + start, each.g(), each.source(), count(t), false, false, nullptr};
      return step_sparse(call, all, *of.kernels);
    });
  }

  const char* function_;
  const std::vector<const Table*>& tables_;
  bool flat_, mean_;
  IdsArgument ids_;
  Offsets offsets_;
  std::size_t threads_;
  std::size_t bags_ = 0, width_ = 0;  // bags of each table; columns of all
  std::vector<std::size_t> columns_;  // where those of each table begin
  std::optional<py::array> weights_;
};

void check_bags(const BagsCall& call) { BagsOfTables checked(call); }

py::array pool_bags(const BagsCall& call) { return BagsOfTables(call).pool(); }

std::vector<std::size_t> step_bags(const BagsCall& call, const py::object& g,
                                   const std::vector<Step>& steps) {
  return BagsOfTables(call).step(g, steps);
}

}  // namespace adagrad
