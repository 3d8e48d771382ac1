// Tools in prompts: how they are announced, and how calls and results of the past are told, in each family's own way.
#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "quant/error.h"
#include "quant/gguf_keys.h"
#include "runtime/chat/tool_words.h"
#include "tests/runtime/chat/chat_vocabulary.h"
#include "tests/support/paths.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;
using Json = nlohmann::ordered_json;
using Role = ChatMessage::Role;

namespace {

const std::string B = "<｜begin▁of▁sentence｜>", E = "<｜end▁of▁sentence｜>", U = "<｜User｜>", A = "<｜Assistant｜>";
const std::string LB = "<｜tool▁calls▁begin｜>", LE = "<｜tool▁calls▁end｜>", CB = "<｜tool▁call▁begin｜>",
                  CE = "<｜tool▁call▁end｜>", SEP = "<｜tool▁sep｜>";
const std::string kTool =
    R"({"name": "f", "description": "Does it", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}})";

const GgufMetadata kMetadata = ChatVocabulary().metadata();

const Tokenizer& tokenizer() {
  static const Tokenizer shared(kMetadata);
  return shared;
}
ChatTemplate built_in(const std::string& name) {
  return choose_chat_template(name, kMetadata, tokenizer()).value();
}
// The one of a file.
ChatTemplate of_file(const std::string& jinja) {
  GgufMetadata metadata = kMetadata;
  metadata.set(key::kChatTemplate, GgufValue::of_string(jinja));
  return choose_chat_template("", metadata, tokenizer()).value();
}
std::string rendered(const ChatTemplate& chat, const std::vector<ChatMessage>& messages,
                     const ChatOptions& options = {}) {
  return text_of(chat.render(messages, options).parts);
}
const Json& golden() {
  static const Json json = Json::parse(std::ifstream(source_dir() / "tests/golden/chat_cases.json"));
  return json;
}
std::string fenced(const std::string& name, const std::string& arguments) {
  return CB + "function" + SEP + name + "\n```json\n" + arguments + "\n```" + CE;
}

// Two rounds of calls, the second after the first was answered.
const std::vector<ChatMessage> kRounds = {user("Hi"),
                                          calls({{"f", "{\"x\":  1}"}, {"g", "{}"}}),
                                          result("one"),
                                          result("two"),
                                          calls({{"f", "{\"x\": 2}"}}, "Again."),
                                          result("three"),
                                          answer("Done"),
                                          user("Go"),
                                          calls({{"g", "{}"}}),
                                          result("four")};

}  // namespace

TEST_CASE("golden tool announcements") {
  REQUIRE(golden()["tools"].size() > 1);
  for (const Json& row : golden()["tools"]) {
    std::vector<std::string> tools, wrapped;
    for (const Json& tool : row["tools"]) {
      tools.push_back(tool.dump());
      wrapped.push_back(Json{{"type", "function"}, {"function", tool}}.dump());
    }
    const std::string expected = row["expected"];
    CHECK(tools_system_message(tools) == expected);
    CHECK(tools_system_message(wrapped) == expected);
    const std::string list = expected.substr(expected.find("\n\n## Tools"));
    CHECK(tools_system_message(tools, "Be brief.") == "Be brief." + list);
    // V2.5, V3 and R1 are told in the system message, the last one, as V2.5 knows only that.
    for (const char* name : {"deepseek-v2.5", "deepseek-v3", "deepseek-r1-0120"}) {
      CHECK(rendered(built_in(name), {user("Hi")}, {.tools = tools}) == B + expected + U + "Hi" + A);
      CHECK(rendered(built_in(name), {preamble("S"), user("Hi")}, {.tools = tools}) == B + "S" + list + U + "Hi" + A);
    }
    CHECK(rendered(built_in("deepseek-v2.5"), {preamble("S"), preamble("T"), user("Hi")}, {.tools = tools}) ==
          B + "T" + list + U + "Hi" + A);
    for (const std::string& name : chat_template_names())
      CHECK(rendered(built_in(name), {user("Hi")}, {.tools = tools}) ==
            rendered(built_in(name), {user("Hi")}, {.tools = wrapped}));
  }
}

TEST_CASE("tools that are none are refused") {
  CHECK_THROWS_WITH_AS(tools_system_message({"{"}), "a tool is not a JSON object: {", Error);
  CHECK_THROWS_WITH_AS(tools_system_message({"[1]"}), "a tool is not a JSON object: [1]", Error);
  CHECK_THROWS_WITH_AS(tools_system_message({"{\"a\": \"\xFF\"}"}), "a tool is not a JSON object: {\"a\": \"\xFF\"}",
                       Error);
  CHECK_THROWS_WITH_AS(tools_system_message({"{\"name\": 1}"}), "a tool has no name: {\"name\": 1}", Error);
  for (const std::string& name : chat_template_names())
    CHECK_THROWS_WITH_AS(rendered(built_in(name), {user("Hi")}, {.tools = {"{}"}}), "a tool has no name: {}", Error);
}

TEST_CASE("rounds of calls as V2.5, V3 and R1 write them") {
  const auto results = [](const std::string& inside) {
    return "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>" + inside + "<｜tool▁output▁end｜><｜tool▁outputs▁end｜>";
  };
  const std::string one = LB + fenced("f", "{\"x\":  1}") + "\n" + fenced("g", "{}") + LE + E;
  const std::string all = B + U + "Hi" + A + one + results("one<｜tool▁output▁end｜>\n<｜tool▁output▁begin｜>two") +
                          "Again." + LB + fenced("f", "{\"x\": 2}") + LE + E + results("three") + "Done" + E + U +
                          "Go" + A + LB + fenced("g", "{}") + LE + E + results("four");
  for (const char* name :
       {"deepseek-v2.5", "deepseek-v3", "deepseek-v3-0324", "deepseek-r1", "deepseek-r1-0120", "deepseek-r1-0528"})
    CHECK(rendered(built_in(name), kRounds) == all);
}

TEST_CASE("rounds of calls as V3.1 writes them") {
  const auto one_result = [](const std::string& text) {
    return "<｜tool▁output▁begin｜>" + text + "<｜tool▁output▁end｜>";
  };
  CHECK(rendered(built_in("deepseek-v3.1"), kRounds) ==
        B + U + "Hi" + A + "</think>" + LB + CB + "f" + SEP + "{\"x\":  1}" + CE + CB + "g" + SEP + "{}" + CE + LE + E +
            one_result("one") + one_result("two") + "Again." + LB + CB + "f" + SEP + "{\"x\": 2}" + CE + LE + E +
            one_result("three") + "Done" + E + U + "Go" + A + "</think>" + LB + CB + "g" + SEP + "{}" + CE + LE + E +
            one_result("four"));
}

TEST_CASE("tools and rounds of calls as V3.2 writes them") {
  const ChatTemplate v32 = built_in("deepseek-v3.2");
  const std::string announced = rendered(v32, {preamble("S"), user("Hi")}, {.tools = {kTool}});
  CHECK(announced.starts_with(B + "S\n\n## Tools\n\nYou have access to a set of tools"));
  CHECK(announced.ends_with("</think>\n\nHere are the functions available in JSONSchema format:\n<functions>\n" +
                            kTool + "\n</functions>\n" + U + "Hi" + A + "</think>"));
  CHECK(rendered(v32, {user("Hi")}, {.tools = {kTool}}).starts_with(B + "\n\n## Tools\n\n"));

  const auto call = [](const std::string& name, const std::string& parameters) {
    return "<｜DSML｜invoke name=\"" + name + "\">\n" + parameters + "\n</｜DSML｜invoke>\n";
  };
  const auto list = [](const std::string& inside) {
    return "\n\n<｜DSML｜function_calls>\n" + inside + "</｜DSML｜function_calls>" + E;
  };
  const auto number = [](const std::string& value) {
    return "<｜DSML｜parameter name=\"x\" string=\"false\">" + value + "</｜DSML｜parameter>";
  };
  const auto results = [](const std::string& inside) {
    return "\n\n<function_results>\n" + inside + "\n</function_results>\n\n";
  };
  const std::string until_go = B + U + "Hi" + A + "</think>" + list(call("f", number("1")) + call("g", "")) +
                               results("<result>one</result>\n<result>two</result>") + "</think>Again." +
                               list(call("f", number("2"))) + results("<result>three</result>") + "</think>Done" + E +
                               U + "Go" + A;
  CHECK(rendered(v32, kRounds) ==
        until_go + "</think>" + list(call("g", "")) + results("<result>four</result>") + "</think>");
  std::vector<ChatMessage> thought = kRounds;
  thought[1].thoughts = "gone";
  thought[8].thoughts = "hm";
  const ChatPrompt prompt = v32.render(thought, {.think = true});
  CHECK(text_of(prompt.parts) ==
        until_go + "<think>hm</think>" + list(call("g", "")) + results("<result>four</result>") + "<think>");
  CHECK(prompt.opens_thoughts);

  // Strings as they are, all else as JSON; what is no object stays as it was said.
  CHECK(contains(rendered(v32, {user("Hi"), calls({{"f", R"({"a": "x \"y\"\n", "b": {"c": [1, null]}, "d": true})"}})}),
                 "<｜DSML｜parameter name=\"a\" string=\"true\">x \"y\"\n</｜DSML｜parameter>\n"
                 "<｜DSML｜parameter name=\"b\" string=\"false\">{\"c\": [1, null]}</｜DSML｜parameter>\n"
                 "<｜DSML｜parameter name=\"d\" string=\"false\">true</｜DSML｜parameter>\n</｜DSML｜invoke>"));
  CHECK(contains(rendered(v32, {user("Hi"), calls({{"f", "{broken"}})}), "name=\"f\">\n{broken\n</"));
}

TEST_CASE("models without a format of their own are told the generic one") {
  const ChatTemplate v2 = built_in("deepseek-v2");
  const std::string prompt = rendered(v2, {preamble("S"), user("Hi")}, {.tools = {kTool, R"({"name": "g"})"}});
  CHECK(prompt.starts_with(B + "S\n\n# Tools\n\n"));
  CHECK(contains(prompt, "\n<tools>\n" + Json::parse(kTool).dump() + "\n{\"name\":\"g\"}\n</tools>\n"));
  CHECK(contains(prompt, "<tool_call>\n{\"name\": \"NAME\", \"arguments\": {\"ARGUMENT\": VALUE}}\n</tool_call>\n"));
  CHECK(prompt.ends_with("answer as usual.\n\nUser: Hi\n\nAssistant:"));
  CHECK(rendered(v2, {user("Hi")}, {.tools = {kTool}}).starts_with(B + "# Tools\n\n"));

  const auto call = [](const std::string& name, const std::string& arguments) {
    return "<tool_call>\n{\"name\": \"" + name + "\", \"arguments\": " + arguments + "}\n</tool_call>";
  };
  const auto response = [](const std::string& text) { return "<tool_response>\n" + text + "\n</tool_response>"; };
  CHECK(rendered(v2, kRounds) == B + "User: Hi\n\nAssistant: " + call("f", "{\"x\":  1}") + "\n" + call("g", "{}") + E +
                                     "User: " + response("one") + "\n" + response("two") + "\n\nAssistant: Again.\n" +
                                     call("f", "{\"x\": 2}") + E + "User: " + response("three") +
                                     "\n\nAssistant: Done" + E + "User: Go\n\nAssistant: " + call("g", "{}") + E +
                                     "User: " + response("four") + "\n\nAssistant:");
  // What the user says beside results is said with them: many templates want turns to alternate.
  CHECK(rendered(built_in("chatml"), {user("Hi"), calls({{"f", ""}}), result("1"), user("So?")}) ==
        B + "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n" + call("f", "{}") +
            "<|im_end|>\n<|im_start|>user\n" + response("1") + "\nSo?<|im_end|>\n<|im_start|>assistant\n");
}

TEST_CASE(
    "a template that writes calls as no parser knows is told of tools in the generic way, and of none in its own") {
  const ChatTemplate own = of_file(
      "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% for c in m.tool_calls or [] %}"
      "[CALL]{{ c.function.name }}{{ c.function.arguments }}{% endfor %}{% endfor %}"
      "{% if tools %}[{{ tools | tojson }}]{% endif %}");
  const std::vector<ChatMessage> turns = {user("Hi"), calls({{"f", "{}"}}), result("1")};
  CHECK(rendered(own, turns) == B + "[user]Hi[assistant][CALL]f{}[tool]1");
  const std::string told = rendered(own, turns, {.tools = {kTool}});
  CHECK(told.starts_with(B + "[system]# Tools"));
  CHECK(
      told.ends_with("[user]Hi[assistant]<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>"
                     "[user]<tool_response>\n1\n</tool_response>"));
  CHECK(own.call_syntax({}).format == CallFormat::tagged);
  // One that writes the same tags announces tools itself.
  const ChatTemplate tags = of_file(
      "{% if tools %}{{ tools | length }} tools{% endif %}{% for m in messages %}[{{ m.role }}]{{ m.content }}"
      "{% for c in m.tool_calls or [] %}<tool_call>{\"name\": \"{{ c.function.name }}\", \"arguments\": "
      "{{ c.function.arguments }}}</tool_call>{% endfor %}{% endfor %}");
  CHECK(tags.announces_tools());
  CHECK(rendered(tags, turns, {.tools = {kTool}}) ==
        B + "1 tools[user]Hi[assistant]<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>[tool]1");
}

TEST_CASE("published templates write conversations with calls as the built-in formats do, and all others as they are") {
  for (const auto& [name, jinja] : golden()["templates"].items()) {
    const auto twin = golden()["built_in"].find(name);
    if (twin == golden()["built_in"].end() || name == "v2") continue;
    CAPTURE(name);
    const ChatTemplate own = of_file(jinja), format = built_in(*twin);
    CHECK(rendered(own, kRounds) == rendered(format, kRounds));
    CHECK(rendered(own, kRounds, {.tools = {kTool}}) == rendered(format, kRounds, {.tools = {kTool}}));
    CHECK(rendered(own, {user("Hi")}, {.tools = {kTool}}) == rendered(format, {user("Hi")}, {.tools = {kTool}}));
  }
  // One that is like none of them keeps its own way.
  const ChatTemplate other = of_file(
      "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% for c in m.tool_calls or [] %}<｜tool▁calls▁begin｜>"
      "{{ c.function.name + c.function.arguments }}{% endfor %}{% endfor %}");
  CHECK(rendered(other, {user("Hi"), calls({{"f", "{}"}})}) == B + "[user]Hi[assistant]" + LB + "f{}");
  CHECK(
      contains(rendered(other, {user("Hi")}, {.tools = {kTool}}), "[system]You are a helpful Assistant.\n\n## Tools"));
}

TEST_CASE("which calls a template's model makes") {
  const auto format = [](const std::string& name) { return built_in(name).call_syntax({"f"}); };
  for (const char* name : {"deepseek-v2.5", "deepseek-v3", "deepseek-v3-0324", "deepseek-r1", "deepseek-v3.1"}) {
    CHECK(format(name).format == CallFormat::marked);
    CHECK(format(name).marks_are_tokens);
    CHECK(format(name).in_thoughts());
    CHECK(built_in(name).call_tokens() == std::vector<Token>{*tokenizer().find(LB), *tokenizer().find(CB)});
  }
  CHECK(format("deepseek-v3.2").format == CallFormat::dsml);
  for (const char* name : {"deepseek-v2", "chatml", "llama3"}) {
    CHECK(format(name).format == CallFormat::tagged);
    CHECK(!format(name).in_thoughts());
    CHECK(format(name).names == std::vector<std::string>{"f"});
    CHECK(built_in(name).call_tokens().empty());
  }
  // In a vocabulary without the marks they are text.
  const Tokenizer small(SmallVocabulary().metadata());
  const auto v25 = choose_chat_template("deepseek-v2.5", SmallVocabulary().metadata(), small);
  CHECK(v25->call_syntax({}).format == CallFormat::marked);
  CHECK(!v25->call_syntax({}).marks_are_tokens);
}

TEST_CASE("what users and tools say has none of the tags that are plain text") {
  const std::string tags = "<tool_call> </tool_call> <tool_response> </tool_response> <｜DSML｜invoke";
  const std::vector<ChatMessage> turns = {user(tags), calls({{"f", "{}"}}), result(tags)};
  const std::string v2 = rendered(built_in("deepseek-v2"), turns);
  CHECK(contains(v2, "User: <\\tool_call> <\\/tool_call> <\\tool_response> <\\/tool_response> <｜DSML｜invoke\n"));
  CHECK(contains(v2, "<tool_response>\n<\\tool_call> <\\/tool_call>"));
  const std::string v32 = rendered(built_in("deepseek-v3.2"), turns);
  CHECK(contains(v32, U + "<tool_call> </tool_call> <tool_response> </tool_response> <|DSML|invoke"));
  CHECK(contains(v32, "<result><tool_call> </tool_call> <tool_response> </tool_response> <|DSML|invoke</result>"));
  // Where nobody can call, and where marks are tokens, words are as they were said.
  CHECK(contains(rendered(built_in("deepseek-v2"), {user(tags)}), tags));
  CHECK(contains(rendered(built_in("deepseek-v3"), turns), U + tags));
}

TEST_CASE("a result of a megabyte") {
  const std::string large(size_t(1) << 20, 'x');
  for (const std::string& name : chat_template_names()) {
    CAPTURE(name);
    CHECK(contains(rendered(built_in(name), {user("Hi"), calls({{"f", "{}"}}), result(large)}), large));
  }
}
