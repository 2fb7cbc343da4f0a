// The hashes of the values of dictionaries, kept from one batch to the next. The batches of a file
// often have the same dictionary, each at a different address. Comparing it with the last one costs
// a tenth of hashing it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "columns.hpp"

namespace adagrad {

// Remembers the last dictionary of each field. Safe to use from several threads.
class Dictionaries {
 public:
  using Hashes = std::shared_ptr<const std::vector<std::uint64_t>>;

  explicit Dictionaries(std::size_t fields) : known_(fields) {}

  Hashes hashes(std::size_t field, const Column& values, std::uint64_t seed) {
    const Texts texts = texts_of(values);
    const std::shared_ptr<const Known> known = last(field);
    if (texts.width > 0 && known != nullptr && known->is(texts)) return known->hashes;
    auto hashes = std::make_shared<std::vector<std::uint64_t>>(values.length);
    hash_categories(values, 0, values.length, seed, hashes->data());
    if (texts.width > 0) {
      auto next = std::make_shared<const Known>(
          Known{texts.width, std::string(texts.offsets), std::string(texts.bytes), hashes});
      const std::lock_guard<std::mutex> lock(mutex_);
      known_[field] = std::move(next);
    }
    return hashes;
  }

 private:
  // The memory of texts. Width 0 stands for other values, and for texts of which some are missing.
  struct Texts {
    std::size_t width;  // bytes of an offset
    std::string_view offsets, bytes;
  };

  struct Known {
    std::size_t width;
    std::string offsets, bytes;
    Hashes hashes;

    bool is(const Texts& x) const {
      return width == x.width && offsets == x.offsets && bytes == x.bytes;
    }
  };

  template <class Offset>
  static Texts texts(const Column& c) {
    const Offset* const offsets = as<Offset>(c.offsets) + c.offset;
    const auto length = static_cast<std::size_t>(offsets[c.length] - offsets[0]);
    return {sizeof(Offset),
            {reinterpret_cast<const char*>(offsets), (c.length + 1) * sizeof(Offset)},
            {as<char>(c.data) + offsets[0], length}};
  }

  static Texts texts_of(const Column& c) {
    if (c.validity == nullptr && c.length > 0) {
      if (c.type == Type::text32) return texts<std::int32_t>(c);
      if (c.type == Type::text64) return texts<std::int64_t>(c);
    }
    return {};
  }

  std::shared_ptr<const Known> last(std::size_t field) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return known_[field];
  }

  std::mutex mutex_;
  std::vector<std::shared_ptr<const Known>> known_;
};

namespace {

// Hashes the values of a dictionary once, unless it has more than twice as many values as the `n`
// rows that use it. (More than `n` can pay because the next batch may have the same dictionary.)
inline void prepare(Column& c, std::size_t n, std::size_t field, std::uint64_t seed,
                    Dictionaries& known) {
  if (c.type != Type::dictionary || c.child[0].length / 2 > n) return;
  c.distinct = known.hashes(field, c.child[0], seed);
}

}  // namespace
}  // namespace adagrad
