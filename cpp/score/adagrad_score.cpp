// adagrad_score.h by score.hpp: no exception crosses this border.
#define ADAGRAD_SCORE_BUILD
#include "../adagrad/adagrad_score.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>

#include "../adagrad/score.hpp"

namespace {

using adagrad::score::Fault;
using adagrad::score::Model;
using adagrad::score::Scratch;
using adagrad::score::Type;
using adagrad::score::Value;

// The two languages see one memory.
static_assert(std::is_standard_layout_v<Value> && std::is_trivially_copyable_v<Value>);
static_assert(sizeof(Value) == sizeof(adagrad_score_value));
static_assert(offsetof(Value, type) == offsetof(adagrad_score_value, type));
static_assert(offsetof(Value, size) == offsetof(adagrad_score_value, size));
static_assert(offsetof(Value, integer) == offsetof(adagrad_score_value, as));
static_assert(static_cast<int>(Type::null) == ADAGRAD_SCORE_NULL);
static_assert(static_cast<int>(Type::boolean) == ADAGRAD_SCORE_BOOLEAN);
static_assert(static_cast<int>(Type::integer) == ADAGRAD_SCORE_INTEGER);
static_assert(static_cast<int>(Type::natural) == ADAGRAD_SCORE_NATURAL);
static_assert(static_cast<int>(Type::real) == ADAGRAD_SCORE_REAL);
static_assert(static_cast<int>(Type::real32) == ADAGRAD_SCORE_REAL32);
static_assert(static_cast<int>(Type::text) == ADAGRAD_SCORE_TEXT);
static_assert(static_cast<int>(Type::list) == ADAGRAD_SCORE_LIST);
static_assert(static_cast<int>(Type::map) == ADAGRAD_SCORE_MAP);

void say(const char* what, char* error, std::size_t size) {
  if (error == nullptr || size == 0) return;
  const std::size_t length = std::min(size - 1, std::strlen(what));
  std::memcpy(error, what, length);
  error[length] = '\0';
}

// What a row needs while it is scored. Threads do not share it, and keep it from call to call.
Scratch& scratch() {
  thread_local Scratch memory;
  return memory;
}

}  // namespace

struct adagrad_score_model {
  std::unique_ptr<const Model> model;
};

namespace {

template <class Open>
adagrad_score_model* opened(Open open, char* error, std::size_t size) noexcept {
  try {
    say("", error, size);
    std::string why;
    auto out = std::make_unique<adagrad_score_model>();
    out->model = open(why);
    if (out->model != nullptr) return out.release();
    say(why.empty() ? "out of memory" : why.c_str(), error, size);
  } catch (const std::exception&) {
    say("out of memory", error, size);
  }
  return nullptr;
}

template <class Number, class Of>
std::size_t scored(const adagrad_score_model* given, const adagrad_score_value* rows, std::size_t n,
                   Number* to, Of of, char* error, std::size_t size) noexcept {
  std::size_t i = 0;
  try {
    say("", error, size);
    const Model& model = *given->model;
    const std::size_t columns = model.columns().size();
    const auto* const values = reinterpret_cast<const Value*>(rows);
    Scratch& memory = scratch();
    for (; i < n; ++i) {
      Fault fault;
      float margin = 0.0f;
      if (!model.margin(values + i * columns, memory, margin, fault)) {
        say(("row " + std::to_string(i) + ": " + model.explain(fault)).c_str(), error, size);
        return i;
      }
      to[i] = of(margin);
    }
  } catch (const std::exception&) {
    say("out of memory", error, size);
  }
  return i;
}

const char* text_or_null(const std::string* text) {
  return text == nullptr ? nullptr : text->c_str();
}

}  // namespace

int32_t adagrad_score_abi() { return ADAGRAD_SCORE_ABI; }

adagrad_score_model* adagrad_score_open(const char* path, char* error, size_t error_size) {
  const auto open = [&](std::string& why) { return Model::load(path, why); };
  return opened(open, error, error_size);
}

adagrad_score_model* adagrad_score_open_memory(const void* data, size_t size, char* error,
                                               size_t error_size) {
  const auto open = [&](std::string& why) { return Model::load(data, size, why); };
  return opened(open, error, error_size);
}

void adagrad_score_close(adagrad_score_model* model) { delete model; }

size_t adagrad_score_columns(const adagrad_score_model* model) {
  return model->model->columns().size();
}

const char* adagrad_score_column_name(const adagrad_score_model* model, size_t column) {
  const auto& columns = model->model->columns();
  return text_or_null(column < columns.size() ? &columns[column].name : nullptr);
}

const char* adagrad_score_column_type(const adagrad_score_model* model, size_t column) {
  const auto& columns = model->model->columns();
  return text_or_null(column < columns.size() ? &columns[column].type : nullptr);
}

const char* adagrad_score_kind(const adagrad_score_model* model) {
  return model->model->kind().c_str();
}

const char* adagrad_score_label(const adagrad_score_model* model) {
  return model->model->label().c_str();
}

const char* adagrad_score_version(const adagrad_score_model* model) {
  return model->model->version().c_str();
}

size_t adagrad_score_predict(const adagrad_score_model* model, const adagrad_score_value* rows,
                             size_t n, double* probabilities, char* error, size_t error_size) {
  const auto of = [](float margin) { return adagrad::score::probability_of(margin); };
  return scored(model, rows, n, probabilities, of, error, error_size);
}

size_t adagrad_score_margins(const adagrad_score_model* model, const adagrad_score_value* rows,
                             size_t n, float* margins, char* error, size_t error_size) {
  const auto of = [](float margin) { return margin; };
  return scored(model, rows, n, margins, of, error, error_size);
}
