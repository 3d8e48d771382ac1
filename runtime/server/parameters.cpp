#include "runtime/server/parameters.h"

#include <array>
#include <nlohmann/json.hpp>

#include "runtime/server/api_error.h"

namespace hearth::server {

namespace {

using enum Treatment;

constexpr std::string_view kNotYet = "not supported yet";
constexpr std::string_view kTextOnly = "not supported: the model reads and writes text";
constexpr std::string_view kNoSampler = "not supported: no such step in this sampler";
constexpr std::string_view kStateless = "not supported: nothing is kept between requests; send the whole conversation";
constexpr std::string_view kConstraint = "not supported: `response_format` or `grammar` binds the answer to a form";

// Of every endpoint.
constexpr Parameter kGeneration[] = {
    {"model", honoured},
    {"stream", honoured},
    {"temperature", honoured},
    {"top_p", honoured},
    {"top_k", honoured},
    {"min_p", honoured},
    {"seed", honoured},
    {"repetition_penalty", honoured},
    {"repeat_penalty", honoured},  // llama.cpp's name
    {"repeat_last_n", honoured},
    {"frequency_penalty", honoured},
    {"presence_penalty", honoured},
    {"logit_bias", honoured},
    {"ignore_eos", honoured},
    {"stop_token_ids", honoured},
    {"return_progress", honoured},
    {"grammar", honoured},
    {"json_schema", honoured},

    {"user", harmless},
    {"metadata", harmless},
    {"store", harmless},
    {"service_tier", harmless},
    {"safety_identifier", harmless},
    {"prompt_cache_key", harmless},  // every prefix is looked up
    {"prompt_cache_options", harmless},
    {"prompt_cache_retention", harmless},
    {"cache_prompt", harmless},
    {"id_slot", harmless},
    {"n_keep", harmless},
    {"n_discard", harmless},
    {"timings_per_token", harmless},
    {"sse_ping_interval", harmless},
    {"response_fields", harmless},
    {"skip_special_tokens", harmless},
    {"spaces_between_special_tokens", harmless},
    {"samplers", harmless},  // their order is ours
    {"dry_base", harmless},  // the steps that these belong to are refused
    {"dry_allowed_length", harmless},
    {"dry_penalty_last_n", harmless},
    {"dry_sequence_breakers", harmless},
    {"xtc_threshold", harmless},
    {"mirostat_tau", harmless},
    {"mirostat_eta", harmless},
    {"dynatemp_exponent", harmless},

    {"min_tokens", refused, "[0]", kNoSampler},
    {"typical_p", refused, "[1]", kNoSampler},
    {"typ_p", refused, "[1]", kNoSampler},
    {"tfs_z", refused, "[1]", kNoSampler},
    {"top_a", refused, "[0]", kNoSampler},
    {"top_n_sigma", refused, "[-1, 0]", kNoSampler},
    {"mirostat", refused, "[0]", kNoSampler},
    {"mirostat_mode", refused, "[0]", kNoSampler},
    {"dry_multiplier", refused, "[0]", kNoSampler},
    {"xtc_probability", refused, "[0]", kNoSampler},
    {"dynatemp_range", refused, "[0]", kNoSampler},
    {"epsilon_cutoff", refused, "[0]", kNoSampler},
    {"eta_cutoff", refused, "[0]", kNoSampler},
    {"use_beam_search", refused, "[false]", kNoSampler},
    {"length_penalty", refused, "[1]", kNoSampler},
    {"bad_words", refused, "[[]]", kNoSampler},
    {"allowed_token_ids", refused, "[[]]", kNoSampler},
    {"include_stop_str_in_output", refused, "[false]", "not supported: an answer ends in front of its stop string"},
    {"prompt_logprobs", refused, "[0, false]", "not supported: only tokens of the answer have probabilities"},
    {"lora", refused, "[[]]", "not supported: one model is served"},
    {"structured_outputs", refused, "[{}]", kConstraint},
    {"guided_json", refused, "[]", kConstraint},
    {"guided_regex", refused, "[]", kConstraint},
    {"guided_choice", refused, "[]", kConstraint},
    {"guided_grammar", refused, "[]", kConstraint},
};

// Of a conversation in OpenAI's words.
constexpr Parameter kChat[] = {
    {"messages", honoured},
    {"max_completion_tokens", honoured},
    {"max_tokens", honoured},
    {"n_predict", honoured},
    {"n", honoured},
    {"stop", honoured},
    {"logprobs", honoured},
    {"top_logprobs", honoured},
    {"stream_options", honoured},
    {"tools", honoured},
    {"tool_choice", honoured},
    {"parallel_tool_calls", honoured},
    {"chat_template_kwargs", honoured},
    {"reasoning_effort", honoured},
    {"enable_thinking", honoured},
    {"thinking", honoured},  // DeepSeek's own service
    {"continue_final_message", honoured},

    {"verbosity", harmless},
    {"moderation", harmless},
    {"reasoning_format", harmless},  // thoughts are always set apart

    {"response_format", honoured},
    {"functions", refused, "[[]]", "not supported: `tools` has taken their place"},
    {"function_call", refused, R"(["none"])", "not supported: `tool_choice` has taken its place"},
    {"audio", refused, "[]", kTextOnly},
    {"modalities", refused, R"([["text"]])", kTextOnly},
    {"prediction", refused, "[]", kNotYet},
    {"web_search_options", refused, "[]", "not supported: the server reaches no network"},
    {"chat_template", refused, "[]", "not supported: the template is chosen when the server starts"},
    {"documents", refused, "[[]]", "not supported: put them into a message"},
    {"echo", refused, "[false]", "not supported in a conversation"},
    {"best_of", refused, "[1]", "not supported: `n` gives several answers"},
};

constexpr Parameter kCompletions[] = {
    {"prompt", honoured},
    {"suffix", honoured},
    {"max_tokens", honoured},
    {"n_predict", honoured},
    {"n", honoured},
    {"stop", honoured},
    {"logprobs", honoured},
    {"stream_options", honoured},
    {"parse_special", honoured},

    {"echo", refused, "[false]", "not supported: the prompt is not repeated"},
    {"best_of", refused, "[1]", "not supported: `n` gives several answers"},
    {"response_format", honoured},
};

// llama.cpp's, with the time limits that its editors send.
constexpr Parameter kInfill[] = {
    {"input_prefix", honoured},
    {"input_suffix", honoured},
    {"input_extra", honoured},
    {"prompt", honoured},
    {"n_predict", honoured},
    {"max_tokens", honoured},
    {"stop", honoured},

    {"n_indent", harmless},
    {"t_max_prompt_ms", harmless},
    {"t_max_predict_ms", harmless},

    {"n_probs", refused, "[0]", "not supported here: /v1/completions has `logprobs`"},
};

constexpr Parameter kResponses[] = {
    {"input", honoured},
    {"instructions", honoured},
    {"max_output_tokens", honoured},
    {"reasoning", honoured},
    {"text", honoured},
    {"tools", honoured},
    {"tool_choice", honoured},
    {"parallel_tool_calls", honoured},

    {"include", harmless},
    {"max_tool_calls", harmless},
    {"stream_options", harmless},
    {"truncation", harmless},  // what does not fit is refused: nothing is left out
    {"moderation", harmless},
    {"context_management", harmless},

    {"previous_response_id", refused, "[]", kStateless},
    {"conversation", refused, "[]", kStateless},
    {"background", refused, "[false]", kStateless},
    {"prompt", refused, "[]", kStateless},
    {"top_logprobs", refused, "[0]", "not supported here: /v1/chat/completions has them"},
};

constexpr Parameter kMessages[] = {
    {"messages", honoured},
    {"system", honoured},
    {"max_tokens", honoured},
    {"stop_sequences", honoured},
    {"thinking", honoured},
    {"tools", honoured},
    {"tool_choice", honoured},
    {"output_config", honoured},  // its effort is harmless
    {"output_format", honoured},

    {"cache_control", harmless},  // every prefix is looked up
    {"context_management", harmless},
    {"inference_geo", harmless},
    {"diagnostics", harmless},
    {"speed", harmless},
    {"user_profile_id", harmless},
    {"workspace_id", harmless},

    {"container", refused, "[]", kStateless},
    {"mcp_servers", refused, "[[]]", "not supported: the server reaches no network"},
};

constexpr std::span<const Parameter> kLists[][2] = {
    {kChat, kGeneration},      {kCompletions, kGeneration}, {kInfill, kGeneration},
    {kResponses, kGeneration}, {kMessages, kGeneration},
};

const Parameter* find_parameter(Endpoint endpoint, std::string_view name) {
  for (const auto list : parameters_of(endpoint))
    for (const Parameter& parameter : list)
      if (parameter.name == name) return &parameter;
  return nullptr;
}

bool passes(const Parameter& parameter, const Json& value) {
  if (value.is_null()) return true;
  for (const Json& neutral : Json::parse(parameter.neutral))
    if (neutral == value) return true;
  return false;
}

}  // namespace

std::span<const std::span<const Parameter>> parameters_of(Endpoint endpoint) {
  return kLists[size_t(endpoint)];
}

void check_parameters(const Fields& body, Endpoint endpoint) {
  for (const auto& [name, value] : body.json().items()) {
    const Parameter* parameter = find_parameter(endpoint, name);
    if (parameter && parameter->treatment == refused && !passes(*parameter, value)) refuse(name, "{}", parameter->why);
  }
}

}  // namespace hearth::server
