// The rows of a model in an export file: found by slot, converted if they have 16 bits, and drawn
// again for slots that training never touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "../adagrad/half.hpp"
#include "../adagrad/portability.hpp"
#include "../adagrad/random.hpp"
#include "file.hpp"

namespace adagrad::score {

enum class Storage : std::uint8_t { float32, bfloat16, float16 };

// The pairs of a factorization machine.
struct Pairs {
  std::size_t factors = 0;   // 0: the model has no pairs
  std::size_t n_fields = 0;  // of a field-aware machine; else 0
  std::size_t parts = 1;
  bool normalize = false;
  float scale = 1.0f;
  double init_scale = 0.0;
  std::uint64_t seed = 0;

  std::size_t vectors() const { return factors * (n_fields == 0 ? 1 : n_fields); }
};

class Weights {
 public:
  static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

  Weights() = default;

  // Throws Damaged unless the tensors are those of such a model. Reads all of them once.
  Weights(const Tensors& tensors, std::uint64_t n_slots, std::uint64_t bucket, const Pairs& pairs)
      : pairs_(pairs), width_(1 + pairs.vectors()) {
    const Tensor* const rows = tensors.find("rows");
    if (rows == nullptr || rows->shape.size() != 2 || rows->shape[1] != width_) {
      throw Damaged{"lacks the tensor rows, or it has another width"};
    }
    if (rows->dtype == "F32") {
      storage_ = Storage::float32;
    } else if (rows->dtype == "BF16") {
      storage_ = Storage::bfloat16;
    } else if (rows->dtype == "F16") {
      storage_ = Storage::float16;
    } else {
      throw Damaged{"has rows of another dtype than F32, BF16 or F16"};
    }
    item_ = storage_ == Storage::float32 ? 4 : 2;
    rows_ = rows->bytes.data;
    const std::uint64_t count = rows->shape[0];
    check_alignment(*rows);
    if (bucket != 0) {
      find_lists(tensors, n_slots, bucket, count);
    } else if (count != n_slots) {
      throw Damaged{"has another number of rows than of slots"};
    }
    check_finite(static_cast<std::size_t>(count) * width_);
    find_places();
  }

  bool is_listed() const { return starts_ != nullptr; }
  const Pairs& pairs() const { return pairs_; }
  std::size_t width() const { return width_; }

  // Ask for the memory that find() and the rows need, in three steps.
  void ask_for_start(std::uint32_t slot) const { ADAGRAD_PREFETCH(starts_ + (slot >> shift_)); }
  void ask_for_list(std::uint32_t slot) const {
    const std::size_t at = starts_[slot >> shift_];
    ADAGRAD_PREFETCH(lows_ + (shift_ <= 8 ? at : 2 * at));
  }
  void ask_for_row(std::size_t row) const {
    if (row == none) return;
    const unsigned char* const from = rows_ + row * width_ * item_;
    for (std::size_t at = 0; at < width_ * item_; at += 64) ADAGRAD_PREFETCH(from + at);
    ADAGRAD_PREFETCH(from + width_ * item_ - 1);
  }

  // The row of a slot; `none` if its weight is 0 and its vectors are as drawn.
  std::size_t find(std::uint32_t slot) const {
    if (!is_listed()) return slot;
    const std::size_t bucket = slot >> shift_;
    const std::size_t begin = starts_[bucket], end = starts_[bucket + 1];
    const std::uint32_t low = slot & ((std::uint32_t{1} << shift_) - 1);
    if (shift_ <= 8) {
      for (std::size_t k = begin; k < end; ++k) {
        if (lows_[k] >= low) return lows_[k] == low ? k : none;
      }
    } else {
      const auto* const lows = reinterpret_cast<const std::uint16_t*>(lows_);
      for (std::size_t k = begin; k < end; ++k) {
        if (lows[k] >= low) return lows[k] == low ? k : none;
      }
    }
    return none;
  }

  float weight(std::size_t row) const {
    if (row == none) return 0.0f;
    const unsigned char* const at = rows_ + row * width_ * item_;
    if (storage_ == Storage::float32) {
      float w;
      std::memcpy(&w, at, sizeof w);
      return w;
    }
    std::uint16_t stored;
    std::memcpy(&stored, at, sizeof stored);
    return storage_ == Storage::bfloat16 ? to_float<Half::bfloat16>(stored)
                                         : to_float<Half::float16>(stored);
  }

  // The vectors of a row, in memory or written to `to`, which has room for all of them.
  const float* vectors(std::size_t row, std::uint32_t slot, float* to) const {
    if (row == none) {
      draw(slot, to);
      return to;
    }
    const unsigned char* const at = rows_ + (row * width_ + 1) * item_;
    if (storage_ == Storage::float32) return reinterpret_cast<const float*>(at);
    load_half(storage_ == Storage::bfloat16 ? Half::bfloat16 : Half::float16, at, to, width_ - 1);
    return to;
  }

 private:
  static void check_alignment(const Tensor& tensor) {
    if (reinterpret_cast<std::uintptr_t>(tensor.bytes.data) % item_bytes(tensor.dtype) != 0) {
      throw Damaged{"has a tensor that is not aligned"};
    }
  }

  void find_lists(const Tensors& tensors, std::uint64_t n_slots, std::uint64_t bucket,
                  std::uint64_t count) {
    while (shift_ < 16 && std::uint64_t{1} << shift_ < bucket) ++shift_;
    if (std::uint64_t{1} << shift_ != bucket) throw Damaged{"has buckets of another size"};
    const std::uint64_t buckets = (n_slots + bucket - 1) / bucket;
    const Tensor *const starts = tensors.find("starts"), *const low = tensors.find("low");
    if (starts == nullptr || !starts->is("U32", 1) || starts->shape[0] != buckets + 1) {
      throw Damaged{"lacks the tensor starts, or it has another size"};
    }
    if (low == nullptr || !low->is(shift_ <= 8 ? "U8" : "U16", 1) || low->shape[0] != count) {
      throw Damaged{"lacks the tensor low, or it has another size"};
    }
    check_alignment(*starts);
    check_alignment(*low);
    starts_ = reinterpret_cast<const std::uint32_t*>(starts->bytes.data);
    lows_ = low->bytes.data;
    if (starts_[0] != 0 || starts_[buckets] != count) throw Damaged{"has wrong starts of buckets"};
    for (std::uint64_t b = 0; b < buckets; ++b) {
      if (starts_[b] > starts_[b + 1]) throw Damaged{"has wrong starts of buckets"};
    }
    const auto low_at = [&](std::size_t k) -> std::uint64_t {
      return shift_ <= 8 ? lows_[k] : reinterpret_cast<const std::uint16_t*>(lows_)[k];
    };
    for (std::uint64_t b = 0; b < buckets; ++b) {
      std::uint64_t next = b * bucket;  // the lowest slot that may come
      for (std::size_t k = starts_[b]; k < starts_[b + 1]; ++k) {
        const std::uint64_t slot = b * bucket + low_at(k);
        if (slot < next || slot >= n_slots || low_at(k) >= bucket) {
          throw Damaged{"has slots that do not ascend to the last one"};
        }
        next = slot + 1;
      }
    }
  }

  void check_finite(std::size_t n) const {
    bool finite = true;
    if (storage_ == Storage::float32) {
      const auto* const words = reinterpret_cast<const std::uint32_t*>(rows_);
      for (std::size_t i = 0; i < n; ++i) finite &= (words[i] & 0x7f800000u) != 0x7f800000u;
    } else {
      const std::uint16_t exponent = storage_ == Storage::bfloat16 ? 0x7f80 : 0x7c00;
      const auto* const words = reinterpret_cast<const std::uint16_t*>(rows_);
      for (std::size_t i = 0; i < n; ++i) finite &= (words[i] & exponent) != exponent;
    }
    if (!finite) throw Damaged{"has a weight that is not finite"};
  }

  // Where the vectors of each field are drawn: every part has a table, with a seed of its own.
  void find_places() {
    in_part_.assign(pairs_.parts, 0);
    for (std::size_t part = 0; part < pairs_.parts; ++part) {
      keys_.push_back(key(pairs_.seed + part, Stream::initial_weights, 0));
    }
    const std::size_t half = regions / pairs_.parts;
    for (std::size_t f = 0; f < pairs_.n_fields; ++f) {
      const std::size_t part = f % regions / half;
      part_of_.push_back(part);
      place_.push_back(in_part_[part]++);
    }
  }

  void draw(std::uint32_t slot, float* to) const {
    const std::size_t k = pairs_.factors;
    const auto draw_at = [&](std::size_t part, std::uint64_t first, float* out) {
      initialise_few(keys_[part], first, pairs_.init_scale, out, k);
    };
    if (pairs_.n_fields == 0) return draw_at(0, std::uint64_t{slot} * k, to);
    for (std::size_t f = 0; f < pairs_.n_fields; ++f) {
      const std::size_t part = part_of_[f];
      draw_at(part, (std::uint64_t{slot} * in_part_[part] + place_[f]) * k, to + f * k);
    }
  }

  Pairs pairs_;
  std::size_t width_ = 1, item_ = 4;
  Storage storage_ = Storage::float32;
  unsigned shift_ = 0;
  const std::uint32_t* starts_ = nullptr;  // of the buckets, if slots are listed
  const unsigned char* lows_ = nullptr;
  const unsigned char* rows_ = nullptr;
  std::vector<std::uint64_t> keys_;           // of the random numbers of each part
  std::vector<std::size_t> part_of_, place_;  // per field
  std::vector<std::size_t> in_part_;          // the number of fields of a part
};

}  // namespace adagrad::score
