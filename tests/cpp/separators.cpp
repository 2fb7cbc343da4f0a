// What separators.hpp finds in each 64 bytes of a file: separators <delimiter> <text> <answers>.
// Of each, the answer of this machine's instructions and then that of the loop for any machine.
// tests/ctr/logs/test_fast_csv.py compares them with its own. Those of stops.hpp must agree.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "../../cpp/ctr/separators.hpp"
#include "../../cpp/ctr/stops.hpp"

using namespace adagrad;

int main(int count, char** arguments) {
  if (count != 4) return 1;
  std::FILE* const text = std::fopen(arguments[2], "rb");
  std::FILE* const answers = std::fopen(arguments[3], "wb");
  if (text == nullptr || answers == nullptr) return 1;
  const char delimiter = static_cast<char>(std::atoi(arguments[1]));
  char bytes[64];
  while (std::fread(bytes, sizeof bytes, 1, text) == 1) {
    if (stops_in<'|'>(bytes) != stops_anywhere<'|'>(bytes)) return 2;
    for (const Separators& found :
         {separators(bytes, delimiter), separators_anywhere(bytes, delimiter)}) {
      const std::uint64_t answer[3] = {found.bits, found.count, found.ends};
      if (std::fwrite(answer, sizeof answer, 1, answers) != 1) return 1;
    }
  }
  return std::fclose(answers) == 0 ? 0 : 1;
}
