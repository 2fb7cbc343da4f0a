/* Scores examples with a logistic regression saved by adagrad.ctr. C++17, no dependencies.
   Margins have the bits of LogisticRegression.decision_function if the entries of each region come
   in the same order. For little-endian machines. */
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace adagrad_score {

struct Entry {
  std::uint32_t slot;
  float value = 1.0F;
};

class LogisticRegression {
 public:
  // Throws std::runtime_error if the file does not hold a logistic regression.
  explicit LogisticRegression(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::uint64_t length = 0;
    if (!file.read(reinterpret_cast<char*>(&length), sizeof length) || length > (1U << 20)) {
      throw std::runtime_error(path + " is not a model file of adagrad.ctr");
    }
    std::string header(static_cast<std::size_t>(length), '\0');
    file.read(header.data(), static_cast<std::streamsize>(length));
    if (!file || header.find("\"format\":\"adagrad.ctr\",\"format_version\":\"1\"") == npos ||
        header.find("\"class\":\"\\\"LogisticRegression\\\"\"") == npos) {
      throw std::runtime_error(
          path + " does not hold an adagrad.ctr.LogisticRegression in format version 1");
    }
    pairs_ = tensor(file, header, "linear", length);
    if (header.find("\"bias\":{") != npos) bias_ = tensor(file, header, "bias", length).at(0);
    if (!file || pairs_.empty()) throw std::runtime_error(path + " is truncated");
    const std::size_t share = (slots() + 7) / 8;
    region_ = (share + 15) / 16 * 16;
  }

  std::size_t slots() const { return pairs_.size() / 2; }

  // The log-odds. Throws std::out_of_range if a slot is not in the model.
  float margin(const std::vector<Entry>& example) const {
    std::array<float, 8> sums{};
    for (const Entry& entry : example) {
      sums.at(entry.slot / region_) += pairs_.at(2 * std::size_t{entry.slot}) * entry.value;
    }
    sums[7] += bias_;
    float total = 0.0F;
    for (const float sum : sums) total += sum;
    return total;
  }

 private:
  static constexpr std::size_t npos = std::string::npos;

  static std::vector<float> tensor(std::ifstream& file, const std::string& header,
                                   const std::string& name, std::uint64_t length) {
    const std::string key = "\"data_offsets\":[";
    std::size_t at = header.find("\"" + name + "\":{\"dtype\":\"F32\"");
    if (at != npos) at = header.find(key, at);
    if (at == npos) throw std::runtime_error("the model file has no tensor " + name);
    std::size_t digits = 0;
    const std::string rest = header.substr(at + key.size());
    const std::uint64_t begin = std::stoull(rest, &digits);
    const std::uint64_t end = std::stoull(rest.substr(digits + 1));
    std::vector<float> values(static_cast<std::size_t>((end - begin) / sizeof(float)));
    file.seekg(static_cast<std::streamoff>(8 + length + begin));
    file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(end - begin));
    return values;
  }

  std::vector<float> pairs_;
  float bias_ = 0.0F;
  std::size_t region_ = 0;
};

}  // namespace adagrad_score
