// Small templates, and what Jinja2 makes of them as Hugging Face sets it up (tests/golden/README.md).
#include <doctest/doctest.h>

#include "quant/error.h"
#include "tests/runtime/jinja/render.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// The text, or the error's message.
struct Outcome {
  bool error = false;
  std::string text;
  std::vector<jinja::Piece> pieces;
};

Outcome outcome(const std::string& source, const jinja::Variables& variables) {
  try {
    auto pieces = jinja::Template(source, "test").render(variables);
    return {false, joined(pieces), pieces};
  } catch (const Error& error) {
    return {true, error.what(), {}};
  }
}

}  // namespace

TEST_CASE("what Jinja2 renders is rendered, byte for byte, and what it refuses is refused") {
  const Json file = jinja_cases();
  jinja::Variables variables = variables_of(file["variables"]);
  variables.set_now(file["now"].get<int64_t>());
  int rendered = 0, refused = 0;
  for (const Json& one : file["cases"]) {
    const std::string source = one["template"].get<std::string>();
    CAPTURE(source);
    const Outcome found = outcome(source, variables);
    CHECK_MESSAGE(found.error == one.contains("error"), found.text);
    if (!found.error) CHECK(found.text == one["output"].get<std::string>());
    (found.error ? refused : rendered) += 1;
  }
  CHECK(rendered > 600);
  CHECK(refused > 100);
}

TEST_CASE("whole templates render conversations as Jinja2 does, and leave what was typed to whom it belongs") {
  const Json file = jinja_cases();
  const std::string mark = file["mark"].get<std::string>();
  int rendered = 0;
  for (const Json& one : file["rendered"]) {
    const std::string name = one["template"].get<std::string>(), title = one["conversation"].get<std::string>();
    CAPTURE(name);
    CAPTURE(title);
    jinja::Variables variables = variables_of(file["conversations"][title]);
    variables.set_now(file["now"].get<int64_t>());
    const Outcome found = outcome(file_text(source_dir() / "tests/golden/templates" / name), variables);
    CHECK_MESSAGE(found.error == one.contains("error"), found.text);
    if (found.error) continue;
    CHECK(found.text == one["output"].get<std::string>());
    for (const auto& piece : found.pieces)
      CHECK_MESSAGE((piece.source != 0 || piece.text.find(mark) == std::string::npos), piece.text);
    ++rendered;
  }
  CHECK(rendered > 90);
}
