#include "runtime/model/current_keys.h"

#include <doctest/doctest.h>

#include "runtime/model/read_config.h"
#include "tests/runtime/model/tiny_model.h"

using namespace hearth;
using namespace hearth::test;

namespace {

GgufMetadata current_of(const TinyModel& model) {
  const GgufFile file = model.file();
  return current_keys(file, read_config(file));
}

// key -> type and value, of the model's own keys
std::map<std::string, std::string> model_keys(const GgufMetadata& metadata) {
  std::map<std::string, std::string> keys;
  for (const auto& [key, value] : metadata.entries())
    if (key.starts_with("deepseek2.")) keys[key] = value.type_text() + " " + value.text();
  return keys;
}

}  // namespace

TEST_CASE("current keys: those of a current file are what they were") {
  for (const TinyShape& shape : {TinyShape::lite(), TinyShape::v2(), TinyShape::v3()}) {
    TinyModel model(shape);
    const auto before = model_keys(model.metadata), after = model_keys(current_of(model));
    for (const auto& [key, value] : before) CHECK_MESSAGE(after.at(key) == value, key);
    model.metadata = current_of(model);
    CHECK(model_keys(current_of(model)) == after);
  }
}

TEST_CASE("current keys: what an old file lacks is filled in, and the heads' widths are told anew") {
  TinyModel model(TinyShape::v2());
  const auto whole = model_keys(current_of(model));
  for (const char* missing : {key::kVocabSize, key::kKeyLengthMla, key::kValueLengthMla, key::kLeadingDenseBlockCount,
                              key::kExpertFeedForwardLength, key::kExpertSharedCount, key::kYarnBetaFast,
                              key::kYarnBetaSlow, key::kExpertGatingFunc, key::kHeadCountKv})
    model.metadata.erase(missing);
  model.metadata.set(key::kKeyLength, GgufValue::of_u32(24));
  model.metadata.set(key::kValueLength, GgufValue::of_u32(24));
  CHECK(model_keys(current_of(model)) == whole);
}

TEST_CASE("current keys: layers for multi-token prediction are those that are there") {
  TinyModel model(TinyShape::v3());
  model.metadata.set(key::kHearthMtpLayerCount, GgufValue::of_u32(1));
  CHECK(!current_of(model).find(key::kHearthMtpLayerCount));
  model.metadata.erase(key::kHearthMtpLayerCount);
  model.metadata.set(key::kNextnPredictLayers, GgufValue::of_u32(1));  // of others: the last of block_count
  model.metadata.set(key::kBlockCount, GgufValue::of_u32(4));
  CHECK(current_of(model).unsigned_integer(key::kBlockCount) == 3);
  CHECK(!current_of(model).find(key::kNextnPredictLayers));
  model.tensors.push_back({name::in_layer(3, name::kNextnEhProj), Shape(64, 128), std::vector<float>(64 * 128, 0.5f)});
  CHECK(current_of(model).unsigned_integer(key::kHearthMtpLayerCount) == 1);
}
