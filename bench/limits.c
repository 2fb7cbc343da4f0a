/* The limit of each benchmark: loops that touch the cache lines of a step once, ask for them well
   ahead of their turn, and do one addition for each number that they store. They check nothing and
   copy nothing. An update is always s += g, w -= g, so that its result is easy to verify.

   Rows are named by ids, or by the slots of entries. `ahead` is how many ids or entries before its
   turn a row is prefetched.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#define LINE (64 / sizeof(float))
#define MOST_LINES 16 /* of a row; the hardware follows a longer one from there */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* A macro, as some compilers drop calls of functions that only prefetch. `apart` says whether rows
   may begin anywhere, so that the last element may be in a line of its own. */
#define PREFETCH_ROW(row, n, apart)                                                                \
  do {                                                                                             \
    const float* const start_ = (row);                                                             \
    const size_t all_ = (n), most_ = MOST_LINES * LINE;                                            \
    const size_t reach_ = all_ < most_ ? all_ : most_;                                             \
    for (size_t j_ = 0; j_ < reach_; j_ += LINE) __builtin_prefetch(start_ + j_, 1);               \
    if (reach_ > 1 && (apart)) __builtin_prefetch(start_ + reach_ - 1, 1);                         \
  } while (0)

/* Whether some row of n floats reaches into more lines than it fills. */
ALWAYS_INLINE int any_apart(const float* first, size_t stride, size_t n) {
  const size_t unit = n < LINE && LINE % n == 0 ? n : LINE;
  return (uintptr_t)first / sizeof(float) % unit != 0 || stride % unit != 0;
}

/* Vectors are spelled out because compilers do not vectorize loops over 4 to 16 elements well. They
   are one cache line at most, and may begin anywhere. */
typedef float float4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef float float8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef float float16 __attribute__((vector_size(64), aligned(4), may_alias));

#define UPDATE_BY(V)                                                                               \
  for (; j + sizeof(V) / sizeof(float) <= n; j += sizeof(V) / sizeof(float)) {                     \
    const V x = *(const V*)(g + j);                                                                \
    *(V*)(s + j) += x;                                                                             \
    *(V*)(w + j) -= x;                                                                             \
  }

ALWAYS_INLINE void update(float* w, float* s, const float* g, size_t n) {
  size_t j = 0;
  UPDATE_BY(float16)
  UPDATE_BY(float8)
  UPDATE_BY(float4)
  for (; j < n; ++j) {
    s[j] += g[j];
    w[j] -= g[j];
  }
}

#define MOVE_BY(V)                                                                                 \
  for (; j + sizeof(V) / sizeof(float) <= n; j += sizeof(V) / sizeof(float)) {                     \
    *(V*)(w + j) -= *(const V*)(g + j);                                                            \
  }

ALWAYS_INLINE void move(float* w, const float* g, size_t n) {
  size_t j = 0;
  MOVE_BY(float16)
  MOVE_BY(float8)
  MOVE_BY(float4)
  for (; j < n; ++j) w[j] -= g[j];
}

#define ADD_BY(V)                                                                                  \
  for (; j + sizeof(V) / sizeof(float) <= n; j += sizeof(V) / sizeof(float)) {                     \
    *(V*)(sum + j) += *(const V*)(x + j);                                                          \
  }

ALWAYS_INLINE void add(float* sum, const float* x, size_t n) {
  size_t j = 0;
  ADD_BY(float16)
  ADD_BY(float8)
  ADD_BY(float4)
  for (; j < n; ++j) sum[j] += x[j];
}

#define COPY_BY(V)                                                                                 \
  for (; j + sizeof(V) / sizeof(float) <= n; j += sizeof(V) / sizeof(float)) {                     \
    *(V*)(to + j) = *(const V*)(x + j);                                                            \
  }

ALWAYS_INLINE void copy(float* to, const float* x, size_t n) {
  size_t j = 0;
  COPY_BY(float16)
  COPY_BY(float8)
  COPY_BY(float4)
  for (; j < n; ++j) to[j] = x[j];
}

/* -- dense steps ------------------------------------------------------------------------------- */

/* `ahead` is in elements. Prefetches may reach past the end: they never fault. */
#define DENSE(name, T, V)                                                                          \
  void name(T* restrict w, const T* restrict g, T* restrict s, size_t n, size_t ahead) {           \
    const size_t lanes = sizeof(V) / sizeof(T);                                                    \
    size_t i = 0;                                                                                  \
    for (; i + lanes <= n; i += lanes) {                                                           \
      __builtin_prefetch(w + i + ahead, 1);                                                        \
      __builtin_prefetch(g + i + ahead, 0);                                                        \
      __builtin_prefetch(s + i + ahead, 1);                                                        \
      const V x = *(const V*)(g + i);                                                              \
      *(V*)(s + i) += x;                                                                           \
      *(V*)(w + i) -= x;                                                                           \
    }                                                                                              \
    for (; i < n; ++i) {                                                                           \
      s[i] += g[i];                                                                                \
      w[i] -= g[i];                                                                                \
    }                                                                                              \
  }

typedef double double8 __attribute__((vector_size(64), aligned(8), may_alias));

DENSE(dense_f32, float, float16)
DENSE(dense_f64, double, double8)

/* -- rows of a table --------------------------------------------------------------------------- */

typedef float pair __attribute__((vector_size(8), aligned(4), may_alias));

/* Rows of one element, each beside its accumulator. */
void step_pairs(float* pairs, const int64_t* ids, const float* g, size_t n, size_t ahead) {
  const size_t asked = n > ahead ? n - ahead : 0;
  for (size_t i = 0; i < n && i < ahead; ++i) __builtin_prefetch(pairs + 2 * ids[i], 1);
  for (size_t i = 0; i < n; ++i) {
    if (i < asked) __builtin_prefetch(pairs + 2 * ids[i + ahead], 1);
    pair* const at = (pair*)(pairs + 2 * ids[i]);
    *at += (pair){-g[i], g[i]};
  }
}

/* Rows of one element, their accumulators in an array of their own. */
void step_scalars(float* w, float* s, const int64_t* ids, const float* g, size_t n, size_t ahead) {
  const size_t asked = n > ahead ? n - ahead : 0;
  for (size_t i = 0; i < n && i < ahead; ++i) {
    __builtin_prefetch(w + ids[i], 1);
    __builtin_prefetch(s + ids[i], 1);
  }
  for (size_t i = 0; i < n; ++i) {
    if (i < asked) {
      __builtin_prefetch(w + ids[i + ahead], 1);
      __builtin_prefetch(s + ids[i + ahead], 1);
    }
    s[ids[i]] += g[i];
    w[ids[i]] -= g[i];
  }
}

/* Row r is w + r * w_stride, and its accumulators, `state` many, s + r * s_stride. */
typedef struct {
  float *w, *s;
  size_t w_stride, s_stride, dim, state;
} table;

#define PREFETCH_BOTH(t, id)                                                                       \
  do {                                                                                             \
    const float* const w_ = (t)->w + (size_t)(id) * (t)->w_stride;                                 \
    const float* const s_ = (t)->s + (size_t)(id) * (t)->s_stride;                                 \
    PREFETCH_ROW(w_, joined ? dim + state : dim, apart);                                           \
    if (!joined) PREFETCH_ROW(s_, state, apart);                                                   \
  } while (0)

/* ids[offsets[b] ... offsets[b + 1]) receive g + b * dim; without offsets, ids[b] does. */
ALWAYS_INLINE void step_any(const table* t, const size_t dim, const size_t state,
                            const int64_t* ids, const int64_t* offsets, const float* g, size_t n,
                            size_t ahead) {
  const table at = *t; /* a copy that no store can alias */
  const int joined = at.s == at.w + dim;
  const int apart = any_apart(at.w, at.w_stride, joined ? dim + state : dim) ||
                    (!joined && any_apart(at.s, at.s_stride, state));
  const size_t asked = n > ahead ? n - ahead : 0;
  for (size_t i = 0; i < n && i < ahead; ++i) PREFETCH_BOTH(&at, ids[i]);
  for (size_t i = 0, b = 0; i < n; ++i) {
    if (i < asked) PREFETCH_BOTH(&at, ids[i + ahead]);
    if (offsets == NULL) {
      b = i;
    } else {
      while ((size_t)offsets[b + 1] == i) ++b;
    }
    float* const w = at.w + (size_t)ids[i] * at.w_stride;
    float* const s = at.s + (size_t)ids[i] * at.s_stride;
    const float* const x = g + b * dim;
    if (state == dim) {
      update(w, s, x, dim);
    } else {
      s[0] += x[0];
      move(w, x, dim);
    }
  }
}

/* One loop for each length that is measured, in which the compiler knows it. */
#define STEP_KNOWN(known)                                                                          \
  case known:                                                                                      \
    if (t->state == 1)                                                                             \
      step_any(t, known, 1, ids, offsets, g, n, ahead);                                            \
    else                                                                                           \
      step_any(t, known, known, ids, offsets, g, n, ahead);                                        \
    return

ALWAYS_INLINE void step_known(const table* t, const int64_t* ids, const int64_t* offsets,
                              const float* g, size_t n, size_t ahead) {
  switch (t->dim) {
    STEP_KNOWN(2);
    STEP_KNOWN(3);
    STEP_KNOWN(4);
    STEP_KNOWN(5);
    STEP_KNOWN(7);
    STEP_KNOWN(8);
    STEP_KNOWN(12);
    STEP_KNOWN(16);
    STEP_KNOWN(24);
    STEP_KNOWN(31);
    STEP_KNOWN(32);
    STEP_KNOWN(48);
    default: step_any(t, t->dim, t->state, ids, offsets, g, n, ahead);
  }
}

void step_rows(const table* t, const int64_t* ids, const float* g, size_t n, size_t ahead) {
  step_known(t, ids, NULL, g, n, ahead);
}

void step_bags(const table* t, const int64_t* ids, const int64_t* offsets, const float* g, size_t n,
               size_t ahead) {
  step_known(t, ids, offsets, g, n, ahead);
}

#define MOST_KNOWN 128 /* elements of a row whose sum is in registers */

/* Without offsets every row goes to out, with them the sum of each bag; bags are not empty. */
ALWAYS_INLINE void read_any(const table* t, const size_t dim, const int64_t* ids,
                            const int64_t* offsets, size_t n, float* out, size_t ahead) {
  const float* const from = t->w;
  const size_t stride = t->w_stride, asked = n > ahead ? n - ahead : 0;
  const int apart = any_apart(from, stride, dim);
  for (size_t i = 0; i < n && i < ahead; ++i) {
    PREFETCH_ROW(from + (size_t)ids[i] * stride, dim, apart);
  }
  if (offsets == NULL) {
    for (size_t i = 0; i < n; ++i) {
      if (i < asked) PREFETCH_ROW(from + (size_t)ids[i + ahead] * stride, dim, apart);
      copy(out + i * dim, from + (size_t)ids[i] * stride, dim);
    }
    return;
  }
  for (size_t i = 0, b = 0; i < n; ++b) {
    const size_t stop = (size_t)offsets[b + 1];
    float known[MOST_KNOWN], *const sum = dim <= MOST_KNOWN ? known : out + b * dim;
    for (size_t j = 0; j < dim; ++j) sum[j] = 0.0f;
    for (; i < stop; ++i) {
      if (i < asked) PREFETCH_ROW(from + (size_t)ids[i + ahead] * stride, dim, apart);
      add(sum, from + (size_t)ids[i] * stride, dim);
    }
    if (dim <= MOST_KNOWN) {
      for (size_t j = 0; j < dim; ++j) out[b * dim + j] = sum[j];
    }
  }
}

#define READ_KNOWN(known)                                                                          \
  case known: read_any(t, known, ids, offsets, n, out, ahead); return

ALWAYS_INLINE void read_known(const table* t, const int64_t* ids, const int64_t* offsets, size_t n,
                              float* out, size_t ahead) {
  switch (t->dim) {
    READ_KNOWN(1);
    READ_KNOWN(2);
    READ_KNOWN(3);
    READ_KNOWN(4);
    READ_KNOWN(5);
    READ_KNOWN(7);
    READ_KNOWN(8);
    READ_KNOWN(12);
    READ_KNOWN(16);
    READ_KNOWN(24);
    READ_KNOWN(31);
    READ_KNOWN(32);
    READ_KNOWN(48);
    READ_KNOWN(64);
    READ_KNOWN(100);
    READ_KNOWN(128);
    default: read_any(t, t->dim, ids, offsets, n, out, ahead);
  }
}

void gather(const table* t, const int64_t* ids, size_t n, float* out, size_t ahead) {
  read_known(t, ids, NULL, n, out, ahead);
}

void pool(const table* t, const int64_t* ids, const int64_t* offsets, size_t n, float* out,
          size_t ahead) {
  read_known(t, ids, offsets, n, out, ahead);
}

/* -- parsing ----------------------------------------------------------------------------------- */

/* Counts the separators of a text, each byte looked at once. */
void scan(const unsigned char* bytes, size_t n, uint64_t* separators) {
  uint64_t found = 0;
  for (size_t i = 0; i < n; ++i) found += bytes[i] == '\t' || bytes[i] == '\n';
  *separators = found;
}

/* Reads the number after each last colon of a token, as libffm's converter reads field:id:value, and
   counts the values. */
void parse_entries(const char* text, size_t n, float* values, uint64_t* count) {
  uint64_t found = 0;
  for (const char *p = text, *end = text + n; p < end; ++p) {
    if (*p != ':') continue;
    const char* digits = p + 1;
    int64_t whole = 0, scale = 1;
    const int minus = *digits == '-';
    for (digits += minus; *digits >= '0' && *digits <= '9'; ++digits) whole = 10 * whole + *digits - '0';
    if (*digits == ':') continue;
    if (*digits == '.')
      for (++digits; *digits >= '0' && *digits <= '9'; ++digits, scale *= 10)
        whole = 10 * whole + *digits - '0';
    values[found++] = (float)(minus ? -whole : whole) / (float)scale;
    p = digits;
  }
  *count = found;
}

/* -- passes over examples ---------------------------------------------------------------------- */

/* Entries of example i are those from starts[i * apart], or i * entries if starts is NULL. */
typedef struct {
  const uint32_t *slots, *starts;
  const float* values; /* one for each entry, or NULL: 1 */
  size_t n, entries, apart;
} examples;

ALWAYS_INLINE size_t start_of(const examples* x, size_t i) {
  return x->starts == NULL ? i * x->entries : x->starts[i * x->apart];
}

/* A margin is the sum of the params of an example; then each of its entries takes g[i] times its
   value. Both happen in one visit, which learning cannot do: a step needs the margin. `ahead` is in
   entries, and each entry asks for one: more at a time would wait for one another. */
#define VISIT(k, margin)                                                                           \
  do {                                                                                             \
    if ((k) < asked) __builtin_prefetch(pairs + 2 * (size_t)x.slots[(k) + ahead], 1);              \
    pair* const at_ = (pair*)(pairs + 2 * (size_t)x.slots[k]);                                     \
    const pair old_ = *at_;                                                                        \
    const float by_ = x.values == NULL ? g[i] : g[i] * x.values[k];                                \
    margin += old_[0];                                                                             \
    *at_ = old_ + (pair){-by_, by_};                                                               \
  } while (0)

void learn_pairs(float* pairs, const examples* given, const float* g, float* margins,
                 size_t ahead) {
  const examples x = *given;
  const size_t entries = start_of(&x, x.n), asked = entries > ahead ? entries - ahead : 0;
  for (size_t k = 0; k < entries && k < ahead; ++k) {
    __builtin_prefetch(pairs + 2 * (size_t)x.slots[k], 1);
  }
  for (size_t i = 0; i < x.n; ++i) {
    float even = 0.0f, odd = 0.0f; /* two sums: an addition waits for the one before */
    size_t k = start_of(&x, i);
    const size_t stop = start_of(&x, i + 1);
    for (; k + 2 <= stop; k += 2) {
      VISIT(k, even);
      VISIT(k + 1, odd);
    }
    if (k < stop) VISIT(k, even);
    margins[i] = even + odd;
  }
}

/* Adds what a row has from float j on to `sum`, and asks for the same of a row that comes later. */
#define TAKE(V, j, sum)                                                                            \
  do {                                                                                             \
    V *const v_ = (V*)(row + (j)), *const s_ = (V*)(row + width + (j));                            \
    __builtin_prefetch(later + (j), 1);                                                            \
    if (width >= LINE) __builtin_prefetch(later + width + (j), 1);                                 \
    sum += *v_;                                                                                    \
    *v_ -= by;                                                                                     \
    *s_ += by;                                                                                     \
  } while (0)

/* The same for rows of params and then as many accumulators, in each of `count` tables. */
ALWAYS_INLINE void learn_any(float* const* tables, const size_t* widths, const size_t count,
                             const examples* given, const float* g, float* margins, size_t ahead) {
  const examples x = *given;
  const size_t entries = start_of(&x, x.n), asked = entries > ahead ? entries - ahead : 0;
  for (size_t i = 0; i < x.n; ++i) {
    float16 even = {0.0f}, odd = {0.0f};
    float8 half = {0.0f};
    float4 rest = {0.0f};
    float sum = 0.0f;
    const size_t stop = start_of(&x, i + 1);
    for (size_t k = start_of(&x, i); k < stop; ++k) {
      const float by = x.values == NULL ? g[i] : g[i] * x.values[k];
      const size_t next = k < asked ? k + ahead : k;
#pragma GCC unroll 8
      for (size_t t = 0; t < count; ++t) {
        const size_t width = widths[t];
        float* const row = tables[t] + 2 * width * x.slots[k];
        const float* const later = tables[t] + 2 * width * x.slots[next];
        size_t j = 0;
        for (; j + 2 * LINE <= width; j += 2 * LINE) {
          TAKE(float16, j, even);
          TAKE(float16, j + LINE, odd);
        }
        for (; j + LINE <= width; j += LINE) TAKE(float16, j, even);
        for (; j + 8 <= width; j += 8) TAKE(float8, j, half);
        for (; j + 4 <= width; j += 4) TAKE(float4, j, rest);
        for (; j < width; ++j) TAKE(float, j, sum);
      }
    }
    even += odd;
    for (size_t lane = 0; lane < LINE; ++lane) sum += even[lane];
    for (size_t lane = 0; lane < 8; ++lane) sum += half[lane];
    for (size_t lane = 0; lane < 4; ++lane) sum += rest[lane];
    margins[i] = sum;
  }
}

/* One loop for each of the usual layouts, in which the compiler knows it. */
void learn_rows(float* const* tables, const size_t* widths, size_t count, const examples* given,
                const float* g, float* margins, size_t ahead) {
  static const size_t one_line[] = {8}, linear_and_line[] = {1, 8};
  if (count == 1 && widths[0] == 8) {
    learn_any(tables, one_line, 1, given, g, margins, ahead);
  } else if (count == 2 && widths[0] == 1 && widths[1] == 8) {
    learn_any(tables, linear_and_line, 2, given, g, margins, ahead);
  } else {
    learn_any(tables, widths, count, given, g, margins, ahead);
  }
}

/* -- arithmetic -------------------------------------------------------------------------------- */

/* Steps of AdaGrad on arrays of n elements in L1, round and round, `steps` of them in all: what the
   root and the division of a step cost where memory costs nothing. */
void roots(float* restrict w, float* restrict s, const float* restrict g, size_t n, size_t steps,
           float lr, float eps) {
  for (size_t done = 0; done < steps; done += n) {
    const size_t stop = steps - done < n ? steps - done : n;
    for (size_t j = 0; j < stop; ++j) {
      s[j] += g[j] * g[j];
      w[j] -= lr * g[j] / sqrtf(s[j] + eps);
    }
  }
}

/* -- a learner --------------------------------------------------------------------------------- */

/* No limit, but what one writes at first: logistic regression by AdaGrad, one example at a time,
   without a vector or a thread. The bias has a pair of its own. */
void learn_logistic(float* pairs, float* bias, const examples* given, const float* y, float lr,
                    float eps, float* margins, size_t ahead) {
  const examples x = *given;
  size_t next = 0;
  for (size_t i = 0; i < x.n; ++i) {
    const size_t until = i + ahead < x.n ? i + ahead : x.n - 1;
    for (const size_t stop = start_of(&x, until + 1); next < stop; ++next) {
      __builtin_prefetch(pairs + 2 * (size_t)x.slots[next], 1);
    }
    const size_t stop = start_of(&x, i + 1);
    float margin = bias[0];
    for (size_t k = start_of(&x, i); k < stop; ++k) {
      const float w = pairs[2 * (size_t)x.slots[k]];
      margin += x.values == NULL ? w : w * x.values[k];
    }
    margins[i] = margin;
    const float g = 1.0f / (1.0f + expf(-margin)) - y[i];
    for (size_t k = start_of(&x, i); k < stop; ++k) {
      float* const at = pairs + 2 * (size_t)x.slots[k];
      const float by = x.values == NULL ? g : g * x.values[k];
      at[1] += by * by;
      at[0] -= lr * by / sqrtf(at[1] + eps);
    }
    bias[1] += g * g;
    bias[0] -= lr * g / sqrtf(bias[1] + eps);
  }
}
