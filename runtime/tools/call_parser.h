// Function calls in what a model writes, told apart while the text is still coming.
//
// Each family of models has a way of its own to write a call down; a parser knows one of them. What the ways have in
// common: a call is certain, and begins, once its head is complete and its arguments have shown that they are an
// object. From there on its arguments are handed out as they come, as long as they are the beginning of JSON. What is
// not certain yet is held back, in bounded memory; what turns out to be no call is text, to the last byte. Arguments
// that stop being JSON end their call there, and what follows is text.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace hearth {

struct CallEvent {
  // over: the calls are made, and what the model goes on to say is not for whoever asked (some invent results).
  enum class Kind { text, begin, arguments, end, over } kind;
  std::string text = {};  // of text and arguments: some more, never none; of begin: the function's name
  bool operator==(const CallEvent&) const = default;
};

// However the text is cut into pieces, the sums of what comes out are the same.
class CallParser {
 public:
  virtual ~CallParser() = default;

  // Adds what has become certain to `out`.
  //   control: the text is that of one of the vocabulary's control tokens, whole
  virtual void push(std::string_view text, bool control, std::vector<CallEvent>& out) = 0;
  // The rest: a call that was begun ends.
  virtual void finish(std::vector<CallEvent>& out) = 0;
};

enum class CallFormat {
  marked,  // V2.5, V3, R1: control tokens around the name and fenced JSON; V3.1: without fences
  dsml,    // V3.2: tags with ｜DSML｜, a parameter each
  tagged,  // any model: {"name": ..., "arguments": {...}} between <tool_call> and </tool_call> (docs/serving.md)
};

// What a model is known to be able to say.
struct CallSyntax {
  CallFormat format = CallFormat::tagged;
  // The vocabulary has the marks as control tokens: they count only where they come as such, so that no text that a
  // model repeats is a call. Of `marked` alone.
  bool marks_are_tokens = false;
  bool fenced = true;  // the model stands arguments in ```json (V2.5, V3, R1) or not (V3.1). Of `marked` alone
  // Of the functions that there are: in formats of plain text a call of another is text. None: all names count.
  std::vector<std::string> names = {};

  // Whether calls are looked for in thoughts too: there, models muse about tags, but a control token is none by chance.
  bool in_thoughts() const { return format == CallFormat::marked && marks_are_tokens; }
};

std::unique_ptr<CallParser> make_call_parser(const CallSyntax& syntax);

// The marks of `marked`, in the order: list of calls begins and ends, call begins and ends, between its type and name.
inline constexpr std::string_view kCallMarks[] = {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>",
                                                  "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"};

}  // namespace hearth
