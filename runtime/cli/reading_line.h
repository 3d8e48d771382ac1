// The line that says how far the reading of a prompt is.
#pragma once

#include <chrono>

#include "runtime/engine/model.h"

namespace hearth::cli {

// "reading 1234 of 5000 tokens, 0:12 left" on standard error: there from the first second on, redrawn ten times a
// second at most, and gone in the end. On anything but a terminal it shows nothing.
//
//   ReadingLine line;  // the clock starts
//   callbacks.on_reading = [&](const RunProgress& progress) { line.show(progress); };
//   callbacks.on_token = [&](Token token) { line.finish(); ... };
class ReadingLine {
 public:
  ReadingLine();
  ~ReadingLine() { finish(); }
  ReadingLine(const ReadingLine&) = delete;
  ReadingLine& operator=(const ReadingLine&) = delete;

  void show(const RunProgress& progress);  // quick: it is called many times in a millisecond
  void finish();                           // erases it; nothing where it is not there

 private:
  using Clock = std::chrono::steady_clock;

  bool terminal_, drawn_ = false;
  Clock::time_point start_ = Clock::now(), next_;
};

}  // namespace hearth::cli
