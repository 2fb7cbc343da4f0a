// The bytes of an export file, mapped or in memory, and its tensors: those of a safetensors file.
#pragma once

#if defined(_WIN32)
#ifndef NOMINMAX
#define NOMINMAX
#endif
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>
#undef near  // empty words of 16-bit systems, which are names here
#undef far

#include <filesystem>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#endif

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../ctr/hashing.hpp"
#include "json.hpp"

namespace adagrad::score {

struct Bytes {
  const unsigned char* data = nullptr;
  std::size_t size = 0;
};

// A file in memory, read-only, as it was when it was opened: a file that takes its place has other
// memory. A file that is cut short in place ends the process at the next access, so writers must
// replace it instead.
class Mapping {
 public:
  Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

#if defined(_WIN32)
  // Throws Damaged if the file cannot be mapped. The path is UTF-8.
  explicit Mapping(const std::string& path) {
    const std::wstring wide = std::filesystem::u8path(path).wstring();
    const DWORD sharing = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    const HANDLE file = CreateFileW(wide.c_str(), GENERIC_READ, sharing, nullptr, OPEN_EXISTING,
                                    FILE_ATTRIBUTE_NORMAL, nullptr);
    if (file == INVALID_HANDLE_VALUE) throw Damaged{"cannot be opened"};
    LARGE_INTEGER size{};
    HANDLE mapping = nullptr;
    if (GetFileSizeEx(file, &size) != 0 && size.QuadPart > 0) {
      mapping = CreateFileMappingW(file, nullptr, PAGE_READONLY, 0, 0, nullptr);
    }
    CloseHandle(file);
    if (mapping == nullptr) throw Damaged{"is empty, or cannot be mapped"};
    const void* const data = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
    CloseHandle(mapping);
    if (data == nullptr) throw Damaged{"cannot be mapped"};
    bytes_ = {static_cast<const unsigned char*>(data), static_cast<std::size_t>(size.QuadPart)};
  }

  ~Mapping() {
    if (bytes_.data != nullptr) UnmapViewOfFile(bytes_.data);
  }
#else
  // Throws Damaged if the file cannot be mapped.
  explicit Mapping(const std::string& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) throw Damaged{std::string("cannot be opened: ") + std::strerror(errno)};
    struct stat status{};
    const bool is_file = ::fstat(file, &status) == 0 && S_ISREG(status.st_mode);
    void* data = MAP_FAILED;
    int error = 0;
    if (is_file && status.st_size > 0) {
      data =
          ::mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_SHARED, file, 0);
      error = errno;
    }
    ::close(file);
    if (!is_file) throw Damaged{"is not a regular file"};
    if (status.st_size <= 0) throw Damaged{"is empty"};
    if (data == MAP_FAILED) throw Damaged{std::string("cannot be mapped: ") + std::strerror(error)};
    bytes_ = {static_cast<const unsigned char*>(data), static_cast<std::size_t>(status.st_size)};
  }

  ~Mapping() {
    if (bytes_.data != nullptr) {
      ::munmap(const_cast<unsigned char*>(bytes_.data), bytes_.size);
    }
  }
#endif

  Bytes bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

struct Tensor {
  std::string name, dtype;
  std::vector<std::uint64_t> shape;
  Bytes bytes;

  bool is(std::string_view type, std::size_t dims) const {
    return dtype == type && shape.size() == dims;
  }
};

struct Tensors {
  std::string_view head;  // the length of the header, and the header
  Json metadata;
  std::vector<Tensor> all;

  const Tensor* find(std::string_view name) const {
    for (const Tensor& tensor : all) {
      if (tensor.name == name) return &tensor;
    }
    return nullptr;
  }
};

inline std::uint64_t item_bytes(std::string_view dtype) {
  if (dtype == "F32" || dtype == "U32") return 4;
  if (dtype == "F16" || dtype == "BF16" || dtype == "U16") return 2;
  if (dtype == "U8") return 1;
  throw Damaged{"has a tensor of another dtype than this version reads"};
}

// Throws Damaged unless the header is that of an export in the version that is read here.
inline void check_format(const Json& header) {
  const Json* const metadata = header.find("__metadata__");
  const Json* const format = metadata == nullptr ? nullptr : metadata->find("format");
  if (format == nullptr || format->text != "adagrad.score") {
    throw Damaged{"is not an export file: adagrad export makes one of a model"};
  }
  if (metadata->text_of("format_version") != "1") {
    throw Damaged{"was written by another adagrad, and has a version other than 1"};
  }
}

// Throws Damaged unless the bytes are an export: a safetensors file whose tensors follow each other
// from the header to the end, each as long as its shape says.
inline Tensors read_tensors(const Bytes& file) {
  constexpr std::uint64_t longest_header = 100000000;
  constexpr double most = 9007199254740992.0;  // integers up to 2^53 are exact
  if (file.size < 9 || file.data[8] != '{') throw Damaged{"is not a safetensors file"};
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | file.data[i];
  if (length > longest_header || length > file.size - 8) {
    throw Damaged{"is not a safetensors file, or is truncated"};
  }
  const std::size_t start = 8 + static_cast<std::size_t>(length);
  const auto* const text = reinterpret_cast<const char*>(file.data) + 8;
  Json header = JsonReader::read({text, static_cast<std::size_t>(length)});
  if (!header.is(Json::Type::object)) throw Damaged{"has a header that is not an object"};
  check_format(header);
  Tensors out;
  out.head = {reinterpret_cast<const char*>(file.data), start};
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < header.names.size(); ++i) {
    Json& entry = header.items[i];
    if (!entry.is(Json::Type::object)) throw Damaged{"has a tensor that is not an object"};
    if (header.names[i] == "__metadata__") {
      out.metadata = std::move(entry);
      continue;
    }
    Tensor tensor;
    tensor.name = header.names[i];
    tensor.dtype = entry.text_of("dtype");
    std::uint64_t size = item_bytes(tensor.dtype);
    for (const Json& dim : entry.at("shape", Json::Type::array).items) {
      tensor.shape.push_back(dim.count("shape", 0, most));
      if (tensor.shape.back() != 0 && size > file.size / tensor.shape.back()) {
        throw Damaged{"is truncated"};
      }
      size *= tensor.shape.back();
    }
    const Json& offsets = entry.at("data_offsets", Json::Type::array);
    if (offsets.items.size() != 2 || offsets.items[0].count("data_offsets", 0, most) != end ||
        offsets.items[1].count("data_offsets", 0, most) != end + size) {
      throw Damaged{"has a tensor that is not where the last one ends, or has another size"};
    }
    if (end + size > file.size - start) throw Damaged{"is truncated"};
    tensor.bytes = {file.data + start + end, static_cast<std::size_t>(size)};
    end += size;
    out.all.push_back(std::move(tensor));
  }
  if (end != file.size - start) throw Damaged{"has bytes after its end"};
  return out;
}

// The checksum that the metadata name, as 16 hexadecimal digits. Throws Damaged unless it is that
// of the bytes: the XXH64 of the head, with zeros as these digits, and then of each tensor in turn,
// seeded with the hash before it.
inline const std::string& read_checksum(const Tensors& file) {
  constexpr std::string_view key = "\"checksum\":\"";
  const std::string& named = file.metadata.text_of("checksum");
  const std::size_t at = file.head.find(key);
  if (named.size() != 16 || at == std::string_view::npos ||
      file.head.substr(at + key.size(), 16) != named) {
    throw Damaged{"has a checksum that is not 16 digits"};
  }
  std::string head(file.head);
  head.replace(at + key.size(), 16, 16, '0');
  std::uint64_t hash = xxh64(head.data(), head.size(), 0);
  for (const Tensor& tensor : file.all) hash = xxh64(tensor.bytes.data, tensor.bytes.size, hash);
  constexpr char digits[] = "0123456789abcdef";
  for (int i = 0; i < 16; ++i) {
    if (named[static_cast<std::size_t>(i)] == digits[hash >> (60 - 4 * i) & 15]) continue;
    throw Damaged{"is corrupted: its bytes do not have the checksum that it names"};
  }
  return named;
}

}  // namespace adagrad::score
