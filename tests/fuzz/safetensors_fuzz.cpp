// The safetensors reader and its index: tensors that parse lie in the file, apart, with as many bytes as they say.
#include "convert/safetensors.h"

#include <functional>

#include "quant/error.h"
#include "tests/fuzz/target.h"
#include "tests/support/safetensors_writer.h"

namespace hearth::test {

namespace {

bool parses(const std::function<void()>& parse) {
  try {
    parse();
    return true;
  } catch (const Error& error) {
    expect(error.kind == ErrorKind::format, "bytes are refused as a format error");
    expect(std::string_view(error.what()).find('\n') == std::string_view::npos, "an error is one line");
    return false;
  }
}

void walk(const std::vector<SourceTensor>& tensors, std::span<const std::byte> input) {
  const std::byte* end = input.data();
  unsigned sum = 0;
  for (const SourceTensor& tensor : tensors) {
    expect(tensor.bytes.data() >= end, "tensors come in order and apart");
    end = tensor.bytes.data() + tensor.bytes.size();
    expect(end <= input.data() + input.size(), "a tensor ends inside the file");
    const uint64_t elems = tensor.shape.rank == 0 ? 1 : uint64_t(tensor.shape.elems());
    expect(elems * tensor.elem_bytes() == tensor.bytes.size(), "a shape has as many bytes as it says");
    for (const std::byte byte : tensor.bytes) sum += unsigned(byte);
  }
  expect(sum <= 255u * input.size(), "every byte can be read");
}

}  // namespace

bool fuzz_one(std::span<const std::byte> input) {
  const bool file = parses([&] { walk(parse_safetensors(input, "fuzz.safetensors"), input); });
  const std::string_view text(reinterpret_cast<const char*>(input.data()), input.size());
  const bool index = parses([&] {
    for (const auto& [tensor, shard] : parse_safetensors_index(text, "fuzz.json")) {
      expect(shard.find('/') == std::string::npos && shard != "..", "a shard lies beside its index");
    }
  });
  return file || index;
}

std::vector<std::string> fuzz_seeds() {
  const std::vector<int64_t> matrix = {2, 3}, vector = {4}, scalar = {};
  SafetensorsWriter some;
  some.add("model.norm.weight", "F32", vector, std::string(16, 'x'))
      .add("model.layers.0.self_attn.q_proj.weight", "BF16", matrix, std::string(12, 'y'))
      .add("model.layers.0.self_attn.q_proj.weight_scale_inv", "F8_E4M3", scalar, "z");
  const std::string metadata =
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"I8","shape":[3],"data_offsets":[0,3]}})";
  return {some.text(), SafetensorsWriter().text(), safetensors_text(metadata, "abcd"),
          R"({"metadata":{"total_size":3},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"x.safetensors"}})"};
}

}  // namespace hearth::test
