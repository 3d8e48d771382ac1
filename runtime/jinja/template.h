// The language of chat templates: the part of Jinja2 that they use, interpreted. It knows of every character whether
// the template wrote it or somebody else, so that control tokens typed by a user never become control tokens. A
// template may be hostile: time and memory are bounded.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace hearth::jinja {

// A stretch of what was rendered. source 0: the template's own words, or a variable that was given as such; else the
// number of the string that it comes from. Methods and filters keep the sources of the characters they keep.
struct Piece {
  std::string text;
  int source = 0;
  bool operator==(const Piece&) const = default;
};

// What a template reads. Strings below a path that `sources` names are somebody else's words.
class Variables {
 public:
  Variables();
  ~Variables();
  Variables(Variables&&) noexcept;
  Variables& operator=(Variables&&) noexcept;

  // Every string in `value` (keys of objects too) comes from `source`; with 0 they are as the template's own.
  void set(const std::string& name, const nlohmann::ordered_json& value, int source = 0);
  // As above, and each string gets a number of its own: first_source, first_source + 1, ..., in document order, values
  // only (keys of objects are given `first_source`). Returns how many strings there were.
  int set_numbered(const std::string& name, const nlohmann::ordered_json& value, int first_source);
  // The time that strftime_now tells, in seconds since 1970; without it, that of the rendering.
  void set_now(int64_t seconds);

 private:
  friend class Template;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct Limits {
  int64_t steps = 20'000'000;       // evaluated expressions, statements and characters copied, roughly
  size_t bytes = size_t(64) << 20;  // of all strings and lists that are alive, roughly
  int depth = 1000;                 // of nested expressions, blocks and macro calls
};

class Template {
 public:
  // Parses as transformers does: trim_blocks, lstrip_blocks, loop controls, no autoescape. `name` is what errors call
  // it. Throws Error(model): "NAME: line 3: expected ..., found ..."; also for what this interpreter does not know.
  Template(std::string_view source, std::string name);
  ~Template();
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;

  // Neighbouring pieces of one source are one piece; none is empty. Throws Error(model) with the line where it failed
  // (a limit, a type error), Error(usage) with the template's own words for raise_exception(...).
  std::vector<Piece> render(const Variables& variables, const Limits& limits = {}) const;

  // Whether the template reads a variable of this name that it does not set first itself: "tools", "enable_thinking".
  bool reads(std::string_view variable) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hearth::jinja
