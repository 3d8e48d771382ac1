// Thoughts told apart from the answer, while the text is still coming.
#pragma once

#include <string>
#include <string_view>

namespace hearth {

struct SplitText {
  std::string thoughts, answer;
  bool operator==(const SplitText&) const = default;
};

// Thoughts stand between <think> and </think> at the beginning of what a model says; the tags and the line ends around
// them belong to neither. A prompt may have opened them already. However the text is cut into pieces, the sums of what
// comes out are the same.
//
// A </think> that nothing opened stays text of the answer: what stands before it has been shown as such, and people
// write about tags. So does every tag after the answer began.
class ThoughtSplitter {
 public:
  //   opened: the prompt ended inside <think>;  lead: blanks in front of the answer that are not part of it
  explicit ThoughtSplitter(bool opened, std::string_view lead = "");

  SplitText push(std::string_view text);                     // what has become certain
  SplitText finish();                                        // the rest; thoughts without an end are thoughts
  bool inside() const { return state_ == State::thoughts; }  // thinking now

 private:
  enum class State { start, thoughts, after_thoughts, answer };

  bool step(SplitText& out);

  State state_;
  std::string lead_;
  std::string pending_;       // not yet certain
  bool at_beginning_ = true;  // of the thoughts
};

}  // namespace hearth
