// The tokenizer's vocabulary: whatever is taken gives texts back unchanged.
#include "quant/error.h"
#include "quant/gguf.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tests/fuzz/target.h"
#include "tests/quant/gguf_bytes.h"
#include "tests/runtime/tokenizer/vocabulary.h"
#include "tests/support/paths.h"

namespace hearth::test {

bool fuzz_one(std::span<const std::byte> input) {
  try {
    const Tokenizer tokenizer(parse_gguf(input, "fuzz.gguf").metadata);
    const std::string text = "aab abc \xE8\xB1\xA1 <xy> ø1 \xFF <｜User｜>free";
    expect(tokenizer.decode(tokenizer.encode(text, false)) == repair_utf8(text), "text comes back");
    expect(tokenizer.decode(tokenizer.encode(text, true), true) == repair_utf8(text),
           "text with control tokens comes back");
    for (Token token = -1; token <= Token(tokenizer.size()); ++token)
      expect(tokenizer.bytes_of(token).empty() || !tokenizer.is_unused(token), "unused tokens say nothing");
    return true;
  } catch (const Error& error) {
    expect(error.kind == ErrorKind::format || error.kind == ErrorKind::model, "a file is refused as a file");
    return false;
  }
}

std::vector<std::string> fuzz_seeds() {
  const TempDir dir;
  std::vector<std::string> seeds;
  for (const char* pre : {"deepseek-llm", "deepseek-coder", "deepseek-v3"}) {
    SmallVocabulary vocabulary;
    vocabulary.pre = pre;
    GgufWriter(dir / "seed.gguf", vocabulary.metadata(), {}).finish();
    seeds.push_back(read_text(dir / "seed.gguf"));
  }
  return seeds;
}

}  // namespace hearth::test
