// Documents at random, for tests/golden/validate_documents.py: reads schemas, one a line, and writes for each some
// documents that its automaton finished, or what it refused.
//
//   generate_documents --judge [--formats] < LINES > VERDICTS
//   each line an array: a schema, and texts of documents; each verdict a digit for each text, 1: accepted; or
//   "refused: WHY"
//   generate_documents [SEED] < SCHEMAS > LINES
//   each line {"schema": N, "document": TEXT}, {"schema": N, "cut": TEXT} (it was not finished), or
//   {"schema": N, "refused": WHY}
#include <fmt/format.h>

#include <iostream>
#include <random>
#include <string>

#include "runtime/grammar/grammar.h"
#include "tests/runtime/grammar/json_text.h"

using namespace hearth::grammar;

namespace {

// UTF-8 that is cut within a character is no text: what is written then is shorter.
std::string whole(std::string text) {
  const size_t bad = first_ill_formed(text);
  return bad == text.npos ? text : text.substr(0, bad);
}

int judge(bool formats) {
  for (std::string line; std::getline(std::cin, line);) {
    const JsonValue all = parse_json(line);
    std::string verdict;
    try {
      const auto grammar = compile_schema(json_text(all.items[0]), {.formats = formats});
      for (size_t i = 1; i < all.items.size(); ++i) {
        Matcher matcher(grammar);
        const std::string& text = all.items[i].text;
        verdict += matcher.advance(text) == text.size() && matcher.may_end() ? '1' : '0';
      }
    } catch (const hearth::Error& error) {
      verdict = std::string("refused: ") + error.what();
    }
    std::cout << verdict << "\n";
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "--judge") return judge(argc > 2 && std::string(argv[2]) == "--formats");
  std::mt19937 random(argc > 1 ? static_cast<unsigned>(std::stoul(argv[1])) : 1);
  int number = 0;
  for (std::string line; std::getline(std::cin, line); ++number) {
    try {
      const auto grammar = compile_schema(line);
      for (int round = 0; round < 3; ++round) {
        Matcher matcher(grammar);
        std::string text;
        bool finished = false;
        while (!finished && text.size() < 3000) {
          const auto allowed = matcher.allowed();
          if (allowed.none() && !matcher.may_end()) {
            fmt::print("{{\"schema\": {}, \"dead end\": {}}}\n", number, json_string(whole(text)));
            break;
          }
          if (matcher.may_end() && (allowed.none() || random() % 4 == 0)) {
            finished = true;
            break;
          }
          // Bytes that close something more and more often, so that documents end.
          const bool closing = random() % 400 < 60 + text.size();
          uint8_t byte = 0;
          for (int tries = 0;; ++tries) {
            byte = static_cast<uint8_t>(random());
            if (closing && tries < 60)
              byte = static_cast<uint8_t>("\"}]\"}]\":,10"[random() % 11]);
            else if (tries < 200 && random() % 10 != 0)
              byte = static_cast<uint8_t>(0x20 + random() % 95);
            if (tries < 200 && (byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r') && random() % 8 != 0)
              continue;
            if (allowed[byte]) break;
          }
          matcher.advance(byte);
          text += static_cast<char>(byte);
        }
        fmt::print("{{\"schema\": {}, \"{}\": {}}}\n", number, finished ? "document" : "cut", json_string(whole(text)));
      }
    } catch (const hearth::Error& error) {
      fmt::print("{{\"schema\": {}, \"refused\": {}}}\n", number, json_string(error.what()));
    }
  }
}
