#include "runtime/tokenizer/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cassert>
#include <cstdint>
#include <string>

#include "quant/error.h"
#include "quant/llm_letters.h"
#include "runtime/tokenizer/pretokenizer_ranges.h"

namespace hearth {

namespace {

using namespace ranges;

struct Free {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
using MatchData = std::unique_ptr<pcre2_match_data, Free>;

// U+4E00..U+9FA5, U+0800..U+4E00 and Hangul: one class, written as its authors did.
constexpr const char* kCjk = R"([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";

// The steps of each pre-tokenizer, in order. Where the original would look at a long run of spaces once for every
// space in it, the same matches are written so that it is looked at once.
std::vector<std::string> patterns(std::string_view name) {
  const std::string space = kSpace;
  const std::string letters = std::string(R"(\p{L})") + kNewLetters, marks = std::string(R"(\p{M})") + kNewMarks,
                    numbers = std::string(R"(\p{N})") + kNewNumbers, symbols = std::string(R"(\p{S})") + kNewSymbols,
                    punctuation = std::string(R"(\p{P})") + kNewPunctuation;
  if (name == "deepseek-llm")
    return {
        R"([\r\n])",
        "[" + space + "]?[" + kLlmLetters + "]+",
        "[" + space + "]?" + R"([!-\/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)",
        "(?<![" + space + "])[" + space + "]++\\z",  // \s+$
        kCjk,
        "[" + numbers + "]",
    };
  if (name == "deepseek-coder")
    return {
        R"([\r\n])",         "[" + space + "]?[" + letters + "]+", "[" + space + "]?[" + punctuation + "]+", kCjk,
        "[" + numbers + "]",
    };
  if (name == "deepseek-v3")
    return {
        "[" + numbers + "]{1,3}",
        R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)",
        R"([!"#$%&'()*+,\-.\/:;<=>?@\[\\\]^_`{|}~][A-Za-z]+)"
        R"(|[^\r\n)" +
            letters + punctuation + symbols + "]?[" + letters + marks + "]+" +  //
            "| ?[" + punctuation + symbols + R"(]+[\r\n]*)" +                   //
            "|[" + space + R"(]*[\r\n]+)" +                                     //
            "|[" + space + "]+(?![^" + space + "])" +                           // \s+(?!\S)
            "|[" + space + "]+",
    };
  return {};
}

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

// One pattern, compiled.
class PreTokenizer::Step {
 public:
  explicit Step(const std::string& pattern) : context_(pcre2_match_context_create(nullptr)) {
    int error = 0;
    size_t offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF, &error, &offset,
                              nullptr));
    require(code_ != nullptr && context_ != nullptr, ErrorKind::resource,
            "PCRE2 refuses a pattern of the pre-tokenizer at {}: {}", offset, pcre2_message(error));
    compiled_ = pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE) == 0;  // without: the same matches, slower
    // Its guard against patterns that explode; ours take linear time, and texts may be long.
    pcre2_set_match_limit(context_.get(), UINT32_MAX);
  }

  // Appends the matches in `text` and the gaps between them.
  void split(std::string_view text, pcre2_match_data* data, std::vector<std::string_view>& pieces) const {
    size_t done = 0;
    while (done < text.size()) {
      // What follows the piece is no context for it, but what precedes a match inside it is.
      const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
      const int found =
          compiled_ ? pcre2_jit_match(code_.get(), subject, text.size(), done, PCRE2_NO_UTF_CHECK, data, context_.get())
                    : pcre2_match(code_.get(), subject, text.size(), done, PCRE2_NO_UTF_CHECK, data, context_.get());
      if (found == PCRE2_ERROR_NOMATCH) break;
      require(found >= 0, ErrorKind::resource, "PCRE2 gives up on a text of {} bytes: {}", text.size(),
              pcre2_message(found));
      const size_t* bounds = pcre2_get_ovector_pointer(data);
      assert(bounds[1] > bounds[0]);
      if (bounds[0] > done) pieces.push_back(text.substr(done, bounds[0] - done));
      pieces.push_back(text.substr(bounds[0], bounds[1] - bounds[0]));
      done = bounds[1];
    }
    if (done < text.size()) pieces.push_back(text.substr(done));
  }

 private:
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_context, Free> context_;
  bool compiled_ = false;
};

PreTokenizer::PreTokenizer(std::string_view name, std::string_view source) {
  for (const std::string& pattern : patterns(name)) steps_.emplace_back(pattern);
  require(!steps_.empty(), ErrorKind::model,
          "{}: pre-tokenizer '{}' is not supported (deepseek-llm, deepseek-coder and deepseek-v3 are)", source, name);
}

PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;

std::vector<std::string_view> PreTokenizer::split(std::string_view text) const {
  // One pair of offsets is all that is asked for.
  const MatchData data(pcre2_match_data_create(1, nullptr));
  require(data != nullptr, ErrorKind::resource, "out of memory for PCRE2");
  std::vector<std::string_view> pieces, next;
  if (!text.empty()) pieces.push_back(text);
  for (const Step& step : steps_) {
    next.clear();
    for (const std::string_view piece : pieces) step.split(piece, data.get(), next);
    pieces.swap(next);
  }
  return pieces;
}

}  // namespace hearth
