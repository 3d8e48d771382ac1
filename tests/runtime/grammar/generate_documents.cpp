// Documents at random, for tests/golden/validate_documents.py: reads schemas, one a line, and writes for each some
// documents that its automaton finished, or what it refused.
//
//   generate_documents --judge [--formats] < LINES > VERDICTS
//   each line an array: a schema, and texts of documents; each verdict a digit for each text, 1: accepted; or
//   "refused: WHY"
//   generate_documents --complete < LINES > DOCUMENTS
//   each line an array: a schema, and the beginning of a document; each line an array: the document, or nothing where
//   there is none that begins like that
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

enum class Outcome { finished, cut, dead_end };

// Goes on with the text, by chance, until it may end.
//   most: bytes;  pieces: what is tried as a whole now and then, for names that chance does not find
Outcome write_on(Matcher& matcher, std::string& text, size_t most, std::mt19937& random,
                 const std::vector<std::string>& pieces = {}) {
  const size_t begun = text.size();
  while (text.size() < begun + most) {
    const auto allowed = matcher.allowed();
    if (allowed.none() && !matcher.may_end()) return Outcome::dead_end;
    if (matcher.may_end() && (allowed.none() || random() % 4 == 0)) return Outcome::finished;
    if (!pieces.empty() && random() % 3 == 0) {
      const std::string& piece = pieces[random() % pieces.size()];
      Matcher ahead = matcher;
      if (ahead.advance(piece) == piece.size()) {
        matcher = ahead;
        text += piece;
        continue;
      }
    }
    // Bytes that close something more and more often, so that documents end.
    const bool closing = random() % 400 < std::min<size_t>(60 + text.size() - begun, 300);
    uint8_t byte = 0;
    for (int tries = 0;; ++tries) {
      byte = static_cast<uint8_t>(random());
      if (closing && tries < 60)
        byte = static_cast<uint8_t>("\"}]\"}]\":,10"[random() % 11]);
      else if (tries < 200 && random() % 10 != 0)
        byte = static_cast<uint8_t>(0x20 + random() % 95);
      const bool blank = byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r';
      if (tries < 200 && blank && random() % 8 != 0) continue;
      if (allowed[byte]) break;
    }
    matcher.advance(byte);
    text += static_cast<char>(byte);
  }
  return Outcome::cut;
}

// Every string that a schema has, in quotes, by itself and as an object's first member.
std::vector<std::string> strings_in(const std::string& schema) {
  std::vector<std::string> found;
  for (size_t begin = schema.find('"'); begin != schema.npos;) {
    const size_t end = schema.find('"', begin + 1);
    if (end == schema.npos) break;
    found.push_back(schema.substr(begin, end + 1 - begin));
    found.push_back("{" + found.back() + ":0");
    begin = schema.find('"', end + 1);
  }
  return found;
}

int complete() {
  std::mt19937 random(1);
  for (std::string line; std::getline(std::cin, line);) {
    const JsonValue all = parse_json(line);
    const std::string& beginning = all.items[1].text;
    std::string found;
    Matcher begun(compile_schema(json_text(all.items[0])));
    const bool taken = begun.advance(beginning) == beginning.size();
    const auto pieces = strings_in(json_text(all.items[0]));
    for (int tries = 0; taken && tries < 3000 && found.empty(); ++tries) {
      Matcher matcher = begun;
      std::string text = beginning;
      if (write_on(matcher, text, 1000, random, pieces) == Outcome::finished) found = json_string(text);
    }
    std::cout << "[" << found << "]\n";
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "1";
  if (mode == "--judge") return judge(argc > 2 && std::string(argv[2]) == "--formats");
  if (mode == "--complete") return complete();
  std::mt19937 random(static_cast<unsigned>(std::stoul(mode)));
  int number = 0;
  for (std::string line; std::getline(std::cin, line); ++number) {
    try {
      const auto grammar = compile_schema(line);
      for (int round = 0; round < 3; ++round) {
        Matcher matcher(grammar);
        std::string text;
        const Outcome outcome = write_on(matcher, text, 3000, random);
        const char* const word = outcome == Outcome::finished   ? "document"
                                 : outcome == Outcome::dead_end ? "dead end"
                                                                : "cut";
        fmt::print("{{\"schema\": {}, \"{}\": {}}}\n", number, word, json_string(whole(text)));
      }
    } catch (const hearth::Error& error) {
      fmt::print("{{\"schema\": {}, \"refused\": {}}}\n", number, json_string(error.what()));
    }
  }
}
