// A string that knows of every character where it comes from.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace hearth::jinja {

// UTF-8 bytes in runs of one source each (template.h). Positions are bytes here; what Python counts, code points, is
// converted by position_of() and length().
class Text {
 public:
  Text() = default;
  explicit Text(std::string bytes, int source = 0) : bytes_(std::move(bytes)) {
    if (!bytes_.empty()) runs_.push_back({bytes_.size(), source});
  }

  const std::string& bytes() const { return bytes_; }
  bool empty() const { return bytes_.empty(); }
  size_t size() const { return bytes_.size(); }
  // What it takes, in bytes.
  size_t footprint() const { return sizeof(Text) + bytes_.size() + runs_.size() * sizeof(Run); }

  void append(std::string_view bytes, int source);
  void append(const Text& other) { append(other, 0, other.size()); }
  void append(const Text& other, size_t begin, size_t end);
  Text slice(size_t begin, size_t end) const;
  void truncate(size_t size);

  // Of the byte at `position`; past the end that of the last byte, 0 for an empty text.
  int source_at(size_t position) const;
  // That of the first run which is not the template's, else 0: for what cannot be followed character by character.
  int any_source() const;

  // Calls visit(std::string_view, int source) for every run.
  template <class Visit>
  void each_run(Visit visit) const {
    size_t begin = 0;
    for (const Run& run : runs_) {
      visit(std::string_view(bytes_).substr(begin, run.end - begin), run.source);
      begin = run.end;
    }
  }

  // Code points; a byte that is not UTF-8 counts as one.
  size_t length() const;
  // The byte where the code point `index` begins; size() past the end.
  size_t position_of(size_t index) const;

 private:
  struct Run {
    size_t end;
    int source;
  };
  std::string bytes_;
  std::vector<Run> runs_;  // ends ascend, neighbours differ in source
};

// --- Code points.

// Decodes the one at `position`, which moves past it. A byte that is not UTF-8 is given as 0xDC00 + byte, as Python's
// surrogateescape does.
char32_t next_code_point(std::string_view bytes, size_t& position);
void append_code_point(std::string& bytes, char32_t c);

// As Python's str has them; letters beyond ASCII by the C library's table of Unicode.
bool is_space(char32_t c);
bool is_alpha(char32_t c);
bool is_digit(char32_t c);
bool is_upper(char32_t c);
bool is_lower(char32_t c);
bool is_printable(char32_t c);
char32_t to_upper(char32_t c);
char32_t to_lower(char32_t c);

}  // namespace hearth::jinja
