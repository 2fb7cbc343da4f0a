#include "page_headers.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace adagrad {
namespace {

// The compact protocol of Thrift. After the first mistake, every read gives 0.
class Thrift {
 public:
  Thrift(const std::uint8_t* data, std::size_t size) : begin_(data), at_(data), end_(data + size) {}

  // Calls f(number, type) for each field of a structure; f reads the value, or returns false.
  template <class F>
  void structure(F f, int depth = 0) {
    std::int64_t field = 0;
    while (good_) {
      const unsigned head = byte();
      const unsigned type = head & 15;
      if (head == 0 || !good_) return;
      field = head >> 4 == 0 ? number() : field + (head >> 4);
      good_ = good_ && field >= INT16_MIN && field <= INT16_MAX;
      if (!good_) return;
      if (!f(field, type)) pass(type, depth);
    }
  }

  // Calls f() for each element of a list of structures.
  template <class F>
  void list_of_structures(F f) {
    const auto [n, type] = list_head();
    good_ = good_ && type == record && n <= static_cast<std::uint64_t>(end_ - at_);
    for (std::uint64_t i = 0; i < n && good_; ++i) f();
  }

  std::int64_t number() {
    const std::uint64_t x = varint();
    return static_cast<std::int64_t>(x >> 1 ^ (0 - (x & 1)));
  }

  std::int64_t number32() {
    const std::int64_t x = number();
    good_ = good_ && x >= INT32_MIN && x <= INT32_MAX;
    return x;
  }

  bool good() const { return good_; }
  std::size_t read() const { return static_cast<std::size_t>(at_ - begin_); }

  enum : unsigned { yes = 1, no, i8, i16, i32, i64, real, binary, list, set, map, record };

 private:
  unsigned byte() {
    good_ = good_ && at_ < end_;
    return good_ ? *at_++ : 0;
  }

  std::uint64_t varint() {
    std::uint64_t x = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const std::uint64_t next = byte();
      x |= (next & 127) << shift;
      if (next < 128) return x;
    }
    good_ = false;
    return 0;
  }

  std::pair<std::uint64_t, unsigned> list_head() {
    const unsigned head = byte();
    return {head >> 4 == 15 ? varint() : head >> 4, head & 15};
  }

  void pass_bytes(std::uint64_t n) {
    good_ = good_ && n <= static_cast<std::uint64_t>(end_ - at_);
    if (good_) at_ += n;
  }

  // Passes over a value. No structure here has sets or maps.
  void pass(unsigned type, int depth) {
    constexpr int deepest = 8;
    if (type == yes || type == no) return;
    if (type == i8) return pass_bytes(1);
    if (type == real) return pass_bytes(8);
    if (type == binary) return pass_bytes(varint());
    if (type >= i16 && type <= i64) {
      varint();
    } else if (type == list && depth < deepest) {
      const auto [n, of] = list_head();
      for (std::uint64_t i = 0; i < n && good_; ++i) {
        of == yes || of == no ? pass_bytes(1) : pass(of, depth + 1);
      }
    } else if (type == record && depth < deepest) {
      structure([](std::int64_t, unsigned) { return false; }, depth + 1);
    } else {
      good_ = false;
    }
  }

  const std::uint8_t *begin_, *at_, *end_;
  bool good_ = true;
};

constexpr std::int64_t data_page = 0, dictionary_page = 2, data_page_2 = 3;

// Whether no field is missing, and no size and count negative.
bool is_complete(const PageHeader& x) {
  if (std::min({x.uncompressed, x.compressed, x.values, x.encoding}) < 0) return false;
  if (x.type == data_page) return std::min(x.level_encoding, x.repetition_encoding) >= 0;
  if (x.type == data_page_2)
    return std::min({x.nulls, x.rows, x.level_bytes, x.repetition_bytes}) >= 0;
  return x.type == dictionary_page;
}

}  // namespace

bool read_header(const std::uint8_t* data, std::size_t size, PageHeader& out) {
  Thrift thrift(data, size);
  const auto number_to = [&](unsigned type, std::int64_t& to) {
    if (type != Thrift::i32) return false;
    to = thrift.number32();
    return true;
  };
  const auto of_data = [&](std::int64_t field, unsigned type) {
    if (field == 1) return number_to(type, out.values);
    if (field == 2) return number_to(type, out.encoding);
    if (field == 3) return number_to(type, out.level_encoding);
    return field == 4 && number_to(type, out.repetition_encoding);
  };
  const auto of_dictionary = [&](std::int64_t field, unsigned type) {
    if (field == 1) return number_to(type, out.values);
    return field == 2 && number_to(type, out.encoding);
  };
  const auto of_second_version = [&](std::int64_t field, unsigned type) {
    if (field == 1) return number_to(type, out.values);
    if (field == 2) return number_to(type, out.nulls);
    if (field == 3) return number_to(type, out.rows);
    if (field == 4) return number_to(type, out.encoding);
    if (field == 5) return number_to(type, out.level_bytes);
    if (field == 6) return number_to(type, out.repetition_bytes);
    if (field == 7 && type == Thrift::no) out.is_compressed = false;
    return false;
  };
  thrift.structure([&](std::int64_t field, unsigned type) {
    if (field == 1) return number_to(type, out.type);
    if (field == 2) return number_to(type, out.uncompressed);
    if (field == 3) return number_to(type, out.compressed);
    if (field == 4 && type == Thrift::i32) {
      out.has_checksum = true;
      out.checksum = static_cast<std::uint32_t>(thrift.number32());
      return true;
    }
    if (type != Thrift::record) return false;
    // Of what is said of another type of page, nothing counts.
    if (field == 5 && out.type == data_page) return thrift.structure(of_data, 1), true;
    if (field == 7 && out.type == dictionary_page) return thrift.structure(of_dictionary, 1), true;
    if (field == 8 && out.type == data_page_2) return thrift.structure(of_second_version, 1), true;
    return false;
  });
  out.size = thrift.read();
  return thrift.good() && is_complete(out);
}

bool read_footer(const std::uint8_t* data, std::size_t size, std::vector<RowGroup>& out) {
  Thrift thrift(data, size);
  const auto number_to = [&](unsigned type, std::int64_t& to) {
    if (type != Thrift::i32 && type != Thrift::i64) return false;
    to = thrift.number();
    return true;
  };
  const auto read_chunk = [&](PageChunk& chunk) {
    const auto of_metadata = [&](std::int64_t field, unsigned type) {
      if (field == 4) return number_to(type, chunk.codec);
      if (field == 5) return number_to(type, chunk.values);
      if (field == 7) return number_to(type, chunk.size);
      if (field == 9) return number_to(type, chunk.data_at);
      return field == 11 && number_to(type, chunk.dictionary_at);
    };
    thrift.structure([&](std::int64_t field, unsigned type) {
      chunk.elsewhere = chunk.elsewhere || field == 1 || field >= 8;
      if (field != 3 || type != Thrift::record) return false;
      thrift.structure(of_metadata, 3);
      return true;
    });
  };
  const auto read_group = [&] {
    out.emplace_back();
    thrift.structure([&](std::int64_t field, unsigned type) {
      if (field == 3) return number_to(type, out.back().rows);
      if (field != 1 || type != Thrift::list) return false;
      out.back().columns.clear();
      thrift.list_of_structures([&] { read_chunk(out.back().columns.emplace_back()); });
      return true;
    });
  };
  thrift.structure([&](std::int64_t field, unsigned type) {
    if (field != 4 || type != Thrift::list) return false;
    out.clear();
    thrift.list_of_structures(read_group);
    return true;
  });
  return thrift.good();
}

}  // namespace adagrad
