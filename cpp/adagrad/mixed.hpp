// A dense step of params in 16 bits, with gradients and accumulators in 16 or 32 bits. Blocks are
// loaded exactly to float, updated by loops.hpp, and rounded to nearest even if they are stored in
// 16 bits. Blocks stay on the stack, so rows of any length need no memory.
#pragma once

#include <cstddef>

#include "half.hpp"
#include "loops.hpp"

namespace adagrad {
namespace {

constexpr std::size_t mixed_block = 256;

// The address of element i of an array of 16 bits or of floats.
inline const char* address(const void* memory, bool is_half, std::size_t i) {
  return static_cast<const char*>(memory) + i * (is_half ? 2 : sizeof(float));
}

inline char* address(void* memory, bool is_half, std::size_t i) {
  return static_cast<char*>(memory) + i * (is_half ? 2 : sizeof(float));
}

// The n floats at `from`: in place, or in `room` if they have to be converted.
inline const float* floats(Half half, const char* from, bool is_half, float* room, std::size_t n) {
  if (!is_half) return reinterpret_cast<const float*>(from);
  load_half(half, from, room, n);
  return room;
}

inline float* floats(Half half, char* from, bool is_half, float* room, std::size_t n) {
  if (!is_half) return reinterpret_cast<float*>(from);
  load_half(half, from, room, n);
  return room;
}

// f(w, g, n, first) on the floats of each block of w and g from element `begin` to `end`.
template <class F>
inline void for_blocks(const Mixed& a, std::size_t begin, std::size_t end, F f) {
  float w_room[mixed_block], g_room[mixed_block];
  for (std::size_t i = begin; i < end; i += mixed_block) {
    const std::size_t n = end - i < mixed_block ? end - i : mixed_block;
    load_half(a.half, address(a.w, true, i), w_room, n);
    f(w_room, floats(a.half, address(a.g, a.half_g, i), a.half_g, g_room, n), n, i);
  }
}

// One accumulator per element.
template <class Form>
std::size_t mixed_elements(const Mixed& a, const Params<float>& p) {
  std::size_t skips = 0;
  for_blocks(a, 0, a.n * a.dim, [&](float* w, const float* g, std::size_t n, std::size_t i) {
    float room[mixed_block];
    char* const stored = address(a.s, a.half_s, i);
    float* const s = floats(a.half, stored, a.half_s, room, n);
    dense<Form>(w, g, s, n, p);
    store_nearest(a.half, w, address(a.w, true, i), n);
    if (a.half_s) store_nearest(a.half, s, stored, n);
    if (!Form::plain && p.skip_nonfinite) skips += count_nonfinite(g, n);
  });
  return skips;
}

// The fold_statistic() of a row. Rows that are too long for a block are halved as it halves them,
// so the bits are the same.
template <class Form>
float mixed_fold(const Mixed& a, const Params<float>& p, std::size_t begin, std::size_t n) {
  if (n > mixed_block) {
    const std::size_t half = pairwise_half(n);
    const float x = mixed_fold<Form>(a, p, begin, half);
    const float y = mixed_fold<Form>(a, p, begin + half, n - half);
    return takes_max<Form>(p) ? larger(x, y) : x + y;
  }
  float folded = 0.0f;
  for_blocks(a, begin, begin + n,
             [&](const float* w, const float* g, std::size_t count, std::size_t) {
               folded = fold_statistic<Form>(p, g, w, count);
             });
  return folded;
}

// One accumulator per row. Every row is loaded twice, because its step needs all of its gradient.
template <class Form>
std::size_t mixed_rows(const Mixed& a, const Params<float>& p) {
  std::size_t skips = 0;
  for (std::size_t row = 0; row < a.n; ++row) {
    const std::size_t begin = row * a.dim, end = begin + a.dim;
    if (!Form::plain && p.skip_nonfinite) {
      std::size_t nonfinite = 0;
      for_blocks(a, begin, end, [&](const float*, const float* g, std::size_t n, std::size_t) {
        nonfinite += count_nonfinite(g, n);
      });
      if (nonfinite != 0) {
        ++skips;
        continue;
      }
    }
    float room;
    char* const stored = address(a.s, a.half_s, row);
    float* const s = floats(a.half, stored, a.half_s, &room, 1);
    const float a_row = row_statistic<Form>(p, mixed_fold<Form>(a, p, begin, a.dim), a.dim);
    const float d = accumulate_row<Form>(p, *s, a_row);
    const float r = root<Form>(p, d);
    for_blocks(a, begin, end, [&](float* w, const float* g, std::size_t n, std::size_t i) {
      advance_row<Form>(p, w, g, n, d, r);
      store_nearest(a.half, w, address(a.w, true, i), n);
    });
    if (a.half_s) store_nearest(a.half, s, stored, 1);
  }
  return skips;
}

// Returns how many gradients, or rows, on_nonfinite="skip" left alone.
template <class Form>
std::size_t mixed_step(const Mixed& a, const Params<float>& p) {
  return a.row_state ? mixed_rows<Form>(a, p) : mixed_elements<Form>(a, p);
}

}  // namespace
}  // namespace adagrad
