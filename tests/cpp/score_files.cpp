/* Loads export files with score.hpp, scores rows of random values, and prints a letter for each
   file: L if it was loaded, R if it was refused.

   score_files FOLDER COUNT: reads the files FOLDER/0, FOLDER/1, ... Exits with 1 at a long or
   missing message, at a row without an answer and without a fault, or if loading a file allocated
   more than what its JSON may take. */
#include "../../cpp/adagrad/score.hpp"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <random>

namespace {

using namespace adagrad::score;

constexpr std::size_t prefix = 16;      // keeps the size of an allocation, and its alignment
constexpr std::size_t spare = 1 << 18;  // for names, messages and the columns of a small model
constexpr std::size_t of_json = 200;    // bytes in memory for each byte of the file

std::size_t held = 0, peak = 0;

class RandomRow {
 public:
  explicit RandomRow(unsigned seed) : random_(seed) {}

  Value value(int depth) {
    const char* const texts[] = {"",        "a", "1.5", "1e400", "2024-02-29 07:08:09.5+02:00",
                                 "14102100"};
    switch (below(depth < 2 ? 10 : 7)) {
      case 0: return Value();
      case 1: return Value(below(2) == 0);
      case 2: return Value(static_cast<std::int64_t>(random_()) - 1000);
      case 3: return Value(~std::uint64_t{random_()});
      case 4: return Value(static_cast<double>(random_()) * (below(2) == 0 ? 1e-3 : 1e300));
      case 5: return Value(static_cast<float>(below(100)) / 7.0F);
      case 6: return Value(texts[below(6)]);
      case 7: return Value::map(items(2, depth), 2);
      default: return Value::list(items(1, depth), 3);
    }
  }

 private:
  std::size_t below(std::size_t n) { return random_() % n; }

  const Value* items(std::size_t each, int depth) {
    std::vector<Value> some;
    for (std::size_t i = 0; i < 4 * each; ++i) some.push_back(value(depth + 1));
    held_.push_back(std::move(some));
    return held_.back().data();
  }

  std::minstd_rand random_;
  std::vector<std::vector<Value>> held_;
};

bool score(const Model& model, unsigned seed) {
  Scratch scratch;
  for (unsigned i = 0; i < 20; ++i) {
    RandomRow random(20 * seed + i);
    std::vector<Value> row;
    for (std::size_t c = 0; c < model.columns().size(); ++c) {
      row.push_back(i < 2 ? Value() : random.value(0));
    }
    if (row.empty()) continue;
    float margin = 0.0F;
    Fault fault;
    const bool answered = model.margin(row.data(), scratch, margin, fault);
    if (!answered && model.explain(fault).empty()) return false;
    if (answered) static_cast<void>(probability_of(margin));
  }
  return true;
}

}  // namespace

void* operator new(std::size_t size) {
  auto* const memory = static_cast<char*>(std::malloc(size + prefix));
  if (memory == nullptr) throw std::bad_alloc();
  *reinterpret_cast<std::size_t*>(memory) = size;
  held += size;
  if (held > peak) peak = held;
  return memory + prefix;
}

void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return operator new(size); }

void operator delete(void* memory) noexcept {
  if (memory == nullptr) return;
  char* const start = static_cast<char*>(memory) - prefix;
  held -= *reinterpret_cast<std::size_t*>(start);
  std::free(start);
}

void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  for (int i = 0; i < std::atoi(argv[2]); ++i) {
    const std::string path = std::string(argv[1]) + "/" + std::to_string(i);
    const auto size = static_cast<std::size_t>(std::filesystem::file_size(path));
    const std::size_t before = peak = held;
    std::string why;
    const std::unique_ptr<const Model> model = Model::load(path, why);
    if (peak - before > of_json * size + spare) {
      std::fprintf(stderr, "%s: allocated %zu bytes\n", path.c_str(), peak - before);
      return 1;
    }
    if (model == nullptr) {
      if (why.empty() || why.size() > 1000 || why.find('\n') != std::string::npos) {
        std::fprintf(stderr, "%s: the message is '%s'\n", path.c_str(), why.c_str());
        return 1;
      }
    } else if (!score(*model, static_cast<unsigned>(i))) {
      std::fprintf(stderr, "%s: a row has no answer and no fault\n", path.c_str());
      return 1;
    }
    std::putchar(model == nullptr ? 'R' : 'L');
  }
  std::putchar('\n');
}
