// _core.PageReader and _core.page_header: pages of Parquet files to the buffers of Arrow columns.
#include <pybind11/numpy.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../ctr/page_headers.hpp"
#include "../ctr/pages.hpp"
#include "held_array.hpp"
#include "module.hpp"

namespace py = pybind11;

namespace adagrad {
namespace {

PageKind page_kind_of(const std::string& name) {
  if (name == "words32") return PageKind::words32;
  if (name == "words64") return PageKind::words64;
  if (name == "texts") return PageKind::texts;
  if (name == "categories") return PageKind::categories;
  throw py::value_error("the kind of a column of pages cannot be '" + name + "'");
}

// Contiguous memory of Python, which it keeps alive.
struct Lent {
  std::shared_ptr<py::buffer_info> info;

  explicit Lent(const py::buffer& memory)
      : info(std::make_shared<py::buffer_info>(memory.request())) {
    if (info->ndim != 1 || info->itemsize != 1 || info->strides[0] != 1) {
      throw py::type_error("pages must be bytes");
    }
  }
  // Not null, which would stand for no memory at all.
  const std::uint8_t* data() const {
    static const std::uint8_t nothing = 0;
    return info->size == 0 ? &nothing : static_cast<const std::uint8_t*>(info->ptr);
  }
  std::size_t size() const { return static_cast<std::size_t>(info->size); }
};

void require_pages(bool good) {
  if (!good) throw py::value_error("the pages do not hold what they claim");
}

class PageReader {
 public:
  PageReader(const std::string& kind, bool nullable) : pages_(page_kind_of(kind), nullable) {}

  void begin() {
    pages_.begin();
    page_.reset();
    levels_.reset();
  }

  void set_dictionary(const py::buffer& data, std::size_t n) {
    const Lent lent(data);
    py::gil_scoped_release unlocked;
    const bool good = pages_.set_dictionary(lent.data(), lent.size(), n);
    py::gil_scoped_acquire locked;
    require_pages(good);
  }

  void set_page(const py::buffer& data, std::size_t n, bool indexed, const py::object& levels) {
    auto page = std::make_unique<Lent>(data);
    auto its_levels = levels.is_none() ? nullptr : std::make_unique<Lent>(py::buffer(levels));
    const bool good = pages_.set_page(page->data(), page->size(), n, indexed,
                                      its_levels == nullptr ? nullptr : its_levels->data(),
                                      its_levels == nullptr ? 0 : its_levels->size());
    page_ = std::move(page);
    levels_ = std::move(its_levels);
    require_pages(good);
  }

  void append(std::size_t n) {
    bool good = false;
    {
      py::gil_scoped_release unlocked;
      good = pages_.append(n);
    }
    require_pages(good);
  }

  // The buffers of the column in Arrow's order; of categories, those of the indices, followed by
  // those of a dictionary that is not the file's.
  py::list take() {
    const std::shared_ptr<const PageCollector::Values> taken = pages_.take();
    const PageCollector::Values& values = *taken;
    const auto array = [&](const auto& x) { return array_of(x.data(), x.size(), taken); };
    py::list out;
    out.append(values.missing == 0 ? py::object(py::none()) : array(values.validity));
    if (pages_.kind() == PageKind::words64) out.append(array(values.words64));
    if (pages_.kind() == PageKind::words32 || pages_.kind() == PageKind::categories) {
      out.append(array(values.words32));
    }
    if (pages_.kind() == PageKind::texts || values.texts.size() > 0) {
      out.append(array(values.texts.offsets));
      out.append(array(values.texts.bytes));
    }
    return out;
  }

  py::list dictionary() const {
    const std::shared_ptr<const PageTexts> texts = pages_.dictionary();
    py::list out;
    out.append(array_of(texts->offsets.data(), texts->offsets.size(), texts));
    out.append(array_of(texts->bytes.data(), texts->bytes.size(), texts));
    return out;
  }

  std::size_t left() const { return pages_.left(); }

 private:
  PageCollector pages_;
  std::unique_ptr<Lent> page_, levels_;
};

py::object page_header(const py::buffer& data, std::size_t at) {
  const Lent lent(data);
  PageHeader header;
  if (at > lent.size() || !read_header(lent.data() + at, lent.size() - at, header)) {
    return py::none();
  }
  const py::object checksum =
      header.has_checksum ? py::object(py::int_(header.checksum)) : py::object(py::none());
  return py::make_tuple(header.type, header.size, header.compressed, header.uncompressed,
                        header.values, header.encoding, header.level_encoding, header.level_bytes,
                        header.repetition_bytes, header.is_compressed, checksum);
}

// Rows of each row group and, of each of its columns, codec, values, size, where pages of data
// and of a dictionary begin, and whether they are elsewhere.
py::object page_chunks(const py::buffer& footer) {
  const Lent lent(footer);
  std::vector<RowGroup> groups;
  if (!read_footer(lent.data(), lent.size(), groups)) return py::none();
  py::list out;
  for (const RowGroup& group : groups) {
    py::list columns;
    for (const PageChunk& c : group.columns) {
      columns.append(
          py::make_tuple(c.codec, c.values, c.size, c.data_at, c.dictionary_at, c.elsewhere));
    }
    out.append(py::make_tuple(group.rows, columns));
  }
  return out;
}

}  // namespace

void bind_pages(py::module_& m) {
  py::class_<PageReader>(m, "PageReader")
      .def(py::init<const std::string&, bool>(), py::arg("kind"), py::arg("nullable"))
      .def("begin", &PageReader::begin, "Forget everything, before another row group.")
      .def("set_dictionary", &PageReader::set_dictionary, py::arg("data"), py::arg("n"))
      .def("set_page", &PageReader::set_page, py::arg("data"), py::arg("n"), py::arg("indexed"),
           py::arg("levels") = py::none(),
           "Begin a page; ValueError, as from all methods, if it does not hold what it claims.")
      .def("append", &PageReader::append, py::arg("n"), "Append values of the page.")
      .def("take", &PageReader::take, "The buffers of what was appended, which is then forgotten.")
      .def("dictionary", &PageReader::dictionary, "Offsets and bytes of the texts in the file.")
      .def_property_readonly("left", &PageReader::left, "Values left in the page.");
  m.def("page_chunks", &page_chunks, py::arg("footer"),
        "Rows of each row group and its columns: codec, values, size, where pages of data and of a"
        " dictionary begin (-1 for none), whether they are elsewhere; None for a damaged footer.");
  m.def("page_header", &page_header, py::arg("data"), py::arg("at"),
        "Type, size, compressed and uncompressed size of a page, values, encodings of values and"
        " of levels, bytes of levels and of repetitions, whether it is compressed, and checksum;"
        " None if there is no complete header.");
}

}  // namespace adagrad
