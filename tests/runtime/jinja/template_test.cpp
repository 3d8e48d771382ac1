// The interpreter's face: variables, what a template reads, the clock.
#include <doctest/doctest.h>

#include "tests/runtime/jinja/render.h"

using namespace hearth;
using namespace hearth::test;

namespace {

bool reads(const std::string& source, const char* variable) {
  return jinja::Template(source, "test").reads(variable);
}

}  // namespace

TEST_CASE("a template reads a variable unless it has set it before") {
  CHECK(reads("{{ x }}", "x"));
  CHECK(!reads("x {# {{ x }} #} {{ 'x' }} {{ y.x }} {{ f(x=1) }}", "x"));
  CHECK(reads("{% if not x is defined %}{% set x = 1 %}{% endif %}", "x"));
  CHECK(reads("{% set x = x if x is defined else 1 %}", "x"));
  CHECK(!reads("{% set x = 1 %}{{ x }}", "x"));
  CHECK(!reads("{% set x %}a{% endset %}{{ x }}", "x"));
  CHECK(reads("{% if y %}{% set x = 1 %}{% endif %}{{ x }}", "x"));
  CHECK(!reads("{% for x in y %}{{ x }}{{ loop.index }}{% endfor %}", "x"));
  CHECK(!reads("{% for x in y %}{{ loop.index }}{% endfor %}", "loop"));
  CHECK(reads("{% for x in x %}{% endfor %}", "x"));
  CHECK(reads("{% for x in y %}{% endfor %}{{ x }}", "x"));
  CHECK(!reads("{% macro f(x) %}{{ x }}{% endmacro %}{{ f(1) }}", "x"));
  CHECK(!reads("{% macro f(x) %}{{ x }}{% endmacro %}{{ f(1) }}", "f"));
  CHECK(reads("{% macro f() %}{{ x }}{% endmacro %}", "x"));
  CHECK(!reads("{% with x = 1 %}{{ x }}{% endwith %}", "x"));
  CHECK(reads("{% set x.y = 1 %}", "x"));
  CHECK(reads("{{ 'a' if y else z|default(x) }}", "x"));
}

TEST_CASE("variables are set, replaced, and hide functions") {
  jinja::Variables variables;
  variables.set("x", 1);
  variables.set("x", {{"a", nullptr}, {"b", {1.5, true, "s"}}});
  variables.set("range", "hidden");
  CHECK(joined(jinja::Template("{{ x }} {{ range }}", "test").render(variables)) ==
        "{'a': None, 'b': [1.5, True, 's']} hidden");
  const jinja::Template parsed("{{ x.b|length }}", "test");
  CHECK(joined(parsed.render(variables)) == "3");
  CHECK(joined(parsed.render(variables)) == "3");  // as often as one likes
  CHECK(jinja::Template("", "test").render(variables).empty());
}

TEST_CASE("bytes that are not UTF-8 go through unchanged") {
  jinja::Variables variables;
  variables.set("x", "a\xFF\xC3z");
  CHECK(joined(jinja::Template("\xFE{{ x }}{{ x|length }}{{ x[1:]|upper }}", "test").render(variables)) ==
        "\xFE"
        "a\xFF\xC3z4\xFF\xC3Z");
}

TEST_CASE("the clock can be set") {
  jinja::Variables variables;
  variables.set_now(86400 * 365);
  CHECK(joined(jinja::Template("{{ strftime_now('%Y') }}", "test").render(variables)) == "1971");
  CHECK(joined(jinja::Template("{{ strftime_now('%Y')|int > 2024 }}", "test").render({})) == "True");
}
