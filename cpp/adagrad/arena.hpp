// The scratch memory of a call.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

namespace adagrad {

// A block of memory. The allocator hands large blocks back to the system, so the next call would
// fault its memory in again page by page, which costs a third of the time to sum 4 M gradients. The
// process therefore keeps one block of at most `most_kept` bytes for the next call.
class Block {
 public:
  static constexpr std::size_t most_kept = std::size_t{1} << 28, least_kept = std::size_t{1} << 20;

  explicit Block(std::size_t bytes) : bytes_(bytes) {
    if (bytes >= least_kept) {
      Kept* const kept = spare().exchange(nullptr);
      if (kept != nullptr && kept->bytes >= bytes) {
        bytes_ = kept->bytes;
        memory_ = reinterpret_cast<char*>(kept);
        return;
      }
      std::free(kept);
    }
    bytes_ = bytes < sizeof(Kept) ? sizeof(Kept) : bytes;
    memory_ = static_cast<char*>(std::malloc(bytes_));
    if (memory_ == nullptr) throw std::bad_alloc();
  }
  ~Block() {
    if (bytes_ < least_kept || bytes_ > most_kept) {
      std::free(memory_);
    } else {
      std::free(spare().exchange(new (memory_) Kept{bytes_}));
    }
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  char* memory() const { return memory_; }

 private:
  // The header of a block that is kept.
  struct Kept {
    std::size_t bytes;
  };
  static std::atomic<Kept*>& spare() {
    static std::atomic<Kept*> kept{nullptr};
    return kept;
  }

  std::size_t bytes_;
  char* memory_;
};

// Hands out a block from its start.
class Arena {
 public:
  explicit Arena(std::size_t bytes) : block_(std::make_shared<Block>(bytes)) {}

  // The same memory from `start` on, with nothing taken.
  Arena again(std::size_t start) const { return Arena(block_, start); }

  // Uninitialized room for n values, and how many bytes that takes.
  template <class T>
  T* take(std::size_t n) {
    char* const taken = block_->memory() + used_;
    used_ += bytes<T>(n);
    return reinterpret_cast<T*>(taken);
  }
  template <class T>
  static constexpr std::size_t bytes(std::size_t n) {
    return (n * sizeof(T) + alignof(std::max_align_t) - 1) / alignof(std::max_align_t) *
           alignof(std::max_align_t);
  }

 private:
  Arena(std::shared_ptr<Block> owner, std::size_t start) : block_(std::move(owner)), used_(start) {}

  std::shared_ptr<Block> block_;
  std::size_t used_ = 0;
};

}  // namespace adagrad
