#include "runtime/eval/timeline.h"

#include <algorithm>

namespace hearth {
namespace {

// Seconds of [begin, end) in which a device is at work.
double busy(std::span<const StepSpan> spans, bool on_gpu, double begin, double end) {
  double sum = 0;
  for (const StepSpan& s : spans)
    if (s.on_device == on_gpu) sum += std::max(0.0, std::min(s.end, end) - std::max(s.begin, begin));
  return sum;
}

std::string row(std::span<const StepSpan> spans, bool on_gpu, double seconds, int width) {
  constexpr double kMost = 0.5;
  std::string text;
  for (int i = 0; i < width; ++i) {
    const double begin = seconds * i / width, end = seconds * (i + 1) / width;
    const double share = busy(spans, on_gpu, begin, end) / (end - begin);
    text += share >= kMost ? '#' : share > 0 ? '-' : ' ';
  }
  return text;
}

}  // namespace

Timeline timeline(std::span<const StepSpan> spans, int width) {
  Timeline t;
  for (const StepSpan& s : spans) {
    t.seconds = std::max(t.seconds, s.end);
    (s.on_device ? t.gpu : t.host) += s.end - s.begin;
    if (!s.on_device) t.both += busy(spans, true, s.begin, s.end);
  }
  if (t.seconds <= 0) return t;
  t.gpu_row = row(spans, true, t.seconds, width);
  t.host_row = row(spans, false, t.seconds, width);
  return t;
}

}  // namespace hearth
