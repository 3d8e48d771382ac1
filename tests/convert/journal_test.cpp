#include "convert/journal.h"

#include <doctest/doctest.h>

#include "tests/support/paths.h"
#include "tests/support/refusal.h"
#include "tests/support/text_file.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr Conditions kConditions = {1, 2, 3};
constexpr size_t kRecord = 32;

std::span<const std::byte> bytes_of_text(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// The bytes of a journal with tensors 0, 1 and 4 of 5.
std::string three_records(const std::string& path) {
  Journal journal(path, kConditions, 5);
  journal.begin();
  journal.add({{0, {10, 0}}, {1, {11, 7}}});
  journal.add({{4, {14, 0}}});
  return read_text(path);
}

}  // namespace

TEST_CASE("what one journal records, the next one finds") {
  const TempDir dir;
  const std::string path = dir / "journal";
  CHECK(three_records(path).size() == 4 * kRecord);
  {
    Journal journal(path, kConditions, 5);
    CHECK(journal.read() == "");
    REQUIRE(journal.finished().size() == 3);
    CHECK(journal.finished().at(1).checksum == 11);
    CHECK(journal.finished().at(1).n_clamped == 7);
    journal.go_on();
    journal.take_back(0);
    journal.add({{2, {12, 0}}});
    CHECK(journal.finished().size() == 3);
  }
  Journal journal(path, kConditions, 5);
  CHECK(journal.read() == "");
  CHECK(!journal.finished().contains(0));
  CHECK(journal.finished().at(2).checksum == 12);
  CHECK(journal.finished().at(4).checksum == 14);
}

TEST_CASE("a journal that holds nothing is not left") {
  const TempDir dir;
  {
    Journal journal(dir / "journal", kConditions, 5);
    journal.begin();
    CHECK(fs::exists(dir / "journal"));
  }
  CHECK(!fs::exists(dir / "journal"));
  Journal none(dir / "journal", kConditions, 5);
  CHECK(none.read() == "");
  CHECK(none.finished().empty());
}

TEST_CASE("other conditions: nothing is found, and it is said which") {
  const TempDir dir;
  const std::string text = three_records(dir / "journal");
  const auto difference = [&](const Conditions& conditions) {
    CHECK(parse_journal(bytes_of_text(text), conditions, 5).empty());
    return journal_difference(bytes_of_text(text), conditions);
  };
  CHECK(journal_difference(bytes_of_text(text), kConditions) == "");
  CHECK(difference({9, 2, 3}) == "another version of this program began it");
  CHECK(difference({1, 9, 3}) == "it was to become another file: other model, recipe or version");
  CHECK(difference({1, 2, 9}) == "the weights' files have changed since");
  Journal journal(dir / "journal", {1, 2, 9}, 5);
  CHECK(journal.read() == "the weights' files have changed since");
  CHECK(journal_difference(bytes_of_text("<html>"), kConditions) == "its journal is damaged");
  CHECK(journal_difference(bytes_of_text(std::string(64, 'x')), kConditions) == "its journal is damaged");
  CHECK(parse_journal(bytes_of_text(text), kConditions, 4).size() == 2);  // there is no tensor 4
}

TEST_CASE("of a damaged journal the records that are whole count") {
  const TempDir dir;
  const std::string path = dir / "journal", text = three_records(path);
  for (size_t i = 0; i < text.size(); ++i) {
    CAPTURE(i);
    std::string damaged = text;
    damaged[i] = char(damaged[i] ^ 0x10);
    const FinishedTensors found = parse_journal(bytes_of_text(damaged), kConditions, 5);
    CHECK(found.size() == (i < kRecord ? 3 : 2));
    const FinishedTensors cut = parse_journal(bytes_of_text(text).first(i), kConditions, 5);
    CHECK(cut.size() == (i < kRecord ? 0 : i / kRecord - 1));
  }
  write_text(path, "damaged!" + text.substr(8, 3 * kRecord - 8 + 5));  // header and end
  {
    Journal journal(path, kConditions, 5);
    CHECK(journal.read() == "");
    CHECK(journal.finished().size() == 2);
    journal.go_on();
    journal.add({{4, {14, 0}}});
  }
  const bool mended = read_text(path) == text;
  CHECK(mended);
}

TEST_CASE("a journal that cannot be written") {
  const TempDir dir;
  Journal journal(dir / "none/journal", kConditions, 5);
  CHECK(contains(refusal([&] { journal.begin(); }), "none/journal: cannot write: No such file or directory"));
  fs::create_symlink("elsewhere", dir / "link");
  Journal link(dir / "link", kConditions, 5);
  CHECK(contains(refusal([&] { link.begin(); }), "link: cannot write"));
}
