#include "runtime/eval/svg.h"

#include <fmt/format.h>

#include <iterator>

namespace hearth {
namespace {

// Colours are written out: some viewers know no variables.
constexpr std::string_view kStyle = R"(
  svg { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
  .paper { fill: #ffffff; }
  .text { fill: #24292f; font-size: 13px; }
  .small { fill: #24292f; font-size: 11px; }
  .heading { fill: #24292f; font-size: 16px; font-weight: 600; }
  .axis { stroke: #24292f; stroke-width: 1; }
  .grid { stroke: #d0d7de; stroke-width: 1; }
)";
constexpr std::string_view kDarkStyle = R"(.paper { fill: #0d1117; } .text, .small, .heading { fill: #e6edf3; }
    .axis { stroke: #e6edf3; } .grid { stroke: #30363d; })";

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;  // XML has no way to write control characters
    }
  }
  return out;
}

// Without digits that nobody sees.
std::string number(double value) {
  std::string text = fmt::format("{:.2f}", value);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text == "-0" ? "0" : text;
}

}  // namespace

Svg::Svg(double width, double height, std::string_view title, std::string_view style, std::string_view dark_style) {
  body_ = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" role=\"img\">\n"
      "<title>{2}</title>\n<style>{3}{4}  @media (prefers-color-scheme: dark) {{\n    {5}{6}  }}\n</style>\n",
      number(width), number(height), escaped(title), kStyle, style, kDarkStyle, dark_style);
  rect(0, 0, width, height, "paper");
}

void Svg::hinted(std::string_view name, std::string_view hint) {
  if (hint.empty())
    body_ += "/>\n";
  else
    body_ += fmt::format("><title>{}</title></{}>\n", escaped(hint), name);
}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view css_class) {
  body_ += fmt::format("<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" class=\"{}\"/>\n", number(x1), number(y1),
                       number(x2), number(y2), css_class);
}

void Svg::polyline(std::span<const std::pair<double, double>> points, std::string_view css_class) {
  body_ += "<polyline points=\"";
  for (const auto& [x, y] : points) body_ += number(x) + "," + number(y) + " ";
  body_ += fmt::format("\" fill=\"none\" class=\"{}\"/>\n", css_class);
}

void Svg::rect(double x, double y, double width, double height, std::string_view css_class, std::string_view fill,
               std::string_view hint) {
  body_ += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"", number(x), number(y), number(width),
                       number(height));
  if (!css_class.empty()) body_ += fmt::format(" class=\"{}\"", css_class);
  if (!fill.empty()) body_ += fmt::format(" fill=\"{}\"", fill);
  hinted("rect", hint);
}

void Svg::circle(double x, double y, double radius, std::string_view css_class, std::string_view hint) {
  body_ +=
      fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"{}\" class=\"{}\"", number(x), number(y), number(radius), css_class);
  hinted("circle", hint);
}

void Svg::text(double x, double y, std::string_view words, std::string_view css_class, Anchor anchor, double rotate) {
  constexpr const char* kAnchors[] = {"start", "middle", "end"};
  body_ += fmt::format("<text x=\"{}\" y=\"{}\" class=\"{}\" text-anchor=\"{}\"", number(x), number(y), css_class,
                       kAnchors[int(anchor)]);
  if (rotate != 0) body_ += fmt::format(" transform=\"rotate({} {} {})\"", number(rotate), number(x), number(y));
  body_ += fmt::format(">{}</text>\n", escaped(words));
}

}  // namespace hearth
