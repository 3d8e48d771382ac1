// What a terminal shows: the few sequences of a VT100 that the line editor sends. Everything else fails the test.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cwchar>
#include <string>
#include <string_view>
#include <vector>

namespace hearth::test {

class Screen {
 public:
  Screen(size_t rows, size_t columns) : columns_(columns), cells_(rows, std::vector<std::string>(columns, " ")) {}

  // Bytes that a program wrote; half a character or sequence at the end waits for the rest.
  void write(std::string_view bytes) {
    unread_ += bytes;
    while (const size_t used = take(unread_)) unread_.erase(0, used);
  }

  // Without blanks at its end.
  std::string row(size_t index) const {
    std::string text;
    for (const std::string& cell : cells_[index]) text += cell;
    return text.substr(0, text.find_last_not_of(' ') + 1);
  }
  std::string text() const {
    std::string all;
    for (size_t i = 0; i < cells_.size(); ++i) all += row(i) + "\n";
    return all;
  }
  size_t cursor_row() const { return row_; }
  size_t cursor_column() const { return column_; }
  bool marks_pastes() const { return marks_pastes_; }

  // As xterm does: rows are cut, and lost at the top when the cursor would be below the window.
  void resize(size_t rows, size_t columns) {
    while (row_ >= rows) scroll();
    cells_.resize(rows);
    for (auto& row : cells_) row.resize(columns, " ");
    columns_ = columns;
    column_ = std::min(column_, columns - 1);
    wraps_ = false;
  }

 private:
  void scroll() {
    cells_.erase(cells_.begin());
    cells_.emplace_back(columns_, " ");
    --row_;
  }
  void line_feed() {
    if (++row_ == cells_.size()) scroll();
  }
  void clear(size_t row, size_t from) { std::fill(cells_[row].begin() + ptrdiff_t(from), cells_[row].end(), " "); }

  void put(std::string_view bytes, int width) {
    if (width == 0) {  // belongs to the character before
      size_t at = wraps_ ? column_ : column_ - std::min<size_t>(column_, 1);
      while (at > 0 && cells_[row_][at].empty()) --at;
      cells_[row_][at] += bytes;
      return;
    }
    if (wraps_ || column_ + size_t(width) > columns_) {
      column_ = 0;
      line_feed();
    }
    cells_[row_][column_] = bytes;
    if (width == 2) cells_[row_][column_ + 1].clear();
    column_ += size_t(width);
    wraps_ = column_ == columns_;
    if (wraps_) --column_;
  }

  // How many bytes the first thing in `bytes` takes; 0: more must come.
  size_t take(std::string_view bytes) {
    if (bytes.empty()) return 0;
    const char first = bytes.front();
    if (first == '\033') return sequence(bytes);
    if (first == '\r' || first == '\b') {
      column_ = first == '\r' ? 0 : column_ - std::min<size_t>(column_, 1);
      wraps_ = false;
    } else if (first == '\n') {
      line_feed();
    } else if (first != '\a') {
      wchar_t c = 0;
      std::mbstate_t state{};
      const size_t length = std::mbrtowc(&c, bytes.data(), bytes.size(), &state);
      if (length == size_t(-2)) return 0;
      REQUIRE_MESSAGE((length != size_t(-1) && length > 0), "not UTF-8 on the screen");
      REQUIRE_MESSAGE(wcwidth(c) >= 0, "control character ", unsigned(c), " on the screen");
      put(bytes.substr(0, length), wcwidth(c));
      return length;
    }
    return 1;
  }

  size_t sequence(std::string_view bytes) {
    size_t last = 2;
    while (last < bytes.size() && bytes[last] < '@') ++last;
    if (last >= bytes.size()) return 0;
    const std::string parameters(bytes.substr(2, last - 2));
    INFO("sequence ESC ", bytes.substr(1, last));
    REQUIRE(bytes[1] == '[');
    if (parameters == "?2004") {
      marks_pastes_ = bytes[last] == 'h';
      return last + 1;
    }
    const size_t n = parameters.empty() ? 0 : std::stoul(parameters), steps = std::max<size_t>(n, 1);
    wraps_ = false;
    switch (bytes[last]) {
      case 'A':
        row_ -= std::min(row_, steps);
        break;
      case 'B':
        row_ = std::min(row_ + steps, cells_.size() - 1);
        break;
      case 'C':
        column_ = std::min(column_ + steps, columns_ - 1);
        break;
      case 'D':
        column_ -= std::min(column_, steps);
        break;
      case 'G':
        column_ = std::min(steps, columns_) - 1;
        break;
      case '@':  // libedit: room for characters
        for (size_t i = 0; i < steps; ++i) cells_[row_].insert(cells_[row_].begin() + ptrdiff_t(column_), " ");
        cells_[row_].resize(columns_);
        break;
      case 'P':  // libedit: without characters
        for (size_t i = 0; i < steps; ++i) cells_[row_].erase(cells_[row_].begin() + ptrdiff_t(column_));
        cells_[row_].resize(columns_, " ");
        break;
      case 'H':
        row_ = column_ = 0;
        break;
      case 'K':
        clear(row_, column_);
        break;
      case 'J':
        clear(row_, n == 2 ? 0 : column_);
        for (size_t i = n == 2 ? 0 : row_ + 1; i < cells_.size(); ++i) clear(i, 0);
        break;
      default:
        FAIL("a sequence that the line editor has no reason to send");
    }
    return last + 1;
  }

  size_t columns_;
  std::vector<std::vector<std::string>> cells_;  // a wide character fills the first of its two
  size_t row_ = 0, column_ = 0;
  bool wraps_ = false;  // the next character goes into the next row
  bool marks_pastes_ = false;
  std::string unread_;
};

}  // namespace hearth::test
