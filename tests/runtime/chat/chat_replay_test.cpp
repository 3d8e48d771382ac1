// Remembered answers in prompts: what was sampled comes again token by token, so that the cache is found.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "runtime/chat/chat_template.h"
#include "tests/runtime/chat/chat_vocabulary.h"

using namespace hearth;
using namespace hearth::test;

namespace {

const std::string B = "<｜begin▁of▁sentence｜>", E = "<｜end▁of▁sentence｜>", U = "<｜User｜>", A = "<｜Assistant｜>";

const GgufMetadata kMetadata = ChatVocabulary().metadata();
const Tokenizer kTokenizer(kMetadata);

ChatTemplate built_in(const std::string& name) {
  return choose_chat_template(name, kMetadata, kTokenizer).value();
}

// A text in tokens that encode() would not choose: byte by byte.
std::vector<Token> sampled(const std::string& text) {
  std::vector<Token> tokens;
  for (const char byte : text) tokens.push_back(kTokenizer.find(std::string(1, byte)).value());
  return tokens;
}

std::string bracketed(const std::vector<Token>& tokens) {
  PromptPart part{"", false, tokens};
  return text_of({part});
}

std::string rendered(const ChatTemplate& chat, const std::vector<ChatMessage>& messages,
                     const ChatOptions& options = {}) {
  return text_of(chat.render(messages, options).parts);
}

std::string without_tokens(const ChatTemplate& chat, std::vector<ChatMessage> messages,
                           const ChatOptions& options = {}) {
  for (ChatMessage& message : messages) message.tokens.clear();
  return rendered(chat, messages, options);
}

const std::vector<Token> kYes = sampled("aa bc");

}  // namespace

TEST_CASE("an answer that stands unaltered is replayed") {
  const std::vector<ChatMessage> turns = {user("Hi"), answer("aa bc", kYes), user("Go")};
  for (const char* name : {"deepseek-v2.5", "deepseek-v3", "deepseek-v3-0324", "deepseek-r1-0120", "deepseek-r1-0528"})
    CHECK(rendered(built_in(name), turns) == B + U + "Hi" + A + bracketed(kYes) + E + U + "Go" + A);
  CHECK(rendered(built_in("deepseek-v3.1"), turns) ==
        B + U + "Hi" + A + "</think>" + bracketed(kYes) + E + U + "Go" + A + "</think>");
  CHECK(rendered(built_in("llama3"), turns).find("\n\n" + bracketed(kYes) + "<|eot_id|>") != std::string::npos);
}

TEST_CASE("the next prompt begins with the last one and its answer, so that the cache is found") {
  for (const std::string& name : chat_template_names()) {
    if (name == "deepseek-r1") continue;  // drops the thoughts that its prompt opens
    CAPTURE(name);
    const ChatTemplate chat = built_in(name);
    const std::vector<Token> said = sampled(chat.answer_lead() + "aa bc");
    std::vector<Token> so_far = kTokenizer.encode(chat.render({user("aab")}).parts);
    so_far.insert(so_far.end(), said.begin(), said.end());
    const auto next = kTokenizer.encode(chat.render({user("aab"), answer("aa bc", said), user("abc")}).parts);
    REQUIRE(next.size() > so_far.size());
    CHECK(std::equal(so_far.begin(), so_far.end(), next.begin()));
  }
}

TEST_CASE("blanks in front of an answer are there once") {
  const ChatTemplate v2 = built_in("deepseek-v2");
  const auto turns = [](const std::string& content, const std::string& said) {
    return std::vector<ChatMessage>{user("Hi"), answer(content, sampled(said)), user("Go")};
  };
  const std::string before = B + "User: Hi\n\nAssistant:", after = E + "User: Go\n\nAssistant:";
  CHECK(rendered(v2, turns("aa", " aa")) == before + bracketed(sampled(" aa")) + after);
  CHECK(rendered(v2, turns("aa", "  aa")) == before + bracketed(sampled("  aa")) + after);
  CHECK(rendered(v2, turns(" aa", "  aa")) == before + bracketed(sampled("  aa")) + after);
  CHECK(rendered(v2, turns("aa", "aa")) == before + " " + bracketed(sampled("aa")) + after);
  // Of a template that writes none the model's own stay.
  CHECK(rendered(built_in("deepseek-v3"), turns("aa", " aa")) ==
        B + U + "Hi" + A + bracketed(sampled(" aa")) + E + U + "Go" + A);
}

TEST_CASE("where the template alters an answer, it has its way") {
  const std::vector<ChatMessage> thought = {user("Hi"), answer("aa", sampled("bc\n</think>\n\naa")), user("Go")};
  for (const char* name : {"deepseek-r1", "deepseek-v3.1", "deepseek-v3"})
    CHECK(rendered(built_in(name), thought) == without_tokens(built_in(name), thought));
  const std::vector<ChatMessage> kept = {user("Hi"), answer("b</think>aa", sampled("b</think>aa")), user("Go")};
  CHECK(rendered(built_in("deepseek-r1-0120"), kept) == B + U + "Hi" + A + "aa" + E + U + "Go" + A);
  CHECK(rendered(built_in("deepseek-v3"), kept) ==
        B + U + "Hi" + A + bracketed(sampled("b</think>aa")) + E + U + "Go" + A);
  const std::vector<ChatMessage> spaced = {user("Hi"), answer(" aa\n", sampled(" aa\n")), user("Go")};
  CHECK(rendered(built_in("llama3"), spaced) == without_tokens(built_in("llama3"), spaced));
  const std::vector<ChatMessage> other = {user("Hi"), answer("aa", sampled("bc")), user("Go")};
  CHECK(rendered(built_in("deepseek-v3"), other) == without_tokens(built_in("deepseek-v3"), other));
  const std::vector<ChatMessage> silent = {user("Hi"), answer("", sampled(" ")), user("Go")};
  CHECK(rendered(built_in("deepseek-v3"), silent) == without_tokens(built_in("deepseek-v3"), silent));
}

TEST_CASE("thoughts that a template keeps are replayed with the answer") {
  ChatMessage thought = answer("aa", sampled("bc</think>aa"));
  thought.thoughts = "bc";
  CHECK(rendered(built_in("deepseek-v3.2"), {user("Hi"), thought}, {.think = true}) ==
        B + U + "Hi" + A + "<think>" + bracketed(thought.tokens) + E);
  thought.tokens = sampled("</think>aa");  // it did not think after all
  CHECK(rendered(built_in("deepseek-v3.2"), {user("Hi"), thought, user("Go")}) ==
        B + U + "Hi" + A + bracketed(thought.tokens) + E + U + "Go" + A + "</think>");
}

TEST_CASE("half a character at the end of an answer") {
  const std::vector<Token> cut = sampled("aa\xE4\xBD");
  CHECK(rendered(built_in("deepseek-v3"), {user("Hi"), answer("aa\uFFFD", cut), user("Go")}) ==
        B + U + "Hi" + A + bracketed(cut) + E + U + "Go" + A);
}

TEST_CASE("nobody's words are taken for an answer") {
  const ChatTemplate v3 = built_in("deepseek-v3");
  CHECK(rendered(v3, {user("aa bc"), answer("aa bc", kYes), user("aa bc")}) ==
        B + U + "aa bc" + A + bracketed(kYes) + E + U + "aa bc" + A);
  // An answer that the template moves behind a user's words, or shows twice.
  const ChatTemplate odd(
      "{{ messages[0].content }}{{ messages[1].content }}{{ messages[0].content }}{{ messages[1].content }}", "T",
      kTokenizer);
  CHECK(rendered(odd, {user("aa "), answer("bc", sampled("aa bc"))}) == B + "aa bcaa bc");
  CHECK(rendered(odd, {user("aa "), answer("bc", sampled("bc"))}) == B + "aa bcaa bc");
}

TEST_CASE("calls are replayed, and closed where the template leaves them open") {
  const std::string call = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>aa\n```json\n{}\n```<｜tool▁call▁end｜>";
  const std::string said = "bc<｜tool▁calls▁begin｜>" + call + "<｜tool▁calls▁end｜>";
  ChatMessage calling = calls({{"aa", "{}"}}, "bc");
  calling.tokens = kTokenizer.encode(said, true);
  const std::vector<ChatMessage> turns = {user("Hi"), calling, result("1")};
  const std::string results =
      "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>1<｜tool▁output▁end｜><｜tool▁outputs▁end｜>";
  CHECK(rendered(built_in("deepseek-v3"), turns) == B + U + "Hi" + A + bracketed(calling.tokens) + E + results);
  // V3's own template forgets the end of a single call.
  const ChatTemplate open(
      "{% for m in messages %}{% if m.role == 'user' %}{{ '<｜User｜>' + m.content + '<｜Assistant｜>' }}"
      "{% elif m.role == 'assistant' %}{{ m.content }}{% for c in m.tool_calls or [] %}"
      "{{ '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>' + c.function.name + '\\n```json\\n' + "
      "c.function.arguments + '\\n```<｜tool▁call▁end｜>' }}{% endfor %}{% else %}"
      "{{ '<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>' + m.content + "
      "'<｜tool▁output▁end｜><｜tool▁outputs▁end｜>' }}"
      "{% endif %}{% endfor %}",
      "T", kTokenizer);
  CHECK(rendered(open, turns) == B + U + "Hi" + A + bracketed(calling.tokens) + E + results);
  CHECK(without_tokens(open, turns) == B + U + "Hi" + A + "bc<｜tool▁calls▁begin｜>" + call + results);
}
