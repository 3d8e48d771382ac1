// What the interpreter refuses, and in which words.
#include <doctest/doctest.h>

#include "tests/runtime/jinja/render.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// What parsing says; "" if it is content.
std::string parsing(const std::string& source) {
  return refusal([&] { jinja::Template(source, "chat.jinja"); });
}

// What rendering says, after parsing that is content.
std::string rendering(const std::string& source, const Json& values = Json::object()) {
  const jinja::Template parsed(source, "chat.jinja");
  return refusal([&] { parsed.render(variables_of(values)); });
}

}  // namespace

TEST_CASE("a template that is not one is refused with its name, its line, what was expected and what was found") {
  CHECK(parsing("a\n\n{{ 1 + }}") == "chat.jinja: line 3: expected an expression, found '}}'");
  CHECK(parsing("{% if x %}\na\n{% endfor %}") == "chat.jinja: line 3: found 'endfor' that nothing opened");
  CHECK(parsing("{% if x %}\na\n") ==
        "chat.jinja: line 2: expected 'endif' for the 'if' of line 1, found the end of the template");
  CHECK(parsing("{% for x y %}") == "chat.jinja: line 1: expected 'in', found 'y'");
  CHECK(parsing("{{ x") == "chat.jinja: line 1: expected '}}', found the end of the template");
  CHECK(parsing("\n{% set x = 'a") ==
        "chat.jinja: line 2: expected ' at the end of a string, found the end of the template");
  CHECK(parsing("{{ (x] }}") == "chat.jinja: line 1: expected ')', found ']'");
  CHECK(parsing("{{ x) }}") == "chat.jinja: line 1: found ')' that nothing opened");
  CHECK(parsing("{# open") == "chat.jinja: line 1: expected '#}' after this '{#', found the end of the template");
  CHECK(parsing("{% raw %} x") ==
        "chat.jinja: line 1: expected '{% endraw %}' after this '{% raw %}', found the end of the template");
  CHECK(parsing("{{ x ? y }}") == "chat.jinja: line 1: expected an expression, found '?'");
  CHECK(parsing("{{ 99999999999999999999 }}") ==
        "chat.jinja: line 1: expected a number of at most 64 bits, found 99999999999999999999");
  CHECK(contains(parsing("{{ '\\ud800' }}"), "expected a character after '\\u' in a string, found U+D800"));
  CHECK(contains(parsing("{{ '\\x4' }}"), "expected 2 hexadecimal digits after '\\x'"));
  CHECK(contains(parsing("{{ '\\N{BULLET}' }}"), "characters by name are not known"));
  CHECK(contains(parsing("{{ f(a=1, 2) }}"), "expected an argument with a name, found a number"));
  CHECK(contains(parsing("{% macro f(a=1, b) %}{% endmacro %}"), "expected '=' for the default of 'b'"));
  CHECK(contains(parsing("{% set none = 1 %}"), "expected a name to assign to, found 'none'"));
  CHECK(contains(parsing("{% break %}"), "expected 'break' inside a 'for', found it outside"));
  CHECK(contains(parsing("{% call f %}{% endcall %}"), "expected a call of a macro after 'call'"));
}

TEST_CASE("what is not known is refused by name: in parsing, or when it is reached if that may never be") {
  CHECK(parsing("{% include 'x' %}") == "chat.jinja: line 1: there is no tag named 'include'");
  CHECK(parsing("{{ 'x'|xmlattr }}") == "chat.jinja: line 1: there is no filter named 'xmlattr'");
  CHECK(parsing("{{ 1 is prime }}") == "chat.jinja: line 1: there is no test named 'prime'");
  const std::string guarded = "{% if tools %}\n{{ tools|from_json }}{% endif %}ok";
  CHECK(render(guarded) == "ok");
  CHECK(rendering(guarded, {{"tools", "[]"}}) == "chat.jinja: line 2: there is no filter named 'from_json'");
  CHECK(render("{{ 1 if true else x is prime }}") == "1");
  CHECK(rendering("{{ ['a']|map('shout')|list }}") == "chat.jinja: line 1: there is no filter named 'shout'");
  CHECK(rendering("{{ ['a']|select('loud')|list }}") == "chat.jinja: line 1: there is no test named 'loud'");
  CHECK(rendering("{{ 'a'.shout() }}") == "chat.jinja: line 1: 'str object' has no attribute 'shout'");
}

TEST_CASE("a rendering that fails says on which line") {
  CHECK(rendering("a\n{{ x.y }}") == "chat.jinja: line 2: 'x' is undefined");
  CHECK(rendering("a\n\n{{ 'a' + 1 }}") ==
        "chat.jinja: line 3: expected values that '+' is for, found 'str' and 'int'");
  CHECK(rendering("{% macro f() %}\n{{ 1 // 0 }}\n{% endmacro %}\n{{ f() }}") ==
        "chat.jinja: line 2: division by zero");
  CHECK(rendering("{% for a, b in [[1, 2, 3]] %}{% endfor %}") ==
        "chat.jinja: line 1: expected 2 values to unpack, found 3");
  CHECK(rendering("{{ 'a'.split(',', 1, 2) }}") ==
        "chat.jinja: line 1: expected at most 2 arguments for 'split', found 3");
  CHECK(rendering("{{ 'a'.replace('a') }}") == "chat.jinja: line 1: 'replace' lacks its argument 'new'");
  CHECK(rendering("{{ 'a'|indent(widht=2) }}") == "chat.jinja: line 1: 'indent' has no argument 'widht'");
  CHECK(rendering("{{ 'a'.zfill('b') }}") ==
        "chat.jinja: line 1: expected an integer as argument 1 of 'zfill', found 'str'");
  CHECK(rendering("{% set x.y = 1 %}") ==
        "chat.jinja: line 1: expected a namespace to assign an attribute of, found 'Undefined'");
  CHECK(rendering("{{ range(3)|tojson }}") ==
        "chat.jinja: line 1: expected a value that JSON has for tojson, found 'range'");
}

TEST_CASE("lists and dicts cannot be changed, as in Hugging Face's sandbox") {
  const Json values = {{"l", {1, 2}}, {"d", {{"a", 1}}}};
  for (const char* call :
       {"append(3)", "extend([3])", "insert(0, 3)", "pop()", "remove(1)", "clear()", "sort()", "reverse()"})
    CHECK(contains(rendering(std::string("{{ l.") + call + " }}", values), "of a 'list' would change it"));
  for (const char* call : {"pop('a')", "update({})", "setdefault('b', 1)", "clear()", "popitem()"})
    CHECK(contains(rendering(std::string("{{ d.") + call + " }}", values), "of a 'dict' would change it"));
}

TEST_CASE("raise_exception says what the template says, as a mistake of the caller") {
  const jinja::Template parsed("{{ raise_exception('roles must alternate ' ~ role) }}", "chat.jinja");
  try {
    parsed.render(variables_of({{"role", "x"}}));
    FAIL("nothing was raised");
  } catch (const Error& error) {
    CHECK(error.kind == ErrorKind::usage);
    CHECK(std::string(error.what()) == "roles must alternate x");
  }
}

TEST_CASE("numbers have 64 bits, and a larger result is an error") {
  CHECK(render("{{ 9223372036854775807 }}{{ -9223372036854775807 - 1 }}") == "9223372036854775807-9223372036854775808");
  for (const char* expression :
       {"9223372036854775807 + 1", "-9223372036854775807 - 2", "4611686018427387904 * 2", "2 ** 63",
        "(-9223372036854775807 - 1) // -1", "-(-9223372036854775807 - 1)", "'1' * 0 ~ 1e300|int"})
    CHECK(contains(rendering(std::string("{{ ") + expression + " }}"), "64 bits"));
  jinja::Variables variables;
  CHECK(contains(refusal([&] { variables.set("n", 18446744073709551615u); }), "n: expected numbers of at most"));
}
