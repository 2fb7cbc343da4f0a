/* Scores rows of raw values with an export file: the C interface of score.hpp, for every language
   that can call C. score/adagrad_score.cpp implements it:

     c++ -std=c++17 -O2 -ffp-contract=off -shared -fPIC -I INCLUDE \
       INCLUDE/score/adagrad_score.cpp -o libadagrad_score.so

   where INCLUDE is what `python -c "import adagrad; print(adagrad.get_include())"` prints.

   Nothing throws, and nothing is printed. A function that can fail takes memory for a text, which
   it ends with a zero and cuts to its size, and leaves empty if it does not fail. Texts are UTF-8.
   All functions may be called from several threads, also on one model, except for closing it. */
#ifndef ADAGRAD_SCORE_H
#define ADAGRAD_SCORE_H

#include <stddef.h>
#include <stdint.h>

/* Grows when a program that was compiled with an earlier header would no longer run. */
#define ADAGRAD_SCORE_ABI 1

#if defined(_WIN32) && defined(ADAGRAD_SCORE_BUILD)
#define ADAGRAD_SCORE_API __declspec(dllexport)
#elif defined(__GNUC__)
#define ADAGRAD_SCORE_API __attribute__((visibility("default")))
#else
#define ADAGRAD_SCORE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct adagrad_score_model adagrad_score_model;

enum {
  ADAGRAD_SCORE_NULL = 0,    /* a missing value */
  ADAGRAD_SCORE_BOOLEAN = 1, /* as.integer, 0 or 1 */
  ADAGRAD_SCORE_INTEGER = 2, /* as.integer */
  ADAGRAD_SCORE_NATURAL = 3, /* as.natural, for integers above 2^63 - 1 */
  ADAGRAD_SCORE_REAL = 4,    /* as.real */
  ADAGRAD_SCORE_REAL32 = 5,  /* as.real32 */
  ADAGRAD_SCORE_TEXT = 6,    /* as.text, of size bytes; no zero at the end is needed */
  ADAGRAD_SCORE_LIST = 7,    /* as.items, of size values */
  ADAGRAD_SCORE_MAP = 8      /* as.items, of 2 * size values: each name, then its number */
};

/* A value of a column. What it points to must last until the call that reads it returns. */
typedef struct adagrad_score_value {
  int32_t type;
  size_t size;
  union {
    int64_t integer;
    uint64_t natural;
    double real;
    float real32;
    const char* text;
    const struct adagrad_score_value* items;
  } as;
} adagrad_score_value;

/* ADAGRAD_SCORE_ABI of the library. */
ADAGRAD_SCORE_API int32_t adagrad_score_abi(void);

/* Maps an export file. Null, and why, if it is not one or is damaged. The file must be replaced as
   a whole, as adagrad export and adagrad patch do, and never written to in place. */
ADAGRAD_SCORE_API adagrad_score_model* adagrad_score_open(const char* path, char* error,
                                                          size_t error_size);

/* The same with the bytes of a file, which must outlive the model and begin at a multiple of 8. */
ADAGRAD_SCORE_API adagrad_score_model* adagrad_score_open_memory(const void* data, size_t size,
                                                                 char* error, size_t error_size);

/* Ends a model, or does nothing for null. */
ADAGRAD_SCORE_API void adagrad_score_close(adagrad_score_model* model);

/* The columns of a row, in the order of its values; their types are those of Arrow, as text. Texts
   last as long as the model; null for a column that is not there. */
ADAGRAD_SCORE_API size_t adagrad_score_columns(const adagrad_score_model* model);
ADAGRAD_SCORE_API const char* adagrad_score_column_name(const adagrad_score_model* model,
                                                        size_t column);
ADAGRAD_SCORE_API const char* adagrad_score_column_type(const adagrad_score_model* model,
                                                        size_t column);

/* "lr", "fm" or "ffm". */
ADAGRAD_SCORE_API const char* adagrad_score_kind(const adagrad_score_model* model);
/* The column that the model predicts; empty if that is not known. */
ADAGRAD_SCORE_API const char* adagrad_score_label(const adagrad_score_model* model);
/* The checksum of the file: 16 hexadecimal digits. */
ADAGRAD_SCORE_API const char* adagrad_score_version(const adagrad_score_model* model);

/* Writes the probability of the positive class of n rows, which follow each other and have a value
   for every column. Returns the number of rows before the first that cannot be encoded: n, or fewer
   and why. */
ADAGRAD_SCORE_API size_t adagrad_score_predict(const adagrad_score_model* model,
                                               const adagrad_score_value* rows, size_t n,
                                               double* probabilities, char* error,
                                               size_t error_size);

/* The same with log-odds. */
ADAGRAD_SCORE_API size_t adagrad_score_margins(const adagrad_score_model* model,
                                               const adagrad_score_value* rows, size_t n,
                                               float* margins, char* error, size_t error_size);

#ifdef __cplusplus
}
#endif

#endif
