// The options of a rule by the names of adagrad.Rule, and the Params that a step makes of them.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "types.hpp"

namespace adagrad {

template <class Enum>
struct Name {
  const char* name;
  Enum value;
};

// Names<Enum>::all: the values of an option by name.
template <class Enum>
struct Names;
template <>
struct Names<Evaluation> {
  static constexpr Name<Evaluation> all[] = {{"lr*g/d", Evaluation::product_first},
                                             {"lr/d*g", Evaluation::rate_first},
                                             {"g/d*lr", Evaluation::quotient_first}};
};
template <>
struct Names<Statistic> {
  static constexpr Name<Statistic> all[] = {{"square", Statistic::square},
                                            {"scaled_square", Statistic::scaled_square},
                                            {"count", Statistic::count}};
};
template <>
struct Names<RowStatistic> {
  static constexpr Name<RowStatistic> all[] = {{"mean", RowStatistic::mean},
                                               {"max", RowStatistic::max}};
};
template <>
struct Names<WeightDecay> {
  static constexpr Name<WeightDecay> all[] = {{"coupled", WeightDecay::coupled},
                                              {"decoupled", WeightDecay::decoupled}};
};
template <>
struct Names<Duplicates> {
  static constexpr Name<Duplicates> all[] = {{"sum", Duplicates::sum},
                                             {"sequential", Duplicates::sequential},
                                             {"each", Duplicates::each},
                                             {"unique", Duplicates::unique}};
};
template <>
struct Names<NonFinite> {
  static constexpr Name<NonFinite> all[] = {
      {"propagate", NonFinite::propagate}, {"raise", NonFinite::raise}, {"skip", NonFinite::skip}};
};

// The value with this name. Throws std::invalid_argument that lists the names there are.
template <class Enum>
Enum parse(const char* field, const std::string& text) {
  std::string known;
  for (const Name<Enum>& entry : Names<Enum>::all) {
    if (text == entry.name) return entry.value;
    known += (known.empty() ? "'" : ", '") + std::string(entry.name) + "'";
  }
  throw std::invalid_argument(std::string(field) + " must be one of " + known + ", got '" + text +
                              "'");
}

// The shortest text that reads back as x.
inline std::string shortest(double x) {
  char text[32];
  for (int digits = 1; digits <= 17; ++digits) {
    std::snprintf(text, sizeof text, "%.*g", digits, x);
    if (std::strtod(text, nullptr) == x) break;
  }
  return text;
}

// The digits of the binary fraction of a power in [0, 1].
inline Power digits_of(double power) {
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

// The fields of a rule, as parsed. They are cast to the compute type of each call, once per call.
class Options {
 public:
  // source.number(name), flag(name) and text(name) are the fields of an adagrad.Rule that has
  // checked them; a number that is None is an infinity.
  template <class Source>
  explicit Options(const Source& source)
      : duplicates(parse<Duplicates>("duplicates", source.text("duplicates"))),
        on_nonfinite(parse<NonFinite>("on_nonfinite", source.text("on_nonfinite"))),
        first_lr(source.number("lr")), lr_decay(source.number("lr_decay")),
        eps_(source.number("eps")), power_(source.number("power")),
        eps_outside_(source.text("eps_position") == "outside") {
    each_option(
        [&](const char* name, auto& option) {
          using Option = std::decay_t<decltype(option)>;
          if constexpr (std::is_same_v<Option, bool>) {
            option = source.flag(name);
          } else if constexpr (std::is_enum_v<Option>) {
            option = parse<Option>(name, source.text(name));
          } else if constexpr (std::is_same_v<Option, double>) {
            option = source.number(name);
          }
        },
        parsed_);
    parsed_.evaluation = parse<Evaluation>("evaluation", source.text("evaluation"));
    if (source.flag("maximize")) parsed_.scale = -parsed_.scale;
    if (parsed_.weight_decay == 0.0) parsed_.decay = WeightDecay::none;
    decay_all_rows =
        parsed_.decay == WeightDecay::decoupled && source.text("weight_decay_rows") == "all";
  }

  // The params of one call. lr is the rate of this step, after any decay. Throws
  // std::invalid_argument if a hyperparameter is lost in T: 1e-60 is 0 in float32, and a divisor of
  // 0 is not what was asked for.
  template <class T>
  Params<T> params(double lr) const {
    Params<T> p;
    p.lr = cast<T>("lr", lr);
    p.eps_inside = eps_outside_ ? T(0) : cast<T>("eps", eps_);
    p.eps_outside = eps_outside_ ? cast<T>("eps", eps_) : T(0);
    p.evaluation = parsed_.evaluation;
    p.skip_nonfinite = on_nonfinite == NonFinite::skip;
    p.sum = sum;
    each_option(
        [&](const char* name, auto& option, const auto& parsed) {
          using Option = std::decay_t<decltype(option)>;
          if constexpr (std::is_same_v<Option, Power>) {
            option = digits_of(static_cast<double>(cast<T>(name, power_)));
          } else if constexpr (std::is_same_v<Option, T>) {
            option = cast<T>(name, parsed);
          } else {
            option = parsed;
          }
        },
        p, parsed_);
    return p;
  }

  void set_eps(double eps) { eps_ = eps; }

  bool is_coupled() const { return parsed_.decay == WeightDecay::coupled; }

  Duplicates duplicates;
  NonFinite on_nonfinite;
  double first_lr,
      lr_decay;  // the rate of the first step, and how it falls; a call passes params() its rate
  bool decay_all_rows = false;
  bool sum = false;  // see Params

 private:
  template <class T>
  static T cast(const char* field, double value) {
    const T result = static_cast<T>(value);
    const bool overflows = std::isfinite(value) && !std::isfinite(result);
    if (overflows || (value != 0.0 && result == T(0))) {
      throw std::invalid_argument(std::string(field) + "=" + shortest(value) +
                                  (overflows ? " overflows float32" : " is 0 in float32") +
                                  ", the dtype of the arrays");
    }
    return result;
  }

  double eps_, power_;
  bool eps_outside_;
  Params<double> parsed_;  // all but eps, power, lr and what is derived from on_nonfinite
};

}  // namespace adagrad
