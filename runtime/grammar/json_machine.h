// A schema run over the bytes of a document. JSON's own syntax decides where a byte stands; what the schema says is a
// set of ways to read it, each a state of what is being read and the arrays and objects around it.
//
// Blank space is taken wherever JSON has it, but not behind the document; escapes and UTF-8 as RFC 8259 has them, but
// for halves of surrogate pairs; names of an object are different from one another.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/grammar/json_frame.h"
#include "runtime/grammar/json_program.h"

namespace hearth::grammar {

struct JsonState {
  enum class Phase : uint8_t {
    dead,
    value,        // a value comes: Way::a is its node
    string,       // a: the state of the string
    number,       // a: the state of the number
    word,         // null, true or false
    array_open,   // behind '[': an item or ']'
    object_open,  // behind '{': a name or '}'
    name_wait,    // behind ',' in an object
    name,         // a: the state among known names, b: among others; -1: none
    colon,        // behind a name: a is the node of its value
    after_value,
  };
  struct Way {
    int32_t a = -1, b = -1;
    FramePtr frame = {};
  };
  Phase phase = Phase::value;
  uint8_t word = 0, at = 0;  // which one, how much of it was read; of a number, where blanks are few
  uint8_t blanks = 0;        // just read, where they are few: see JsonMachine::step_blank
  std::vector<Way> ways = {};
  std::string name = {};  // as far as it was read, as written
};

class JsonMachine {
 public:
  JsonMachine(std::unique_ptr<JsonProgram> program, bool few_blanks)
      : program_(std::move(program)), few_blanks_(few_blanks) {}

  JsonState start() const;
  // False: the document cannot go on like that; the state is dead then.
  bool advance(JsonState& state, uint8_t byte) const;
  bool may_end(const JsonState& state) const;

  JsonProgram& program() const { return *program_; }
  static uint64_t hash(const JsonState& state);
  static bool same(const JsonState& a, const JsonState& b);

 private:
  using Way = JsonState::Way;
  using Phase = JsonState::Phase;

  bool step_blank(JsonState& state, uint8_t byte) const;
  bool begin_value(JsonState& state, uint8_t byte) const;
  bool step_string(JsonState& state, uint8_t byte) const;
  bool step_number(JsonState& state, uint8_t byte) const;
  bool step_word(JsonState& state, uint8_t byte) const;
  bool begin_name(JsonState& state) const;
  bool step_name(JsonState& state, uint8_t byte) const;
  bool end_name(JsonState& state) const;
  bool after_value(JsonState& state, uint8_t byte) const;
  bool next_items(JsonState& state) const;
  bool close(JsonState& state, bool object) const;
  bool end_value(JsonState& state) const;
  bool became(JsonState& state, Phase phase) const;

  bool may_close(const Frame& frame) const;
  void add_member(const Way& way, const Choices& choices, int known, std::vector<Way>& ways) const;
  bool may_add_member(const Frame& frame) const;
  const UsableNames& usable(const Frame& frame) const;
  UsableNames find_usable(const Frame& frame) const;
  bool others_left(const Frame& frame, const std::string& name, int32_t state) const;

  std::unique_ptr<JsonProgram> program_;
  bool few_blanks_;
};

}  // namespace hearth::grammar
