// What a model says, as pieces of text and control tokens, and what a parser makes of it, however it is cut.
#pragma once

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "runtime/tools/call_parser.h"

namespace hearth::test {

struct SaidPiece {
  std::string text;
  bool control = false;
};
using Said = std::vector<SaidPiece>;

// Marks become control tokens, and what is between them text.
inline Said said_in_tokens(const std::string& text) {
  Said said;
  std::string plain;
  const auto add_plain = [&] {
    if (!plain.empty()) said.push_back({std::exchange(plain, {})});
  };
  for (size_t i = 0; i < text.size();) {
    const std::string_view rest = std::string_view(text).substr(i);
    std::string_view found;
    for (const std::string_view mark : kCallMarks)
      if (rest.starts_with(mark)) found = mark;
    if (found.empty()) {
      plain += text[i++];
      continue;
    }
    add_plain();
    said.push_back({std::string(found), true});
    i += found.size();
  }
  add_plain();
  return said;
}

struct SaidCall {
  std::string name, arguments;
  bool operator==(const SaidCall&) const = default;
};

// The sums of what came out.
struct Taken {
  std::string text;
  std::vector<SaidCall> calls;
  std::vector<size_t> text_before;  // each call: bytes
  bool over = false;
  size_t text_at_over = 0;
  bool operator==(const Taken&) const = default;
};

inline std::ostream& operator<<(std::ostream& out, const Taken& taken) {
  out << "text " << nlohmann::json(taken.text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  for (const SaidCall& call : taken.calls) out << " call " << call.name << " (" << call.arguments << ")";
  return out << (taken.over ? " over" : "");
}

class Taker {
 public:
  explicit Taker(const CallSyntax& syntax) : parser_(make_call_parser(syntax)) {}

  void push(const std::string& text, bool control = false) {
    std::vector<CallEvent> events;
    parser_->push(text, control, events);
    take(events);
  }
  Taken finish() {
    std::vector<CallEvent> events;
    parser_->finish(events);
    take(events);
    CHECK(!open_);
    return taken_;
  }
  const Taken& so_far() const { return taken_; }

 private:
  void take(const std::vector<CallEvent>& events) {
    using enum CallEvent::Kind;
    for (const CallEvent& event : events) {
      const bool sound = event.text.empty() == (event.kind == end || event.kind == over) &&
                         open_ == (event.kind == arguments || event.kind == end);
      if (!sound) CHECK_MESSAGE(sound, "event ", int(event.kind), " \"", event.text, "\"");  // there are millions
      if (event.kind == text) taken_.text += event.text;
      if (event.kind == arguments) taken_.calls.back().arguments += event.text;
      if (event.kind == begin) {
        taken_.calls.push_back({event.text, ""});
        taken_.text_before.push_back(taken_.text.size());
      }
      if (event.kind == over) {
        CHECK(!taken_.calls.empty());
        if (!taken_.over) taken_.text_at_over = taken_.text.size();
        taken_.over = true;
      }
      open_ = event.kind == begin || event.kind == arguments;
    }
  }

  std::unique_ptr<CallParser> parser_;
  Taken taken_;
  bool open_ = false;  // a call
};

inline Taken taken(const CallSyntax& syntax, const Said& said) {
  Taker taker(syntax);
  for (const SaidPiece& piece : said) taker.push(piece.text, piece.control);
  return taker.finish();
}

// Texts cut at these places of the whole; control tokens stay whole.
inline Taken taken_in_pieces(const CallSyntax& syntax, const Said& said, const std::vector<size_t>& cuts) {
  Taker taker(syntax);
  size_t at = 0;
  auto cut = cuts.begin();
  for (const SaidPiece& piece : said) {
    size_t begin = 0;
    for (; !piece.control && cut != cuts.end() && *cut < at + piece.text.size(); ++cut) {
      if (*cut < at + begin) continue;
      taker.push(piece.text.substr(begin, *cut - at - begin));
      begin = *cut - at;
    }
    taker.push(piece.text.substr(begin), piece.control);
    at += piece.text.size();
    while (cut != cuts.end() && *cut < at) ++cut;
  }
  return taker.finish();
}

inline size_t size_of(const Said& said) {
  size_t size = 0;
  for (const SaidPiece& piece : said) size += piece.text.size();
  return size;
}

// Every cut in two, byte by byte, and cuts by chance give what the whole gives.
inline void check_all_cuts(const CallSyntax& syntax, const Said& said) {
  const Taken whole = taken(syntax, said);
  const size_t size = size_of(said);
  std::vector<size_t> each;
  for (size_t i = 0; i <= size; ++i) {
    each.push_back(i);
    if (const Taken two = taken_in_pieces(syntax, said, {i}); !(two == whole)) CHECK_MESSAGE(two == whole, "cut ", i);
  }
  CHECK(taken_in_pieces(syntax, said, each) == whole);
  std::mt19937 random(unsigned(7 + size));
  for (int round = 0; round < 50; ++round) {
    std::vector<size_t> cuts;
    const size_t longest = 1 + random() % 40;
    for (size_t at = random() % longest; at < size; at += 1 + random() % longest) cuts.push_back(at);
    if (const Taken many = taken_in_pieces(syntax, said, cuts); !(many == whole)) CHECK(many == whole);
  }
}

// What comes out of `text`, in whatever pieces.
inline Taken said_of(const CallSyntax& syntax, const std::string& text) {
  const Said said = syntax.marks_are_tokens ? said_in_tokens(text) : Said{{text}};
  CAPTURE(text);
  check_all_cuts(syntax, said);
  return taken(syntax, said);
}

// `made` calls behind `before`, and nothing else.
inline Taken only_calls(std::vector<SaidCall> made, const std::string& before = "", bool over = false) {
  Taken taken{before, std::move(made), {}, over};
  taken.text_before.assign(taken.calls.size(), before.size());
  if (over) taken.text_at_over = before.size();
  return taken;
}
inline Taken only_text(const std::string& text) {
  return {.text = text};
}

}  // namespace hearth::test
