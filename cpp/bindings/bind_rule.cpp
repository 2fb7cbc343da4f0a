// _core.Hyperparameters: what adagrad.Rule hands to the kernels. Rule has validated every field.
#include "hyperparameters.hpp"

#include "module.hpp"

namespace adagrad {
namespace {

template <class Enum>
struct Name {
  const char* name;
  Enum value;
};

template <class Enum, std::size_t N>
Enum parse(const char* field, const std::string& text, const Name<Enum> (&names)[N]) {
  std::string known;
  for (const Name<Enum>& entry : names) {
    if (text == entry.name) return entry.value;
    known += (known.empty() ? "'" : ", '") + std::string(entry.name) + "'";
  }
  throw py::value_error(std::string(field) + " must be one of " + known + ", got '" + text + "'");
}

// The digits of the binary fraction of a power in [0, 1].
Power digits_of(double power) {
  Power digits;
  digits.whole = power == 1.0;
  digits.digits = 0;
  double rest = digits.whole ? 0.0 : power;
  for (unsigned bit = 64; bit-- > 0 && rest > 0.0;) {
    rest *= 2.0;
    if (rest >= 1.0) {
      digits.digits |= std::uint64_t{1} << bit;
      rest -= 1.0;
    }
  }
  return digits;
}

template <class T>
T cast(const char* field, double value) {
  const T result = static_cast<T>(value);
  if (std::isfinite(value) && !std::isfinite(result)) {
    throw py::value_error(std::string(field) + "=" + std::string(py::repr(py::float_(value))) +
                          " overflows float32, the dtype of the arrays");
  }
  if (value != 0.0 && result == T(0)) {
    throw py::value_error(std::string(field) + "=" + std::string(py::repr(py::float_(value))) +
                          " is 0 in float32, the dtype of the arrays");
  }
  return result;
}

}  // namespace

Duplicates parse_duplicates(const std::string& name) {
  return parse<Duplicates>("duplicates", name,
                           {{"sum", Duplicates::sum},
                            {"sequential", Duplicates::sequential},
                            {"each", Duplicates::each},
                            {"unique", Duplicates::unique}});
}

Hyperparameters::Hyperparameters(const py::kwargs& fields) {
  const auto number = [&](const char* name) { return fields[name].cast<double>(); };
  const auto flag = [&](const char* name) { return fields[name].cast<bool>(); };
  const auto text = [&](const char* name) { return fields[name].cast<std::string>(); };

  eps_ = number("eps");
  scale_ = flag("maximize") ? -number("scale") : number("scale");
  clipped_ = !fields["clip_value"].is_none();
  clip_value_ = clipped_ ? number("clip_value") : 0.0;
  weight_decay_ = number("weight_decay");
  accumulator_decay_ = number("accumulator_decay");
  power_ = number("power");
  eps_outside_ = text("eps_position") == "outside";
  duplicates = parse_duplicates(text("duplicates"));
  on_nonfinite = parse<NonFinite>("on_nonfinite", text("on_nonfinite"),
                                  {{"propagate", NonFinite::propagate},
                                   {"raise", NonFinite::raise},
                                   {"skip", NonFinite::skip}});
  options_.evaluation = parse<Evaluation>("evaluation", text("evaluation"),
                                          {{"lr*g/d", Evaluation::product_first},
                                           {"lr/d*g", Evaluation::rate_first},
                                           {"g/d*lr", Evaluation::quotient_first}});
  options_.statistic = parse<Statistic>("statistic", text("statistic"),
                                        {{"square", Statistic::square},
                                         {"scaled_square", Statistic::scaled_square},
                                         {"count", Statistic::count}});
  options_.row_statistic =
      parse<RowStatistic>("row_statistic", text("row_statistic"),
                          {{"mean", RowStatistic::mean}, {"max", RowStatistic::max}});
  options_.decay = weight_decay_ == 0.0                     ? WeightDecay::none
                   : text("weight_decay_mode") == "coupled" ? WeightDecay::coupled
                                                            : WeightDecay::decoupled;
  decay_all_rows = options_.decay == WeightDecay::decoupled && text("weight_decay_rows") == "all";
  options_.lagged = flag("lagged");
  options_.skip_zero_accumulator = flag("skip_zero_accumulator");
  options_.skip_nonfinite = on_nonfinite == NonFinite::skip;
}

template <class T>
Params<T> Hyperparameters::params(double lr) const {
  Params<T> p;
  p.lr = cast<T>("lr", lr);
  p.eps_inside = eps_outside_ ? T(0) : cast<T>("eps", eps_);
  p.eps_outside = eps_outside_ ? cast<T>("eps", eps_) : T(0);
  p.scale = cast<T>("scale", scale_);
  if (clipped_) p.clip_value = cast<T>("clip_value", clip_value_);
  p.weight_decay = cast<T>("weight_decay", weight_decay_);
  p.accumulator_decay = cast<T>("accumulator_decay", accumulator_decay_);
  p.power = digits_of(static_cast<double>(cast<T>("power", power_)));
  p.evaluation = options_.evaluation;
  p.statistic = options_.statistic;
  p.row_statistic = options_.row_statistic;
  p.decay = options_.decay;
  p.lagged = options_.lagged;
  p.skip_zero_accumulator = options_.skip_zero_accumulator;
  p.skip_nonfinite = options_.skip_nonfinite;
  p.sum = sum;
  return p;
}

template Params<float> Hyperparameters::params<float>(double) const;
template Params<double> Hyperparameters::params<double>(double) const;

void bind_rule(py::module_& m) {
  py::class_<Hyperparameters>(m, "Hyperparameters")
      .def(py::init<const py::kwargs&>(), "The fields of adagrad.Rule, by name.")
      .def(
          "sums",
          [](Hyperparameters rule) {
            rule.sum = true;
            return rule;
          },
          "For learners that leave params alone and add gradients up in the accumulators.");
}

}  // namespace adagrad
