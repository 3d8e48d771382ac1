#include "runtime/eval/expert_trace.h"

#include <cassert>
#include <cstring>
#include <nlohmann/json.hpp>

#include "quant/error.h"
#include "quant/mapped_file.h"
#include "runtime/offload/model_sizes.h"

namespace hearth {
namespace {

using nlohmann::ordered_json;

constexpr char kTraceMagic[8] = {'H', 'E', 'A', 'R', 'T', 'H', 'E', 'X'};
constexpr uint32_t kTraceVersion = 1;
constexpr size_t kMostHeader = size_t(1) << 20;
constexpr uint64_t kMostTraceBytes = uint64_t(1) << 50;  // of memory, anybody's

struct FileHead {
  char magic[8];
  uint32_t version, header_bytes;
};
struct StepHead {
  uint32_t position, n_tokens;
};
constexpr uint32_t kSequences = uint32_t(1) << 31;  // in n_tokens: of as many sequences

uint64_t number(const ordered_json& object, const char* name, uint64_t least, uint64_t most, const std::string& path) {
  require(object.contains(name), ErrorKind::format, "{}: header: \"{}\" is missing", path, name);
  const ordered_json& value = object[name];
  const bool ok = value.is_number_unsigned() && value.get<uint64_t>() >= least && value.get<uint64_t>() <= most;
  require(ok, ErrorKind::format, "{}: header: \"{}\": expected {} to {}", path, name, least, most);
  return value.get<uint64_t>();
}

TraceShape parse_shape(std::string_view text, const std::string& path) {
  const ordered_json object = ordered_json::parse(text, nullptr, false);
  require(object.is_object() && object.contains("model") && object["model"].is_string(), ErrorKind::format,
          "{}: header: expected a JSON object with the model's name", path);
  TraceShape shape;
  shape.model = object["model"].get<std::string>();
  shape.n_layers = int64_t(number(object, "layers", 1, 1024, path));
  shape.n_experts = int64_t(number(object, "experts", 1, 65536, path));
  shape.n_activated = int64_t(number(object, "activated", 1, uint64_t(shape.n_experts), path));
  shape.token_bytes = number(object, "token_bytes", 0, kMostTraceBytes, path);
  shape.fixed_bytes = number(object, "fixed_bytes", 0, kMostTraceBytes, path);
  const ordered_json bytes = object.value("expert_bytes", ordered_json());
  require(bytes.is_array() && int64_t(bytes.size()) == shape.n_layers, ErrorKind::format,
          "{}: header: \"expert_bytes\": expected {} numbers", path, shape.n_layers);
  for (const ordered_json& value : bytes) {
    const bool ok = value.is_number_unsigned() && value.get<uint64_t>() > 0 && value.get<uint64_t>() <= kMostTraceBytes;
    require(ok, ErrorKind::format, "{}: header: \"expert_bytes\": expected 1 to {}", path, kMostTraceBytes);
    shape.expert_bytes.push_back(value.get<uint64_t>());
  }
  return shape;
}

}  // namespace

TraceShape trace_shape(const Model& model) {
  const ModelConfig& config = model.config();
  require(config.n_routed_experts > 0 && config.n_dense_layers < config.n_layers, ErrorKind::usage,
          "{}: has no routed experts", model.file().path());
  const ModelSizes sizes = model_sizes(model.file());
  TraceShape shape{config.name,
                   int64_t(sizes.experts.size()),
                   config.n_routed_experts,
                   config.routing.n_activated,
                   {},
                   sizes.decode_bytes,
                   0};
  for (const ExpertLayer& layer : sizes.experts) shape.expert_bytes.push_back(layer.expert_bytes);
  shape.fixed_bytes = sizes.fixed.total() + model.cache_bytes() + model.working_bytes();
  return shape;
}

ExpertTraceWriter::ExpertTraceWriter(std::unique_ptr<OutputFile> file, TraceShape shape)
    : file_(std::move(file)), shape_(std::move(shape)) {
  const ordered_json object = {{"model", shape_.model},
                               {"layers", shape_.n_layers},
                               {"experts", shape_.n_experts},
                               {"activated", shape_.n_activated},
                               {"expert_bytes", shape_.expert_bytes},
                               {"token_bytes", shape_.token_bytes},
                               {"fixed_bytes", shape_.fixed_bytes}};
  const std::string header = object.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  FileHead head{{}, kTraceVersion, uint32_t(header.size())};
  std::memcpy(head.magic, kTraceMagic, sizeof kTraceMagic);
  write(&head, sizeof head);
  write(header.data(), header.size());
}

void ExpertTraceWriter::write(const void* data, size_t bytes) {
  if (error_) return;
  try {
    file_->write({static_cast<const std::byte*>(data), bytes});
  } catch (const Error& error) {
    error_ = error;
  }
}

void ExpertTraceWriter::add(int64_t layer, const StepKind& step, std::span<const int32_t> ids) {
  const bool begins = layer == 0;
  if (begins) {
    ids_.clear();
    step_ = step;
    next_layer_ = 0;
  }
  if (layer != next_layer_ || step.position != step_.position) return;
  for (const int32_t id : ids) ids_.push_back(uint16_t(id));
  if (++next_layer_ < shape_.n_layers) return;
  const size_t n_tokens = ids.size() / size_t(shape_.n_activated);
  assert(ids_.size() == size_t(shape_.n_layers * shape_.n_activated) * n_tokens);
  const uint32_t together = step_.decodes && n_tokens > 1 ? kSequences : 0;
  const StepHead head{uint32_t(step_.position), uint32_t(n_tokens) | together};
  write(&head, sizeof head);
  write(ids_.data(), ids_.size() * sizeof(uint16_t));
  ++n_steps_;
}

bool ExpertTraceWriter::finish() {
  if (error_) throw *error_;
  return file_->finish();
}

ExpertTrace read_expert_trace(const std::string& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  FileHead head;
  require(bytes.size() >= sizeof head && std::memcmp(bytes.data(), kTraceMagic, sizeof kTraceMagic) == 0,
          ErrorKind::format, "{}: not a recording of experts (it begins otherwise)", path);
  std::memcpy(&head, bytes.data(), sizeof head);
  require(head.version == kTraceVersion, ErrorKind::format, "{}: version: expected {}, found {}", path, kTraceVersion,
          head.version);
  require(head.header_bytes <= kMostHeader && head.header_bytes <= bytes.size() - sizeof head, ErrorKind::format,
          "{}: truncated or corrupt: a header of {} bytes", path, head.header_bytes);
  const char* const header = reinterpret_cast<const char*>(bytes.data()) + sizeof head;
  ExpertTrace trace{parse_shape({header, head.header_bytes}, path), {}};
  const uint64_t per_token = uint64_t(trace.shape.n_layers * trace.shape.n_activated);
  for (size_t at = sizeof head + head.header_bytes; at < bytes.size();) {
    StepHead step{};
    const size_t left = bytes.size() - at;
    if (left >= sizeof step) std::memcpy(&step, bytes.data() + at, sizeof step);
    const bool sequences = step.n_tokens & kSequences;
    step.n_tokens &= ~kSequences;
    const bool whole = left >= sizeof step && step.n_tokens > 0 &&
                       step.n_tokens <= (left - sizeof step) / (per_token * sizeof(uint16_t));
    require(whole, ErrorKind::format, "{}: truncated or corrupt: step {} at offset {}", path, trace.steps.size(), at);
    at += sizeof step;
    TraceStep& added =
        trace.steps.emplace_back(TraceStep{step.position, step.n_tokens, sequences || step.n_tokens == 1, {}});
    added.ids.resize(size_t(step.n_tokens * per_token));
    std::memcpy(added.ids.data(), bytes.data() + at, added.ids.size() * sizeof(uint16_t));
    at += added.ids.size() * sizeof(uint16_t);
    for (const uint16_t id : added.ids)
      require(id < trace.shape.n_experts, ErrorKind::format, "{}: step {}: expected experts below {}, found {}", path,
              trace.steps.size() - 1, trace.shape.n_experts, id);
  }
  return trace;
}

ExpertTrace token_by_token(const ExpertTrace& trace) {
  ExpertTrace result{trace.shape, {}};
  const size_t k = size_t(trace.shape.n_activated);
  for (const TraceStep& step : trace.steps) {
    for (int64_t t = 0; t < step.n_tokens; ++t) {
      TraceStep& token = result.steps.emplace_back(TraceStep{step.position + (step.decodes ? 0 : t), 1, true, {}});
      for (int64_t layer = 0; layer < trace.shape.n_layers; ++layer) {
        const auto first = step.ids.begin() + ptrdiff_t(size_t(layer * step.n_tokens + t) * k);
        token.ids.insert(token.ids.end(), first, first + ptrdiff_t(k));
      }
    }
  }
  return result;
}

}  // namespace hearth
