// The vocabulary of a tokenizer as masks see it.
#include "runtime/grammar/tokenizer_trie.h"

#include <doctest/doctest.h>

#include "runtime/grammar/token_masks.h"
#include "tests/runtime/tokenizer/vocabulary.h"

using namespace hearth;
using namespace hearth::grammar;

TEST_CASE("control tokens come where they are named, padding never, the end where the text may end") {
  const Tokenizer tokenizer(test::SmallVocabulary().metadata());
  const size_t n_rows = tokenizer.size() + 70;  // logits have more
  const auto trie = token_trie_of(tokenizer, n_rows);
  TokenMasks strings(compile_gbnf("root ::= \"a\"* | \"ab\"{0,2} \"c\""), trie);
  Matcher matcher = strings.start();
  const auto comes = [&](std::string_view text) { return strings.mask(matcher).has(*tokenizer.find(text)); };
  CHECK(strings.mask(matcher).n_rows() == n_rows);
  CHECK(comes("aa"));
  CHECK(comes("abc"));
  CHECK(!comes("bc"));
  CHECK(strings.mask(matcher).has(*tokenizer.eos()));
  CHECK(strings.mask(matcher).count() == 6);  // a, aa, ab, abc, c and the end
  CHECK(strings.advance(matcher, *tokenizer.find("ab")));
  CHECK(!strings.mask(matcher).has(*tokenizer.eos()));

  // Anything, which is every token but controls and padding.
  TokenMasks anything(compile_paths({{{{.kind = TextPart::Kind::free}}}}), trie);
  size_t n_texts = 0;
  for (size_t i = 0; i < tokenizer.size(); ++i)
    n_texts += !tokenizer.is_control(static_cast<Token>(i)) && !tokenizer.is_unused(static_cast<Token>(i));
  CHECK(anything.mask(anything.start()).count() == n_texts + 1);  // and the end

  TokenMasks named(compile_paths({{{{.text = control_mark("<｜User｜>")}, {.text = "ab"}}}}), trie);
  Matcher marked = named.start();
  CHECK(named.mask(marked).count() == 1);
  CHECK(named.advance(marked, *tokenizer.find("<｜User｜>")));
  CHECK(named.mask(marked).count() == 2);  // a and ab
}
