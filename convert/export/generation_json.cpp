#include "convert/export/generation_json.h"

#include <algorithm>

#include "convert/export/metadata_config.h"
#include "convert/json_file.h"
#include "quant/gguf_keys.h"

namespace hearth {

namespace {

using OrderedJson = nlohmann::ordered_json;

// One id as a number, several as a list.
OrderedJson end_tokens(const GgufMetadata& metadata) {
  OrderedJson ids = OrderedJson::array();
  for (const char* key : {key::kEosTokenId, key::kEotTokenId, key::kEomTokenId}) {
    const auto id = metadata.unsigned_integer(key);
    if (id && std::find(ids.begin(), ids.end(), *id) == ids.end()) ids.push_back(*id);
  }
  return ids.size() == 1 ? ids.front() : ids;
}

}  // namespace

std::optional<std::string> generation_config_json(const GgufMetadata& metadata) {
  OrderedJson json = OrderedJson::object();
  if (const auto bos = metadata.unsigned_integer(key::kBosTokenId)) json["bos_token_id"] = *bos;
  if (const OrderedJson ends = end_tokens(metadata); !ends.empty()) json["eos_token_id"] = ends;
  OrderedJson sampling = OrderedJson::object();
  const auto add = [&](const char* key, const char* name) {
    if (const auto value = metadata.number(key)) sampling[name] = shortest_decimal(float(*value));
  };
  add(key::kSamplingTemp, "temperature");
  if (const auto top_k = metadata.number(key::kSamplingTopK)) sampling["top_k"] = int64_t(*top_k);
  add(key::kSamplingTopP, "top_p");
  add(key::kSamplingMinP, "min_p");
  add(key::kSamplingPenaltyRepeat, "repetition_penalty");
  if (!sampling.empty()) json["do_sample"] = metadata.number(key::kSamplingTemp).value_or(1) > 0;
  json.update(sampling);
  if (json.empty()) return std::nullopt;
  return json.dump(2) + "\n";
}

}  // namespace hearth
