// _core.step_rows: checks, then the duplicate policy, then the row kernels.
#include <algorithm>
#include <cstdint>

#include "../adagrad/coalesce.hpp"
#include "../isa/cpu.hpp"
#include "arrays.hpp"
#include "hyperparameters.hpp"
#include "ids.hpp"
#include "module.hpp"

namespace adagrad {
namespace {

template <class I>
void check_unique(const I* ids, std::size_t n, unsigned bits) {
  std::uint64_t first = 0, second = 0, id = 0;
  bool found = false;
  group_rows<std::uint64_t, std::uint64_t>(
      ids, n, bits,
      [&](std::uint64_t key, const Item<std::uint64_t, std::uint64_t>* items, std::size_t count) {
        if (count < 2 || (found && items[1].value > second)) return;
        found = true;
        id = key;
        first = items[0].value;
        second = items[1].value;
      });
  if (found) {
    throw py::value_error("step_rows: rows[" + std::to_string(second) +
                          "] = " + std::to_string(id) + " repeats rows[" + std::to_string(first) +
                          "], but duplicates='unique' promises that no id repeats");
  }
}

// The checked arguments of step_rows.
struct Arguments {
  py::array w, g, s, rows;
  Real real;
  IdType ids;
  bool row_state;
  std::size_t n, dim;
  std::uint64_t table_rows;
};

Arguments check_arguments(py::handle w, py::handle g, py::handle s, py::handle rows) {
  constexpr const char* function = "step_rows";
  const Argument at_w{function, "w"}, at_g{function, "g"}, at_s{function, "s"},
      at_rows{function, "rows"};
  Arguments a{check_memory(at_w, w, Access::write),
              check_memory(at_g, g, Access::read),
              check_memory(at_s, s, Access::write),
              check_memory(at_rows, rows, Access::read),
              Real::f32,
              IdType::i32,
              false,
              0,
              1,
              0};
  a.real = real_type(at_w, a.w);
  check_same_real(at_g, a.real, a.g, "w", a.w);
  check_same_real(at_s, a.real, a.s, "w", a.w);
  a.ids = id_type(at_rows, a.rows);
  if (a.w.ndim() != 1 && a.w.ndim() != 2) {
    fail_value(at_w, "must have shape [N] or [N, D], got " + shape_of(a.w));
  }
  if (a.rows.ndim() != 1) fail_value(at_rows, "must have shape [n], got " + shape_of(a.rows));
  a.n = static_cast<std::size_t>(a.rows.shape(0));
  a.table_rows = static_cast<std::uint64_t>(a.w.shape(0));
  if (a.w.ndim() == 2) a.dim = static_cast<std::size_t>(a.w.shape(1));

  const bool fits = a.g.ndim() == a.w.ndim() && a.g.shape(0) == a.rows.shape(0) &&
                    (a.w.ndim() == 1 || a.g.shape(1) == a.w.shape(1));
  if (!fits) {
    const std::string wanted =
        "(" + std::to_string(a.n) + (a.w.ndim() == 2 ? ", " + std::to_string(a.dim) + ")" : ",)");
    fail_value(at_g, "has shape " + shape_of(a.g) + ", but rows of shape " + shape_of(a.rows) +
                         " and w of shape " + shape_of(a.w) + " need " + wanted);
  }
  a.row_state = has_row_state(at_s, a.w, a.s);
  const Span span_w{at_w, a.w, Access::write}, span_s{at_s, a.s, Access::write};
  check_disjoint(span_w, span_s);
  for (const Span& read : {Span{at_g, a.g, Access::read}, Span{at_rows, a.rows, Access::read}}) {
    check_disjoint(span_w, read);
    check_disjoint(span_s, read);
  }
  return a;
}

template <class T>
const auto& rows_kernel(const KernelsOf<T>& kernels, const std::uint32_t*) {
  return kernels.rows_u32;
}
template <class T>
const auto& rows_kernel(const KernelsOf<T>& kernels, const std::uint64_t*) {
  return kernels.rows_u64;
}

// One call of step_rows once everything is checked. Id is uint32_t or uint64_t, the type of ids.
template <class T, class Id>
class RowsCall {
 public:
  RowsCall(const Arguments& a, const Params<T>& params, const Id* ids, unsigned bits, bool limit)
      : w_(static_cast<T*>(const_cast<void*>(a.w.data()))),
        s_(static_cast<T*>(const_cast<void*>(a.s.data()))), g_(static_cast<const T*>(a.g.data())),
        ids_(ids), n_(a.n), dim_(a.dim), row_state_(a.row_state), bits_(bits), params_(params),
        kernels_(kernels_for<T>(limit)) {}

  // Every param decays, not only those with a gradient: before the first update, but after the
  // memory that a policy needs has been found.
  void decay_all(std::uint64_t table_rows) {
    sweep_params_ = params_;
    sweep_ = static_cast<std::size_t>(table_rows) * dim_;
    params_.decay = WeightDecay::none;
  }

  std::size_t run(Duplicates duplicates) {
    if (n_ == 0) sweep();
    switch (duplicates) {
      case Duplicates::sum: return sum();
      case Duplicates::each: return each();
      default: return visit(ids_, g_, n_, Visit::update);
    }
  }

  // The id whose summed gradient is not finite though its gradients are, or the largest uint64.
  std::uint64_t find_overflow() const {
    std::uint64_t bad = ~std::uint64_t{0};
    summed([&](const Id* ids, const T* sums, std::size_t count) {
      for (std::size_t i = 0; i < count; ++i) {
        if (count_nonfinite(sums + i * dim_, dim_) != 0 && ids[i] < bad) bad = ids[i];
      }
    });
    return bad;
  }

 private:
  void sweep() {
    if (sweep_ != 0) kernels_.decay_all(w_, sweep_, sweep_params_);
    sweep_ = 0;
  }

  std::size_t visit(const Id* ids, const T* g, std::size_t n, Visit parts) {
    sweep();
    const Rows<T, const Id*> rows{w_, s_, ids, g, n, dim_, row_state_};
    return rows_kernel(kernels_, ids)(rows, params_, parts);
  }

  std::size_t sum() {
    std::size_t skipped = 0;
    summed([&](const Id* ids, const T* sums, std::size_t count) {
      skipped += visit(ids, sums, count, Visit::update);
    });
    return skipped;
  }

  // Every square first, then every step with the final accumulator; a lagged rule divides by the
  // accumulator from before, so its steps come first.
  std::size_t each() {
    const Visit first = params_.lagged ? Visit::advance : Visit::accumulate;
    const Visit second = params_.lagged ? Visit::accumulate : Visit::advance;
    const std::size_t skipped = visit(ids_, g_, n_, first);
    visit(ids_, g_, n_, second);
    return skipped;
  }

  // f(ids, sums, count) for batches of different ids and their summed gradients.
  template <class F>
  void summed(F f) const {
    if (dim_ == 1) {
      sum_batches<Id>(ids_, g_, n_, bits_, f);
    } else if (n_ <= ~std::uint32_t{0}) {
      sum_wide<std::uint32_t>(f);
    } else {
      sum_wide<std::uint64_t>(f);
    }
  }

  template <class Position, class F>
  void sum_wide(F f) const {
    constexpr std::size_t batch_bytes = std::size_t{1} << 15;  // a batch of sums stays in L1 or L2
    const std::size_t most = std::max<std::size_t>(1, batch_bytes / (dim_ * sizeof(T)));
    std::vector<Id> ids(most);
    std::vector<T> sums(most * dim_);
    std::size_t count = 0;
    group_rows<Id, Position>(ids_, n_, bits_,
                             [&](Id id, const Item<Id, Position>* items, std::size_t repeats) {
                               ids[count] = id;
                               sum_row(g_, items, repeats, dim_, sums.data() + count * dim_);
                               if (++count < most) return;
                               f(ids.data(), sums.data(), count);
                               count = 0;
                             });
    if (count != 0) f(ids.data(), sums.data(), count);
  }

  T* w_;
  T* s_;
  const T* g_;
  const Id* ids_;
  std::size_t n_, dim_;
  bool row_state_;
  unsigned bits_;
  Params<T> params_, sweep_params_;
  std::size_t sweep_ = 0;
  const KernelsOf<T>& kernels_;
};

template <class T, class I>
std::size_t run(const Arguments& a, const I* ids, const Hyperparameters& rule, double lr,
                Duplicates duplicates, bool verify_unique, bool limit) {
  const Params<T> params = rule.params<T>(lr);
  const std::uint64_t largest = largest_id(ids, a.n);
  if (a.n != 0 && largest >= a.table_rows) {
    fail_ids({"step_rows", "rows"}, ids,
             " for a table of " + std::to_string(a.table_rows) + " rows",
             [&](std::uint64_t id) { return id < a.table_rows; });
  }
  const unsigned bits = bit_width(largest);
  if (verify_unique) check_unique(unsigned_ids(ids), a.n, bits);
  if (rule.on_nonfinite == NonFinite::raise) check_finite<T>({"step_rows", "g"}, a.g);
  if (a.dim == 0) return 0;

  RowsCall call(a, params, unsigned_ids(ids), bits, limit);
  if (rule.on_nonfinite == NonFinite::raise && duplicates == Duplicates::sum) {
    const std::uint64_t overflow = call.find_overflow();
    if (overflow != ~std::uint64_t{0}) {
      throw py::value_error("step_rows: the sum of the gradients of row " +
                            std::to_string(overflow) +
                            " is not finite, and on_nonfinite is 'raise'");
    }
  }
  const std::uint64_t swept = rule.decay_all_rows ? a.table_rows : 0;
  return unlocked((a.n + static_cast<std::size_t>(swept)) * a.dim, [&] {
    if (rule.decay_all_rows) call.decay_all(swept);
    return call.run(duplicates);
  });
}

std::size_t step_rows(const py::object& w, const py::object& g, const py::object& s,
                      const py::object& rows, const Hyperparameters& rule, double lr,
                      const py::object& duplicates, bool verify_unique, bool limit) {
  const Duplicates policy =
      duplicates.is_none() ? rule.duplicates : parse_duplicates(duplicates.cast<std::string>());
  if (verify_unique && policy != Duplicates::unique) {
    throw py::value_error("step_rows: check_unique=True needs duplicates='unique'");
  }
  if (policy == Duplicates::each && rule.is_coupled()) {
    throw py::value_error(
        "step_rows: duplicates='each' takes all statistics before the first step, and coupled "
        "weight decay makes a gradient depend on the steps before it: use another policy, or "
        "weight_decay_mode='decoupled'");
  }
  const Arguments a = check_arguments(w, g, s, rows);
  return with_ids(a.ids, a.rows, [&](const auto* ids) {
    return a.real == Real::f32 ? run<float>(a, ids, rule, lr, policy, verify_unique, limit)
                               : run<double>(a, ids, rule, lr, policy, verify_unique, limit);
  });
}

}  // namespace

void bind_rows(py::module_& m) {
  m.def("step_rows", &step_rows, py::arg("w"), py::arg("g"), py::arg("s"), py::arg("rows"),
        py::arg("rule"), py::arg("lr"), py::arg("duplicates") = py::none(),
        py::arg("check_unique") = false, py::arg("limit") = false,
        "One step of the named rows in place; the number of skipped rows.");
}

}  // namespace adagrad
