// _core.step and _core.step_many: checks, then one call into the dense kernels.
#include <pybind11/stl.h>

#include <atomic>
#include <type_traits>
#include <variant>

#include "../adagrad/parallel.hpp"
#include "../isa/dispatch.hpp"
#include "arrays.hpp"
#include "calls.hpp"
#include "hyperparameters.hpp"
#include "module.hpp"

namespace adagrad {
namespace {

// Below this many elements a thread costs more to start than it saves (bench/dense.py).
constexpr std::size_t grain = std::size_t{1} << 19;

// A param, its gradient and its accumulator, checked.
struct Tensor {
  py::array w, g, s;
  Real real = Real::f32;
  bool half_g = false, half_s = false;  // whether g and s have the 16-bit dtype of w
  bool row_state = false;

  std::size_t size() const { return static_cast<std::size_t>(w.size()); }
  bool is_mixed() const { return is_half(real); }
  Half half() const { return real == Real::bfloat16 ? Half::bfloat16 : Half::float16; }
};

Tensor check_tensor(const Argument& at_w, py::handle w, py::handle g, py::handle s) {
  const Argument at_g = at_w.other("g"), at_s = at_w.other("s");
  Tensor t{check_memory(at_w, w, Access::write), check_memory(at_g, g, Access::read),
           check_memory(at_s, s, Access::write)};
  t.real = real_type(at_w, t.w, true);
  t.half_g = check_storage(at_g, t.real, t.g, t.w);
  t.half_s = check_storage(at_s, t.real, t.s, t.w);
  if (!same_shape(t.w, t.g)) {
    fail_value(at_g, "has shape " + shape_of(t.g) + ", but w has " + shape_of(t.w));
  }
  t.row_state = has_row_state(at_s, t.w, t.s);
  return t;
}

void add_spans(std::vector<Span>& spans, const Argument& at_w, const Tensor& t) {
  spans.emplace_back(at_w, t.w, Access::write);
  spans.emplace_back(at_w.other("g"), t.g, Access::read);
  spans.emplace_back(at_w.other("s"), t.s, Access::write);
}

void check_gradient(const Argument& at_g, const Tensor& t) {
  if (t.half_g) return check_finite(at_g, t.g, t.half());
  t.real == Real::f64 ? check_finite<double>(at_g, t.g) : check_finite<float>(at_g, t.g);
}

// The address of an element of an array of T, or of 16 bits.
template <class T>
char* at(const py::array& array, bool half, std::size_t element) {
  const std::size_t size = half ? sizeof(std::uint16_t) : sizeof(T);
  return static_cast<char*>(const_cast<void*>(array.data())) + element * size;
}

// Updates the elements, or with one accumulator per row the rows, of a tensor that is not empty.
// Threads divide them at cache lines; the bits do not depend on where.
template <class T>
std::size_t update(const Tensor& t, const Params<T>& params, std::size_t threads) {
  if (t.size() == 0) return 0;
  const KernelsOf<T>& of = kernels_for<T>();
  const std::size_t n = t.row_state ? static_cast<std::size_t>(t.w.shape(0)) : t.size();
  const std::size_t dim = t.size() / n;
  const std::size_t line = 64 / (t.is_mixed() ? sizeof(std::uint16_t) : sizeof(T));
  std::atomic<std::size_t> skipped{0};
  split(n, threads, t.row_state ? grain / dim + 1 : grain, line,
        [&](std::size_t begin, std::size_t end) {
          char* const w = at<T>(t.w, t.is_mixed(), begin * dim);
          char* const g = at<T>(t.g, t.half_g, begin * dim);
          char* const s = at<T>(t.s, t.half_s, begin);
          if constexpr (std::is_same_v<T, float>) {
            if (t.is_mixed()) {
              const Mixed part{t.half(), t.half_g,    t.half_s, w,          g,
                               s,        end - begin, dim,      t.row_state};
              skipped += kernels().mixed(part, params);
              return;
            }
          }
          T* const to_w = reinterpret_cast<T*>(w);
          T* const to_s = reinterpret_cast<T*>(s);
          const T* const from = reinterpret_cast<const T*>(g);
          if (t.row_state) {
            const Batch<T, EveryRow> every{{}, from, nullptr, nullptr, end - begin, true, false};
            skipped += of.every_row(separate(to_w, to_s, dim, true), every, params, Visit::update);
          } else {
            skipped += of.dense(to_w, from, to_s, end - begin, params);
          }
        });
  return skipped;
}

// (w, g, s, lr, eps, rule, t, threads), the arguments of adagrad.step
py::object step(Arguments given) {
  const RuleArgument how(given[3], given[4], given[5], given[6]);
  const Hyperparameters& rule = how.rule();
  const std::size_t threads = threads_argument(given[7]);
  const Tensor t = check_tensor({"step", "w"}, given[0], given[1], given[2]);
  const Span spans[] = {{{"step", "w"}, t.w, Access::write},
                        {{"step", "g"}, t.g, Access::read},
                        {{"step", "s"}, t.s, Access::write}};
  check_disjoint(spans[0], spans[1]);
  check_disjoint(spans[0], spans[2]);
  check_disjoint(spans[1], spans[2]);
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    const Params<T> params = rule.params<T>(how.lr());
    if (rule.on_nonfinite == NonFinite::raise) check_gradient({"step", "g"}, t);
    return unlocked(t.size(), [&] { return update<T>(t, params, num_threads(threads)); });
  };
  return how.result(t.real == Real::f64 ? run(0.0) : run(0.0f));
}

// The rule of each tensor: one for all, or a list of one per tensor.
class Rules {
 public:
  Rules(const py::object& rules, std::size_t tensors) {
    if (!py::isinstance<py::list>(rules)) {
      one_ = &rules.cast<const Hyperparameters&>();
      return;
    }
    list_ = rules;
    if (list_.size() != tensors) throw py::value_error("step_many: one rule per tensor is needed");
  }
  const Hyperparameters& operator[](std::size_t i) {
    if (!list_) return *one_;
    const py::handle rule = PyList_GET_ITEM(list_.ptr(), static_cast<py::ssize_t>(i));
    if (!rule.is(last_)) one_ = &rule.cast<const Hyperparameters&>();
    last_ = rule;
    return *one_;
  }

 private:
  py::list list_{py::reinterpret_steal<py::list>(nullptr)};
  const Hyperparameters* one_ = nullptr;
  py::handle last_;
};

// lrs[i] is the rate of tensor i: params may have taken different numbers of steps. Adagrad.step
// passes the index of each tensor among its params as numbers[i], for the messages of errors.
std::size_t step_many(const py::sequence& tensors, const py::object& rule,
                      const std::vector<double>& lrs, const std::vector<py::ssize_t>& numbers,
                      std::size_t threads) {
  Rules rules(rule, tensors.size());
  std::vector<Tensor> checked;
  std::vector<Span> spans;
  std::vector<std::variant<Params<float>, Params<double>>> params;
  std::size_t total = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Argument at_w = numbers.empty() ? Argument{"step_many", "w", static_cast<py::ssize_t>(i)}
                                          : Argument{"Adagrad.step", "w", numbers[i], "params"};
    const py::object item = tensors[i];
    if (!py::isinstance<py::sequence>(item) || py::len(item) != 3) {
      throw py::type_error("step_many: tensors[" + std::to_string(i) +
                           "] must be a tuple (w, g, s), got " +
                           text_of(py::type::of(item).attr("__name__")));
    }
    const py::sequence triple = item;
    const py::object w = triple[0], g = triple[1], s = triple[2];
    checked.push_back(check_tensor(at_w, w, g, s));
    const Tensor& t = checked.back();
    add_spans(spans, at_w, t);
    const Hyperparameters& of = rules[i];
    if (t.real == Real::f64) {
      params.emplace_back(of.params<double>(lrs[i]));
    } else {
      params.emplace_back(of.params<float>(lrs[i]));
    }
    total += t.size();
    if (of.on_nonfinite == NonFinite::raise) check_gradient(at_w.other("g"), t);
  }
  check_all_disjoint(std::move(spans));
  threads = num_threads(threads);
  return unlocked(total, [&] {
    std::size_t skipped = 0;
    for (std::size_t i = 0; i < checked.size(); ++i) {
      skipped +=
          std::visit([&](const auto& p) { return update(checked[i], p, threads); }, params[i]);
    }
    return skipped;
  });
}

// Raises unless each param can be updated in place and no two share memory.
void check_params(const py::sequence& params) {
  std::vector<py::array> arrays;
  std::vector<Span> spans;
  for (std::size_t i = 0; i < params.size(); ++i) {
    const Argument at{"Adagrad", "", static_cast<py::ssize_t>(i), "params"};
    arrays.push_back(check_memory(at, py::object(params[i]), Access::write));
    real_type(at, arrays.back());
    spans.emplace_back(at, arrays.back(), Access::write);
  }
  check_all_disjoint(std::move(spans));
}

}  // namespace

void bind_dense(py::module_& m) {
  define<8, step>(m, "step", "step(w, g, s, lr, eps, rule, t, threads)\n\nadagrad.step.");
  m.def("step_many", &step_many, py::arg("tensors"), py::arg("rule"), py::arg("lrs"),
        py::arg("numbers") = std::vector<py::ssize_t>{}, py::arg("threads") = 0,
        "One dense step of each (w, g, s); the number of skipped gradients.");
  m.def("check_params", &check_params, py::arg("params"),
        "Raise if a param cannot be updated in place, or two share memory.");
}

}  // namespace adagrad
