// The official JSON Schema Test Suite, as Debian packages it (json-schema-test-suite) or as a folder of it lies in
// $HEARTH_SCHEMA_SUITE: nothing that is invalid is accepted, nothing valid is rejected, and few schemas are refused.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "runtime/grammar/grammar.h"
#include "runtime/grammar/json_value.h"
#include "tests/runtime/grammar/json_text.h"
#include "tests/support/text_file.h"

namespace fs = std::filesystem;
using hearth::grammar::JsonValue;

namespace {

struct Tally {
  int groups = 0, refused = 0, cases = 0;
  std::vector<std::string> false_accepts, false_rejects;
  std::map<std::string, int> reasons;
};

void run_group(const std::string& file, const JsonValue& group, int draft, Tally& tally) {
  using namespace hearth::grammar;
  ++tally.groups;
  std::shared_ptr<const Grammar> grammar;
  const std::string about = file + ": " + group.find("description")->text;
  const bool show = std::getenv("HEARTH_SCHEMA_SUITE_SHOW") != nullptr;
  try {
    grammar = compile_schema(json_text(*group.find("schema")), {.draft = draft});
  } catch (const Refusal& refusal) {
    // A schema that nothing satisfies is refused, too: nothing can be written then.
    const auto& tests = group.find("tests")->items;
    const bool none =
        refusal.why == "no value satisfies it" &&
        std::none_of(tests.begin(), tests.end(), [](const JsonValue& test) { return test.find("valid")->boolean; });
    tally.refused += !none;
    ++tally.reasons[refusal.why];
    if (show && !none) MESSAGE("refused ", about, ": ", refusal.what());
    return;
  }
  for (const JsonValue& test : group.find("tests")->items) {
    ++tally.cases;
    const std::string text = json_text(*test.find("data"));
    Matcher matcher(grammar);
    const bool accepted = matcher.advance(text) == text.size() && matcher.may_end();
    if (accepted == test.find("valid")->boolean) continue;
    auto& list = accepted ? tally.false_accepts : tally.false_rejects;
    list.push_back(about + ": " + test.find("description")->text + ": " + text.substr(0, 200));
  }
}

void run_draft(const fs::path& suite, const std::string& folder, int draft, double most_refused) {
  REQUIRE_MESSAGE(fs::is_directory(suite / "tests" / folder), (suite / "tests" / folder).string());
  Tally tally;
  for (const auto& entry : fs::recursive_directory_iterator(suite / "tests" / folder)) {
    if (entry.path().extension() != ".json") continue;
    const bool optional = entry.path().string().find("/optional/") != std::string::npos;
    if (optional && !std::getenv("HEARTH_SCHEMA_SUITE_OPTIONAL")) continue;
    const JsonValue groups = hearth::grammar::parse_json(hearth::test::read_text(entry.path().string()));
    for (const JsonValue& group : groups.items) run_group(entry.path().stem().string(), group, draft, tally);
  }
  std::string reasons;
  for (const auto& [why, n] : tally.reasons) reasons += fmt::format("\n  {} x {}", n, why);
  MESSAGE(folder, ": ", tally.groups, " groups, ", tally.refused, " refused (",
          fmt::format("{:.0f}", 100.0 * tally.refused / tally.groups), " %), ", tally.cases, " cases, ",
          tally.false_accepts.size(), " false accepts, ", tally.false_rejects.size(), " false rejects", reasons);
  for (const auto& each : tally.false_accepts) CHECK_MESSAGE(false, "accepted: ", each);
  for (const auto& each : tally.false_rejects) CHECK_MESSAGE(false, "rejected: ", each);
  CHECK(tally.groups > 50);
  CHECK(tally.refused <= most_refused * tally.groups);
}

}  // namespace

TEST_SUITE("may skip") {
  TEST_CASE("the official suite, drafts 4, 6 and 7") {
    const fs::path suite = "/usr/share/json-schema-test-suite";
    if (!fs::is_directory(suite)) {
      MESSAGE("SKIP: the package json-schema-test-suite is not installed");
      return;
    }
    for (const int draft : {4, 6, 7}) run_draft(suite, fmt::format("draft{}", draft), draft, 0.25);
  }

  TEST_CASE("the public suite, draft 2020-12") {
    const char* suite = std::getenv("HEARTH_SCHEMA_SUITE");
    if (!suite) {
      MESSAGE("SKIP: HEARTH_SCHEMA_SUITE names no copy of the public suite");
      return;
    }
    for (const auto& [folder, draft] : {std::pair("draft4", 4), {"draft6", 6}, {"draft7", 7}, {"draft2019-09", 2019}})
      run_draft(suite, folder, draft, 0.45);
    run_draft(suite, "draft2020-12", 2020, 0.45);
  }
}
