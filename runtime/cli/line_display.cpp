#include "runtime/cli/line_display.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cwchar>

namespace hearth::cli {
namespace {

struct Window {
  size_t rows = 24, columns = 80;
};

Window window_of(int descriptor) {
  winsize size{};
  Window window;
  if (ioctl(descriptor, TIOCGWINSZ, &size) != 0) return window;
  if (size.ws_row > 0) window.rows = size.ws_row;
  if (size.ws_col > 0) window.columns = size.ws_col;
  return window;
}

// A character and what it takes on the screen.
struct Glyph {
  size_t bytes = 1;   // of the text
  std::string shown;  // what the terminal gets
  size_t width = 1;   // columns
  bool doubtful = false;
};

// Terminals disagree how wide a sequence of these is: some join them into one picture.
bool joins(wchar_t c) {
  return c == 0x200D || c == 0xFE0F || (c >= 0x1F1E6 && c <= 0x1F1FF) || (c >= 0x1F3FB && c <= 0x1F3FF);
}

Glyph glyph_at(std::string_view text, size_t column) {
  const auto byte = static_cast<unsigned char>(text.front());
  if (byte == '\t') return {1, std::string(8 - column % 8, ' '), 8 - column % 8};
  if (byte < 0x20 || byte == 0x7F) return {1, {'^', char(byte ^ 0x40)}, 2};
  wchar_t c = 0;
  std::mbstate_t state{};
  const size_t length = std::mbrtowc(&c, text.data(), text.size(), &state);
  if (length == 0 || length > text.size()) return {1, "\uFFFD", 1};
  const int width = wcwidth(c);
  if (width < 0) return {length, "\uFFFD", 1};
  return {length, std::string(text.substr(0, length)), size_t(width), joins(c)};
}

}  // namespace

LineDisplay::Layout LineDisplay::lay_out(std::string_view prompt, std::string_view text, size_t point, size_t columns) {
  Layout layout;
  layout.rows.emplace_back();
  const auto add = [&](std::string_view part, bool has_cursor) {
    for (size_t i = 0; i <= part.size();) {
      const bool here = has_cursor && i == point;
      if (i < part.size() && part[i] != '\n') {
        const Glyph glyph = glyph_at(part.substr(i), layout.rows.back().width);
        if (layout.rows.back().width + glyph.width > columns && layout.rows.back().width > 0)
          layout.rows.emplace_back();
        Row& row = layout.rows.back();
        if (here) layout.cursor = {layout.rows.size() - 1, row.width};
        // What is wider than the window (a tab, or any wide character in a window of one column) is cut.
        row.text += row.width + glyph.width <= columns ? glyph.shown : std::string(columns - row.width, ' ');
        row.width = std::min(columns, row.width + glyph.width);
        if (glyph.doubtful && row.width < columns) row.text += fmt::format("\033[{}G", row.width + 1);
        i += glyph.bytes;
        continue;
      }
      // The end of the text, or of a line of it. Behind a full row the cursor has no place.
      if (here && layout.rows.back().width == columns) layout.rows.emplace_back();
      if (here) layout.cursor = {layout.rows.size() - 1, layout.rows.back().width};
      if (i++ < part.size()) layout.rows.emplace_back();
    }
  };
  add(prompt, false);
  add(text, true);
  return layout;
}

void LineDisplay::begin() {
  shown_.clear();
  at_ = {};
  first_row_ = 0;
}

// Only as far down as rows are shown: below them, "\r\n" makes new ones.
void LineDisplay::move_to(std::string& out, Place place) {
  if (at_.row == place.row && at_.column == place.column) return;
  if (place.row < at_.row) out += fmt::format("\033[{}A", at_.row - place.row);
  if (place.row > at_.row) out += fmt::format("\033[{}B", place.row - at_.row);
  out += '\r';
  if (place.column > 0) out += fmt::format("\033[{}C", place.column);
  at_ = place;
}

void LineDisplay::write_row(std::string& out, size_t index, const Row& row) {
  const bool is_new = index >= shown_.size();
  if (is_new) {
    if (index > 0) {
      move_to(out, {index - 1, 0});
      out += "\r\n";
    }
    at_ = {index, 0};
    shown_.emplace_back();
  }
  Row& shown = shown_[index];
  if (shown.text == row.text && !(is_new && index == 0)) return;
  // Typing at the end of a row adds to it; a mark that belongs to the character before does not stand alone.
  std::string_view rest = row.text;
  const bool adds = !shown.text.empty() && row.text.starts_with(shown.text) && row.width > shown.width &&
                    row.text[shown.text.size()] >= ' ' && row.text[shown.text.size()] < '\x7F';
  if (adds) {
    move_to(out, {index, shown.width});
    rest.remove_prefix(shown.text.size());
  } else {
    move_to(out, {index, 0});
    out += "\033[K";
  }
  out += rest;
  at_.column = row.width;
  shown = row;
}

void LineDisplay::show(std::string_view prompt, std::string_view text, size_t point) {
  const Window window = window_of(descriptor_);
  const Layout layout = lay_out(prompt, text, point, window.columns);
  const size_t height = std::min(layout.rows.size(), window.rows);
  // The window moves no farther than it must.
  first_row_ = std::min(first_row_, layout.rows.size() - height);
  first_row_ = std::clamp(first_row_, layout.cursor.row - std::min(layout.cursor.row, height - 1), layout.cursor.row);
  std::string out;
  for (size_t i = 0; i < height; ++i) write_row(out, i, layout.rows[first_row_ + i]);
  if (shown_.size() > height) {
    move_to(out, {height, 0});
    out += "\033[J";
    shown_.resize(height);
  }
  move_to(out, {layout.cursor.row - first_row_, layout.cursor.column});
  put(out);
}

void LineDisplay::finish(std::string_view prompt, std::string_view text) {
  const Window window = window_of(descriptor_);
  const Layout layout = lay_out(prompt, text, text.size(), window.columns);
  std::string out;
  if (layout.rows.size() > window.rows) {
    move_to(out, {0, 0});
    out += "\033[J";
    for (const Row& row : layout.rows) out += row.text + "\r\n";
  } else {
    show(prompt, text, text.size());
    out = "\r\n";
  }
  put(out);
  begin();
}

// Terminals differ: some wrap rows anew, others cut them. As many rows as were shown above the cursor are taken for
// ours, and no more: what stands above them is somebody's answer.
void LineDisplay::resized() {
  std::string out;
  move_to(out, {0, 0});
  out += "\033[J";
  put(out);
  begin();
}

void LineDisplay::resumed() {
  put("\r");
  begin();
}

void LineDisplay::clear_window() {
  put("\033[H\033[2J");
  begin();
}

void LineDisplay::put(std::string_view out) const {
  while (!out.empty()) {
    const ssize_t n = ::write(descriptor_, out.data(), out.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // a terminal that has gone: its signal comes
    out.remove_prefix(size_t(n));
  }
}

}  // namespace hearth::cli
