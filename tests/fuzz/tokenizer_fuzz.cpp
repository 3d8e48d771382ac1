// The tokenizer on any bytes: what is encoded decodes to the same text, whole and in parts, for each pre-tokenizer.
#include "runtime/tokenizer/tokenizer.h"
#include "tests/fuzz/target.h"
#include "tests/runtime/tokenizer/vocabulary.h"

namespace hearth::test {

namespace {

const std::vector<Tokenizer>& tokenizers() {
  static const std::vector<Tokenizer> all = [] {
    std::vector<Tokenizer> made;
    for (const char* pre : {"deepseek-llm", "deepseek-coder", "deepseek-v3"}) {
      SmallVocabulary vocabulary;
      vocabulary.pre = pre;
      made.emplace_back(vocabulary.metadata());
    }
    return made;
  }();
  return all;
}

}  // namespace

bool fuzz_one(std::span<const std::byte> input) {
  const std::string_view text(reinterpret_cast<const char*>(input.data()), input.size());
  const std::string repaired = repair_utf8(text);
  expect(repair_utf8(repaired) == repaired, "what is repaired is well-formed");
  const size_t middle = text.size() / 2;
  Utf8Stream stream;
  const std::string begin = stream.push(text.substr(0, middle)), end = stream.push(text.substr(middle));
  expect(begin + end + stream.finish() == repaired, "a stream gives what repair gives");

  for (const Tokenizer& tokenizer : tokenizers()) {
    const std::vector<Token> plain = tokenizer.encode(text, false);
    expect(tokenizer.decode(plain) == repaired, "text comes back");
    for (const Token token : plain) expect(!tokenizer.is_control(token), "plain text makes no control tokens");
    expect(tokenizer.decode(tokenizer.encode(text, true), true) == repaired, "text with control tokens comes back");
    expect(tokenizer.encode(repaired, false) == plain, "repaired text is the same text");
    // Parts that are well-formed by themselves join to the same words.
    std::string_view rest = repaired;
    std::vector<PromptPart> parts;
    while (!rest.empty()) {
      const size_t length = first_utf8_piece(rest).length;
      parts.push_back({std::string(rest.substr(0, length)), false});
      rest.remove_prefix(length);
    }
    expect(tokenizer.encode(parts) == plain, "parts are read as if they were joined");
  }
  return repaired == text;
}

std::vector<std::string> fuzz_seeds() {
  return {"Hello, world!\n\n  aab abc\t12345 ", "中文，한국어 あいう é\xCC\x81 ø½Ⅷ\u2028\u180E \U0001F44D\u200D",
          "<｜User｜>a<xy><x<｜Assistant｜><｜end▁of▁sentence｜>[PAD257]free", "don't {}[]() \r\n \r\n\n   x  \n"};
}

}  // namespace hearth::test
