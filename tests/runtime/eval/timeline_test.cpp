// Spans of two devices, added up and drawn.
#include "runtime/eval/timeline.h"

#include <doctest/doctest.h>

using namespace hearth;

TEST_CASE("what overlaps is counted once for each device, and once for both") {
  // GPU 0 to 4 and 6 to 10, host 3 to 7.
  const StepSpan spans[] = {{true, 0, 4}, {false, 3, 7}, {true, 6, 10}};
  const Timeline t = timeline(spans, 10);
  CHECK(t.seconds == 10);
  CHECK(t.gpu == 8);
  CHECK(t.host == 4);
  CHECK(t.both == 2);
  CHECK(t.gpu_row == "####  ####");
  CHECK(t.host_row == "   ####   ");
}

TEST_CASE("parts of a column") {
  const StepSpan spans[] = {{true, 0, 0.4}, {true, 0.5, 0.7}, {false, 1.0, 1.04}, {false, 1.9, 2}};
  const Timeline t = timeline(spans, 2);
  CHECK(t.gpu == doctest::Approx(0.6));
  CHECK(t.both == 0);
  CHECK(t.gpu_row == "# ");   // 0.6 of the first
  CHECK(t.host_row == " -");  // 0.14 of the second
}

TEST_CASE("no spans, and spans of no length") {
  CHECK(timeline({}).seconds == 0);
  CHECK(timeline({}).gpu_row == "");
  const StepSpan nothing[] = {{true, 0, 0}};
  CHECK(timeline(nothing).gpu_row == "");
}
