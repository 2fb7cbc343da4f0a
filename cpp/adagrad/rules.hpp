// THE MATHS: the one place where the formulas of AdaGrad are written.
//
// A coordinate has a param w, an accumulator s and receives a gradient g. With every option set
//
//     h = clip(scale * g, clip_value) [+ weight_decay * w]          gradient()
//     a = h^2 | (lr * h)^2 | (h != 0)                               statistic()
//     n = accumulator_decay * s + a                                 accumulate()
//     d = n, or s if the rule is lagged                             divisor()
//     q = (d + eps_inside)^power + eps_outside                      root()
//     w = w - lr * h / q                                            step(), advance()
//
// (Duchi, Hazan and Singer, JMLR 12, 2011, section 1.1, with power 1/2.) Every operation is rounded
// once in T, in the order written here; loops.hpp only decides which coordinates are visited. The
// flags of isa.cmake (no contraction, no fast-math) are part of this contract: a C++ program that
// includes this header gets the same bits if it is compiled with -ffp-contract=off.
//
// A coordinate is a scalar or, under a plain rule, a vector of lanes (vectors.hpp): V is either,
// and T is the type of its elements.
//
// All functions have internal linkage, and no type has member functions: the header is compiled
// once per instruction set, and no symbol of one build may replace another's at link time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "portability.hpp"
#include "types.hpp"
#include "vectors.hpp"

namespace adagrad {

// A form is what a loop knows about its rule at compile time.
//
// Plain: every option except lr, eps and the evaluation is neutral. The loops over plain rules are
// the hot ones, so each evaluation has its own.
template <Evaluation E>
struct Plain {
  static constexpr bool plain = true;
};
// General: any option may be set, the evaluation included.
struct General {
  static constexpr bool plain = false;
};
// GeneralWith: the same, with a known evaluation, for loops that would not vectorize otherwise.
template <Evaluation E>
struct GeneralWith {
  static constexpr bool plain = false;
};

namespace {

template <Evaluation E, class P>
constexpr Evaluation evaluation_of(Plain<E>, const P&) {
  return E;
}
template <Evaluation E, class P>
constexpr Evaluation evaluation_of(GeneralWith<E>, const P&) {
  return E;
}
template <class P>
constexpr Evaluation evaluation_of(General, const P& p) {
  return p.evaluation;
}

template <class T>
inline bool is_finite(T x) {
  return x - x == T(0);
}

inline bool is_sqrt(const Power& power) {
  return !power.whole && power.digits == std::uint64_t{1} << 63;
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
  if constexpr (Form::plain) {
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

// The accumulator after a gradient h.
template <class Form, class T, class V>
inline V accumulated(const Params<T>& p, V s, V h) {
  return accumulate<Form>(p, s, statistic<Form>(p, h));
}

// The accumulator that divides: n, or s if the rule is lagged.
template <class Form, class T, class V>
inline V divisor(const Params<T>& p, [[maybe_unused]] V s, V n) {
  if constexpr (Form::plain) {
    return n;
  } else {
    return p.lagged ? s : n;
  }
}

// x[i] = x[i]^power. The digits are the outer loop, so that a block of coordinates vectorizes.
template <class T>
inline void raise(const Power& power, T* x, std::size_t n) {
  if (power.whole) return;
  if (is_sqrt(power)) {
    for (std::size_t i = 0; i < n; ++i) x[i] = square_root(x[i]);
    return;
  }
  constexpr std::size_t most = 64;
  T product[most];
  // Blocks are independent: each coordinate is raised without any other.
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

// What root() takes the power of.
template <class P, class V>
inline V radicand(const P& p, V d) {
  return d + p.eps_inside;
}

template <class Form, class P, class V>
inline V root(const P& p, V d) {
  if constexpr (Form::plain) {
    return square_root(radicand(p, d));
  } else {
    V x = radicand(p, d);
    raise(p.power, &x, 1);
    return x;
  }
}

// The rate of step t, counted from 1. (Rule.lr_at computes the same in Python.)
inline double decayed_rate(double lr, double lr_decay, std::uint64_t t) {
  return lr / (1.0 + static_cast<double>(t - 1) * lr_decay);
}

// Decoupled weight decay, if it comes before the step.
template <class T>
inline T decayed(const Params<T>& p, T w) {
  return w - w * p.weight_decay * p.lr;
}

// lr * h / (root + eps_outside), in the order of rounding that the rule names.
template <class Form, class P, class V>
inline V rated(const P& p, V h, V root) {
  const V q = root + p.eps_outside;
  const Evaluation evaluation = evaluation_of(Form{}, p);
  if (evaluation == Evaluation::product_first) return p.lr * h / q;
  if (evaluation == Evaluation::rate_first) return p.lr / q * h;
  return p.lr * (h / q);
}

// How far a gradient h moves a param whose step is divided by the accumulator d; for h = 1 that is
// its effective rate. P is a Params, or has lr, eps_inside and eps_outside under a plain rule.
template <class Form, class P, class V>
inline V step(const P& p, V h, V d) {
  return rated<Form>(p, h, root<Form>(p, d));
}

// The new param, from the accumulator d that divides and its root.
template <class Form, class T, class V>
inline V advance(const Params<T>& p, V w, V h, [[maybe_unused]] V d, V root) {
  if constexpr (Form::plain) {
    return w - rated<Form>(p, h, root);
  } else {
    // MXNet decays within the step, Keras before it.
    const bool decoupled = p.decay == WeightDecay::decoupled;
    const bool within = evaluation_of(Form{}, p) == Evaluation::quotient_first;
    const T start = decoupled && !within ? decayed(p, w) : w;
    const T change = decoupled && within ? p.lr * (h / (root + p.eps_outside) + w * p.weight_decay)
                                         : rated<Form>(p, h, root);
    return p.skip_zero_accumulator && d == T(0) ? start : start - change;
  }
}

// Calls f with the evaluation as a constant.
template <class F>
inline auto with_evaluation(Evaluation evaluation, F f) {
  switch (evaluation) {
    case Evaluation::rate_first:
      return f(std::integral_constant<Evaluation, Evaluation::rate_first>{});
    case Evaluation::quotient_first:
      return f(std::integral_constant<Evaluation, Evaluation::quotient_first>{});
    default: return f(std::integral_constant<Evaluation, Evaluation::product_first>{});
  }
}

inline bool same(const Power& a, const Power& b) {
  return a.digits == b.digits && a.whole == b.whole;
}
template <class V>
inline bool same(V a, V b) {
  return a == b;
}

// True if only lr, eps and the evaluation differ from the defaults.
template <class T>
inline bool is_plain(const Params<T>& p) {
  const Params<T> neutral;
  bool plain = !p.skip_nonfinite;
  each_option([&](const char*, const auto& x, const auto& y) { plain = plain && same(x, y); }, p,
              neutral);
  return plain;
}

// Calls f with the form that covers the params.
template <class T, class F>
auto with_form(const Params<T>& p, F f) {
  if (!is_plain(p)) return f(General{});
  return with_evaluation(p.evaluation, [&](auto evaluation) { return f(Plain<evaluation()>{}); });
}

}  // namespace
}  // namespace adagrad
