// tokenizer.json and tokenizer_config.json: whatever is accepted is a whole vocabulary. The input is both texts with a
// line of "====" between; without one it is tokenizer.json alone.
#include "convert/tokenizer_json.h"
#include "quant/error.h"
#include "tests/convert/tiny_checkpoint.h"
#include "tests/fuzz/target.h"

namespace hearth::test {

namespace {
constexpr std::string_view kBorder = "\n====\n";
constexpr int64_t kVocab = 12;
}  // namespace

bool fuzz_one(std::span<const std::byte> input) {
  const std::string_view text(reinterpret_cast<const char*>(input.data()), input.size());
  const size_t border = text.find(kBorder);
  const std::string_view config = border == text.npos ? "{}" : text.substr(border + kBorder.size());
  try {
    const HfTokenizer t = parse_hf_tokenizer({"dir", text.substr(0, border), config, {}, config, config}, kVocab);
    GgufMetadata metadata;
    add_tokenizer_metadata(t, metadata);
    expect(t.tokens.size() == kVocab && t.types.size() == kVocab, "every row has a token");
    for (size_t id = 0; id < t.tokens.size(); ++id) {
      expect(!t.tokens[id].empty(), "a token has a text");
      expect(t.types[id] >= 1 && t.types[id] <= 5, "a token has a type");
    }
    for (const std::string& merge : t.merges) expect(merge.find(' ', 1) != merge.npos, "a merge has two sides");
    for (const auto& id : {t.bos, t.eos, t.pad}) expect(!id || (*id >= 0 && *id < kVocab), "named tokens exist");
    return true;
  } catch (const Error& error) {
    expect(error.kind == ErrorKind::format || error.kind == ErrorKind::model, "text is refused as format or model");
    expect(std::string_view(error.what()).find('\n') == std::string_view::npos, "an error is one line");
    return false;
  }
}

std::vector<std::string> fuzz_seeds() {
  Json pairs = tiny_tokenizer();
  pairs["model"]["merges"] = Json::array({Json::array({"a", "b"}), Json::array({"ab", "c"})});
  const std::string config =
      R"({"bos_token":"<bos>","eos_token":{"content":"<eos>"},"add_bos_token":true,"eos_token_id":[6],)"
      R"("chat_template":[{"name":"default","template":"x"}]})";
  return {tiny_tokenizer().dump() + std::string(kBorder) + config, pairs.dump(1)};
}

}  // namespace hearth::test
