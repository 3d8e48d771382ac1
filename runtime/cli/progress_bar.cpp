#include <algorithm>

#include "runtime/cli/terminal.h"
#include "runtime/support/size_text.h"

namespace hearth::cli {

ProgressBar::ProgressBar(std::string title) : title_(std::move(title)) {}
ProgressBar::~ProgressBar() {
  finish();
}

void ProgressBar::show(uint64_t done, uint64_t total, std::string_view what, std::string_view also) {
  const auto now = std::chrono::steady_clock::now();
  if (start_ == std::chrono::steady_clock::time_point{}) {
    start_ = now;
    done_before_ = done;
  }
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double share = total == 0 ? 1.0 : double(done) / double(total);
  const double rate = seconds > 0 ? double(done - done_before_) / seconds : 0;
  const bool known = double(done - done_before_) > 0.01 * double(total - done_before_) || seconds > 20;
  const std::string left = known && rate > 0 ? duration_text(double(total - done) / rate) : "-:--";
  if (!stderr_is_terminal()) {
    if (now - std::max(last_, start_) < std::chrono::seconds(5)) return;
    last_ = now;
    note("{} {:3.0f} %  {}/s  {} left{}\n", title_, share * 100, decimal_size_text(rate), left, also);
    return;
  }
  if (drawn_ && done < total && now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  constexpr int kWidth = 24;
  const int filled = std::clamp(int(share * kWidth), 0, kWidth);
  std::string bar(size_t(filled), '#');
  bar.resize(kWidth, '.');
  note("\r\033[K{} [{}] {:3.0f} %  {}/s  {} left{}  {}", title_, bar, share * 100, decimal_size_text(rate), left, also,
       what.substr(0, 40));
  drawn_ = true;
}

void ProgressBar::finish() {
  if (drawn_) note("\r\033[K");
  drawn_ = false;
}

}  // namespace hearth::cli
