// Cuts text into the words that byte-pair merging works inside of (docs/model.md section 6).
#pragma once

#include <memory>
#include <string_view>
#include <vector>

namespace hearth {

class PreTokenizer {
 public:
  // `name` is the value of tokenizer.ggml.pre. Throws Error(model), naming `source`, for one not of this family.
  PreTokenizer(std::string_view name, std::string_view source);
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;

  // `text`: well-formed UTF-8. The words, joined, are the text; they point into it. Takes time linear in the text,
  // whatever it holds. May be called from several threads.
  std::vector<std::string_view> split(std::string_view text) const;

 private:
  class Step;
  std::vector<Step> steps_;
};

}  // namespace hearth
