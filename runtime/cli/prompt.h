// What a person gives to be read: in an option or as a word of the command line, in a file, through a pipe.
#pragma once

#include <optional>
#include <string>

namespace hearth::cli {

struct PromptSources {
  std::optional<std::string> text;  // as typed: taken to the letter
  std::string text_name;            // the option it came with, for errors
  std::string file;                 // empty: none; "-": standard input
};

// All that was given, in the order text, file, standard input, an empty line between them. Standard input is looked at
// where it is a pipe or a file; one that is open and stays silent beside another source is left alone after some
// seconds, which is said. Of files and pipes a byte order mark and carriage returns at line ends are not text, nor is
// the last line's end (echo's). Throws Error(usage): nothing was given, not UTF-8; Error(file): cannot be read.
std::string read_prompt(const PromptSources& sources);

}  // namespace hearth::cli
