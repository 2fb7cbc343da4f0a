// The only place that asks the processor what it is.
#include "cpu.hpp"

#include <atomic>
#include <stdexcept>

#if defined(_MSC_VER) && defined(_M_X64)
#include <immintrin.h>
#include <intrin.h>
#endif

namespace adagrad {

#if defined(ADAGRAD_HAVE_x86_64)
extern const Kernels kernels_x86_64;
#endif
#if defined(ADAGRAD_HAVE_x86_64_v3)
extern const Kernels kernels_x86_64_v3;
#endif
#if defined(ADAGRAD_HAVE_x86_64_v4)
extern const Kernels kernels_x86_64_v4;
#endif
#if defined(ADAGRAD_HAVE_neon)
extern const Kernels kernels_neon;
#endif
#if defined(ADAGRAD_HAVE_generic)
extern const Kernels kernels_generic;
#endif

namespace {

struct Features {
  bool v3 = false, v4 = false;
};

#if defined(_MSC_VER) && defined(_M_X64)
Features detect() {
  int leaf1[4], leaf7[4], leaf80000001[4];
  __cpuidex(leaf1, 1, 0);
  __cpuidex(leaf7, 7, 0);
  __cpuidex(leaf80000001, static_cast<int>(0x80000001u), 0);
  const auto bit = [](int word, int n) { return ((static_cast<unsigned>(word) >> n) & 1) != 0; };
  Features f;
  if (!bit(leaf1[2], 27)) return f;  // OSXSAVE: without it the state below cannot be read
  // The processor may have a register that the system does not save: XCR0 says which ones it does.
  const unsigned long long saved = _xgetbv(0);
  f.v3 = (saved & 0x6) == 0x6 && bit(leaf1[2], 12) && bit(leaf1[2], 22) && bit(leaf1[2], 28) &&
         bit(leaf1[2], 29) && bit(leaf7[1], 3) && bit(leaf7[1], 5) && bit(leaf7[1], 8) &&
         bit(leaf80000001[2], 5);
  f.v4 = f.v3 && (saved & 0xe6) == 0xe6 && bit(leaf7[1], 16) && bit(leaf7[1], 17) &&
         bit(leaf7[1], 28) && bit(leaf7[1], 30) && bit(leaf7[1], 31);
  return f;
}
#elif defined(__x86_64__)
Features detect() {
  // The compiler's run time checks the saved register state (XCR0) as well as the processor.
  __builtin_cpu_init();
  Features f;
#if defined(__clang__) || __GNUC__ < 12
  f.v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
         __builtin_cpu_supports("popcnt");
#else
  f.v3 = __builtin_cpu_supports("x86-64-v3");
#endif
  f.v4 = f.v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
  return f;
}
#else
Features detect() { return {}; }
#endif

std::vector<const Kernels*> find_runnable() {
  [[maybe_unused]] const Features features = detect();
  std::vector<const Kernels*> found;
#if defined(ADAGRAD_HAVE_x86_64)
  found.push_back(&kernels_x86_64);
#endif
#if defined(ADAGRAD_HAVE_x86_64_v3)
  if (features.v3) found.push_back(&kernels_x86_64_v3);
#endif
#if defined(ADAGRAD_HAVE_x86_64_v4)
  if (features.v4) found.push_back(&kernels_x86_64_v4);
#endif
#if defined(ADAGRAD_HAVE_neon)
  found.push_back(&kernels_neon);
#endif
#if defined(ADAGRAD_HAVE_generic)
  found.push_back(&kernels_generic);
#endif
  return found;
}

const Kernels* best() {
  if (!runnable_kernels().empty()) return runnable_kernels().back();
  throw std::runtime_error(
      "adagrad was compiled without kernels for this processor: build it with ADAGRAD_ISAS empty");
}

std::atomic<const Kernels*>& current() {
  static std::atomic<const Kernels*> table{best()};
  return table;
}

}  // namespace

const std::vector<const Kernels*>& runnable_kernels() {
  static const std::vector<const Kernels*> found = find_runnable();
  return found;
}

const Kernels& kernels() { return *current().load(std::memory_order_relaxed); }

bool use_isa(const std::string& name) {
  for (const Kernels* table : runnable_kernels()) {
    if (name == table->isa) {
      current().store(table, std::memory_order_relaxed);
      return true;
    }
  }
  return false;
}

}  // namespace adagrad
