// Macros for what compilers spell differently: aliasing promises, prefetch hints, functions that
// are not worth inlining, and the pause of a thread that spins. Other files have an #if where
// a loop is written with vectors or intrinsics (see vectors.hpp), and where one file alone depends
// on the compiler or the system: parallel.hpp, buckets.hpp and isa/cpu.cpp.
#pragma once

#if defined(__GNUC__) || defined(__clang__)
#define ADAGRAD_RESTRICT __restrict__
#define ADAGRAD_NOINLINE __attribute__((noinline))
// g++ takes a function that only prefetches for one without an effect, and drops calls of it.
#define ADAGRAD_INLINE inline __attribute__((always_inline))
#define ADAGRAD_PREFETCH(address) __builtin_prefetch(address)
#elif defined(_MSC_VER)
#include <intrin.h>
#define ADAGRAD_RESTRICT __restrict
#define ADAGRAD_NOINLINE __declspec(noinline)
#define ADAGRAD_INLINE __forceinline
#if defined(_M_X64)
#define ADAGRAD_PREFETCH(address) _mm_prefetch(reinterpret_cast<const char*>(address), _MM_HINT_T0)
#else
#define ADAGRAD_PREFETCH(address) __prefetch(address)
#endif
#else
#define ADAGRAD_RESTRICT
#define ADAGRAD_NOINLINE
#define ADAGRAD_INLINE inline
#define ADAGRAD_PREFETCH(address) static_cast<void>(address)
#endif

#if defined(__GNUC__) && defined(__x86_64__)
#define ADAGRAD_PAUSE() __builtin_ia32_pause()
#elif defined(__GNUC__) && defined(__aarch64__)
#define ADAGRAD_PAUSE() __asm__ __volatile__("yield")
#elif defined(_MSC_VER) && defined(_M_X64)
#define ADAGRAD_PAUSE() _mm_pause()
#else
#define ADAGRAD_PAUSE() static_cast<void>(0)
#endif

// Hides from the compiler how an integer was computed, or it would branch on what is 0 or 1.
#if defined(__GNUC__) || defined(__clang__)
#define ADAGRAD_HIDE(x) __asm__("" : "+r"(x))
#else
#define ADAGRAD_HIDE(x) static_cast<void>(0)
#endif

#if defined(__FAST_MATH__)
#error "adagrad promises IEEE arithmetic: compile without -ffast-math"
#endif
