// config.json: whatever is accepted can be written as metadata.
#include "convert/hf_config.h"
#include "quant/error.h"
#include "tests/convert/tiny_checkpoint.h"
#include "tests/fuzz/target.h"

namespace hearth::test {

bool fuzz_one(std::span<const std::byte> input) {
  try {
    const HfConfig config = parse_hf_config({reinterpret_cast<const char*>(input.data()), input.size()}, "config.json");
    GgufMetadata metadata;
    add_model_metadata(config, metadata);
    expect(config.n_routed_experts % config.n_expert_groups == 0, "groups divide the experts");
    expect(config.n_activated_experts <= config.n_routed_experts, "no more experts than there are");
    expect(metadata.unsigned_integer(key::kBlockCount) == uint64_t(config.n_layers), "metadata says the same");
    return true;
  } catch (const Error& error) {
    expect(error.kind == ErrorKind::format || error.kind == ErrorKind::model, "text is refused as format or model");
    expect(std::string_view(error.what()).find('\n') == std::string_view::npos, "an error is one line");
    return false;
  }
}

std::vector<std::string> fuzz_seeds() {
  Json transformers5 = tiny_v3_config();
  transformers5["rope_parameters"] = transformers5["rope_scaling"];
  transformers5["rope_parameters"]["rope_theta"] = 10000.0;
  transformers5.erase("rope_scaling");
  Json gptq = tiny_lite_config(), compressed = tiny_v3_config();
  gptq["quantization_config"] = {{"quant_method", "gptq"},
                                 {"bits", 4},
                                 {"group_size", 128},
                                 {"desc_act", true},
                                 {"dynamic", {{"-:.*gate$", Json::object()}, {".*down.*", {{"bits", 8}}}}}};
  compressed["quantization_config"] = {
      {"quant_method", "compressed-tensors"},
      {"format", "pack-quantized"},
      {"config_groups",
       {{"group_0", {{"weights", {{"num_bits", 4}, {"type", "int"}, {"strategy", "group"}, {"group_size", 32}}}}}}}};
  return {tiny_lite_config().dump(), tiny_v3(true).config.dump(1), transformers5.dump(), gptq.dump(),
          compressed.dump()};
}

}  // namespace hearth::test
