/* c++ -std=c++17 -O2 -ffp-contract=off -o score examples/score.cpp

   ./score model.safetensors <examples

   Reads one example per line, written as "slot" and "slot:value", and prints its log-odds. */
#include "score.hpp"

#include <cstdio>
#include <exception>
#include <iostream>
#include <sstream>

int main(int argc, char** argv) try {
  if (argc != 2) throw std::runtime_error("usage: score MODEL <EXAMPLES");
  const adagrad_score::LogisticRegression model(argv[1]);
  for (std::string line; std::getline(std::cin, line);) {
    std::vector<adagrad_score::Entry> example;
    std::istringstream words(line);
    for (std::string word; words >> word;) {
      const std::size_t colon = word.find(':');
      const float value = colon == std::string::npos ? 1.0F : std::stof(word.substr(colon + 1));
      const unsigned long slot = std::stoul(word);
      if (slot >= model.slots()) {
        throw std::out_of_range("slot " + word + " is not in the model, which has " +
                                std::to_string(model.slots()) + " slots");
      }
      example.push_back({static_cast<std::uint32_t>(slot), value});
    }
    std::printf("%a\n", static_cast<double>(model.margin(example)));
  }
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
