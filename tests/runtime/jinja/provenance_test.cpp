// No character that somebody typed is ever taken for the template's own.
#include <doctest/doctest.h>

#include <random>

#include "quant/error.h"
#include "tests/runtime/jinja/render.h"

using namespace hearth;
using namespace hearth::test;
using jinja::Piece;

namespace {

using Pieces = std::vector<Piece>;

}  // namespace

TEST_CASE("characters keep the number of the string they come from") {
  const Json two = {{"a", "User"}, {"b", "bot"}};  // sources 1 and 3: each variable leaves one number for its keys
  CHECK(pieces_of("<{{ a }}>", two) == Pieces{{"<", 0}, {"User", 1}, {">", 0}});
  CHECK(pieces_of("{{ a + b }}", two) == Pieces{{"User", 1}, {"bot", 3}});
  CHECK(pieces_of("{{ a ~ '-' ~ b }}", two) == Pieces{{"User", 1}, {"-", 0}, {"bot", 3}});
  CHECK(pieces_of("{{ (a + b)[2:6] }}", two) == Pieces{{"er", 1}, {"bo", 3}});
  CHECK(pieces_of("{{ (a + b)[::-1] }}", two) == Pieces{{"tob", 3}, {"resU", 1}});
  CHECK(pieces_of("{{ ('  ' + a + ' ').strip() }}", two) == Pieces{{"User", 1}});
  CHECK(pieces_of("{{ (a + '|' + b).split('|')[1] }}", two) == Pieces{{"bot", 3}});
  CHECK(pieces_of("{{ a.replace('s', '<s>') }}", two) == Pieces{{"U", 1}, {"<s>", 0}, {"er", 1}});
  CHECK(pieces_of("{{ 'x-y'.replace('-', a) }}", two) == Pieces{{"x", 0}, {"User", 1}, {"y", 0}});
  CHECK(pieces_of("{{ [a, b]|join(', ') }}", two) == Pieces{{"User", 1}, {", ", 0}, {"bot", 3}});
  CHECK(pieces_of("{{ ', '.join([a, b])|upper }}", two) == Pieces{{"USER", 1}, {", ", 0}, {"BOT", 3}});
  CHECK(pieces_of("{{ '%s=%s' % (a, b) }}", two) == Pieces{{"User", 1}, {"=", 0}, {"bot", 3}});
  CHECK(pieces_of("{{ '[{:>6}]'.format(a) }}", two) == Pieces{{"[  ", 0}, {"User", 1}, {"]", 0}});
  CHECK(pieces_of("{{ a|reverse }}{{ a|first }}", two) == Pieces{{"resUU", 1}});
  CHECK(pieces_of("{% set x %}<{{ a }}{% endset %}{{ x|length }}{{ x }}", two) == Pieces{{"5<", 0}, {"User", 1}});
  CHECK(pieces_of("{% macro f(x) %}({{ x }}){% endmacro %}{{ f(a) }}", two) == Pieces{{"(", 0}, {"User", 1}, {")", 0}});
  CHECK(pieces_of("{% for c in a %}{{ c }}.{% endfor %}", {{"a", "xy"}}) ==
        Pieces{{"x", 1}, {".", 0}, {"y", 1}, {".", 0}});
}

TEST_CASE("tojson and repr keep them too, with what they add to a string") {
  const Json one = {{"a", "say \"hi\"\n"}};
  CHECK(pieces_of("{{ {'k': a}|tojson }}", one) == Pieces{{"{\"k\": ", 0}, {"\"say \\\"hi\\\"\\n\"", 1}, {"}", 0}});
  CHECK(pieces_of("{{ [a] }}", one) == Pieces{{"[", 0}, {"'say \"hi\"\\n'", 1}, {"]", 0}});
  CHECK(pieces_of("{{ d|tojson(indent=1) }}", {{"d", {{"k", "v"}}}}) ==
        Pieces{{"{\n ", 0}, {"\"k\"", 1}, {": ", 0}, {"\"v\"", 1}, {"\n}", 0}});
}

TEST_CASE("numbers of a user are the user's text") {
  const Json values = {{"n", 41}, {"f", 1.5}, {"t", true}};
  CHECK(pieces_of("{{ n }}-{{ n|string }}", values) == Pieces{{"41", 1}, {"-", 0}, {"41", 1}});
  CHECK(pieces_of("{{ n + 1 }}", values) == Pieces{{"42", 1}});
  CHECK(pieces_of("{{ -n * 2 }}", values) == Pieces{{"-82", 1}});
  CHECK(pieces_of("{{ f|round|int }}", values) == Pieces{{"2", 2}});
  CHECK(pieces_of("{{ t }}{{ [t]|tojson }}", values) == Pieces{{"True", 3}, {"[", 0}, {"true", 3}, {"]", 0}});
  CHECK(pieces_of("{{ s|int + 1 }}", {{"s", "7"}}) == Pieces{{"8", 1}});
}

TEST_CASE("strings are numbered in document order, or all have one source, or the template's") {
  const Json messages = {{{"role", "user"}, {"content", "a"}}, {{"role", "bot"}, {"content", {{{"text", "b"}}}}}};
  jinja::Variables variables;
  CHECK(variables.set_numbered("messages", messages, 10) == 4);
  variables.set("bos", "<s>");
  variables.set("tools", {"t"}, 7);
  const jinja::Template parsed(
      "{{ bos }}{{ tools[0] }}{% for m in messages %}{{ m.role }}{{ m.content if m.content is string else "
      "m.content[0].text }}{% endfor %}{% for k in messages[0] %}{{ k }}{% endfor %}",
      "test");
  CHECK(parsed.render(variables) ==
        Pieces{{"<s>", 0}, {"t", 7}, {"user", 10}, {"a", 11}, {"bot", 12}, {"b", 13}, {"rolecontent", 10}});
}

namespace {

// Random templates of the language's parts, over strings in which every character is one of a user's and none is in
// the templates.
class RandomTemplate {
 public:
  explicit RandomTemplate(uint64_t seed) : random_(seed) {}

  std::string next() {
    std::string source;
    for (int n = 0; n < 3; ++n) source += statement();
    return source;
  }

 private:
  size_t below(size_t n) { return random_() % n; }
  std::string pick(std::initializer_list<const char*> from) { return from.begin()[below(from.size())]; }

  std::string statement() {
    switch (below(7)) {
      case 0:
        return "{% for c in " + expression(2) + " %}{{ c }}" + expression_tag() + "{% endfor %}";
      case 1:
        return "{% set x %}" + expression_tag() + "-{% endset %}{{ x|" + filter() + " }}";
      case 2:
        return "{% filter " + filter() + " %}a" + expression_tag() + "{% endfilter %}";
      case 3:
        return "{% macro m(a, b=u) %}" + expression_tag() + "{{ a ~ b }}{% endmacro %}{{ m(" + expression(1) + ") }}";
      default:
        return expression_tag();
    }
  }

  std::string expression_tag() { return "{{ " + expression(3) + " }}"; }

  std::string expression(int depth) {
    if (depth == 0) return pick({"u", "v", "d", "l", "'a'", "'< >'", "1", "n", "d.k", "l[0]", "x"});
    const std::string inner = expression(depth - 1);
    switch (below(8)) {
      case 0:
        return "(" + inner + " ~ " + expression(depth - 1) + ")";
      case 1:
        return "(" + inner + " + " + expression(depth - 1) + ")";
      case 2:
        return "(" + inner + ")" + pick({"[0]", "[1:]", "[::-1]", "[:-1]", "[::2]"});
      case 3:
        return "(" + inner + ")|string|" + filter();
      case 4:
        return "((" + inner + ")|string)" + method();
      case 5:
        return "[" + inner + ", " + expression(depth - 1) + "]";
      case 6:
        return "{'k': " + inner + "}";
      default:
        return "(" + inner + ")|" + filter();
    }
  }

  std::string filter() {
    return pick({"upper",
                 "lower",
                 "title",
                 "trim",
                 "capitalize",
                 "tojson",
                 "tojson(indent=2)",
                 "tojson(true)",
                 "string",
                 "replace('a', u)",
                 "replace(u, v)",
                 "indent",
                 "indent(2, true)",
                 "join(v)",
                 "join('-')",
                 "list",
                 "reverse",
                 "first",
                 "last",
                 "e",
                 "safe",
                 "center(20)",
                 "truncate(3, true, u)",
                 "format(u)",
                 "sort",
                 "unique|list",
                 "map('upper')|list",
                 "map('tojson')|join",
                 "batch(2)|list",
                 "urlencode",
                 "default(u)",
                 "items|list",
                 "groupby(0)",
                 "min",
                 "max",
                 "int(u)"});
  }

  std::string method() {
    return pick({".upper()", ".swapcase()", ".strip()", ".split()", ".split('a')", ".rsplit(u, 1)", ".replace('a', u)",
                 ".join([u, v])", ".partition(' ')", ".splitlines()", ".format(u, v)", ".zfill(9)", ".ljust(9, 'x')",
                 ".removeprefix(u)", ".title()", ".expandtabs(2)", ".center(9)"});
  }

  std::mt19937_64 random_;
};

}  // namespace

TEST_CASE("whatever a template does to them, a user's characters are never in a piece of the template's") {
  const Json values = {{"u", "\u24d0 \u24d1\t\u24d2"},
                       {"v", "\u24b6\u24b7"},
                       {"n", 7},
                       {"d", {{"k", "\u24b9\n\u24ba"}, {"l", "\u24bb"}}},
                       {"l", {"\u24d0\u24d3", "\u24d4"}}};
  jinja::Variables own;  // the same, as the template's: one piece
  for (const auto& [name, value] : values.items()) own.set(name, value);
  const jinja::Variables numbered = variables_of(values);
  RandomTemplate random(12);
  int rendered = 0;
  for (int i = 0; i < 4000; ++i) {
    const std::string source = random.next();
    CAPTURE(source);
    const jinja::Template parsed(source, "test");
    try {
      const auto pieces = parsed.render(numbered);
      int before = -1;
      for (const Piece& piece : pieces) {
        const bool typed = piece.text.find("\u24b6"[0]) != std::string::npos;  // 0xE2, which begins all of them
        CHECK_MESSAGE(!(piece.source == 0 && typed), piece.text);
        CHECK(!piece.text.empty());
        CHECK(piece.source != before);
        before = piece.source;
      }
      const auto plain = parsed.render(own);
      CHECK(plain.size() <= 1);
      CHECK(joined(plain) == joined(pieces));
      ++rendered;
    } catch (const Error& error) {
      CHECK(error.kind == ErrorKind::model);
    }
  }
  CHECK(rendered > 500);
}
