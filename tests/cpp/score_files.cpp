/* Loads models with score.hpp and prints a letter for each: L if it was loaded, R if it was
   refused.

   score_files FOLDER COUNT: reads the files FOLDER/0, FOLDER/1, ... Exits with 1 at another
   exception than the documented one, at a long message, or if more memory was allocated than the
   file holds, besides the weights: these are reserved by calloc and not counted. */
#include "../../examples/score.hpp"

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <limits>
#include <new>

namespace {

constexpr std::size_t prefix = 16;    // keeps the size of an allocation, and its alignment
constexpr std::size_t spare = 65536;  // for the buffer of a stream, names and messages

std::size_t held = 0, peak = 0;

bool score(const std::string& path) {
  const adagrad_score::LogisticRegression model(path);
  const auto last = static_cast<std::uint32_t>(model.slots() - 1);
  const volatile float margin = model.margin({{0}, {last, 2.0F}});
  static_cast<void>(margin);
  if (last == std::numeric_limits<std::uint32_t>::max()) return true;
  try {
    model.margin({{last}, {last + 1}});
  } catch (const std::out_of_range&) {
    return true;
  }
  throw std::logic_error("a slot beyond the model was scored");
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
    char letter = 'L';
    try {
      score(path);
    } catch (const std::runtime_error& error) {
      const std::string message = error.what();
      letter = 'R';
      if (message.size() > 1000 || message.find('\n') != std::string::npos) {
        std::fprintf(stderr, "%s: a message of %zu characters\n", path.c_str(), message.size());
        return 1;
      }
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s: another exception: %s\n", path.c_str(), error.what());
      return 1;
    }
    if (peak - before > size + spare) {
      std::fprintf(stderr, "%s: allocated %zu bytes\n", path.c_str(), peak - before);
      return 1;
    }
    std::putchar(letter);
  }
  std::putchar('\n');
}
