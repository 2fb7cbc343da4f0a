// Reads a TSV with a header and prints the probability of a positive for every row:
//
//   I=$(python -c "import adagrad; print(adagrad.get_include())")
//   c++ -std=c++17 -O2 -ffp-contract=off -I "$I" -o score score.cpp
//   ./score ctr.score < today.tsv
#include <adagrad/score.hpp>

#include <cstdio>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

using adagrad::score::Column;
using adagrad::score::Model;
using adagrad::score::Scratch;
using adagrad::score::Value;

namespace {

std::vector<std::string_view> split(std::string_view line) {
  std::vector<std::string_view> cells;
  for (std::size_t end = line.find('\t'); end != line.npos; end = line.find('\t')) {
    cells.push_back(line.substr(0, end));
    line.remove_prefix(end + 1);
  }
  cells.push_back(line);
  return cells;
}

// The value of a cell, as the type of its column says.
Value value_of(const Column& column, std::string_view cell) {
  if (cell.empty()) return Value();
  const std::string text(cell);
  if (column.type.rfind("int", 0) == 0) return Value(std::int64_t{std::stoll(text)});
  if (column.type == "double") return Value(std::stod(text));
  return Value(cell);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) throw std::runtime_error("usage: score EXPORT <ROWS.tsv");
  const Model model(argv[1]);
  const std::vector<Column>& columns = model.columns();
  std::string line;
  std::getline(std::cin, line);
  const std::string header = line;
  const std::vector<std::string_view> names = split(header);
  std::vector<std::size_t> places;  // of each column of the model in the file
  for (const Column& column : columns) {
    std::size_t at = 0;
    while (at < names.size() && names[at] != column.name) ++at;
    if (at == names.size()) throw std::runtime_error("there is no column " + column.name);
    places.push_back(at);
  }
  std::vector<Value> row(columns.size());
  Scratch scratch;  // one for each thread
  while (std::getline(std::cin, line)) {
    const std::vector<std::string_view> cells = split(line);
    for (std::size_t c = 0; c < row.size(); ++c) row[c] = value_of(columns[c], cells.at(places[c]));
    std::printf("%.17g\n", model.probability(row.data(), scratch));
  }
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
