// What Tab may add to a line that is typed in a chat.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hearth::cli {

struct Completion {
  std::string insert;                // at the cursor; "" if nothing is sure
  std::vector<std::string> choices;  // what may follow, when it is not sure: names without their folders
};

// For the text before the cursor. At its beginning, one of `commands` ("/help", "/system ", "/set seed ", "/read
// PATH"), word by word; behind one that names a PATH, the path; elsewhere a path where a word begins with /, ./, ../ or
// ~/.
Completion complete(std::string_view before, const std::vector<std::string>& commands);

// Choices as rows of a screen; of very many only the first.
std::string listed(const std::vector<std::string>& choices);

}  // namespace hearth::cli
