// Integer weights of strangers: whatever tensors are taken can be read, row by row as at once, and carried into every
// format that takes them. Input: JSON with "rows", "cols" and a "quantization_config", a byte 0, a safetensors file
// with the tensors of "X.weight".
#include <cmath>

#include "convert/carry.h"
#include "convert/coded_tensors.h"
#include "convert/hf_config_parts.h"
#include "convert/source_rows.h"
#include "quant/error.h"
#include "tests/convert/quantized_checkpoint.h"
#include "tests/fuzz/target.h"

namespace hearth::test {

namespace {

constexpr int64_t kMaxSide = int64_t(1) << 31;  // as config.json's widths

void carry(const OutputTensor& tensor, const Format& format, const std::vector<float>& weights) {
  if (!format.fits(tensor.shape.cols()) || !carries(tensor, format)) return;
  const int64_t rows = tensor.shape.rows(), cols = tensor.shape.cols();
  std::vector<std::byte> blocks(size_t(rows) * format.bytes(cols));
  CarryLoss loss;
  try {
    carry_rows(tensor.sources[0], 0, rows, format, loss, blocks.data());
  } catch (const Error& error) {
    expect(std::string_view(error.what()).find("too large for F16") != std::string_view::npos, "only F16 may overflow");
    return;
  }
  std::vector<float> decoded(weights.size());
  format.decode(blocks.data(), decoded.data(), rows * cols);
  for (size_t i = 0; i < weights.size() && loss.rounded == 0; ++i) {
    expect(decoded[i] == weights[i], "what no rounding touched is exact");
  }
}

void read_and_carry(const CodedWeight& coded) {
  OutputTensor tensor;
  tensor.shape = Shape(coded.rows, coded.cols);
  tensor.sources.push_back({});
  tensor.sources[0].weight = coded.codes;
  tensor.sources[0].coded = &coded;
  std::vector<float> weights(size_t(coded.rows * coded.cols)), row(size_t(coded.cols));
  std::vector<std::byte> aligned;
  read_rows(tensor.sources[0], 0, coded.rows, aligned, weights.data());
  for (int64_t r = 0; r < coded.rows; ++r) {
    read_rows(tensor.sources[0], r, 1, aligned, row.data());
    expect(std::equal(row.begin(), row.end(), weights.begin() + r * coded.cols), "a row is itself, read alone");
  }
  for (const Format& format : all_formats()) carry(tensor, format, weights);
  expect(kept_format(tensor).fits(coded.cols), "the format that keeps it fits");
}

}  // namespace

bool fuzz_one(std::span<const std::byte> input) {
  const std::string_view text(reinterpret_cast<const char*>(input.data()), input.size());
  const size_t end = text.find('\0');
  if (end == std::string_view::npos) return false;
  try {
    const Json json = parse_json_object(text.substr(0, end), "fuzz.json");
    const JsonFields fields(json, "fuzz.json");
    HfConfig config;
    read_quantization(fields, config);
    const int64_t rows = fields.integer("rows", 1, kMaxSide), cols = fields.integer("cols", 1, kMaxSide);
    TensorsByName tensors;
    for (SourceTensor& tensor : parse_safetensors(input.subspan(end + 1), "fuzz.safetensors")) {
      tensors.emplace(tensor.name, tensor);
    }
    const CodedTensors found = find_coded_weight(tensors, config.quantization, "X.weight", rows, cols);
    if (!found.weight) return false;
    read_and_carry(*found.weight);
    return true;
  } catch (const Error& error) {
    expect(error.kind == ErrorKind::format || error.kind == ErrorKind::model, "refused as a format or a model");
    expect(std::string_view(error.what()).find('\n') == std::string_view::npos, "an error is one line");
    return false;
  }
}

std::vector<std::string> fuzz_seeds() {
  const Packing packings[] = {
      {Packing::pack_quantized, 4, true, 32, "BF16"}, {Packing::pack_quantized, 4, false, 0, "F32", true},
      {Packing::int_quantized, 8, true, 32, "F16"},   {Packing::gptq, 4, true, 32, "F16", true},
      {Packing::gptq_v2, 8, false, 32, "F16"},        {Packing::awq, 4, true, 32, "F16"}};
  std::vector<std::string> seeds;
  for (const Packing& packing : packings) {
    constexpr int64_t kRows = 8, kCols = 64;
    TinyCheckpoint tiny;
    store(quantized(tiny.gaussian(kRows * kCols), kRows, kCols, packing, tiny.random), packing, "X.", tiny.tensors);
    SafetensorsWriter writer;
    for (const auto& [name, tensor] : tiny.tensors) writer.add(name, tensor.dtype, tensor.shape, tensor.bytes);
    const Json json = {{"rows", kRows}, {"cols", kCols}, {"quantization_config", config_of({packing})}};
    seeds.push_back(json.dump() + '\0' + writer.text());
  }
  return seeds;
}

}  // namespace hearth::test
