// JSON Schemas and grammars in GBNF: whatever the text, compiling ends soon, with a Refusal or with a grammar, from
// which random bytes that may come lead nowhere but to where others may come, or the text may end.
#include <random>

#include "runtime/grammar/grammar.h"
#include "tests/fuzz/target.h"

namespace hearth::test {

namespace {

void walk(const std::shared_ptr<const grammar::Grammar>& grammar, unsigned seed) {
  std::mt19937 random(seed);
  grammar::Matcher matcher(grammar);
  for (int i = 0; i < 24; ++i) {
    const auto allowed = matcher.allowed();
    expect(allowed.any() || matcher.may_end(), "no dead end");
    if (allowed.none()) return;
    auto byte = static_cast<uint8_t>(random());
    while (!allowed[byte]) ++byte;
    expect(matcher.advance(byte), "a byte that may come is taken");
  }
  grammar::Matcher copy = matcher;
  copy.advance("\"x\xff");
  expect(!matcher.dead(), "a copy is one's own");
}

}  // namespace

bool fuzz_one(std::span<const std::byte> input) {
  const std::string text(reinterpret_cast<const char*>(input.data()), input.size());
  const bool schema = !text.starts_with("root");
  try {
    walk(schema ? grammar::compile_schema(text) : grammar::compile_gbnf(text), static_cast<unsigned>(text.size()));
    return true;
  } catch (const grammar::Refusal& refusal) {
    expect(!refusal.why.empty(), "a refusal says why");
    return false;
  } catch (const Error& error) {
    expect(error.kind == ErrorKind::resource, "what is no refusal is a limit");
    return false;
  }
}

std::vector<std::string> fuzz_seeds() {
  return {
      R"({"type":"object","properties":{"a":{"type":"integer","minimum":1,"maximum":30},"b":{"enum":["x",2]}},"required":["a"]})",
      R"({"anyOf":[{"type":"array","items":{"$ref":"#"},"maxItems":3},{"multipleOf":0.5},{"pattern":"^(a|b)*c{1,3}$"}]})",
      R"({"oneOf":[{"required":["a"]},{"required":["b"]}],"patternProperties":{"^[abx]":{"maxLength":4}},"additionalProperties":false})",
      R"({"not":{"contains":{"const":1}},"if":{"minProperties":1},"then":{"propertyNames":{"minLength":2}},"else":true})",
      R"({"$defs":{"t":{"prefixItems":[{"type":"null"},{"$ref":"#/$defs/t"}],"items":false}},"$ref":"#/$defs/t"})",
      "root ::= (\"a\" | [b-d]{2,3} x)* \"\\n\"\nx ::= \"(\" x \")\" | [^\\x00-\\x20]+ # end\n",
      "root ::= item (\", \" item)*\nitem ::= \"\\\"\" [a-z\\u00e9]* \"\\\"\" | \"-\"? [0-9]+ (\".\" [0-9]+)?\n",
  };
}

}  // namespace hearth::test
