// The GGUF reader: whatever parses is walked through as a runtime would, every key and every weight.
#include "quant/gguf.h"
#include "tests/fuzz/target.h"
#include "tests/quant/gguf_bytes.h"
#include "tests/support/paths.h"

namespace hearth::test {

namespace {

void walk(const Tensor& tensor, std::span<const std::byte> input) {
  const auto offset = size_t(tensor.data - input.data());
  expect(tensor.data >= input.data() && offset <= input.size(), "a tensor begins inside the file");
  expect(tensor.bytes() <= input.size() - offset, "a tensor ends inside the file");
  expect(!tensor.format->sized() || tensor.format->fits(tensor.shape.cols()), "rows are whole blocks");
  if (!tensor.format->computed()) return;
  std::vector<float> row(size_t(tensor.shape.cols()));
  for (int64_t r = 0; r < tensor.shape.rows(); ++r) {
    tensor.format->decode(tensor.data + size_t(r) * tensor.row_bytes(), row.data(), tensor.shape.cols());
  }
}

void walk(const GgufMetadata& metadata) {
  for (const auto& [key, value] : metadata.entries()) {
    expect(metadata.find(key) == &value, "every key is found");
    expect(!value.text().empty() && !value.type_text().empty(), "every value has a text");
  }
}

}  // namespace

bool fuzz_one(std::span<const std::byte> input) {
  try {
    const GgufContents contents = parse_gguf(input, "fuzz.gguf");
    walk(contents.metadata);
    for (const Tensor& tensor : contents.tensors) walk(tensor, input);
    return true;
  } catch (const Error& error) {
    expect(error.kind == ErrorKind::format, "bytes are refused as a format error");
    expect(std::string_view(error.what()).find('\n') == std::string_view::npos, "an error is one line");
    return false;
  }
}

std::vector<std::string> fuzz_seeds() {
  const TempDir dir;
  const auto written = [&](const GgufMetadata& metadata, const std::vector<GgufTensorPlan>& plans) {
    write_gguf(dir / "seed.gguf", metadata, plans, 32);
    return read_text(dir / "seed.gguf");
  };
  GgufMetadata small;
  small.set("general.name", GgufValue::of_string("small"));
  small.set("tokenizer.ggml.tokens", GgufValue::of_strings({"a", "b", "ab"}));
  GgufMetadata types = every_type();
  types.erase("a.empty");  // the `gguf` package cannot write it, and is compared with us on these files
  std::vector<std::string> seeds = {written(types, {}), written(every_type(), every_format()), written(small, {})};
  for (const GgufTensorPlan& plan : every_format()) seeds.push_back(written(small, {plan}));
  const GgufTensorPlan f32 = every_format().front();
  for (const uint32_t type : {24u, 36u, 999u}) seeds.push_back(with_type(written(small, {f32}), f32.name, type));
  std::vector<GgufTensorPlan> hidden = every_format();
  hidden.resize(2);
  hidden[1].appendix = true;
  seeds.push_back(written(small, hidden));
  return seeds;
}

}  // namespace hearth::test
