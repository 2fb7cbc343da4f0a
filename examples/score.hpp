/* Scores examples with a logistic regression saved by adagrad.ctr. C++17, no dependencies.
   Margins have the bits of LogisticRegression.decision_function if the entries of each region come
   in the same order. For little-endian machines.

   The weights are an array of 4 bytes for each slot of the model. Of a file that lists its slots
   the rest of it is memory that is reserved, but not taken unless a page of it has such a slot. */
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace adagrad_score {

struct Entry {
  std::uint32_t slot;
  float value = 1.0F;
};

namespace detail {

struct Damaged {
  const char* what;
};

// A tensor of a safetensors file; its bytes are counted from the end of the header.
struct Tensor {
  std::string dtype;
  std::array<std::uint64_t, 8> shape{};
  std::size_t dims = 0;
  std::uint64_t begin = 0, end = 0;
  bool found = false;
};

// The part of the JSON in a safetensors header that a logistic regression needs. Throws Damaged.
class Header {
 public:
  std::string format, version, kind, n_slots;
  Tensor linear, bias, slots;
  std::uint64_t data = 0;  // the bytes that the tensors fill

  explicit Header(const std::string& text) : at_(text.data()), end_(at_ + text.size()) {
    object([&](const std::string& name) {
      if (name == "__metadata__") {
        object([&](const std::string& key) {
          std::string* const to = key == "format"           ? &format
                                  : key == "format_version" ? &version
                                  : key == "class"          ? &kind
                                  : key == "n_slots"        ? &n_slots
                                                            : nullptr;
          if (to != nullptr && !to->empty()) throw Damaged{"a key occurs twice"};
          string(to);
        });
      } else {
        Tensor other;
        tensor(name == "linear" ? linear : name == "bias" ? bias : name == "slots" ? slots : other);
      }
    });
    space();
    if (at_ != end_) throw Damaged{"its header goes on after its end"};
  }

 private:
  void space() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
  }

  bool accept(char c) {
    space();
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }

  void expect(char c) {
    if (!accept(c)) throw Damaged{"its header is not the JSON of safetensors"};
  }

  // Calls value(key) for each key; it reads the value.
  template <class F>
  void object(F value) {
    expect('{');
    if (accept('}')) return;
    do {
      std::string key;
      string(&key);
      expect(':');
      value(key);
    } while (accept(','));
    expect('}');
  }

  // Reads a string, and keeps its first characters, which are enough to know it.
  void string(std::string* to) {
    expect('"');
    for (;; ++at_) {
      if (at_ == end_) throw Damaged{"a string of its header has no end"};
      if (*at_ == '"') break;
      if (static_cast<unsigned char>(*at_) < 0x20)
        throw Damaged{"a string has a control character"};
      if (*at_ == '\\' && ++at_ == end_) throw Damaged{"a string of its header has no end"};
      if (to != nullptr && to->size() < 64) to->push_back(*at_);
    }
    ++at_;
  }

  std::uint64_t number() {
    space();
    std::uint64_t value = 0;
    const char* const first = at_;
    for (; at_ != end_ && *at_ >= '0' && *at_ <= '9'; ++at_) {
      const auto digit = static_cast<std::uint64_t>(*at_ - '0');
      if (value > (most - digit) / 10) throw Damaged{"a size in its header is too large"};
      value = 10 * value + digit;
    }
    if (at_ == first) throw Damaged{"a size in its header is not a whole number"};
    return value;
  }

  // Calls value(number) for each number of a list.
  template <class F>
  void list(F value) {
    expect('[');
    if (accept(']')) return;
    do value(number());
    while (accept(','));
    expect(']');
  }

  void tensor(Tensor& to) {
    if (to.found) throw Damaged{"a tensor occurs twice"};
    to.found = true;
    std::size_t offsets = 0;
    object([&](const std::string& key) {
      if (key == "dtype") {
        string(&to.dtype);
      } else if (key == "shape") {
        list([&](std::uint64_t n) {
          if (to.dims == to.shape.size()) throw Damaged{"a tensor has too many dimensions"};
          to.shape[to.dims++] = n;
        });
      } else if (key == "data_offsets") {
        list([&](std::uint64_t n) { (offsets++ == 0 ? to.begin : to.end) = n; });
      } else {
        throw Damaged{"a tensor has an unknown entry"};
      }
    });
    if (offsets != 2 || to.begin > to.end) throw Damaged{"a tensor has no place in it"};
    data = std::max(data, to.end);
  }

  static constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
  const char* at_;
  const char* end_;
};

}  // namespace detail

class LogisticRegression {
 public:
  // Throws std::runtime_error if the file does not hold a complete logistic regression. Takes no
  // more memory than the file holds, besides what it reserves for the weights.
  explicit LogisticRegression(const std::string& path) try {
    std::ifstream file(path, std::ios::binary);
    std::uint64_t length = 0;
    if (!file.read(reinterpret_cast<char*>(&length), sizeof length)) throw not_a_model;
    file.seekg(0, std::ios::end);
    const auto end = static_cast<std::streamoff>(file.tellg());
    if (end < 8 || length > std::min<std::uint64_t>(longest, static_cast<std::uint64_t>(end) - 8)) {
      throw not_a_model;
    }
    const std::uint64_t size = static_cast<std::uint64_t>(end) - 8 - length;
    std::string text(static_cast<std::size_t>(length), '\0');
    read(file, 8, text.data(), length);
    const detail::Header header(text);
    if (header.format != "adagrad.ctr" || (header.version != "1" && header.version != "2") ||
        header.kind != "\"LogisticRegression\"") {
      throw detail::Damaged{
          "does not hold an adagrad.ctr.LogisticRegression in format version 1 or 2"};
    }
    if (header.data > size) throw detail::Damaged{"is truncated"};
    if (header.data < size) throw detail::Damaged{"has bytes after its end"};
    const detail::Tensor &linear = header.linear, &bias = header.bias, &listed = header.slots;
    const bool is_first = header.version == "1";
    const std::uint64_t rows = linear.shape[0], columns = linear.shape[1];
    if (linear.dtype != "F32" || linear.dims != 2 || columns < (is_first ? 2 : 1) || columns > 2 ||
        rows > size / 4 || linear.end - linear.begin != 4 * columns * rows) {
      throw detail::Damaged{"is damaged: the tensor linear is not [slots, 1 or 2] in F32"};
    }
    n_slots_ = is_first ? rows : number(header.n_slots);
    if (n_slots_ == 0 || n_slots_ > most_slots) {
      throw detail::Damaged{"is damaged: the number of its slots"};
    }
    if (listed.found) {
      if (is_first || listed.dtype != "U32" || listed.dims != 1 || listed.shape[0] != rows ||
          rows >= n_slots_ || listed.end - listed.begin != 4 * rows) {
        throw detail::Damaged{"is damaged: the tensor slots does not list those of linear in U32"};
      }
    } else if (rows != n_slots_) {
      throw detail::Damaged{"is damaged: the tensor linear is not [slots, 1 or 2] in F32"};
    }
    weights_.reset(static_cast<float*>(std::calloc(slots(), sizeof(float))), std::free);
    if (weights_ == nullptr) throw detail::Damaged{"has more slots than memory is left for"};
    read_weights(file, 8 + length, header);
    if (bias.found) {
      const std::uint64_t count = bias.shape[0];
      if (bias.dtype != "F32" || bias.dims != 1 || count < (is_first ? 2 : 1) || count > 2 ||
          bias.end - bias.begin != 4 * count) {
        throw detail::Damaged{"is damaged: the tensor bias is not [1 or 2] in F32"};
      }
      read(file, 8 + length + bias.begin, &bias_, sizeof bias_);
    }
    const std::size_t share = (slots() + 7) / 8;
    region_ = (share + 15) / 16 * 16;
  } catch (const detail::Damaged& damaged) {
    throw std::runtime_error(path + ": " + damaged.what);
  }

  std::size_t slots() const { return static_cast<std::size_t>(n_slots_); }

  // The log-odds. Throws std::out_of_range if a slot is not in the model.
  float margin(const std::vector<Entry>& example) const {
    std::array<float, 8> sums{};
    for (const Entry& entry : example) {
      if (entry.slot >= slots()) {
        throw std::out_of_range("slot " + std::to_string(entry.slot) + " is not in the model");
      }
      sums[entry.slot / region_] += weights_.get()[entry.slot] * entry.value;
    }
    sums[7] += bias_;
    float total = 0.0F;
    for (const float sum : sums) total += sum;
    return total;
  }

 private:
  static constexpr std::uint64_t longest = 100000000;  // header of a safetensors file
  static constexpr detail::Damaged not_a_model{"is not a model file of adagrad.ctr"};

  static void read(std::ifstream& file, std::uint64_t from, void* to, std::uint64_t size) {
    file.seekg(static_cast<std::streamoff>(from));
    if (!file.read(static_cast<char*>(to), static_cast<std::streamsize>(size))) {
      throw detail::Damaged{"is truncated"};
    }
  }

  static std::uint64_t number(const std::string& text) {
    std::uint64_t value = 0;
    for (const char c : text) {
      if (c < '0' || c > '9' || value > most_slots) return 0;
      value = 10 * value + static_cast<std::uint64_t>(c - '0');
    }
    return value;
  }

  // Reads the first column of the tensor linear, whose rows are those of the listed slots or all.
  void read_weights(std::ifstream& file, std::uint64_t data, const detail::Header& header) {
    constexpr std::size_t step = 2048;
    std::array<float, 2 * step> rows;
    std::array<std::uint32_t, step> slots;
    const std::uint64_t count = header.linear.shape[0], columns = header.linear.shape[1];
    std::uint64_t next = 0;  // the lowest slot that may come
    for (std::uint64_t first = 0; first < count; first += step) {
      const std::uint64_t some = std::min<std::uint64_t>(step, count - first);
      read(file, data + header.linear.begin + 4 * columns * first, rows.data(), 4 * columns * some);
      if (header.slots.found) {
        read(file, data + header.slots.begin + 4 * first, slots.data(), 4 * some);
      }
      for (std::size_t i = 0; i < some; ++i) {
        const std::uint64_t slot = header.slots.found ? slots[i] : first + i;
        if (slot < next || slot >= n_slots_) {
          throw detail::Damaged{"is damaged: its slots do not ascend to the last one"};
        }
        next = slot + 1;
        weights_.get()[slot] = rows[static_cast<std::size_t>(columns) * i];
      }
    }
  }

  static constexpr std::uint64_t most_slots = std::uint64_t{1} << 32;

  std::uint64_t n_slots_ = 0;
  std::shared_ptr<float> weights_;
  float bias_ = 0.0F;
  std::size_t region_ = 0;
};

}  // namespace adagrad_score
