// Tensors hidden from other programs: written behind the first container, read as if they stood in it.
#include <doctest/doctest.h>

#include <functional>

#include "quant/gguf_keys.h"
#include "tests/quant/gguf_bytes.h"
#include "tests/support/paths.h"

using namespace hearth;
using namespace hearth::test;

namespace {

const Format& f32() {
  return format_of(FormatId::f32);
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Three tensors of eight floats: 1, 1, ...; 2, 2, ...; 3, 3, ... The last `n_appendix` lie in the appendix.
std::string file_with_appendix(const TempDir& dir, int n_appendix) {
  GgufMetadata metadata;
  metadata.set(key::kArchitecture, GgufValue::of_string("deepseek2"));
  metadata.set("late", GgufValue::of_u64(0));
  std::vector<GgufTensorPlan> plans;
  for (int i = 0; i < 3; ++i)
    plans.push_back({std::string(1, char('a' + i)), &f32(), Shape(2, 4), i >= 3 - n_appendix});
  const std::string path = dir / "x.gguf";
  GgufWriter writer(path, metadata, plans);
  CHECK(gguf_file_bytes(metadata, plans) == writer.file_bytes());
  for (size_t i = 0; i < 3; ++i) {
    const std::vector<float> values(8, float(i + 1));
    writer.write(i, 0, std::as_bytes(std::span(values)));
  }
  writer.patch("late", GgufValue::of_u64(42));
  writer.finish();
  CHECK(fs::file_size(path) == writer.file_bytes());
  return path;
}

std::string refusal(const std::string& text) {
  try {
    parse_copy(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("tensors of the appendix follow the others") {
  for (const int n_appendix : {0, 1, 2, 3}) {
    CAPTURE(n_appendix);
    const TempDir dir;
    const GgufFile file = GgufFile::open(file_with_appendix(dir, n_appendix));
    REQUIRE(file.tensors().size() == 3);
    for (size_t i = 0; i < 3; ++i) {
      const Tensor& tensor = file.tensors()[i];
      CHECK(tensor.name == std::string(1, char('a' + i)));
      CHECK(tensor.shape == Shape(2, 4));
      std::vector<float> values(8);
      tensor.format->decode(tensor.data, values.data(), 8);
      CHECK(values == std::vector<float>(8, float(i + 1)));
    }
    CHECK(file.metadata().unsigned_integer("late") == 42);
    CHECK((file.metadata().find(key::kHearthAppendix) != nullptr) == (n_appendix > 0));
  }
}

// What another program counts: the tensors of the first header, which end the file as far as it can tell.
TEST_CASE("the first header does not mention the appendix's tensors") {
  const TempDir dir;
  const std::string text = read_file(file_with_appendix(dir, 1));
  uint64_t n_tensors;
  std::memcpy(&n_tensors, text.data() + 8, sizeof n_tensors);
  CHECK(n_tensors == 2);
}

TEST_CASE("a file cut inside its appendix is refused, one that ends before it is whole") {
  const TempDir dir;
  const std::string path = file_with_appendix(dir, 1);
  const std::string text = read_file(path);
  const uint64_t begin = *GgufFile::open(path).metadata().unsigned_integer(key::kHearthAppendix);
  CHECK(parse_copy(text.substr(0, begin)).tensors.size() == 2);
  for (uint64_t size = begin + 1; size < text.size() - 32; ++size) {  // the last 32 bytes are padding
    CAPTURE(size);
    CHECK(refusal(text.substr(0, size)) != "");
  }
}

TEST_CASE("an appendix elsewhere, a foreign one and a nested one are refused") {
  const TempDir dir;
  const std::string path = file_with_appendix(dir, 1);
  const std::string text = read_file(path);
  const uint64_t begin = *GgufFile::open(path).metadata().unsigned_integer(key::kHearthAppendix);

  std::string moved = text;
  moved.insert(begin, std::string(64, '\0'));
  CHECK(refusal(moved).find("expected an appendix") == std::string::npos);  // 64 zeros at the named place
  CHECK(refusal(moved).find("expected a GGUF file") != std::string::npos);

  std::string foreign = text;
  foreign[begin] = 'X';
  CHECK(refusal(foreign).find("expected a GGUF file") != std::string::npos);

  // The name of the key, and behind it its type, then the value.
  std::string renumbered = text;
  const size_t value = text.find(key::kHearthAppendix) + std::string(key::kHearthAppendix).size() + 4;
  renumbered[value] = char(renumbered[value] ^ 0x40);
  CHECK(refusal(renumbered).find("expected an appendix behind the data") != std::string::npos);

  const auto container = [](uint64_t appendix) {
    return GgufBytes().header(0, 1).key(key::kHearthAppendix, GgufType::u64).number(appendix).pad(32).text();
  };
  const uint64_t size = container(0).size();
  std::string nested;
  for (int i = 0; i < 3; ++i) nested += container(size);
  CHECK(refusal(nested).find("its appendix has an appendix") != std::string::npos);
}

TEST_CASE("a name in both places is refused") {
  GgufMetadata metadata;
  const std::vector<GgufTensorPlan> plans = {{"a", &f32(), Shape(8)}, {"a", &f32(), Shape(8), true}};
  CHECK_THROWS_AS(gguf_file_bytes(metadata, plans), Error);
}
