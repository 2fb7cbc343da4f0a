// THE MATHS: the one place where the formulas of AdaGrad are written.
//
// A coordinate has a param w, an accumulator s and receives a gradient g. With every option set
//
//     h = clip(scale * g, clip_value) [+ weight_decay * w]          gradient()
//     a = h^2 | (lr * h)^2 | (h != 0)                               statistic()
//     n = accumulator_decay * s + a                                 accumulate()
//     d = n, or s where the rule is lagged
//     q = (d + eps_inside)^power + eps_outside                      root(), advance()
//     w = w - lr * h / q                                            advance()
//
// (Duchi, Hazan and Singer, JMLR 12, 2011, section 1.1, with power 1/2.) Every operation is rounded
// once in T, in the order written here; loops.hpp decides only which coordinates are visited. The
// flags of isa.cmake (no contraction, no fast-math) are part of this contract: a C++ program that
// includes this header gets the same bits when it is compiled with -ffp-contract=off.
//
// A coordinate is a scalar or, under a plain rule, a vector of lanes (vectors.hpp): V stands for
// either, and T for the type of its elements.
//
// All functions have internal linkage, and no type has member functions: the header is compiled
// once per instruction set, and no symbol of one build may replace another's at link time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "portability.hpp"
#include "vectors.hpp"

namespace adagrad {

// The three ways to round lr * h / q; equal in exact arithmetic, different in the last bit.
enum class Evaluation : std::uint8_t { product_first, rate_first, quotient_first };
enum class Statistic : std::uint8_t { square, scaled_square, count };
enum class WeightDecay : std::uint8_t { none, coupled, decoupled };
// What a row with one accumulator accumulates of the statistics of its elements.
enum class RowStatistic : std::uint8_t { mean, max };

// x^power as a product of square roots: digit k of the binary fraction (the top bit is k = 1)
// multiplies x^(2^-k) in. Only IEEE sqrt and multiply are used, so any power has the same bits on
// every machine, which pow() does not promise.
struct Power {
  std::uint64_t digits = std::uint64_t{1} << 63;
  bool whole = false;  // power 1: x itself
};

// Hyperparameters in the compute type T. The defaults are neutral: they leave the textbook rule.
template <class T>
struct Params {
  T lr = T(0.1);
  T eps_inside = T(1e-6);
  T eps_outside = T(0);
  T scale = T(1);  // negative to maximize
  T clip_value = std::numeric_limits<T>::infinity();
  T weight_decay = T(0);
  T accumulator_decay = T(1);
  Power power;
  Evaluation evaluation = Evaluation::product_first;
  Statistic statistic = Statistic::square;
  RowStatistic row_statistic = RowStatistic::mean;
  WeightDecay decay = WeightDecay::none;
  bool lagged = false;
  bool skip_zero_accumulator = false;
  bool skip_nonfinite = false;
  bool sum = false;  // of gradients, in the accumulators: Form Sum
};

// What a loop knows of its rule at compile time: the evaluation, and for Plain that every option
// but lr and eps is neutral. Limit is no rule: the same loads and stores with the least arithmetic,
// which the benchmarks hold the others against. Sum is none either: params stand still, and an
// accumulator takes the gradients themselves, for whoever takes the step elsewhere.
template <Evaluation E>
struct Plain {
  static constexpr bool plain = true, limit = false, sum = false;
  static constexpr Evaluation evaluation = E;
};
template <Evaluation E>
struct General {
  static constexpr bool plain = false, limit = false, sum = false;
  static constexpr Evaluation evaluation = E;
};
struct Limit {
  static constexpr bool plain = true, limit = true, sum = false;
  static constexpr Evaluation evaluation = Evaluation::product_first;
};
struct Sum {
  static constexpr bool plain = true, limit = false, sum = true;
  static constexpr Evaluation evaluation = Evaluation::product_first;
};

namespace {

template <class T>
inline bool is_finite(T x) {
  return x - x == T(0);
}

inline bool is_sqrt(const Power& power) {
  return !power.whole && power.digits == std::uint64_t{1} << 63;
}

// True where only lr, eps and the evaluation differ from the defaults.
template <class T>
inline bool is_plain(const Params<T>& p) {
  return p.scale == T(1) && p.clip_value == std::numeric_limits<T>::infinity() &&
         p.accumulator_decay == T(1) && is_sqrt(p.power) && p.statistic == Statistic::square &&
         p.row_statistic == RowStatistic::mean && p.decay == WeightDecay::none && !p.lagged &&
         !p.skip_zero_accumulator && !p.skip_nonfinite;
}

template <class Form, class T, class V>
inline V gradient(const Params<T>& p, V g, V w) {
  if constexpr (Form::plain) {
    return g;
  } else {
    T h = p.scale * g;
    h = h < -p.clip_value ? -p.clip_value : h;
    h = p.clip_value < h ? p.clip_value : h;
    return p.decay == WeightDecay::coupled ? h + p.weight_decay * w : h;
  }
}

template <class Form, class T, class V>
inline V statistic(const Params<T>& p, V h) {
  if constexpr (Form::limit || Form::sum) {
    return h;
  } else if constexpr (Form::plain) {
    return h * h;
  } else {
    const T u = p.statistic == Statistic::scaled_square ? p.lr * h : h;
    return p.statistic == Statistic::count ? (h != T(0) ? T(1) : T(0)) : u * u;
  }
}

template <class Form, class T, class V>
inline V accumulate(const Params<T>& p, V s, V a) {
  if constexpr (Form::plain) {
    return s + a;
  } else {
    return p.accumulator_decay * s + a;
  }
}

// x[i] = x[i]^power. The digits are the outer loop, so that a block of coordinates vectorises.
template <class T>
inline void raise(const Power& power, T* x, std::size_t n) {
  if (power.whole) return;
  if (is_sqrt(power)) {
    for (std::size_t i = 0; i < n; ++i) x[i] = square_root(x[i]);
    return;
  }
  constexpr std::size_t most = 64;
  T product[most];
  for (std::size_t start = 0; start < n; start += most) {
    const std::size_t count = n - start < most ? n - start : most;
    T* const radical = x + start;
    for (std::size_t i = 0; i < count; ++i) product[i] = T(1);
    for (std::uint64_t digits = power.digits; digits != 0; digits <<= 1) {
      for (std::size_t i = 0; i < count; ++i) radical[i] = square_root(radical[i]);
      if (digits >> 63 == 0) continue;
      for (std::size_t i = 0; i < count; ++i) product[i] *= radical[i];
    }
    for (std::size_t i = 0; i < count; ++i) radical[i] = product[i];
  }
}

template <class Form, class T, class V>
inline V root(const Params<T>& p, V d) {
  if constexpr (Form::limit || Form::sum) {
    return d;
  } else if constexpr (Form::plain) {
    return square_root(d + p.eps_inside);
  } else {
    T x = d + p.eps_inside;
    raise(p.power, &x, 1);
    return x;
  }
}

// The rate of step t, counted from 1. (Rule.lr_at is the same in Python.)
inline double decayed_rate(double lr, double lr_decay, std::uint64_t t) {
  return lr / (1.0 + static_cast<double>(t - 1) * lr_decay);
}

// Decoupled weight decay, where it stands before the step.
template <class T>
inline T decayed(const Params<T>& p, T w) {
  return w - w * p.weight_decay * p.lr;
}

// lr * h / (root + eps_outside), in the order of rounding that the rule names. P has these two.
template <class Form, class P, class V>
inline V quotient(const P& p, V h, V root) {
  const V divisor = root + p.eps_outside;
  if constexpr (Form::evaluation == Evaluation::product_first) {
    return p.lr * h / divisor;
  } else if constexpr (Form::evaluation == Evaluation::rate_first) {
    return p.lr / divisor * h;
  } else {
    return h / divisor;  // lr comes last, see advance()
  }
}

// What a plain rule takes off a param, whatever the param is.
template <class Form, class P, class V>
inline V plain_step(const P& p, V h, V root) {
  if constexpr (Form::limit) {
    return h;
  } else if constexpr (Form::sum) {
    return V{};
  } else {
    const V q = quotient<Form>(p, h, root);
    return Form::evaluation == Evaluation::quotient_first ? p.lr * q : q;
  }
}

// The new param, from the accumulator d that divides and its root.
template <class Form, class T, class V>
inline V advance(const Params<T>& p, V w, V h, [[maybe_unused]] V d, V root) {
  if constexpr (Form::plain) {
    return w - plain_step<Form>(p, h, root);
  } else {
    constexpr bool lr_last = Form::evaluation == Evaluation::quotient_first;
    const T q = quotient<Form>(p, h, root);
    const bool decoupled = p.decay == WeightDecay::decoupled;
    // MXNet decays inside the parentheses, lr * (h / q + w * weight_decay); Keras before the step.
    const T step = !lr_last ? q : decoupled ? p.lr * (q + w * p.weight_decay) : p.lr * q;
    const T start = decoupled && !lr_last ? decayed(p, w) : w;
    return p.skip_zero_accumulator && d == T(0) ? start : start - step;
  }
}

}  // namespace
}  // namespace adagrad
