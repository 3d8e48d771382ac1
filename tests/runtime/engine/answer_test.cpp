// How tokens become what is shown: the same pieces, whoever shows them.
#include "runtime/engine/answer.h"

#include <doctest/doctest.h>

#include <random>

#include "tests/runtime/chat/chat_vocabulary.h"
#include "tests/runtime/model/tiny_model.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

const Tokenizer& tokenizer() {
  static const Tokenizer t(ChatVocabulary().metadata());
  return t;
}

// Every byte is a token of its own, so that all borders are met.
std::vector<Token> bytes_of(const std::string& text) {
  static const ChatVocabulary vocabulary;
  std::vector<Token> tokens;
  for (const char c : text) {
    const auto token = std::ranges::find(vocabulary.tokens, byte_character(uint8_t(c)));
    REQUIRE(token != vocabulary.tokens.end());
    tokens.push_back(Token(token - vocabulary.tokens.begin()));
  }
  return tokens;
}

// What a sink is given.
struct Shown {
  std::vector<SplitText> pieces;
  int ends = 0;

  AnswerSink sink() {
    return {.piece = [this](const SplitText& piece) { pieces.push_back(piece); }, .end = [this] { ++ends; }};
  }
  SplitText all() const {
    SplitText sum;
    for (const SplitText& piece : pieces) {
      CHECK(!(piece.thoughts.empty() && piece.answer.empty()));
      sum.thoughts += piece.thoughts;
      sum.answer += piece.answer;
    }
    return sum;
  }
};

// In a conversation; its text so far, thoughts apart.
SplitText said(const std::string& text, bool opens_thoughts = false, const std::vector<std::string>& stops = {}) {
  Shown shown;
  Answer answer = Answer::in_chat(tokenizer(), opens_thoughts, " ", stops, shown.sink());
  for (const Token token : bytes_of(text)) {
    answer.add(token);
    CHECK(shown.ends == 0);
  }
  answer.finish();
  CHECK(shown.ends == 1);
  CHECK(shown.all() == SplitText{answer.thoughts(), answer.text()});
  return shown.all();
}

// As above, with the marks of calls as control tokens.
std::vector<Token> tokens_of(const std::string& text) {
  std::vector<Token> tokens;
  for (size_t i = 0; i < text.size();) {
    std::string_view mark;
    for (const std::string_view one : kCallMarks)
      if (std::string_view(text).substr(i).starts_with(one)) mark = one;
    if (mark.empty())
      tokens.push_back(bytes_of(text.substr(i, 1)).front());
    else
      tokens.push_back(*tokenizer().find(mark));
    i += std::max<size_t>(mark.size(), 1);
  }
  return tokens;
}

// What a sink is told, in its order: "thoughts|text(name arguments)text".
struct Told {
  std::string all;
  AnswerSink sink() {
    return {
        [this](const SplitText& piece) { all += piece.thoughts + (piece.thoughts.empty() ? "" : "|") + piece.answer; },
        [this](const CallEvent& event) {
          using enum CallEvent::Kind;
          all += event.kind == begin ? "(" + event.text + " " : event.kind == arguments ? event.text : ")";
        }};
  }
};

const CallWishes kMarked = {{.format = CallFormat::marked, .marks_are_tokens = true}};
const CallWishes kTagged = {{.format = CallFormat::tagged}};

// The tokens of a whole answer, of which those behind its end are not listened to.
std::string told(const std::vector<Token>& tokens, const CallWishes& calls, bool opens_thoughts = false,
                 const std::vector<std::string>& stops = {}) {
  Told told;
  Answer answer = Answer::in_chat(tokenizer(), opens_thoughts, "", stops, told.sink(), calls);
  size_t n = 0;
  for (const Token token : tokens) {
    if (answer.stopped()) break;
    answer.add(token);
    ++n;
  }
  answer.finish();
  size_t begins = 0;
  for (const AnswerCall& call : answer.calls()) {
    CHECK(contains(told.all, "(" + call.name + " "));
    CHECK(call.text_before >= begins);
    begins = call.text_before;
  }
  return told.all + (n < tokens.size() ? "..." : "");
}

const std::string kCall =
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
    "<｜tool▁calls▁end｜>";

}  // namespace

TEST_CASE("answer: calls are told in their place, from answers and from thoughts") {
  CHECK(told(tokens_of("ab" + kCall), kMarked) == "ab(f {})");
  CHECK(told(tokens_of("h" + kCall), kMarked, true) == "h|(f {})");
  CHECK(told(tokens_of("<think>h</thin" + kCall), kMarked) == "h|</thin|(f {})");
  CHECK(told(tokens_of("<think>h</think>" + kCall), kMarked) == "h|(f {})");
  CHECK(told(tokens_of(kCall + "more"), kMarked) == "(f {})...");
  CHECK(told(tokens_of("\xC3" + kCall), kMarked) == "\uFFFD(f {})");
  // As text, marks are text.
  CHECK(told(bytes_of(kCall), kMarked) == kCall);
}

TEST_CASE("answer: calls that are text are looked for behind thoughts") {
  const std::string call = "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>";
  CHECK(contains(told(bytes_of("a\n" + call), kTagged), "a(f {})"));
  const std::string thought = told(bytes_of("<think>" + call + "</think>b" + call), kTagged);
  CHECK(thought.ends_with("b(f {})"));
  CHECK(std::ranges::count(thought, '(') == 1);
  CHECK(told(bytes_of(call + " and so"), kTagged) == "(f {})...");
  CHECK(told(bytes_of(call + "\n"), kTagged) == "(f {})");
}

TEST_CASE("answer: one call may be all, and stop strings are not looked for in calls") {
  const std::string two =
      "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": 12}<｜tool▁call▁end｜><｜tool▁call▁begin｜>g"
      "<｜tool▁sep｜>{}<｜tool▁call▁end｜>";
  CallWishes one = kMarked;
  one.one_only = true;
  CHECK(told(tokens_of(two), one) == "(f {\"a\": 12})...");
  CHECK(told(tokens_of("a1" + two), kMarked, false, {"12"}) == "a1(f {\"a\": 12})(g {})");
  CHECK(told(tokens_of("a12" + two), kMarked, false, {"12"}) == "a...");
}

TEST_CASE("answer: however a text is cut into tokens, the same thoughts, text and calls") {
  const std::vector<std::string> words = {kCall,
                                          "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}</tool_call>",
                                          "<think>",
                                          "</think>",
                                          "\n",
                                          " ",
                                          "aa bc",
                                          "END",
                                          "EN",
                                          "<｜tool▁call▁begin｜>",
                                          "<｜tool▁sep｜>",
                                          "f",
                                          "{\"a\": \"END",
                                          "{}",
                                          "<tool_call>",
                                          "\xE4\xBD",
                                          "é"};
  std::mt19937 random(5);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (size_t n = random() % 9; n > 0; --n) text += words[random() % words.size()];
    CallWishes wishes = round % 2 ? kMarked : kTagged;
    wishes.one_only = random() % 4 == 0;
    const bool opens = random() % 2;
    const auto sums = [&](const std::vector<Token>& tokens) {
      Shown shown;
      Answer answer = Answer::in_chat(tokenizer(), opens, " ", {"END"}, shown.sink(), wishes);
      for (const Token token : tokens)
        if (!answer.stopped()) answer.add(token);
      answer.finish();
      CHECK(shown.all() == SplitText{answer.thoughts(), answer.text()});
      std::string all = answer.thoughts() + "|" + answer.text();
      for (const AnswerCall& call : answer.calls())
        all += "|" + std::to_string(call.text_before) + call.name + call.arguments;
      return all;
    };
    CAPTURE(text);
    CHECK(sums(tokens_of(repair_utf8(text))) == sums(tokenizer().encode(text, true)));
  }
}

TEST_CASE("answer: the blank in front is the format's, in a conversation; a continuation keeps every character") {
  CHECK(said(" Hello  you ") == SplitText{"", "Hello  you "});
  CHECK(said("Hello") == SplitText{"", "Hello"});
  Shown shown;
  Answer answer = Answer::continuation(tokenizer(), {}, shown.sink());
  for (const Token token : bytes_of(" a <think>b</think>")) answer.add(token);
  answer.finish();
  CHECK(answer.text() == " a <think>b</think>");
  CHECK(answer.thoughts() == "");
  CHECK(shown.all() == SplitText{"", " a <think>b</think>"});
}

TEST_CASE("answer: whole characters only; broken ones are U+FFFD, an unfinished one when it is over") {
  Shown shown;
  Answer answer = Answer::continuation(tokenizer(), {}, shown.sink());
  for (const Token token : bytes_of("a\xE2\x82")) answer.add(token);
  CHECK(shown.all() == SplitText{"", "a"});
  answer.add(bytes_of("\xAC").front());
  CHECK(shown.all() == SplitText{"", "a€"});
  CHECK(shown.pieces.back() == SplitText{"", "€"});
  for (const Token token : bytes_of("\x80-\xE2\x82")) answer.add(token);
  CHECK(answer.text() == "a€\uFFFD-");
  answer.finish();
  CHECK(answer.text() == "a€\uFFFD-\uFFFD");
  CHECK(shown.all().answer == answer.text());
}

TEST_CASE("answer: of one that a limit cut within a character, that is left out") {
  for (const StopReason reason : {StopReason::max_tokens, StopReason::context_full, StopReason::eos}) {
    Shown shown;
    Answer answer = Answer::continuation(tokenizer(), {}, shown.sink());
    for (const Token token : bytes_of("a\xE2\x82")) answer.add(token);
    answer.finish(reason);
    CHECK(answer.text() == (reason == StopReason::eos ? "a\uFFFD" : "a"));
    CHECK(shown.all().answer == answer.text());
  }
}

TEST_CASE("answer: thoughts are set apart, whether the model opens them or the prompt has") {
  CHECK(said("<think>\nwell\n</think>\n\nyes") == SplitText{"well", "yes"});
  CHECK(said("well\n</think>\n\nyes", true) == SplitText{"well", "yes"});
  CHECK(said("never done", true) == SplitText{"never done", ""});
}

TEST_CASE("answer: nothing is said before there is something") {
  Shown shown;
  Answer answer = Answer::in_chat(tokenizer(), false, " ", {}, shown.sink());
  CHECK(!answer.began());
  answer.add(bytes_of(" ").front());
  CHECK(!answer.began());
  CHECK(shown.pieces.empty());
  answer.add(bytes_of("x").front());
  CHECK(answer.began());
  Answer silent = Answer::in_chat(tokenizer(), false, " ");  // nobody needs to listen
  for (const Token token : bytes_of(" <think>a</think>b")) silent.add(token);
  silent.finish();
  CHECK(silent.text() == "b");
  CHECK(silent.thoughts() == "a");
}

TEST_CASE("answer: a stop string ends it, across the borders of tokens, and is not part of it") {
  CHECK(said(" one\nUser: two", false, {"\nUser:"}) == SplitText{"", "one"});
  CHECK(said("one\nUse two", false, {"\nUser:"}) == SplitText{"", "one\nUse two"});
  CHECK(said("caf\xC3\xA9 noir", false, {"é", "noir"}) == SplitText{"", "caf"});
  CHECK(said("one\nUs", false, {"\nUser:"}) == SplitText{"", "one\nUs"});  // held back, and none after all
  CHECK(said("so: stop\n</think>\n\nyes; stop; no", true, {"stop"}) == SplitText{"so: stop", "yes; "});

  Shown shown;
  Answer answer = Answer::continuation(tokenizer(), {"END"}, shown.sink());
  for (const Token token : bytes_of("a EN")) answer.add(token);
  CHECK(shown.all().answer == "a ");
  CHECK(answer.text() == "a ");
  CHECK(!answer.stopped());
  for (const Token token : bytes_of("Dz")) answer.add(token);
  CHECK(answer.stopped());
  answer.finish();
  CHECK(answer.text() == "a ");
  CHECK(shown.all().answer == "a ");
  CHECK(shown.ends == 1);
}

TEST_CASE("answer: what is held back alone has begun, and is not lost when it ends") {
  Shown shown;
  Answer answer = Answer::continuation(tokenizer(), {"END"}, shown.sink());
  answer.add(bytes_of("E").front());
  CHECK(answer.text() == "");
  CHECK(answer.began());
  answer.finish();
  CHECK(answer.text() == "E");
  CHECK(shown.all().answer == "E");
}

TEST_CASE("answer: an empty stop string is refused") {
  CHECK(refusal([] { Answer::continuation(tokenizer(), {""}); }) == "stop strings: expected text, found an empty one");
}

namespace {

// A model that says something, greedily: what it says does not matter, but that it is the same each time.
struct Bed {
  Model model{TinyModel().file(), {.ops = &cpu_ops("auto"), .cache_format = FormatId::f32}};
  Conversation conversation{model, tokenizer()};
  Sampler sampler{{.temperature = 0}};
  std::vector<Token> prompt = {5, 6, 7, 8, 9};
  GenerateOptions options{.max_tokens = 12, .ignore_eos = true};

  Bed() {
    std::vector<Token> wide;  // the head's rows that are no tokens
    for (Token id = Token(tokenizer().size()); id < model.config().vocab_size; ++id) wide.push_back(id);
    sampler.forbid(wide);
  }
};

}  // namespace

TEST_CASE("generate_answer: tokens become the text, and whoever watches is told before") {
  Bed bed;
  Shown shown;
  std::vector<Token> told;
  Answer answer = Answer::continuation(tokenizer(), {}, shown.sink());
  GenerateCallbacks callbacks;
  callbacks.on_token = [&](Token token) {
    if (told.empty()) CHECK(shown.pieces.empty());
    told.push_back(token);
  };
  const GenerateResult result =
      generate_answer(bed.conversation, bed.prompt, bed.sampler, bed.options, answer, callbacks);
  CHECK(result.reason == StopReason::max_tokens);
  CHECK(told == result.tokens);
  CHECK(shown.ends == 0);  // the caller's to finish
  answer.finish();
  CHECK(answer.text() == repair_utf8(tokenizer().decode(result.tokens, true)));
  CHECK(shown.all().answer == answer.text());
}

TEST_CASE("generate_answer: a stop string ends the generation, and the conversation goes on from what was run") {
  Bed bed;
  Answer all = Answer::continuation(tokenizer());
  const auto free = generate_answer(bed.conversation, bed.prompt, bed.sampler, bed.options, all);
  all.finish();
  // The text of the fifth token and of the sixth, as one string.
  const auto text_of = [&](size_t first, size_t n) {
    return repair_utf8(tokenizer().decode(std::span(free.tokens).subspan(first, n), true));
  };
  const std::string stop = text_of(4, 2);
  const size_t at = all.text().find(stop);
  REQUIRE(at != std::string::npos);

  bed.conversation.clear();
  Answer cut = Answer::continuation(tokenizer(), {stop});
  const auto stopped = generate_answer(bed.conversation, bed.prompt, bed.sampler, bed.options, cut);
  cut.finish();
  CHECK(stopped.reason == StopReason::stop_string);
  CHECK(cut.text() == all.text().substr(0, at));
  CHECK(stopped.tokens.size() <= 7);  // a character may only be known to be broken by the next token
  CHECK(std::equal(stopped.tokens.begin(), stopped.tokens.end(), free.tokens.begin()));
  CHECK(stopped.decode_steps == int64_t(stopped.tokens.size()) - 1);  // the last one was said, and not run

  // The next turn: what a fresh conversation says, with what the cache has in common.
  std::vector<Token> next = bed.prompt;
  next.insert(next.end(), stopped.tokens.begin(), stopped.tokens.end());
  next.push_back(11);
  const auto second = bed.conversation.generate(next, bed.sampler, bed.options);
  CHECK(second.cached_tokens == int64_t(next.size()) - 2);
  Conversation fresh(bed.model, tokenizer());
  CHECK(fresh.generate(next, bed.sampler, bed.options).tokens == second.tokens);
}

TEST_CASE("generate_answer: half an answer is finished before the error, and none is not") {
  for (const int n_before : {0, 3}) {
    Bed bed;
    Shown shown;
    Answer answer = Answer::continuation(tokenizer(), {}, shown.sink());
    int n = 0;
    GenerateCallbacks callbacks;
    callbacks.on_token = [&](Token) { require(n++ < n_before, ErrorKind::resource, "lost"); };
    CHECK(refusal([&] {
            generate_answer(bed.conversation, bed.prompt, bed.sampler, bed.options, answer, callbacks);
          }) == "lost");
    CHECK(shown.ends == (answer.began() ? 1 : 0));
    CHECK(answer.began() == (n_before > 0));
  }
}
