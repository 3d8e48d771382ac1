// Options that are one of a few words.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "quant/format.h"

namespace hearth::cli {

template <class T>
struct Choice {
  const char* word;
  T value;
};

// `value`, which must outlive the command, becomes what the word on the command line means; --help shows the words, and
// which one it is without the option.
template <class T>
CLI::Option* add_choice(CLI::App& command, const std::string& name, T& value, const std::vector<Choice<T>>& choices,
                        const std::string& description) {
  std::vector<std::string> words;
  std::string word_now;
  for (const Choice<T>& choice : choices) {
    words.emplace_back(choice.word);
    if (choice.value == value) word_now = choice.word;
  }
  const auto choose = [&value, choices](const std::string& word) {
    for (const Choice<T>& choice : choices)
      if (word == choice.word) value = choice.value;
  };
  return command.add_option_function<std::string>(name, choose, description)
      ->check(CLI::IsMember(words))
      ->default_str(word_now);
}

inline CLI::Option* add_cache_type(CLI::App& command, FormatId& value) {
  return add_choice<FormatId>(command, "--cache-type", value, {{"bf16", FormatId::bf16}, {"f32", FormatId::f32}},
                              "number format of the KV cache");
}

inline const char* cache_type_name(FormatId format) {
  return format == FormatId::f32 ? "f32" : "bf16";
}

}  // namespace hearth::cli
