// Shows a prompt and the text behind it on a terminal: wide characters, combining marks, several lines, more lines than
// the window has. (What libraries do here differs by version, and few show all of it right.)
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace hearth::cli {

class LineDisplay {
 public:
  // `descriptor`: of a terminal that knows the sequences of a VT100.
  explicit LineDisplay(int descriptor) : descriptor_(descriptor) {}

  // Below what is on the screen, at the beginning of a row; what was shown before stays.
  void begin();
  // The cursor stands at byte `point` of `text`, which is UTF-8; other bytes and control characters are shown as such.
  void show(std::string_view prompt, std::string_view text, size_t point);
  // All of it, also what did not fit into the window, and the cursor on a row of its own below.
  void finish(std::string_view prompt, std::string_view text);
  // The window has another size, and may have moved what was shown.
  void resized();
  // A shell had the terminal meanwhile.
  void resumed();
  void clear_window();

 private:
  struct Row {
    std::string text;
    size_t width = 0;  // in columns
  };
  struct Place {
    size_t row = 0, column = 0;
  };
  struct Layout {
    std::vector<Row> rows;
    Place cursor;
  };
  static Layout lay_out(std::string_view prompt, std::string_view text, size_t point, size_t columns);

  void move_to(std::string& out, Place place);
  void write_row(std::string& out, size_t index, const Row& row);
  void put(std::string_view out) const;

  int descriptor_;
  std::vector<Row> shown_;  // rows of the window, from the first that shows any of it
  Place at_;                // the cursor, from there; behind the last column: the terminal has yet to wrap
  size_t first_row_ = 0;    // of the text, that the window shows
};

}  // namespace hearth::cli
