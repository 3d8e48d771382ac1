// quantization_config in the words of those who write it.
#include <doctest/doctest.h>

#include "convert/hf_config.h"
#include "tests/convert/tiny_checkpoint.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

HfQuantization quantization(const std::string& text) {
  Json config = tiny_lite_config();
  config["quantization_config"] = Json::parse(text);
  return parse_hf_config(config.dump(), "config.json").quantization;
}

std::string schemes(const std::string& text) {
  std::string all;
  for (const IntegerScheme& scheme : quantization(text).schemes) all += scheme.text() + "; ";
  return all;
}

}  // namespace

TEST_CASE("integers in the words of compressed-tensors, GPTQ and AWQ") {
  CHECK(
      schemes(R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
         "config_groups": {"group_0": {"targets": ["Linear"], "input_activations": null, "weights": {"num_bits": 4,
         "type": "int", "symmetric": true, "strategy": "group", "group_size": 128, "dynamic": false, "actorder": null}},
         "group_1": {"targets": ["re:.*experts.*"], "weights": {"num_bits": 8, "symmetric": false,
         "strategy": "channel", "actorder": "weight"}}, "group_2": {"weights": {"group_size": 32, "num_bits": 4,
         "actorder": "group"}}, "group_3": {"weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}}})") ==
      "4 bits, groups of 128; 8 bits, a scale for each row, with zeros; 4 bits, groups of 32, in the order of "
      "activations; ");
  CHECK(schemes(R"({"quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": {"group_0":
         {"weights": {"num_bits": 8, "strategy": "tensor"}}}})") == "8 bits, one scale; ");
  const char* v1 = R"({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": true, "sym": true})";
  CHECK(schemes(v1) == "4 bits, groups of 128, in the order of activations; ");
  CHECK(quantization(v1).zeros_less_one);
  const char* v2 =
      R"({"quant_method": "gptq", "bits": 8, "group_size": -1, "sym": false, "checkpoint_format": "gptq_v2",
                       "dynamic": {"-:.*gate$": {}, "+:.*down.*": {"bits": 4, "group_size": 32, "sym": true}}})";
  CHECK(schemes(v2) == "8 bits, a scale for each row, with zeros; 4 bits, groups of 32; ");
  CHECK_FALSE(quantization(v2).zeros_less_one);
  CHECK(schemes(R"({"quant_method": "awq", "bits": 4, "group_size": 64, "version": "GEMM", "zero_point": true})") ==
        "4 bits, groups of 64, with zeros; ");
  CHECK(schemes(R"({"quant_method": "awq", "w_bit": 4, "q_group_size": 128, "zero_point": false})") ==
        "4 bits, groups of 128; ");
}

TEST_CASE("quantized in ways that are not read: each is refused by its name, with what to do") {
  const auto refused = [](const std::string& text, std::string_view why) {
    const std::string message = refusal([&] { quantization(text); });
    CAPTURE(message);
    CHECK(message.starts_with("config.json: "));
    CHECK(contains(message, why));
  };
  const auto weights = [&](const std::string& text, std::string_view why) {
    refused(R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0":
                {"weights": )" +
                text + "}}}",
            why);
  };
  const char* original = "take the checkpoint that it was made from";
  for (const char* method : {"bitsandbytes", "auto-round", "modelopt", "hqq"}) {
    refused(fmt::format(R"({{"quant_method": "{}"}})", method),
            fmt::format("quantized with {} are not supported: expected fp8, compressed-tensors, gptq, awq or none",
                        method));
  }
  for (const char* format : {"marlin-24", "sparse-24-bitmask", "sparse-bitmask", "nvfp4-pack-quantized",
                             "mxfp4-pack-quantized", "mxfp6-pack-quantized", "mxfp8-quantized"}) {
    const std::string text = fmt::format(R"({{"quant_method": "compressed-tensors", "format": "{}"}})", format);
    refused(text, fmt::format("with compressed-tensors as {} (", format));
    refused(text, original);
  }
  refused(R"({"quant_method": "compressed-tensors", "format": "mixed-precision", "config_groups": {"group_0":
              {"format": "nvfp4-pack-quantized", "weights": {"num_bits": 4, "type": "float"}}}})",
          "as nvfp4-pack-quantized (FP4)");
  refused(R"({"quant_method": "compressed-tensors", "format": "new"})",
          "as new are not supported: expected pack-quantized, int-quantized or float-quantized");
  refused(R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "sparsity_config": {"format": "2:4"}})",
          "quantization_config.sparsity_config is not supported: take the checkpoint");
  refused(R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "transform_config": {"config_groups":
              {"R1": {}}}})",
          "transform_config is not supported");
  refused(
      R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"W4A16": ["Linear"]}})",
      "config_groups.W4A16: expected an object");
  weights(R"({"num_bits": 3, "type": "int"})",
          "weights.num_bits: integer weights of 3 bits are not supported: expected 4 or 8");
  weights(R"({"num_bits": 4, "type": "fp"})", "weights.type: expected int or float, found fp");
  weights(R"({"num_bits": 4, "strategy": "block"})", "weights.strategy: expected group, channel or tensor");
  weights(R"({"num_bits": 4, "group_size": 0})", "group_size: expected 1 or more, or -1 for whole rows, found 0");
  weights(R"({"num_bits": 4, "group_size": -2})", "weights.group_size: expected a whole number of -1 to");
  weights(R"({"num_bits": 4, "actorder": "rows"})", "actorder: expected group, weight or static, found \"rows\"");
  weights(R"({"num_bits": 8, "type": "float", "symmetric": false})", "found 8 bits, asymmetric");

  refused(R"({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"})",
          "expected gptq or gptq_v2, found marlin");
  refused(R"({"quant_method": "gptq", "bits": 4, "is_marlin_format": true})",
          "is_marlin_format: weights in the order of");
  refused(R"({"quant_method": "gptq", "bits": 2})", "quantization_config.bits: integer weights of 2 bits");
  refused(R"({"quant_method": "gptq"})", "bits: expected a whole number of 1 to 64, found nothing");
  refused(R"({"quant_method": "gptq", "bits": 4, "pack_dtype": "int8"})", "pack_dtype: expected int32, found int8");
  refused(R"({"quant_method": "gptq", "bits": 4, "dynamic": {".*up.*": {"bits": 3}}})", "dynamic..*up.*.bits: integer");
  refused(R"({"quant_method": "gptq", "bits": 4, "dynamic": {".*up.*": 3}})", "dynamic..*up.*: expected an object");
  refused(R"({"quant_method": "awq", "bits": 4, "version": "gemv"})", "AWQ's order of weights gemv is not supported");
  refused(R"({"quant_method": "awq", "bits": 8})", "bits: expected 4 for AWQ, found 8");
}
