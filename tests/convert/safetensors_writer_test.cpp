// What is written is what the reader reads.
#include "convert/safetensors_writer.h"

#include <doctest/doctest.h>

#include "convert/safetensors.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

TEST_CASE("a layout is read back: names, types, shapes, places without gaps, each aligned to its elements") {
  const std::vector<NewTensor> tensors = {{"codes", "F8_E4M3", Shape(3, 5)},
                                          {"codes_scale", "F32", Shape(1, 1)},
                                          {"norm.weight", "BF16", Shape(7)},
                                          {"shape", "I64", Shape(2)},
                                          {"packed", "I32", Shape(2, 3)}};
  const SafetensorsLayout layout = lay_out_safetensors(tensors);
  CHECK(layout.header.size() % 8 == 0);
  std::string file = layout.header;
  file.resize(layout.file_bytes);
  for (size_t i = 0; i < tensors.size(); ++i) file[layout.offsets[i]] = char('A' + i);

  const auto found = parse_safetensors(std::as_bytes(std::span(file)), "file");
  REQUIRE(found.size() == tensors.size());
  const auto* end = reinterpret_cast<const std::byte*>(file.data()) + layout.header.size();
  for (const SourceTensor& tensor : found) {
    const auto meant = std::ranges::find(tensors, tensor.name, &NewTensor::name);
    REQUIRE(meant != tensors.end());
    CHECK(std::string(tensor.dtype->name) == meant->dtype);
    CHECK(tensor.shape == meant->shape);
    CHECK(tensor.bytes.size() == meant->bytes());
    CHECK(tensor.bytes.data() == end);
    CHECK(char(tensor.bytes[0]) == char('A' + (meant - tensors.begin())));
    CHECK((tensor.bytes.data() - reinterpret_cast<const std::byte*>(file.data())) % tensor.elem_bytes() == 0);
    end += tensor.bytes.size();
  }
  CHECK(end == reinterpret_cast<const std::byte*>(file.data()) + file.size());
}

TEST_CASE("an index is read back, its tensors sorted by name") {
  const std::string text = safetensors_index({{"b", "model-2"}, {"a", "model-1"}}, 42);
  CHECK(parse_safetensors_index(text, "index") ==
        std::map<std::string, std::string>{{"a", "model-1"}, {"b", "model-2"}});
  CHECK(contains(text, "\"total_size\": 42"));
  CHECK(text.find("\"a\"") < text.find("\"b\""));
}
