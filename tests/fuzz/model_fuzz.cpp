// A model's file beyond the container: hyper-parameters, layouts, what is said of them, weights that are rearranged,
// and a layer for MTP that lies beside.
#include "kernels/device.h"
#include "quant/gguf_keys.h"
#include "runtime/eval/inspect_json.h"
#include "runtime/model/kv_layout.h"
#include "runtime/model/mtp.h"
#include "runtime/model/weights.h"
#include "tests/fuzz/target.h"
#include "tests/quant/gguf_bytes.h"
#include "tests/support/paths.h"

namespace hearth::test {

namespace {

enum class Layout { split, unsplit, both };

void add_layer(std::vector<GgufTensorPlan>& plans, int layer, Layout layout) {
  const auto add = [&](const char* role, const Shape& shape) {
    plans.push_back({name::in_layer(layer, role), &format_of(FormatId::f16), shape});
  };
  add(name::kAttnNorm, Shape(8));
  add(name::kAttnQA, Shape(8, 8));
  add(name::kAttnQANorm, Shape(8));
  add(name::kAttnQB, Shape(2 * 6, 8));
  add(name::kAttnKvAMqa, Shape(8 + 2, 8));
  add(name::kAttnKvANorm, Shape(8));
  if (layout != Layout::unsplit) add(name::kAttnKB, Shape(2, 8, 4));
  if (layout != Layout::unsplit) add(name::kAttnVB, Shape(2, 4, 8));
  if (layout != Layout::split) add(name::kAttnKvB, Shape(2 * (4 + 4), 8));
  add(name::kAttnOutput, Shape(8, 2 * 4));
  add(name::kFfnNorm, Shape(8));
  add(name::kFfnGateInp, Shape(4, 8));
  add(name::kExpProbsB, Shape(4));
  add(name::kFfnGateUpExps, Shape(4, 2 * 8, 8));
  add(name::kFfnDownExps, Shape(4, 8, 8));
}

GgufMetadata metadata(uint32_t n_blocks) {
  GgufMetadata m;
  const auto u32 = [&](const char* key, uint32_t value) { m.set(key, GgufValue::of_u32(value)); };
  m.set(key::kArchitecture, GgufValue::of_string(key::kDeepseek2));
  u32(key::kBlockCount, n_blocks);
  u32(key::kContextLength, 64);
  u32(key::kHeadCount, 2);
  u32(key::kExpertUsedCount, 2);
  u32(key::kExpertGroupCount, 1);
  u32(key::kQLoraRank, 8);
  u32(key::kKvLoraRank, 8);
  u32(key::kRopeDimensionCount, 2);
  u32(key::kKeyLengthMla, 6);
  u32(key::kValueLengthMla, 4);
  u32(key::kExpertCount, 4);
  u32(key::kExpertFeedForwardLength, 8);
  u32(key::kLeadingDenseBlockCount, 0);
  return m;
}

// The norm first, where its bytes are the same in every file: those of one model have it in common.
std::string file_of(const GgufMetadata& m, const std::vector<GgufTensorPlan>& layers) {
  const TempDir dir;
  std::vector<GgufTensorPlan> plans = {{name::kOutputNorm, &format_of(FormatId::f32), Shape(8)},
                                       {name::kTokenEmbd, &format_of(FormatId::f16), Shape(16, 8)},
                                       {name::kOutput, &format_of(FormatId::f16), Shape(16, 8)}};
  plans.insert(plans.end(), layers.begin(), layers.end());
  write_gguf(dir / "seed.gguf", m, plans, 32);
  return read_text(dir / "seed.gguf");
}

std::string model_file(Layout layout) {
  std::vector<GgufTensorPlan> plans;
  add_layer(plans, 0, layout);
  add_layer(plans, 1, layout);
  return file_of(metadata(2), plans);
}

std::string mtp_file() {
  std::vector<GgufTensorPlan> plans;
  add_layer(plans, 2, Layout::split);
  plans.push_back({name::in_layer(2, name::kNextnEhProj), &format_of(FormatId::f16), Shape(8, 16)});
  for (const char* norm : {name::kNextnEnorm, name::kNextnHnorm}) {
    plans.push_back({name::in_layer(2, norm), &format_of(FormatId::f16), Shape(8)});
  }
  GgufMetadata m = metadata(3);
  m.set(key::kNextnPredictLayers, GgufValue::of_u32(1));
  return file_of(m, plans);
}

void put_beside_a_model(std::span<const std::byte> input) {
  static const std::string bytes = model_file(Layout::split);
  GgufFile model = GgufFile::of(parse_gguf(std::as_bytes(std::span(bytes)), "model.gguf"));
  const size_t n_tensors = model.tensors().size();
  add_mtp_file(model, GgufFile::of(parse_gguf(input, "fuzz.gguf")));
  expect(model.tensors().size() > n_tensors, "the layer is there");
}

}  // namespace

bool fuzz_one(std::span<const std::byte> input) {
  try {
    const GgufFile file = GgufFile::of(parse_gguf(input, "fuzz.gguf"));
    const InspectReport report = inspect(file);
    expect(inspect_json(file, report).starts_with("{\n"), "there is a document");
    if (first_layer_of_mtp_file(file) > 0) {
      put_beside_a_model(input);
      return true;
    }
    expect(report.config || !report.why_not.empty(), "a model, or a reason");
    if (!report.why_not.empty()) return false;
    kv_layout_note(file, *report.config);
    const Weights weights = load_weights(file, *report.config, host_device());
    expect(int64_t(weights.layers.size()) == report.config->n_layers, "every layer is loaded");
    return true;
  } catch (const Error& error) {
    expect(error.kind == ErrorKind::format || error.kind == ErrorKind::model, "a file is refused as a file");
    expect(std::string_view(error.what()).find('\n') == std::string_view::npos, "an error is one line");
    return false;
  }
}

std::vector<std::string> fuzz_seeds() {
  return {model_file(Layout::split), model_file(Layout::unsplit), model_file(Layout::both), mtp_file()};
}

}  // namespace hearth::test
