// Templates from strangers: bounded steps, bytes and depth, whatever they ask for.
#include <doctest/doctest.h>

#include "tests/runtime/jinja/render.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr jinja::Limits kFewSteps = {200'000, size_t(64) << 20, 300};
constexpr jinja::Limits kFewBytes = {20'000'000, size_t(1) << 20, 300};

// What rendering says; "" if it ends well.
std::string outcome(const std::string& source, const jinja::Limits& limits = kFewBytes) {
  return refusal([&] { pieces_of(source, {{"word", "user"}}, limits); });
}

std::string repeated(const std::string& part, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += part;
  return all;
}

}  // namespace

TEST_CASE("endless work is stopped") {
  for (const std::string source : {
           "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
           "{% set l = range(20000)|list %}{% for a in l %}{{ a in l }}{% endfor %}",
           "{% set s = 'a' * 9999 %}{% for a in range(99999) %}{% set t = s.replace('b', 'c') %}{% endfor %}",
           "{% set s = 'a' * 9999 %}{% for a in range(99999) %}{{ s|length }}{% endfor %}",
           "{% set s = 'ab' * 9999 %}{% for a in range(99999) %}{% set t = s == 'a' ~ s[1:] %}{% endfor %}",
           "{% for x in range(99999) %}{% set t = range(99999)|sort|list %}{% endfor %}",
       })
    CHECK_MESSAGE(contains(outcome(source, kFewSteps), "the template does too much"), outcome(source, kFewSteps),
                  " from ", source);
}

TEST_CASE("memory is bounded, and asked for before it is taken") {
  for (const std::string source : {
           "{{ 'x' * 10 ** 9 }}",
           "{{ 'x' * 9223372036854775807 }}",
           "{{ [1, 2, 3] * 10 ** 12 }}",
           "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
           "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
           "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = [ns.s, ns.s] %}{{ ns.s }}{% endfor %}",
           "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = [ns.s, ns.s] %}{{ ns.s|tojson }}{% "
           "endfor %}",
           "{{ 'x'.ljust(10 ** 9) }}",
           "{{ 'x'.center(10 ** 10) }}",
           "{{ '%999999999d' % 1 }}",
           "{{ '{:>999999999}'.format(1) }}",
           "{{ ['x'] | batch(10 ** 12, 'y') | list }}",
           "{{ ['x'] | slice(10 ** 12) | list }}",
           "{{ 'x\nx' | indent(10 ** 9) }}",
           "{{ [1] | tojson(indent=10 ** 9) }}",
           "{{ 'a\tb'.expandtabs(10 ** 9) }}",
           "{{ ('a' * 9999).replace('a', 'b' * 9999) }}",
           "{{ ('b' * 9999).join('a' * 9999) }}",
           "{{ ('a' * 9999)|join('b' * 9999) }}",
           "{% set s %}{% for i in range(99999) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}{% endset %}",
       })
    CHECK_MESSAGE(contains(outcome(source), "need more than 1048576 bytes"), outcome(source), " from ", source);
  CHECK(contains(outcome("{{ range(10 ** 12) }}"), "expected a range of at most 100000 numbers"));
  CHECK(contains(outcome("{{ range(-9223372036854775807, 9223372036854775807) }}"), "at most 100000 numbers"));
}

TEST_CASE("what was let go is free again") {
  CHECK(outcome("{% for i in range(300) %}{% set s = 'x' * 9000 %}{% endfor %}") == "");
  CHECK(
      outcome("{% macro f() %}{{ 'x' * 9000 }}{% endmacro %}{% for i in range(300) %}{% set s = f() %}{% endfor %}") ==
      "");
}

TEST_CASE("depth is bounded: of the text, of what it does and of values") {
  CHECK(contains(outcome("{{ " + repeated("(", 999) + "1" + repeated(")", 999) + " }}"), "levels of nesting"));
  CHECK(contains(outcome("{{ " + repeated("[", 999) + repeated("]", 999) + " }}"), "levels of nesting"));
  CHECK(contains(outcome("{{ " + repeated("not ", 999) + "1 }}"), "levels of nesting"));
  CHECK(contains(outcome("{{ " + repeated("-", 999) + "1 }}"), "levels of nesting"));
  CHECK(contains(outcome("{{ x" + repeated(".y", 999) + " }}"), "levels of nesting"));
  CHECK(contains(outcome("{{ x" + repeated("|d", 999) + " }}"), "levels of nesting"));
  CHECK(contains(outcome("{{ " + repeated("1 if 1 else ", 999) + "1 }}"), "levels of nesting"));
  CHECK(contains(outcome("{{ 1" + repeated(" if 1", 999) + " }}"), "levels of nesting"));
  CHECK(contains(outcome(repeated("{% if 1 %}", 999) + repeated("{% endif %}", 999)), "levels of nesting"));
  CHECK(contains(outcome("{% set " + repeated("(", 999) + "x" + repeated(")", 999) + " = 1 %}"), "levels of nesting"));
  CHECK(contains(outcome("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), "levels of nesting"));
  CHECK(contains(outcome("{% macro f() %}{% call f() %}{{ caller }}{% endcall %}{% endmacro %}{{ f() }}"),
                 "levels of nesting"));
  CHECK(contains(outcome("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}"), "levels of nesting"));
  CHECK(contains(outcome("{% set ns = namespace(x=[]) %}{% for i in range(999) %}{% set ns.x = [ns.x] %}{% endfor %}"),
                 "nested at most 150 deep"));
  CHECK(
      contains(outcome("{% set ns = namespace(x={}) %}{% for i in range(999) %}{% set ns.x = {1: ns.x} %}{% endfor %}"),
               "nested at most 150 deep"));
  Json deep = 1;
  for (int i = 0; i < 999; ++i) deep = Json::array({deep});
  jinja::Variables variables;
  CHECK(contains(refusal([&] { variables.set("deep", deep); }), "deep: expected values nested at most 150 deep"));
}

TEST_CASE("the depth that is allowed by default fits the stack") {
  const jinja::Limits defaults;
  for (const std::string source : {
           "{% macro f() %}{% if 1 %}{{ f() }}{% endif %}{% endmacro %}{{ f() }}",
           "{% macro f() %}{% for x in [1] %}{{ [f()|upper]|join ~ 'x' }}{% endfor %}{% endmacro %}{{ f() }}",
           "{% macro f() %}{% call f() %}{{ caller }}{% endcall %}{% endmacro %}{{ f() }}",
           "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
       })
    CHECK_MESSAGE(contains(outcome(source, defaults), "levels of nesting"), source);
}

TEST_CASE("searching takes time that grows with the lengths, not with their product") {
  const std::string a = "{% set a = 'a' * 200000 %}{% set b = 'a' * 100000 ~ 'b' %}";
  for (const char* search : {"b in a", "a.find(b)", "a.rfind(b)", "a.split(b)|length", "a.rsplit(b)|length",
                             "a.count(b)", "a.replace(b, '')|length", "a|replace(b, '')|length"})
    CHECK_MESSAGE(outcome(a + "{{ " + search + " }}", {2'000'000, size_t(64) << 20, 300}) == "", search);
}

TEST_CASE("values that share their parts are not gone through more often than the steps allow") {
  const std::string pairs =
      "{% set ns = namespace(t=(), u=()) %}"
      "{% for i in range(99) %}{% set ns.t = (ns.t, ns.t) %}{% set ns.u = (ns.u, ns.u) %}{% endfor %}";
  CHECK(outcome(pairs + "{{ {ns.t: 1}|length }}{{ {ns.t: 1}[ns.t] }}", kFewSteps) == "");
  CHECK(contains(outcome(pairs + "{{ ns.t == ns.u }}", kFewSteps), "does too much"));
  CHECK(contains(outcome(pairs + "{{ ns.t < ns.u }}", kFewSteps), "does too much"));
}

TEST_CASE("numbers at the ends of their range do no harm") {
  for (const char* n : {"9223372036854775807", "-9223372036854775807 - 1", "2 ** 62", "0", "-1"}) {
    for (const char* use : {"'ab'[n:]",
                            "'ab'[:n]",
                            "'ab'[::n]",
                            "'ab'[n]",
                            "[1, 2][n::n]",
                            "range(5)[n:]",
                            "range(0, 10, 3)[::n]",
                            "range(n, n)",
                            "range(0, 2, n)",
                            "range(0, 2 ** 62, 2 ** 60)[::n]",
                            "'ab'.center(n)",
                            "'ab'.zfill(n)",
                            "'ab'.ljust(n)",
                            "'ab'.split('a', n)",
                            "'ab'.replace('a', 'b', n)",
                            "'ab'.find('b', n)",
                            "'ab'.find('b', 0, n)",
                            "[1].index(1, n)",
                            "'ab'|truncate(n)",
                            "1.5|round(n)",
                            "1.5|round(n, 'ceil')",
                            "[1]|batch(n, 0)|list",
                            "[1]|slice(n, 0)|list",
                            "[1]|tojson(indent=n)",
                            "'a'|indent(n)",
                            "n // 2",
                            "n % 3",
                            "n / 3",
                            "-n",
                            "n|abs",
                            "'%d' % n",
                            "'%c' % n",
                            "'{:x}'.format(n)",
                            "'7'|int(0, n)",
                            "'a\tb'.expandtabs(n)",
                            "'ab' * n",
                            "[1] * n",
                            "n ** 2",
                            "2 ** n",
                            "loop[n]"}) {
      const std::string said = outcome(std::string("{% set n = ") + n + " %}{{ " + use + " }}");
      CHECK_MESSAGE((said == "" || said.starts_with("test: line 1: ")), said, " from ", use, " with ", n);
    }
  }
}

TEST_CASE("long chains are not deep") {
  CHECK(render("{{ 1" + repeated(" + 1", 5000) + " }}") == "5001");
  CHECK(render("{{ 'a'" + repeated(" ~ 'a'", 999) + " }}").size() == 1000);
  CHECK(render("{{ 0" + repeated(" or 0", 5000) + " }}") == "0");
  CHECK(render("{% if 0 %}" + repeated("{% elif 0 %}", 5000) + "{% else %}x{% endif %}") == "x");
}

TEST_CASE("values that hold themselves do not outlive the rendering") {
  // Their end is checked by the leak check of the sanitizer's build.
  for (const std::string source : {
           "{% set ns = namespace() %}{% set ns.ns = ns %}{% set ns.list = [ns, ns] %}{{ ns }}",
           "{% macro f() %}{{ f }}{% endmacro %}{% set g = [f] %}{{ f() }}",
           "{% for x in [1] %}{{ loop.changed(loop) }}{% endfor %}",
           "{% set ns = namespace() %}{% for x in [1, 2] %}{% macro m() %}{{ x }}{% endmacro %}{% set ns.m = [m, loop] "
           "%}{% endfor %}{{ ns.m[0]() }}",
       })
    CHECK_MESSAGE(outcome(source) == "", source);
}

TEST_CASE("a long conversation renders within the default limits") {
  Json messages = Json::array();
  for (int i = 0; i < 500; ++i)
    messages.push_back({{"role", i % 2 ? "assistant" : "user"}, {"content", repeated("four words of \u00e9", 15)}});
  const std::string source =
      "{% for m in messages %}{% if m.role == 'user' or loop.last %}<|{{ m['role'] }}|>{{ m.content|trim }}"
      "{% else %}{{ m.content.split('</think>')[-1].strip('\\n') ~ '<|end|>' }}{% endif %}{% endfor %}";
  CHECK(render(source, {{"messages", messages}}).size() > 100'000);
}
