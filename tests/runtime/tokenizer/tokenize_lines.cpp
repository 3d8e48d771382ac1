// For tests/golden/crosscheck_tokenizer.py: reads texts, one in hex on each line, and writes their token ids, a line
// for each. Control tokens count as text unless --special.
//   tokenize_lines VOCABULARY [--special]      VOCABULARY: a GGUF file, or a folder with DeepSeek-V3's tokenizer.json
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <string>

#include "convert/tokenizer_json.h"
#include "quant/error.h"
#include "quant/gguf.h"
#include "runtime/tokenizer/tokenizer.h"

int main(int argc, char** argv) {
  using namespace hearth;
  const std::string path = argc > 1 ? argv[1] : "";
  const bool special = argc > 2 && std::string(argv[2]) == "--special";
  try {
    GgufMetadata metadata;
    if (std::filesystem::is_directory(path))
      add_tokenizer_metadata(read_hf_tokenizer(path, 129280), metadata);
    else
      metadata = GgufFile::open(path).metadata();
    const Tokenizer tokenizer(metadata);
    for (std::string line; std::getline(std::cin, line);) {
      std::string text;
      for (size_t i = 0; i + 1 < line.size(); i += 2) text += char(std::stoi(line.substr(i, 2), nullptr, 16));
      for (const Token token : tokenizer.encode(text, special)) std::printf("%d ", token);
      std::printf("\n");
    }
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
