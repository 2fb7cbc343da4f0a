// Answers requests for random numbers and for conversions to and from 16 bits, by the loops of
// random.hpp and half.hpp: numbers <requests> <answers>. tests/test_random.py writes the requests,
// and compares the answers with those of its oracle, also for a machine that is only emulated.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "../../cpp/adagrad/half.hpp"
#include "../../cpp/adagrad/random.hpp"

using namespace adagrad;

namespace {

enum class What : std::uint64_t { load, nearest, stochastic, words, weights_f32, weights_f64 };

// What precedes the arrays of a request, field by field as test_random.py packs it.
struct Request {
  What what;
  std::uint64_t option;  // a Half, a Stream or a Distribution
  std::uint64_t n, high_bits, seed, step, row, first;
  double scale;
};

template <class T>
std::vector<T> read(std::FILE* file, std::size_t count) {
  std::vector<T> values(count);
  if (std::fread(values.data(), sizeof(T), count, file) != count) std::abort();
  return values;
}

template <class T>
void write(std::FILE* file, const T* values, std::size_t count) {
  if (std::fwrite(values, sizeof(T), count, file) != count) std::abort();
}

template <class T>
void weights(const Request& r, std::size_t n, std::FILE* answers) {
  std::vector<T> made(n);
  initialise(static_cast<Distribution>(r.option), key(r.seed, Stream::initial_weights, 0), r.first,
             r.scale, made.data(), n);
  write(answers, made.data(), n);
}

void words(const Request& r, std::size_t n, std::FILE* answers) {
  const std::uint64_t of_step = key(r.seed, static_cast<Stream>(r.option), r.step);
  const std::uint64_t of_row = row_key(of_step, r.row);
  const std::uint64_t keys[] = {of_step, of_row, occurrence_key(of_row, r.first)};
  std::vector<std::uint32_t> made(n);
  fill_words(of_row, static_cast<std::size_t>(r.first), made.data(), n);
  write(answers, keys, 3);
  write(answers, made.data(), n);
}

void answer(const Request& r, std::FILE* requests, std::FILE* answers) {
  const std::size_t n = static_cast<std::size_t>(r.n);
  const Half type = static_cast<Half>(r.option);
  std::vector<char> room(2 * n + 1);
  char* const stored = room.data() + 1;  // at an odd address, as a row of a table may be
  std::vector<float> values(n);
  switch (r.what) {
    case What::words: return words(r, n, answers);
    case What::weights_f32: return weights<float>(r, n, answers);
    case What::weights_f64: return weights<double>(r, n, answers);
    case What::load:
      if (n != 0) std::memcpy(stored, read<std::uint16_t>(requests, n).data(), 2 * n);
      load_half(type, stored, values.data(), n);
      return write(answers, values.data(), n);
    case What::nearest: store_nearest(type, read<float>(requests, n).data(), stored, n); break;
    case What::stochastic:
      values = read<float>(requests, n);
      store_stochastic(type, values.data(), stored, n, read<std::uint32_t>(requests, n).data(),
                       r.high_bits != 0 ? RandomBits::high : RandomBits::low);
      break;
  }
  write(answers, stored, 2 * n);
}

}  // namespace

int main(int argc, char** argv) {
  std::FILE* const requests = argc == 3 ? std::fopen(argv[1], "rb") : nullptr;
  std::FILE* const answers = argc == 3 ? std::fopen(argv[2], "wb") : nullptr;
  if (requests == nullptr || answers == nullptr) return 1;
  for (Request r; std::fread(&r, sizeof r, 1, requests) == 1;) answer(r, requests, answers);
  return std::fclose(answers);
}
