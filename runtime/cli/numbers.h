// Numbers on the command line: validators for CLI11 that say in plain words what an option expects and what it found.
// Each is put on an option by ->transform(...), as it turns what people write into what CLI11 reads.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tokenizer/tokenizer.h"

namespace hearth::cli {

// A whole number within [least, most]: "8". Not "1e3", "0x8", "8.0".
CLI::Validator whole_number(int64_t least, int64_t most);

// A decimal number within [least, most]: "0.95", "1e-3". Never nan or inf.
CLI::Validator decimal_number(double least, double most);

// Tokens within [least, most]: "4096", "4k", "32K" (runtime/support/size_text.h).
CLI::Validator token_count(int64_t least, int64_t most);

// --ctx: tokens from 1 on; "0" is the model's own limit, and becomes kWholeContext.
constexpr int64_t kMostTokens = int64_t(1) << 24;
constexpr int64_t kWholeContext = int64_t(1) << 62;
CLI::Validator context_length();

// --ubatch, as it is where it is not given.
constexpr const char* kUbatchHelp =
    "prompt tokens run at once (default: up to 4096, as the model and memory have it; where a GPU has all of it 2048)";

// -n of an answer: tokens from 1 on; "-1" is no limit.
CLI::Validator answer_length();

// A size of memory: "16G", "16GB", "16GiB" (runtime/support/size_text.h). The first only looks: the option stays as it
// was typed; the second gives bytes.
CLI::Validator memory_size();
CLI::Validator memory_bytes();

// --seed: a number of 64 bits; "random" and "-1" become one that the system draws.
CLI::Validator seed_number();

// Ids separated by commas: "1,2,3", blanks around them allowed. Throws Error(usage) naming `option`: none, an empty
// place, no number, one that no vocabulary has.
std::vector<Token> parse_token_ids(std::string_view text, std::string_view option);

}  // namespace hearth::cli
