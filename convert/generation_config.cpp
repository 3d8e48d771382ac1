#include "convert/generation_config.h"

#include <filesystem>

#include "convert/json_file.h"
#include "quant/error.h"
#include "quant/gguf_keys.h"

namespace hearth {

namespace fs = std::filesystem;

namespace {

class GenerationReader {
 public:
  GenerationReader(const Json& json, int64_t vocab_size) : json_(json), vocab_size_(vocab_size) {}

  GenerationConfig read() {
    const std::vector<int64_t> bos = ids("bos_token_id");
    if (!bos.empty()) out_.bos = bos.front();
    out_.eos = ids("eos_token_id");
    out_.temperature = number("temperature", 0, 100);
    out_.top_p = number("top_p", 0, 1);
    out_.min_p = number("min_p", 0, 1);
    out_.repetition_penalty = number("repetition_penalty", 0.01, 100);
    if (const auto top_k = number("top_k", 0, 1 << 30)) out_.top_k = int64_t(*top_k);
    if (json_.value("do_sample", Json()) == false) {
      if (out_.temperature && *out_.temperature > 0) {
        out_.notes.push_back("generation_config.json says do_sample false: the file recommends temperature 0");
      }
      out_.temperature = 0;
    }
    return std::move(out_);
  }

 private:
  void leave_aside(const char* key, const Json& value) {
    out_.notes.push_back(
        fmt::format("generation_config.json: {} {} makes no sense: left aside", key, json_text(value)));
  }

  std::optional<double> number(const char* key, double low, double high) {
    const Json value = json_.value(key, Json());
    if (value.is_null()) return std::nullopt;
    if (value.is_number() && value.get<double>() >= low && value.get<double>() <= high) return value.get<double>();
    leave_aside(key, value);
    return std::nullopt;
  }

  // One id, or a list of ids. Others than those of tokens are left out, with a note.
  std::vector<int64_t> ids(const char* key) {
    const Json value = json_.value(key, Json());
    std::vector<int64_t> out;
    for (const Json& id : value.is_array() ? value : value.is_null() ? Json::array() : Json::array({value})) {
      if (id.is_number_unsigned() && id.get<uint64_t>() < uint64_t(vocab_size_)) {
        out.push_back(id.get<int64_t>());
      } else {
        leave_aside(key, id);
      }
    }
    return out;
  }

  const Json& json_;
  const int64_t vocab_size_;
  GenerationConfig out_;
};

}  // namespace

GenerationConfig parse_generation_config(std::string_view text, const std::string& path, int64_t vocab_size) {
  return GenerationReader(parse_json_object(text, path), vocab_size).read();
}

GenerationConfig read_generation_config(const std::string& dir, int64_t vocab_size) {
  const std::string path = (fs::path(dir) / "generation_config.json").string();
  std::error_code error;
  if (!fs::exists(path, error)) return {};
  return GenerationReader(read_json_object(path, kMaxConfigBytes), vocab_size).read();
}

void add_sampling_metadata(const GenerationConfig& g, GgufMetadata& metadata) {
  const auto set = [&](const char* key, const std::optional<double>& value) {
    if (value) metadata.set(key, GgufValue::of_f32(float(*value)));
  };
  set(key::kSamplingTemp, g.temperature);
  if (g.top_k) metadata.set(key::kSamplingTopK, GgufValue::of_i32(int32_t(*g.top_k)));
  set(key::kSamplingTopP, g.top_p);
  set(key::kSamplingMinP, g.min_p);
  set(key::kSamplingPenaltyRepeat, g.repetition_penalty);
}

}  // namespace hearth
