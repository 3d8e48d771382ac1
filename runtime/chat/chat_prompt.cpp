#include "runtime/chat/chat_prompt.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "runtime/tokenizer/utf8.h"

namespace hearth {

namespace {

bool all_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

// Where in the whole text an answer's tokens go.
struct Stretch {
  size_t begin, end;
  const RememberedAnswer* answer;
  bool unclosed;  // the template ends the turn earlier than the model did
};

class Replay {
 public:
  Replay(std::span<const OriginPiece> pieces, const Tokenizer& tokenizer) : pieces_(pieces), tokenizer_(tokenizer) {
    for (const OriginPiece& piece : pieces) {
      begins_.push_back(text_.size());
      text_ += piece.text;
    }
    begins_.push_back(text_.size());
    if (tokenizer.eos()) eos_ = tokenizer.bytes_of(*tokenizer.eos(), true);
  }

  std::optional<Stretch> find(const RememberedAnswer& answer) const {
    const auto is_own = [&](const OriginPiece& piece) {
      return !piece.origin.trusted && piece.origin.message == answer.message;
    };
    const auto first = std::find_if(pieces_.begin(), pieces_.end(), is_own);
    if (first == pieces_.end()) return std::nullopt;
    size_t last = size_t(first - pieces_.begin());
    size_t low = last, high = last + 1;  // pieces around that are the template's or the message's own
    while (low > 0 && pieces_[low - 1].origin.trusted) --low;
    for (; high < pieces_.size() && (pieces_[high].origin.trusted || is_own(pieces_[high])); ++high)
      if (is_own(pieces_[high])) last = high;
    if (std::any_of(pieces_.begin() + ptrdiff_t(high), pieces_.end(), is_own)) return std::nullopt;
    return align(answer, begins_[size_t(first - pieces_.begin())], begins_[last + 1], begins_[low], begins_[high]);
  }

  std::vector<PromptPart> parts(const std::vector<Stretch>& stretches) const {
    std::vector<PromptPart> parts;
    size_t done = 0;
    for (const Stretch& stretch : stretches) {
      append(done, stretch.begin, parts);
      parts.push_back({"", false, stretch.answer->tokens});
      if (stretch.unclosed && !view(stretch.end).starts_with(eos_)) parts.push_back({eos_, true});
      done = stretch.end;
    }
    append(done, text_.size(), parts);
    return parts;
  }

 private:
  std::string_view view(size_t begin, size_t end = std::string_view::npos) const {
    return std::string_view(text_).substr(begin, end == std::string_view::npos ? end : end - begin);
  }

  // The message's words are [begin, end); a stretch lies inside [low, high).
  std::optional<Stretch> align(const RememberedAnswer& answer, size_t begin, size_t end, size_t low,
                               size_t high) const {
    const std::string said = repair_utf8(tokenizer_.decode(answer.tokens, true));
    const std::string_view words = view(begin, end), before = view(low, begin), after = view(end, high);
    for (size_t at = said.find(words); at != std::string::npos; at = said.find(words, at + 1)) {
      const std::string_view lead = std::string_view(said).substr(0, at);
      const std::string_view tail = std::string_view(said).substr(at + words.size());
      size_t in_front = lead.size();
      if (all_blank(lead))
        while (!before.ends_with(lead.substr(0, in_front))) --in_front;
      else if (!before.ends_with(lead))
        continue;
      if (after.starts_with(tail)) return Stretch{begin - in_front, end + tail.size(), &answer, false};
      if (!answer.made_calls) continue;
      const size_t same =
          size_t(std::mismatch(tail.begin(), tail.end(), after.begin(), after.end()).first - tail.begin());
      const size_t whole = whole_tokens(answer.tokens, at + words.size() + same);
      if (whole >= at + words.size()) return Stretch{begin - in_front, end + whole - at - words.size(), &answer, true};
    }
    return std::nullopt;
  }

  // Bytes of as many tokens as fit into `bytes`.
  size_t whole_tokens(std::span<const Token> tokens, size_t bytes) const {
    size_t sum = 0;
    for (const Token token : tokens) {
      const size_t size = tokenizer_.bytes_of(token, true).size();
      if (sum + size > bytes) break;
      sum += size;
    }
    return sum;
  }

  void append(size_t begin, size_t end, std::vector<PromptPart>& parts) const {
    for (size_t i = 0; i < pieces_.size(); ++i) {
      const size_t from = std::max(begin, begins_[i]), to = std::min(end, begins_[i + 1]);
      if (from >= to) continue;
      const bool special = pieces_[i].origin.trusted;
      if (parts.empty() || parts.back().special != special || !parts.back().tokens.empty())
        parts.push_back({"", special});
      parts.back().text += view(from, to);
    }
  }

  std::span<const OriginPiece> pieces_;
  const Tokenizer& tokenizer_;
  std::string text_;
  std::vector<size_t> begins_;  // of the pieces in text_, and its end
  std::string eos_;
};

}  // namespace

std::vector<PromptPart> prompt_parts(std::span<const OriginPiece> pieces, std::span<const RememberedAnswer> answers,
                                     const Tokenizer& tokenizer) {
  const Replay replay(pieces, tokenizer);
  std::vector<Stretch> stretches;
  for (const RememberedAnswer& answer : answers) {
    const auto found = replay.find(answer);
    if (found && (stretches.empty() || stretches.back().end <= found->begin)) stretches.push_back(*found);
  }
  return replay.parts(stretches);
}

}  // namespace hearth
