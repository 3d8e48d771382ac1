// Just enough SVG for the project's pictures: shapes, text and hints, in colours that follow the viewer's light or dark
// theme.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace hearth {

class Svg {
 public:
  enum class Anchor { start, middle, end };

  // `title` is what a screen reader says. style: rules of CSS besides the common ones, which give the classes
  // paper, text, small, heading, axis, grid; dark_style: where the viewer's theme is dark.
  Svg(double width, double height, std::string_view title, std::string_view style = "",
      std::string_view dark_style = "");

  void line(double x1, double y1, double x2, double y2, std::string_view css_class);
  void polyline(std::span<const std::pair<double, double>> points, std::string_view css_class);
  // fill: a colour, empty: by the class. hint: shown by the pointer.
  void rect(double x, double y, double width, double height, std::string_view css_class, std::string_view fill = "",
            std::string_view hint = "");
  void circle(double x, double y, double radius, std::string_view css_class, std::string_view hint = "");
  void text(double x, double y, std::string_view words, std::string_view css_class, Anchor anchor = Anchor::start,
            double rotate = 0);
  std::string finish() const { return body_ + "</svg>\n"; }

 private:
  void hinted(std::string_view name, std::string_view hint);
  std::string body_;
};

}  // namespace hearth
