#include "runtime/chat/chat_formats.h"

namespace hearth {

namespace {

// V2-Chat, V2-Lite-Chat, Coder-V2-Instruct. The prompt ends with a bare colon and the model writes the space: after a
// prompt with one, V2-Lite babbles.
constexpr const char* kV2 = R"(
{{- bos_token -}}
{%- for message in messages -%}
  {%- if message['role'] == 'user' -%}
    {{- 'User: ' + message['content'] + '\n\n' -}}
  {%- elif message['role'] == 'assistant' -%}
    {{- 'Assistant: ' + message['content'] + eos_token -}}
  {%- else -%}
    {{- message['content'] + '\n\n' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- 'Assistant:' -}}
{%- endif -%}
)";

// V2.5, V3 and R1: turns by marks. The formats differ in what is set in front of this:
//   joins_systems    several system messages are joined by an empty line; else the last one counts
//   thoughts_end     earlier answers appear without what they hold up to this; empty: with all
//   opens_thoughts   the prompt ends with <think>
//   mark_ends_user   <｜Assistant｜> ends each user's message; else it begins each answer
// Lists of calls are closed and rounds of calls kept apart as the models write them, where the published templates of
// V3 and R1 do not.
constexpr const char* kMarks = R"(
{%- set ns = namespace(system='', systems=0, in_results=false, after_user=false) -%}
{%- for message in messages -%}
  {%- if message['role'] == 'system' -%}
    {%- if joins_systems and ns.systems > 0 -%}
      {%- set ns.system = ns.system + '\n\n' + message['content'] -%}
    {%- else -%}
      {%- set ns.system = message['content'] -%}
    {%- endif -%}
    {%- set ns.systems = ns.systems + 1 -%}
  {%- endif -%}
{%- endfor -%}
{{- bos_token + ns.system -}}
{%- for message in messages -%}
  {%- if message['role'] == 'tool' -%}
    {{- '\n' if ns.in_results else '<｜tool▁outputs▁begin｜>' -}}
    {{- '<｜tool▁output▁begin｜>' + message['content'] + '<｜tool▁output▁end｜>' -}}
    {%- set ns.in_results = true -%}
  {%- elif message['role'] != 'system' -%}
    {%- set continues = ns.in_results -%}
    {%- if ns.in_results -%}
      {{- '<｜tool▁outputs▁end｜>' -}}
      {%- set ns.in_results = false -%}
    {%- endif -%}
    {%- if message['role'] == 'user' -%}
      {{- '<｜User｜>' + message['content'] -}}
      {%- if mark_ends_user -%}
        {{- '<｜Assistant｜>' -}}
      {%- endif -%}
    {%- else -%}
      {%- if not continues and not mark_ends_user -%}
        {{- '<｜Assistant｜>' -}}
      {%- endif -%}
      {%- set content = message['content'] or '' -%}
      {%- if thoughts_end -%}
        {%- set content = content.split(thoughts_end)[-1] -%}
      {%- endif -%}
      {{- content -}}
      {%- if message['tool_calls'] -%}
        {{- '<｜tool▁calls▁begin｜>' -}}
        {%- for call in message['tool_calls'] -%}
          {%- if not loop.first -%}
            {{- '\n' -}}
          {%- endif -%}
          {{- '<｜tool▁call▁begin｜>function<｜tool▁sep｜>' + call['function']['name'] -}}
          {{- '\n```json\n' + call['function']['arguments'] + '\n```<｜tool▁call▁end｜>' -}}
        {%- endfor -%}
        {{- '<｜tool▁calls▁end｜>' -}}
      {%- endif -%}
      {{- eos_token -}}
    {%- endif -%}
    {%- set ns.after_user = message['role'] == 'user' -%}
  {%- endif -%}
{%- endfor -%}
{%- if ns.in_results -%}
  {{- '<｜tool▁outputs▁end｜>' -}}
{%- elif add_generation_prompt -%}
  {%- if not (mark_ends_user and ns.after_user) -%}
    {{- '<｜Assistant｜>' -}}
  {%- endif -%}
  {%- if opens_thoughts -%}
    {{- '<think>\n' -}}
  {%- endif -%}
{%- endif -%}
)";

// V3.1: thinks on demand, writes calls without fences, and continues after results without a mark.
constexpr const char* kV31 = R"(
{%- set thinks = thinking | default(enable_thinking) | default(false) -%}
{%- set ns = namespace(system='', systems=0, after_user=false, after_result=false) -%}
{%- for message in messages -%}
  {%- if message['role'] == 'system' -%}
    {%- set ns.system = ns.system + ('\n\n' if ns.systems > 0 else '') + message['content'] -%}
    {%- set ns.systems = ns.systems + 1 -%}
  {%- endif -%}
{%- endfor -%}
{{- bos_token + ns.system -}}
{%- if tools -%}
  {{- '\n\n## Tools\nYou have access to the following tools:\n' -}}
  {%- for tool in tools -%}
    {{- '\n### ' + tool['function']['name'] + '\nDescription: ' + (tool['function']['description'] or '') -}}
    {{- '\n\nParameters: ' + tool['function']['parameters'] | default({}) | tojson + '\n' -}}
  {%- endfor -%}
  {{- '\nIMPORTANT: ALWAYS adhere to this exact format for tool use:\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' -}}
  {{- 'tool_call_name<｜tool▁sep｜>tool_call_arguments<｜tool▁call▁end｜>{additional_tool_calls}' -}}
  {{- '<｜tool▁calls▁end｜>\n\nWhere:\n- `tool_call_name` must be an exact match to one of the available tools\n' -}}
  {{- '- `tool_call_arguments` must be valid JSON that strictly follows the tool\'s Parameters Schema\n' -}}
  {{- '- For multiple tool calls, chain them directly without separators or spaces' -}}
{%- endif -%}
{%- for message in messages -%}
  {%- if message['role'] == 'user' -%}
    {{- '<｜User｜>' + message['content'] -}}
    {%- set ns.after_user = true -%}
    {%- set ns.after_result = false -%}
  {%- elif message['role'] == 'tool' -%}
    {{- '<｜tool▁output▁begin｜>' + message['content'] + '<｜tool▁output▁end｜>' -}}
    {%- set ns.after_user = false -%}
    {%- set ns.after_result = true -%}
  {%- elif message['role'] == 'assistant' -%}
    {%- if ns.after_user -%}
      {{- '<｜Assistant｜></think>' -}}
    {%- endif -%}
    {%- set content = message['content'] or '' -%}
    {%- if '</think>' in content and not ns.after_result and not message['tool_calls'] -%}
      {%- set content = content.split('</think>', 1)[1] -%}
    {%- endif -%}
    {{- content -}}
    {%- if message['tool_calls'] -%}
      {{- '<｜tool▁calls▁begin｜>' -}}
      {%- for call in message['tool_calls'] -%}
        {{- '<｜tool▁call▁begin｜>' + call['function']['name'] + '<｜tool▁sep｜>' -}}
        {{- call['function']['arguments'] + '<｜tool▁call▁end｜>' -}}
      {%- endfor -%}
      {{- '<｜tool▁calls▁end｜>' -}}
    {%- endif -%}
    {{- eos_token -}}
    {%- set ns.after_user = false -%}
    {%- set ns.after_result = false -%}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and ns.after_user -%}
  {{- '<｜Assistant｜>' + ('<think>' if thinks else '</think>') -}}
{%- endif -%}
)";

// V3.2, whose encoder is published as a program: calls are tags with a parameter each, results stand in a block of
// their own, and thoughts after the last user's message stay.
constexpr const char* kV32 = R"(
{%- set thinks = thinking | default(enable_thinking) | default(false) -%}
{%- set ns = namespace(system='', systems=0, last_user=-1) -%}
{%- for message in messages -%}
  {%- if message['role'] == 'system' -%}
    {%- set ns.system = ns.system + ('\n\n' if ns.systems > 0 else '') + message['content'] -%}
    {%- set ns.systems = ns.systems + 1 -%}
  {%- elif message['role'] == 'user' -%}
    {%- set ns.last_user = loop.index0 -%}
  {%- endif -%}
{%- endfor -%}
{{- bos_token + ns.system -}}
{%- if tools -%}
  {{- '\n\n## Tools\n\nYou have access to a set of tools you can use to answer the user\'s question.\nYou can invoke ' -}}
  {{- 'functions by writing a "<｜DSML｜function_calls>" block like the following as part of your reply to the user:\n' -}}
  {{- '<｜DSML｜function_calls>\n<｜DSML｜invoke name="$FUNCTION_NAME">\n<｜DSML｜parameter name="$PARAMETER_NAME" ' -}}
  {{- 'string="true|false">$PARAMETER_VALUE</｜DSML｜parameter>\n...\n</｜DSML｜invoke>\n<｜DSML｜invoke ' -}}
  {{- 'name="$FUNCTION_NAME2">\n...\n</｜DSML｜invoke>\n</｜DSML｜function_calls>\n\nString and scalar parameters should be ' -}}
  {{- 'specified as is without any escaping or quotes, while lists and objects should use JSON format. The "string" ' -}}
  {{- 'attribute should be set to "true" for string type parameters and "false" for other types (numbers, booleans, ' -}}
  {{- 'arrays, objects).\n\nIf the thinking_mode is enabled, then after function results you should strongly consider ' -}}
  {{- 'outputting a thinking block. Here is an example:\n\n<｜DSML｜function_calls>\n...\n</｜DSML｜function_calls>\n\n' -}}
  {{- '<function_results>\n...\n</function_results>\n\n<think>...thinking about results</think>\n\nHere are the functions ' -}}
  {{- 'available in JSONSchema format:\n<functions>\n' -}}
  {%- for tool in tools -%}
    {{- tool['function'] | tojson + '\n' -}}
  {%- endfor -%}
  {{- '</functions>\n' -}}
{%- endif -%}
{%- for message in messages -%}
  {%- if message['role'] == 'user' -%}
    {%- set opens = thinks and loop.index0 == ns.last_user -%}
    {{- '<｜User｜>' + message['content'] + '<｜Assistant｜>' + ('<think>' if opens else '</think>') -}}
  {%- elif message['role'] == 'tool' -%}
    {%- if loop.first or messages[loop.index0 - 1]['role'] != 'tool' -%}
      {{- '\n\n<function_results>' -}}
    {%- endif -%}
    {{- '\n<result>' + message['content'] + '</result>' -}}
    {%- if loop.last or messages[loop.index0 + 1]['role'] != 'tool' -%}
      {%- set opens = thinks and loop.index0 > ns.last_user -%}
      {{- '\n</function_results>\n\n' + ('<think>' if opens else '</think>') -}}
    {%- endif -%}
  {%- elif message['role'] == 'assistant' -%}
    {%- if thinks and loop.index0 > ns.last_user -%}
      {{- (message['reasoning_content'] or '') + '</think>' -}}
    {%- endif -%}
    {{- message['content'] or '' -}}
    {%- if message['tool_calls'] -%}
      {{- '\n\n<｜DSML｜function_calls>\n' -}}
      {%- for call in message['tool_calls'] -%}
        {%- set arguments = call['function']['arguments'] -%}
        {{- '<｜DSML｜invoke name="' + call['function']['name'] + '">\n' -}}
        {%- if arguments is mapping -%}
          {%- for key, value in arguments.items() -%}
            {{- '<｜DSML｜parameter name="' + key + '" string="' + ('true' if value is string else 'false') + '">' -}}
            {{- value if value is string else value | tojson -}}
            {{- '</｜DSML｜parameter>' + ('' if loop.last else '\n') -}}
          {%- endfor -%}
        {%- else -%}
          {{- arguments -}}
        {%- endif -%}
        {{- '\n</｜DSML｜invoke>\n' -}}
      {%- endfor -%}
      {{- '</｜DSML｜function_calls>' -}}
    {%- endif -%}
    {{- eos_token -}}
  {%- endif -%}
{%- endfor -%}
)";

constexpr const char* kChatMl = R"(
{%- for message in messages -%}
  {{- '<|im_start|>' + message['role'] + '\n' + (message['content'] or '') + '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|im_start|>assistant\n' -}}
{%- endif -%}
)";

constexpr const char* kLlama3 = R"(
{{- bos_token -}}
{%- for message in messages -%}
  {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' -}}
  {{- (message['content'] or '') | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
{%- endif -%}
)";

struct Marks {
  bool joins_systems = true, drops_thoughts = false, opens_thoughts = false, mark_ends_user = false;
};

std::string marks(const Marks& m) {
  const auto set = [](const char* name, bool value) {
    return std::string("{%- set ") + name + " = " + (value ? "true" : "false") + " -%}";
  };
  return set("joins_systems", m.joins_systems) + "{%- set thoughts_end = '" + (m.drops_thoughts ? "</think>" : "") +
         "' -%}" + set("opens_thoughts", m.opens_thoughts) + set("mark_ends_user", m.mark_ends_user) + kMarks;
}

std::vector<BuiltInFormat> make_formats() {
  using enum BuiltInFormat::Vocabulary;
  const std::vector<std::string_view> turns = {"<｜User｜>", "<｜Assistant｜>"};
  return {
      {"deepseek-v2", kV2, {}, deepseek_v2},
      {"deepseek-v2.5", marks({.joins_systems = false}), turns, deepseek_v2},
      {"deepseek-v3", marks({}), turns, deepseek_v3},
      {"deepseek-v3-0324", marks({.mark_ends_user = true}), turns, deepseek_v3},
      // As published later; the first release left <think> to the model.
      {"deepseek-r1", marks({.drops_thoughts = true, .opens_thoughts = true}), turns, deepseek_v3},
      {"deepseek-r1-0120", marks({.drops_thoughts = true}), turns, deepseek_v3},
      {"deepseek-r1-0528", marks({.drops_thoughts = true, .mark_ends_user = true}), turns, deepseek_v3},
      {"deepseek-v3.1", kV31, turns, deepseek_v3},
      {"deepseek-v3.2", kV32, turns, deepseek_v3},
      {"chatml", kChatMl, {"<|im_start|>", "<|im_end|>"}, other},
      {"llama3", kLlama3, {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}, other},
  };
}

}  // namespace

std::span<const BuiltInFormat> built_in_formats() {
  static const std::vector<BuiltInFormat> formats = make_formats();
  return formats;
}

}  // namespace hearth
