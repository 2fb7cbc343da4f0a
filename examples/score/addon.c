/* A module for Node.js on adagrad_score.h, by Node-API, which all versions of Node.js from 12
   share:

     cc -O2 -shared -fPIC -I "$I" -I /usr/include/node -o score.node addon.c -L . -ladagrad_score

   It exports open(path), which returns a model; columns(model), a list of {name, type}; and
   predict(model, row), where row is a list of values for the columns: null, a boolean, a number, a
   BigInt, a string or a list of these. A number is an integer if it is one. */
#include <adagrad/adagrad_score.h>

#include <node_api.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_PATH = 4096, LONGEST_ERROR = 256 };

/* Memory of a call, freed together. */
typedef struct Block {
  struct Block* next;
  max_align_t data[];
} Block;

static void* take(Block** memory, size_t size) {
  Block* const block = malloc(sizeof(Block) + size);
  if (block == NULL) abort();
  block->next = *memory;
  *memory = block;
  return block->data;
}

static void release(Block* memory) {
  while (memory != NULL) {
    Block* const next = memory->next;
    free(memory);
    memory = next;
  }
}

static napi_value fail(napi_env env, const char* what) {
  napi_throw_error(env, NULL, what);
  return NULL;
}

static int fill_list(napi_env env, napi_value given, adagrad_score_value* to, Block** memory);

/* Fills a value; 0 if JavaScript has thrown. */
static int fill(napi_env env, napi_value given, adagrad_score_value* to, Block** memory) {
  napi_valuetype type;
  bool flag = false, is_exact = false, is_list = false;
  memset(to, 0, sizeof *to);
  napi_typeof(env, given, &type);
  switch (type) {
    case napi_null:
    case napi_undefined: return 1;
    case napi_boolean:
      napi_get_value_bool(env, given, &flag);
      to->type = ADAGRAD_SCORE_BOOLEAN;
      to->as.integer = flag;
      return 1;
    case napi_number:
      to->type = ADAGRAD_SCORE_REAL;
      napi_get_value_double(env, given, &to->as.real);
      if (to->as.real >= -9007199254740991.0 && to->as.real <= 9007199254740991.0 &&
          to->as.real == (double)(int64_t)to->as.real) {
        to->type = ADAGRAD_SCORE_INTEGER;
        to->as.integer = (int64_t)to->as.real;
      }
      return 1;
    case napi_bigint:
      to->type = ADAGRAD_SCORE_INTEGER;
      napi_get_value_bigint_int64(env, given, &to->as.integer, &is_exact);
      if (is_exact) return 1;
      to->type = ADAGRAD_SCORE_NATURAL;
      napi_get_value_bigint_uint64(env, given, &to->as.natural, &is_exact);
      if (is_exact) return 1;
      return fail(env, "a BigInt has more than 64 bits"), 0;
    case napi_string: {
      napi_get_value_string_utf8(env, given, NULL, 0, &to->size);
      char* const text = take(memory, to->size + 1);
      napi_get_value_string_utf8(env, given, text, to->size + 1, &to->size);
      to->type = ADAGRAD_SCORE_TEXT;
      to->as.text = text;
      return 1;
    }
    default: break;
  }
  if (napi_is_array(env, given, &is_list) == napi_ok && is_list) {
    to->type = ADAGRAD_SCORE_LIST;
    return fill_list(env, given, to, memory);
  }
  return fail(env, "a value is of a type that no column has"), 0;
}

static int fill_list(napi_env env, napi_value given, adagrad_score_value* to, Block** memory) {
  uint32_t n = 0;
  napi_get_array_length(env, given, &n);
  adagrad_score_value* const items = take(memory, n * sizeof *items);
  for (uint32_t i = 0; i < n; ++i) {
    napi_value item;
    napi_get_element(env, given, i, &item);
    if (!fill(env, item, items + i, memory)) return 0;
  }
  to->size = n;
  to->as.items = items;
  return 1;
}

static void close_model(napi_env env, void* model, void* hint) {
  (void)env, (void)hint;
  adagrad_score_close(model);
}

/* The model in the first argument; null if JavaScript has thrown. */
static adagrad_score_model* arguments(napi_env env, napi_callback_info info, size_t n,
                                      napi_value* given) {
  size_t count = n;
  napi_valuetype type = napi_undefined;
  void* model = NULL;
  napi_get_cb_info(env, info, &count, given, NULL, NULL);
  if (count == n) napi_typeof(env, given[0], &type);
  if (type != napi_external) return fail(env, "expected a model of open()"), NULL;
  napi_get_value_external(env, given[0], &model);
  return model;
}

static napi_value open_model(napi_env env, napi_callback_info info) {
  char path[LONGEST_PATH], error[LONGEST_ERROR];
  size_t count = 1, length = 0;
  napi_value given, out;
  napi_get_cb_info(env, info, &count, &given, NULL, NULL);
  if (napi_get_value_string_utf8(env, given, path, sizeof path, &length) != napi_ok) {
    return fail(env, "expected a path");
  }
  if (adagrad_score_abi() != ADAGRAD_SCORE_ABI)
    return fail(env, "the library is of another version");
  adagrad_score_model* const model = adagrad_score_open(path, error, sizeof error);
  if (model == NULL) return fail(env, error);
  napi_create_external(env, model, close_model, NULL, &out);
  return out;
}

static napi_value columns_of(napi_env env, napi_callback_info info) {
  napi_value given[1], out;
  adagrad_score_model* const model = arguments(env, info, 1, given);
  if (model == NULL) return NULL;
  napi_create_array(env, &out);
  for (size_t i = 0; i < adagrad_score_columns(model); ++i) {
    napi_value column, name, type;
    napi_create_object(env, &column);
    napi_create_string_utf8(env, adagrad_score_column_name(model, i), NAPI_AUTO_LENGTH, &name);
    napi_create_string_utf8(env, adagrad_score_column_type(model, i), NAPI_AUTO_LENGTH, &type);
    napi_set_named_property(env, column, "name", name);
    napi_set_named_property(env, column, "type", type);
    napi_set_element(env, out, (uint32_t)i, column);
  }
  return out;
}

static napi_value predict(napi_env env, napi_callback_info info) {
  napi_value given[2], out = NULL;
  adagrad_score_value row;
  Block* memory = NULL;
  double probability = 0;
  char error[LONGEST_ERROR];
  adagrad_score_model* const model = arguments(env, info, 2, given);
  if (model == NULL) return NULL;
  if (fill(env, given[1], &row, &memory)) {
    if (row.type != ADAGRAD_SCORE_LIST || row.size != adagrad_score_columns(model)) {
      fail(env, "expected a list with a value for every column");
    } else if (adagrad_score_predict(model, row.as.items, 1, &probability, error, sizeof error) ==
               1) {
      napi_create_double(env, probability, &out);
    } else {
      fail(env, error);
    }
  }
  release(memory);
  return out;
}

static napi_value start(napi_env env, napi_value exports) {
  const napi_property_descriptor all[] = {
      {"open", NULL, open_model, NULL, NULL, NULL, napi_enumerable, NULL},
      {"columns", NULL, columns_of, NULL, NULL, NULL, napi_enumerable, NULL},
      {"predict", NULL, predict, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  napi_define_properties(env, exports, sizeof all / sizeof *all, all);
  return exports;
}

NAPI_MODULE(adagrad_score, start)
