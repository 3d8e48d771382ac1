#include "runtime/cli/chat/words.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace hearth::cli {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

std::string_view without_blanks(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
}

// Damerau and Levenshtein's, with neighbours that may be exchanged once.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i)
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        d[i][j] = i + j;
        continue;
      }
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[a.size()][b.size()];
}

}  // namespace

std::string grouped(int64_t number) {
  std::string digits = std::to_string(number);
  for (size_t at = digits.size(); at > 3 && digits[at - 4] != '-'; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

SplitLine split_first_word(std::string_view line) {
  const std::string_view word = line.substr(0, line.find_first_of(kBlanks));
  return {std::string(word), std::string(without_blanks(line.substr(word.size())))};
}

std::string typed_path(std::string_view typed) {
  typed = without_blanks(typed);
  const bool quoted = typed.size() >= 2 && (typed[0] == '"' || typed[0] == '\'') && typed.back() == typed[0];
  if (quoted) typed = typed.substr(1, typed.size() - 2);
  std::string path(typed);
  const char* const home = std::getenv("HOME");
  if (home && (path == "~" || path.starts_with("~/"))) path.replace(0, 1, home);
  return path;
}

std::string_view nearest_word(std::string_view word, std::span<const std::string_view> known) {
  constexpr size_t kLongest = 40;  // nobody means anything by more
  if (word.empty() || word.size() > kLongest) return {};
  const auto begins = [&](std::string_view candidate) { return candidate.starts_with(word); };
  if (std::ranges::count_if(known, begins) == 1) return *std::ranges::find_if(known, begins);
  const size_t most = word.size() > 4 ? 2 : 1;
  std::string_view nearest;
  size_t least = most + 1;
  for (const std::string_view candidate : known)
    if (const size_t d = distance(word, candidate); d < least) {
      least = d;
      nearest = candidate;
    }
  return nearest;
}

std::string last_code_block(std::string_view markdown) {
  std::string block, last;
  std::string fence;  // that the block's end must have; "": outside
  for (size_t at = 0; at < markdown.size();) {
    const size_t end = std::min(markdown.find('\n', at), markdown.size());
    const std::string_view line = markdown.substr(at, end - at);
    at = end + 1;
    const std::string_view begun = line.substr(std::min(line.find_first_not_of(' '), line.size()));
    const char mark = begun.empty() ? '\0' : begun[0];
    const size_t length = std::min(begun.find_first_not_of(mark), begun.size());
    const bool is_fence = (mark == '`' || mark == '~') && length >= 3 && line.size() - begun.size() < 4;
    if (fence.empty()) {
      if (is_fence && (mark != '`' || begun.find('`', length) == std::string_view::npos)) {
        fence = begun.substr(0, length);
        block.clear();
      }
    } else if (is_fence && begun.starts_with(fence) && without_blanks(begun.substr(length)).empty()) {
      fence.clear();
      last = block;
    } else {
      block.append(line) += '\n';
    }
  }
  if (!fence.empty()) last = block;
  if (last.ends_with('\n')) last.pop_back();
  return last;
}

}  // namespace hearth::cli
