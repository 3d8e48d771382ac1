#include "runtime/cli/reading_line.h"

#include "runtime/cli/terminal.h"
#include "runtime/support/size_text.h"

namespace hearth::cli {

using namespace std::chrono_literals;

ReadingLine::ReadingLine() : terminal_(stderr_is_terminal()), next_(start_ + 800ms) {}

void ReadingLine::show(const RunProgress& progress) {
  if (!terminal_) return;
  const Clock::time_point now = Clock::now();
  if (now < next_) return;
  next_ = now + 100ms;
  drawn_ = true;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const std::string left =
      progress.share > 0 ? fmt::format(", {} left", duration_text(seconds / progress.share - seconds)) : std::string();
  note("\r\033[Kreading {} of {} tokens{}", int64_t(progress.share * double(progress.total)), progress.total, left);
}

void ReadingLine::finish() {
  if (drawn_) note("\r\033[K");
  drawn_ = false;
}

}  // namespace hearth::cli
