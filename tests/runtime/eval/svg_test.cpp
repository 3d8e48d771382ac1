// Pictures are valid XML that says what was asked for, whatever text is put into them.
#include "runtime/eval/svg.h"

#include <doctest/doctest.h>

#include "tests/runtime/eval/xml.h"

using namespace hearth;
using namespace hearth::test;

namespace {

bool has(const Svg& svg, const std::string& part) {
  return svg.finish().find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("svg: size, title, styles for both themes, and paper under it all") {
  const Svg svg(640, 480.5, "hits & misses", ".mine { fill: red; }", ".mine { fill: pink; }");
  CHECK(well_formed(svg.finish()));
  CHECK(has(svg, "width=\"640\" height=\"480.5\" viewBox=\"0 0 640 480.5\""));
  CHECK(has(svg, "<title>hits &amp; misses</title>"));
  CHECK(has(svg, "<rect x=\"0\" y=\"0\" width=\"640\" height=\"480.5\" class=\"paper\"/>"));
  const std::string text = svg.finish();
  CHECK(text.find(".mine { fill: red; }") < text.find("prefers-color-scheme: dark"));
  CHECK(text.find(".mine { fill: pink; }") > text.find("prefers-color-scheme: dark"));
}

TEST_CASE("svg: numbers have two decimals at most, and no zeros behind them") {
  Svg svg(1, 1, "");
  svg.line(1.0 / 3, -0.001, 10, 2.5, "axis");
  CHECK(has(svg, "<line x1=\"0.33\" y1=\"0\" x2=\"10\" y2=\"2.5\" class=\"axis\"/>"));
}

TEST_CASE("svg: shapes, with a hint or without") {
  Svg svg(10, 10, "");
  svg.polyline(std::vector<std::pair<double, double>>{{0, 1}, {2, 3.25}}, "mine");
  svg.rect(1, 2, 3, 4, "", "#ff0000", "12 > 5");
  svg.circle(5, 6, 2, "dot");
  svg.circle(5, 6, 2, "dot", "here");
  CHECK(well_formed(svg.finish()));
  CHECK(has(svg, "<polyline points=\"0,1 2,3.25 \" fill=\"none\" class=\"mine\"/>"));
  CHECK(has(svg, "<rect x=\"1\" y=\"2\" width=\"3\" height=\"4\" fill=\"#ff0000\"><title>12 &gt; 5</title></rect>"));
  CHECK(has(svg, "<circle cx=\"5\" cy=\"6\" r=\"2\" class=\"dot\"/>"));
  CHECK(has(svg, "<circle cx=\"5\" cy=\"6\" r=\"2\" class=\"dot\"><title>here</title></circle>"));
}

TEST_CASE("svg: text stays text, is anchored and turned") {
  Svg svg(10, 10, "t\x01");
  svg.text(1, 2, "<\"&\n>", "text");
  svg.text(3, 4, "up", "small", Svg::Anchor::middle, -90);
  svg.text(3, 4, "end", "small", Svg::Anchor::end);
  CHECK(well_formed(svg.finish()));
  CHECK(has(svg, "<text x=\"1\" y=\"2\" class=\"text\" text-anchor=\"start\">&lt;&quot;&amp; &gt;</text>"));
  CHECK(has(svg, "text-anchor=\"middle\" transform=\"rotate(-90 3 4)\">up</text>"));
  CHECK(has(svg, "text-anchor=\"end\">end</text>"));
  CHECK(has(svg, "<title>t </title>"));
}
