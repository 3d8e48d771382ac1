// How long schemas take to compile, and masks to compute, over a file of cases: tests/golden/make_schemas.py writes
// one. Each line is {"schema": ..., "data": ...}, the data a document that satisfies it; its text is read token by
// token, and before each the mask is asked for.
//
//   build/tests/schema_bench VOCABULARY CASES.jsonl [ROWS]
//
// VOCABULARY: a GGUF file, or a folder with DeepSeek-V3's tokenizer.json.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "convert/tokenizer_json.h"
#include "quant/gguf.h"
#include "runtime/grammar/json_value.h"
#include "runtime/grammar/token_masks.h"
#include "runtime/grammar/tokenizer_trie.h"
#include "tests/runtime/grammar/json_text.h"

using namespace hearth;
using namespace hearth::grammar;

namespace {

double microseconds(const std::function<void()>& what) {
  const auto from = std::chrono::steady_clock::now();
  what();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - from).count();
}

void print(const char* what, std::vector<double> times) {
  std::sort(times.begin(), times.end());
  double sum = 0;
  for (const double t : times) sum += t;
  const auto at = [&](double p) { return times[static_cast<size_t>(p * double(times.size() - 1))]; };
  fmt::print("{:8} n {:7}  average {:8.1f}  p50 {:8.1f}  p90 {:8.1f}  p99 {:8.1f}  max {:9.1f} us\n", what,
             times.size(), sum / double(times.size()), at(0.5), at(0.9), at(0.99), times.back());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return fmt::print("schema_bench VOCABULARY.gguf CASES.jsonl [ROWS]\n"), 2;
  GgufMetadata metadata;
  if (std::filesystem::is_directory(argv[1]))
    add_tokenizer_metadata(read_hf_tokenizer(argv[1], 129280), metadata);
  else
    metadata = GgufFile::open(argv[1]).metadata();
  const Tokenizer tokenizer(metadata);
  std::shared_ptr<const TokenTrie> trie;
  const double trie_time =
      microseconds([&] { trie = token_trie_of(tokenizer, argc > 3 ? std::stoul(argv[3]) : tokenizer.size()); });
  fmt::print("trie: {} nodes without quotes, {} with, {:.0f} ms\n", trie->plain().nodes.size(),
             trie->quoted().nodes.size(), trie_time / 1000);
  std::vector<double> compiles, masks;
  int refused = 0, stopped = 0;
  std::ifstream in(argv[2]);
  for (std::string line; std::getline(in, line);) {
    const JsonValue test = parse_json(line);
    const std::string schema = json_text(*test.find("schema")), data = json_text(*test.find("data"));
    std::shared_ptr<const Grammar> grammar;
    try {
      compiles.push_back(microseconds([&] { grammar = compile_schema(schema); }));
    } catch (const Refusal& refusal) {
      ++refused;
      if (std::getenv("SHOW")) fmt::print("refused: {}\n", refusal.what());
      continue;
    }
    TokenMasks allowed(grammar, trie);
    Matcher matcher = allowed.start();
    std::vector<Token> tokens = tokenizer.encode(data, false);
    tokens.push_back(*tokenizer.eos());
    std::string so_far;
    for (const Token token : tokens) {
      bool may_come = false;
      const double time = microseconds([&] { may_come = allowed.mask(matcher).has(token); });
      masks.push_back(time);
      if (time > 1000 && std::getenv("SHOW")) fmt::print("{:.0f} us: {} after {}\n", time, schema, so_far);
      if (!may_come || !allowed.advance(matcher, token)) {
        ++stopped;
        if (std::getenv("SHOW")) fmt::print("stopped: {} {} after {}\n", schema, data, so_far);
        break;
      }
      so_far += tokenizer.bytes_of(token);
    }
  }
  print("compile", compiles);
  print("mask", masks);
  fmt::print("{} refused, {} documents stopped\n", refused, stopped);
}
