// What is told of the model: /v1/models in the words of OpenAI's and Anthropic's clients together, and /props as
// llama.cpp's have it.
#include <fmt/chrono.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "runtime/server/api_error.h"
#include "runtime/server/endpoints.h"

namespace hearth::server {

namespace {

Json model_json(const ServedModel& model) {
  return {{"id", model.id},
          {"object", "model"},
          {"type", "model"},
          {"display_name", model.id},
          {"created", model.created},
          {"created_at", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time_t(model.created)))},
          {"owned_by", "hearth"},
          {"lifecycle", "active"},
          {"aliases", model.aliases},
          {"context_length", model.n_ctx},
          {"max_input_tokens", model.n_ctx},
          {"meta",
           {{"n_ctx", model.n_ctx},
            {"n_ctx_train", model.n_ctx_trained},
            {"n_vocab", model.tokenizer->size()},
            {"n_params", model.n_params},
            {"size", model.file_bytes}}}};
}

std::string text_of(const Tokenizer& tokenizer, std::optional<Token> token) {
  return token ? tokenizer.bytes_of(*token, true) : "";
}

}  // namespace

Json list_models(const ServedModel& model) {
  return {{"object", "list"},
          {"data", Json::array({model_json(model)})},
          {"has_more", false},
          {"first_id", model.id},
          {"last_id", model.id}};
}

Json describe_model(const ServedModel& model, std::string_view id) {
  if (id == model.id || std::ranges::find(model.aliases, id) != model.aliases.end()) return model_json(model);
  ApiError error(404, fmt::format("there is no model \"{}\": this server has {}", id.substr(0, 100), model.id));
  error.param = "model";
  error.code = "model_not_found";
  throw error;
}

Json properties(const Serving& serving) {
  const ServedModel& model = *serving.model;
  const SamplerOptions& sampling = model.sampling;
  const EngineStatus status = serving.generator->status();
  return {{"default_generation_settings",
           {{"n_ctx", model.n_ctx},
            {"params",
             {{"temperature", sampling.temperature},
              {"top_k", sampling.top_k},
              {"top_p", sampling.top_p},
              {"min_p", sampling.min_p},
              {"repeat_penalty", sampling.repetition_penalty},
              {"repeat_last_n", sampling.repetition_window},
              {"frequency_penalty", sampling.frequency_penalty},
              {"presence_penalty", sampling.presence_penalty}}}}},
          {"total_slots", status.max_running},
          {"model_alias", model.id},
          {"model_path", std::filesystem::path(model.path).filename().string()},  // its folder is nobody's business
          {"modalities", {{"vision", false}, {"audio", false}}},
          {"chat_template", model.chat_template},
          {"chat_template_caps",
           {{"supports_tools", model.chat != nullptr},
            {"supports_tool_calls", model.chat != nullptr},
            {"supports_parallel_tool_calls", model.chat != nullptr}}},
          {"placement",
           {{"gpu", model.gpu},
            {"gpu_bytes", model.gpu_bytes},
            {"memory_bytes", model.memory_bytes},
            {"disk_bytes", model.disk_bytes}}},
          {"can_switch_thinking", model.chat && model.chat->can_switch_thinking()},
          {"bos_token", text_of(*model.tokenizer, model.tokenizer->bos())},
          {"eos_token", text_of(*model.tokenizer, model.tokenizer->eos())},
          {"build_info", model.version}};
}

}  // namespace hearth::server
