#include "quant/importance_file.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "quant/gguf_keys.h"
#include "tests/quant/gguf_bytes.h"
#include "tests/support/paths.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// Importance with one entry, byte by byte; `dims` and `counts` as in the file.
std::string importance_gguf(std::string_view type, const std::vector<uint64_t>& dims, const std::vector<float>& counts,
                            uint32_t format = 0) {
  GgufBytes file;
  file.header(2, 2).key("general.type", GgufType::string).string(type);
  file.key("imatrix.chunk_count", GgufType::u32).number(uint32_t(7));
  file.tensor("a.weight.in_sum2", dims, format, 0).tensor("a.weight.counts", {1, counts.size()}, 0, 64).pad(32);
  uint64_t n = 1;
  for (const uint64_t dim : dims) n *= dim;
  for (uint64_t i = 0; i < n; ++i) file.number(float(i));
  file.zeros(64 - n * 4);
  for (const float count : counts) file.number(count);
  file.pad(32);
  return file.text();
}

std::string dat(const std::vector<std::pair<std::string, std::vector<float>>>& entries, const std::string& tail = "") {
  GgufBytes file;
  file.number(int32_t(entries.size()));
  for (const auto& [name, values] : entries) {
    file.number(int32_t(name.size())).raw(name).number(int32_t(4)).number(int32_t(values.size()));
    for (const float value : values) file.number(value);
  }
  return file.raw(tail).text();
}

ImportanceContents parsed(const std::string& text) {
  return parse_importance(std::as_bytes(std::span(text)), "x");
}
std::string importance_refusal(const std::string& text) {
  return refusal([&] { parsed(text); });
}

}  // namespace

TEST_CASE("importance that is written is read back") {
  const TempDir dir;
  const std::vector<float> sums = {1, 2, 3, 4, 5, 6}, counts = {10, 0}, one = {3};
  write_importance(dir / "a.gguf", std::vector<ImportanceSums>{{"b.weight", sums, counts}, {"a.weight", sums, one}},
                   {"text.txt", "more.txt"}, 12, 512);
  const ImportanceFile file = ImportanceFile::open(dir / "a.gguf");
  CHECK(file.datasets == std::vector<std::string>{"text.txt", "more.txt"});
  CHECK(file.n_chunks == 12);
  CHECK(file.chunk_tokens == 512);
  REQUIRE(file.entries.size() == 2);
  CHECK(file.entries.at("b.weight").counts == counts);
  CHECK(file.entries.at("a.weight").counts == one);
  CHECK(file.values("b.weight") == sums);
  // As llama.cpp has it: columns first.
  const GgufFile gguf = GgufFile::open(dir / "a.gguf");
  CHECK(gguf.metadata().string("general.type") == "imatrix");
  CHECK(gguf.tensor("b.weight.in_sum2").shape == Shape(2, 3));
  CHECK(gguf.tensor("b.weight.counts").shape == Shape(2, 1));
}

TEST_CASE("importance in llama.cpp's forms") {
  // The heads of a tensor in one row, with one count.
  const ImportanceContents heads = parsed(importance_gguf("imatrix", {6}, {5}));
  CHECK(heads.entries.at("a.weight").n_values == 6);
  CHECK(heads.entries.at("a.weight").counts == std::vector<float>{5});
  CHECK(heads.n_chunks == 7);
  CHECK(heads.datasets.empty());

  const TempDir dir;
  const std::string tail = GgufBytes().number(int32_t(9)).number(int32_t(5)).raw("t.txt").text();
  for (const std::string& end : {std::string(), tail, tail.substr(0, 4)}) {
    write_text(dir / "old.dat", dat({{"blk.0.attn_q.weight", {1, 2}}, {"b", {3, 4, 5}}}, end));
    const ImportanceFile file = ImportanceFile::open(dir / "old.dat");
    CHECK(file.entries.size() == 2);
    CHECK(file.values("b") == std::vector<float>{3, 4, 5});
    CHECK(file.entries.at("b").counts.empty());
    CHECK(file.n_chunks == (end.empty() ? 0 : 9));
    CHECK(file.datasets == (end == tail ? std::vector<std::string>{"t.txt"} : std::vector<std::string>{}));
  }
}

TEST_CASE("what is not importance is refused") {
  const auto check = [](const std::string& text, const std::vector<std::string>& parts) {
    const std::string said = importance_refusal(text);
    for (const std::string& part : parts) CHECK_MESSAGE(contains(said, part), said);
  };
  check(importance_gguf("model", {6}, {5}), {"expected importance", "imatrix", "found general.type model"});
  check(importance_gguf("imatrix", {2, 3}, {5, 5}), {"a.weight.counts", "[3, 1]", "[2, 1]"});
  check(importance_gguf("imatrix", {6}, {-1}), {"a.weight.counts", "numbers of tokens", "-1"});
  check(importance_gguf("imatrix", {6}, {NAN}), {"a.weight.counts", "nan"});
  check(importance_gguf("imatrix", {6}, {5}, 1), {"a.weight.in_sum2", "F32", "F16"});
  std::string alone = importance_gguf("imatrix", {6}, {5});
  alone.replace(alone.find("a.weight.counts"), 1, "b");
  check(alone, {"a.weight.counts", "a.weight.in_sum2", "none"});
  std::string nothing = importance_gguf("imatrix", {6}, {5});
  nothing.replace(nothing.find("in_sum2"), 7, "in_sum3");
  check(nothing, {"NAME.in_sum2", "none"});

  check("PK\3\4 and more of it", {"expected importance", ".dat", "zip"});
  check(std::string(40, '\0'), {"expected importance"});
  check(dat({{"a b", {1}}}), {"expected importance"});
  check(dat({{"a", {1}}, {"b c", {1}}}), {"corrupt", "tensor's name"});
  check(dat({{"a", {1}}, {"a", {1}}}), {"corrupt", "a occurs twice"});
  check(dat({{"abcdef", {}}}), {"corrupt", "abcdef", "found 0"});
  const std::string whole = dat({{"a", {1, 2}}, {"b", {3}}}, GgufBytes().number(int32_t(1)).number(int32_t(3)).text());
  check(whole, {"3 bytes of the text's name", "found 0"});
  for (size_t n = 4; n < whole.size(); ++n) {
    if (n == whole.size() - 8 || n == whole.size() - 4) continue;  // whole without its tail, or half of it
    CAPTURE(n);
    CHECK(importance_refusal(whole.substr(0, n)) != "");
  }
}

TEST_CASE("sums that are no sums are refused") {
  const TempDir dir;
  for (const float bad : {-1.0f, std::numeric_limits<float>::infinity(), std::nanf("")}) {
    write_text(dir / "bad.dat", dat({{"a", {1, bad}}}));
    const ImportanceFile file = ImportanceFile::open(dir / "bad.dat");
    const std::string said = refusal([&] { file.values("a"); });
    CHECK_MESSAGE(contains(said, "a: expected sums of squares, found " + fmt::format("{} at 1", bad)), said);
  }
  CHECK(contains(refusal([&] { ImportanceFile::open(dir.path().string()); }), "directory"));
  CHECK(contains(refusal([&] { ImportanceFile::open(dir / "none.gguf"); }), "none.gguf"));
}

TEST_CASE("experts that saw few tokens are counted over all layers") {
  ImportanceContents contents;
  contents.entries["blk.1.ffn_down_exps.weight"].counts = {100, kFewTokens - 1, 0, kFewTokens};
  contents.entries["blk.2.ffn_down_exps.weight"].counts = {100, 100, 100, 0};
  contents.entries["blk.2.ffn_gate_exps.weight"].counts = {0, 0, 0, 0};  // the same experts
  contents.entries["blk.1.attn_q.weight"].counts = {0};
  CHECK(experts_seen(contents).text() == "3 of 2 x 4 experts saw fewer than 32 tokens, 2 of them none");
  contents.entries["blk.1.ffn_down_exps.weight"].counts = {100, 40, 50, 60};
  contents.entries["blk.2.ffn_down_exps.weight"].counts = {100, 40, 50, 31};
  CHECK(experts_seen(contents).text() == "1 of 2 x 4 experts saw fewer than 32 tokens");
  contents.entries.erase("blk.2.ffn_down_exps.weight");
  CHECK(experts_seen(contents).text() == "");
}
