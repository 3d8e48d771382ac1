#include <doctest/doctest.h>

#include <ctime>

#include "quant/gguf_keys.h"
#include "tests/quant/gguf_bytes.h"
#include "tests/support/paths.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr uint32_t kF32 = 0;
constexpr uint32_t kQ8_0 = 8;

// A whole small file: one key, two tensors.
GgufBytes small() {
  GgufBytes b;
  b.header(2, 1).key("general.name", GgufType::string).string("small");
  b.tensor("a.weight", {32, 3}, kQ8_0, 0).tensor("b.weight", {4}, kF32, 128);
  return b.pad(32).zeros(128 + 16);
}

// Every refusal is one line that begins with the file.
void check_refused(const GgufBytes& bytes, std::string_view part) {
  const std::string message = refusal(bytes.text());
  CAPTURE(message);
  CHECK(message.starts_with("x.gguf: "));
  CHECK(contains(message, part));
  CHECK(!contains(message, "\n"));
}

GgufBytes one_tensor(const std::vector<uint64_t>& dims, uint32_t type = kF32, uint64_t offset = 0, size_t data = 4096) {
  GgufBytes b;
  b.header(1, 0).tensor("blk.0.x", dims, type, offset);
  return b.pad(32).zeros(data);
}

std::string open_refusal(const std::string& path) {
  try {
    GgufFile::open(path);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a file made by hand is read as it was made") {
  const std::string text = small().text();
  const GgufContents contents = parse_gguf(std::as_bytes(std::span(text)), "x.gguf");
  CHECK(contents.metadata.string("general.name") == "small");
  REQUIRE(contents.tensors.size() == 2);
  const Tensor& a = contents.tensors[0];
  CHECK(a.name == "a.weight");
  CHECK(a.format->id == FormatId::q8_0);
  CHECK(a.shape == Shape(3, 32));
  CHECK(a.bytes() == 3 * 34);
  const auto data_begin = reinterpret_cast<const std::byte*>(text.data()) + text.size() - (128 + 16);
  CHECK(a.data == data_begin);
  CHECK(contents.tensors[1].data == data_begin + 128);
}

TEST_CASE("dimensions are turned round: the contiguous one comes last") {
  const GgufContents contents = parse_copy(one_tensor({5, 3, 2}).text());
  CHECK(contents.tensors[0].shape == Shape(2, 3, 5));
}

TEST_CASE("version 2 is read like version 3") {
  std::string text = small().text();
  text[4] = 2;
  CHECK(parse_copy(text).tensors.size() == 2);
}

TEST_CASE("a file cut anywhere gives an error") {
  const std::string text = small().text();
  for (size_t size = 0; size < text.size(); ++size) {
    CAPTURE(size);
    CHECK(refusal(text.substr(0, size)).starts_with("x.gguf: "));
  }
  CHECK(refusal(text) == "");
}

TEST_CASE("a file with every type and format, cut anywhere in its header, gives an error") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  write_gguf(path, every_type(), every_format());
  const std::string text = read_text(path);
  const GgufContents contents = parse_gguf(std::as_bytes(std::span(text)), "x.gguf");
  const size_t header = size_t(contents.tensors[0].data - reinterpret_cast<const std::byte*>(text.data()));
  for (size_t size = 0; size <= header; ++size) {
    CAPTURE(size);
    CHECK(refusal(text.substr(0, size)).starts_with("x.gguf: "));
  }
}

TEST_CASE("a flipped bit anywhere in the header is read or refused, never more") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  write_gguf(path, every_type(), every_format());
  std::string text = read_text(path);
  const GgufContents contents = parse_gguf(std::as_bytes(std::span(text)), "x.gguf");
  const size_t header = size_t(contents.tensors[0].data - reinterpret_cast<const std::byte*>(text.data()));
  size_t refused = 0;
  for (size_t bit = 0; bit < header * 8; ++bit) {
    text[bit / 8] ^= char(1 << bit % 8);
    refused += refusal(text) != "";  // another exception, or a crash, fails the test
    text[bit / 8] ^= char(1 << bit % 8);
  }
  CHECK(refused > header);
  CHECK(refusal(text) == "");
}

TEST_CASE("other files are refused by what they are") {
  check_refused(GgufBytes().raw("version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer");
  check_refused(GgufBytes().raw("PK\3\4 and more"), "zip or PyTorch");
  check_refused(GgufBytes().number(uint64_t(20)).raw("{\"__metadata__\":{}}"), "safetensors");
  check_refused(GgufBytes().raw("<!DOCTYPE html>"), "web page");
  check_refused(GgufBytes().raw("tjgg\1\0\0\0"), "GGML file of 2023");
  check_refused(GgufBytes().number(uint64_t(20)).raw("{\"__metadata__\":{}}"), "hearth convert");
  check_refused(GgufBytes().raw("{\"model_type\": \"deepseek_v2\"}"), "a JSON file");
  check_refused(GgufBytes().raw("anything"), "expected a GGUF file, found bytes that begin with 61 6e 79 74");
  check_refused(GgufBytes().raw("GG"), "expected a GGUF file, found bytes that begin with 47 47");
}

TEST_CASE("versions and byte orders that we do not read are named") {
  check_refused(GgufBytes().header(0, 0, 1), "version: expected 2 or 3, found 1");
  check_refused(GgufBytes().header(0, 0, 4), "version: expected 2 or 3, found 4");
  check_refused(GgufBytes().header(0, 0, 0), "version: expected 2 or 3, found 0");
  check_refused(GgufBytes().header(0, 0, 0x03000000), "big-endian");
}

TEST_CASE("counts are checked against the bytes that follow") {
  check_refused(GgufBytes().header(~0ull, 0), "tensor count is 18446744073709551615, and only 8 bytes follow");
  check_refused(GgufBytes().header(0, ~0ull), "key count is 18446744073709551615, and only 0 bytes follow");
  check_refused(GgufBytes().header(0, 1).key("a", GgufType::array).number(uint32_t(GgufType::u64)).number(~0ull),
                "key a has 18446744073709551615 elements, and only 0 bytes follow");
  check_refused(
      GgufBytes().header(0, 1).key("a", GgufType::array).number(uint32_t(GgufType::string)).number(2ull).zeros(15),
      "key a has 2 elements, and only 15 bytes follow");
  check_refused(GgufBytes().header(0, 1).key("a", GgufType::string).number(~0ull), "the value of a takes");
  check_refused(GgufBytes().header(0, 1).number(~0ull).zeros(20), "key 0 takes 18446744073709551615 bytes");
}

TEST_CASE("keys") {
  check_refused(GgufBytes().header(0, 2).key("a", GgufType::u8).zeros(1).key("a", GgufType::u8).zeros(1),
                "key a occurs twice");
  check_refused(GgufBytes().header(0, 1).key("a", GgufType(13)).zeros(1),
                "key a: expected a value type of 0 to 12, found 13");
  check_refused(GgufBytes().header(0, 1).key("a", GgufType::array).number(uint32_t(GgufType::array)).zeros(20),
                "key a: arrays of arrays are not supported");
  check_refused(GgufBytes().header(0, 1).key("a", GgufType::boolean).raw("\2"),
                "key a: expected a bool of 0 or 1, found 2");
  check_refused(GgufBytes().header(0, 1).key("", GgufType::u8).zeros(2), "key 0 at 24 is empty");
  check_refused(GgufBytes().header(0, 1).key("a\nb", GgufType::u8).zeros(1), "control characters");
  CHECK(parse_copy(GgufBytes().header(0, 1).key("\xff\xfe", GgufType::u8).zeros(1).text()).metadata.entries().size() ==
        1);
}

TEST_CASE("alignment") {
  const auto aligned = [](GgufType type, auto value) {
    return GgufBytes().header(0, 1).key("general.alignment", type).number(value);
  };
  check_refused(aligned(GgufType::u32, uint32_t(48)),
                "general.alignment: expected u32, a power of two of at least 8, found u32 48");
  check_refused(aligned(GgufType::u32, uint32_t(0)), "found u32 0");
  check_refused(aligned(GgufType::u32, uint32_t(4)), "found u32 4");
  check_refused(aligned(GgufType::u64, uint64_t(32)), "found u64 32");
  CHECK(refusal(aligned(GgufType::u32, uint32_t(1) << 31).text()) == "");  // without tensors there is nothing to place
}

TEST_CASE("tensor shapes, formats and places") {
  check_refused(one_tensor({}), "tensor blk.0.x: expected 1 to 4 dimensions, found 0");
  check_refused(one_tensor({1, 1, 1, 1, 1}), "tensor blk.0.x: expected 1 to 4 dimensions, found 5");
  check_refused(one_tensor({4, 0}), "tensor blk.0.x: a dimension is 0");
  check_refused(one_tensor({1ull << 32, 1ull << 32}), "tensor blk.0.x is larger than the file");
  check_refused(one_tensor({1ull << 62, 4}), "tensor blk.0.x is larger than the file");
  check_refused(one_tensor({1025}), "tensor blk.0.x takes 4100 bytes at 0 of the data, the file has 4096");
  check_refused(one_tensor({1}, kF32, ~0ull - 31), "at 18446744073709551584 of the data");
  check_refused(one_tensor({1}, kF32, 33), "tensor blk.0.x: expected an offset that is a multiple of 32, found 33");
  check_refused(one_tensor({33, 2}, kQ8_0),
                "tensor blk.0.x [2, 33]: rows of Q8_0 need a multiple of 32 columns, found 33");
  CHECK(refusal(one_tensor({1024}).text()) == "");

  GgufBytes overlapping;
  overlapping.header(2, 0).tensor("a", {16}, kF32, 32).tensor("b", {9}, kF32, 0).pad(32).zeros(256);
  check_refused(overlapping, "tensors b and a overlap");
  GgufBytes unnamed;
  check_refused(unnamed.header(1, 0).tensor("", {1}, kF32, 0).pad(32).zeros(32), "the name of tensor 0 at 24 is empty");
}

TEST_CASE("tensors in formats that are only listed are read as far as their sizes tell") {
  const Tensor q8_k = parse_copy(one_tensor({512, 3}, 15).text()).tensors[0];
  CHECK(std::string(q8_k.format->name) == "Q8_K");
  CHECK(q8_k.bytes() == 3 * 584);
  const Tensor kv = parse_copy(one_tensor({512, 3}, 151).text()).tensors[0];  // 8 bytes before the blocks of a row
  CHECK(kv.row_bytes() == 8 + 16 * 32);
  CHECK(kv.bytes() == 3 * (8 + 16 * 32));
  check_refused(one_tensor({512, 8}, 15), "tensor blk.0.x takes 4672 bytes at 0 of the data, the file has 4096");
  check_refused(one_tensor({500}, 15), "rows of Q8_K need a multiple of 256 columns, found 500");
}

TEST_CASE("a tensor of a type that nobody knows reaches to the next one, or to the end") {
  GgufBytes bytes;
  bytes.header(3, 0).tensor("last", {7, 5}, 999, 160).tensor("first", {7, 5}, 999, 0).tensor("between", {8}, kF32, 96);
  const GgufContents contents = parse_copy(bytes.pad(32).zeros(200).text());
  CHECK(std::string(contents.tensors[0].format->name) == "type 999");
  CHECK(contents.tensors[0].bytes() == 40);
  CHECK(contents.tensors[1].bytes() == 96);
  CHECK(contents.tensors[1].row_bytes() == 19);
  CHECK(contents.tensors[2].bytes() == 32);
  check_refused(one_tensor({7, 5}, 999, 4128), "at 4128 of the data, the file has 4096");
  check_refused(one_tensor({7, 5}, 999, 4096), "at 4096 of the data, the file has 4096");  // nothing of it is there
}

TEST_CASE("names of tensors are unique, in one file and over all parts") {
  const TempDir dir;
  GgufBytes twice;
  twice.header(2, 0).tensor("a", {8}, kF32, 0).tensor("a", {8}, kF32, 32).pad(32).zeros(64);
  write_text(dir / "twice.gguf", twice.text());
  CHECK(open_refusal(dir / "twice.gguf") == (dir / "twice.gguf") + ": corrupt: tensor a occurs twice");
}

TEST_CASE("asking a file for a tensor") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  write_text(path, small().text());
  const GgufFile file = GgufFile::open(path);
  CHECK(file.path() == path);
  CHECK(file.file_bytes() == small().text().size());
  CHECK(file.find_tensor("c") == nullptr);
  CHECK(file.tensor("a.weight").shape == Shape(3, 32));
  CHECK_THROWS_WITH_AS(file.tensor("c"), (path + ": tensor c is missing").c_str(), Error);
}

TEST_CASE("missing and empty files, and directories") {
  const TempDir dir;
  CHECK(contains(open_refusal(dir / "none.gguf"), "cannot open: No such file or directory"));
  CHECK(contains(open_refusal(dir.path().string()), "is a directory"));
  write_text(dir / "empty.gguf", "");
  CHECK(contains(open_refusal(dir / "empty.gguf"), "is empty"));
}

namespace {

// Part `number` (from 0) of `count`, with one tensor; `total` goes into split.tensors.count.
GgufBytes part(uint16_t number, uint16_t count, std::string_view tensor, int32_t total, bool with_model_keys) {
  GgufBytes b;
  b.header(1, with_model_keys ? 4 : 3);
  if (with_model_keys) b.key("general.name", GgufType::string).string("split model");
  b.key("split.no", GgufType::u16).number(number).key("split.count", GgufType::u16).number(count);
  b.key("split.tensors.count", GgufType::i32).number(total);
  return b.tensor(tensor, {2}, kF32, 0).pad(32).number(float(number)).number(1.0f);
}

}  // namespace

TEST_CASE("a split file opens by any part") {
  const TempDir dir;
  const std::string first = dir / "m-00001-of-00002.gguf";
  const std::string second = dir / "m-00002-of-00002.gguf";
  write_text(first, part(0, 2, "a", 2, true).text());
  write_text(second, part(1, 2, "b", 2, false).text());
  for (const std::string& path : {first, second}) {
    const GgufFile file = GgufFile::open(path);
    CHECK(file.parts().size() == 2);
    CHECK(file.path() == first);
    CHECK(file.metadata().string("general.name") == "split model");
    REQUIRE(file.tensors().size() == 2);
    float value;
    std::memcpy(&value, file.tensor("b").data, sizeof value);
    CHECK(value == 1.0f);
    CHECK(file.file_bytes() == read_text(first).size() + read_text(second).size());
  }

  SUBCASE("a part under a name that is not its own") {
    write_text(second, part(0, 2, "b", 2, false).text());
    CHECK(contains(open_refusal(first), second + ": expected part 2 of 2 by its name, its keys say part 1 of 2"));
  }
  SUBCASE("a part of another split") {
    write_text(second, part(1, 3, "b", 2, false).text());
    CHECK(contains(open_refusal(first), second + ": expected part 2 of 2 by its name, its keys say part 2 of 3"));
  }
  SUBCASE("a part that is a whole file") {
    write_text(second, small().text());
    CHECK(contains(open_refusal(first), second + ": expected part 2 of 2 by its name, its keys say part ? of 1"));
  }
  SUBCASE("the same tensor in two parts") {
    write_text(second, part(1, 2, "a", 2, false).text());
    CHECK(contains(open_refusal(first), second + ": corrupt: tensor a occurs twice"));
  }
  SUBCASE("a tensor count that does not hold") {
    write_text(first, part(0, 2, "a", 3, true).text());
    write_text(second, part(1, 2, "b", 3, false).text());
    CHECK(contains(open_refusal(first), "expected 3 tensors in all parts (split.tensors.count), found 2"));
  }
  SUBCASE("a name that does not tell the part") {
    for (const char* name : {"renamed.gguf", "00001-of-00002.gguf", "m_00001-of-00002.gguf", "m-0x001-of-00002.gguf"}) {
      std::filesystem::copy_file(first, dir / name);
      CHECK(contains(open_refusal(dir / name), "is one of 2 parts, expected a name ending in -NNNNN-of-00002.gguf"));
    }
  }
}

TEST_CASE("a vocabulary of 128k entries without tensors opens quickly") {
  const TempDir dir;
  std::vector<std::string> tokens, merges;
  for (int i = 0; i < 128000; ++i) {
    tokens.push_back("token" + std::to_string(i));
    merges.push_back("left" + std::to_string(i) + " right" + std::to_string(i));
  }
  GgufMetadata metadata;
  metadata.set(key::kTokens, GgufValue::of_strings(tokens));
  metadata.set(key::kMerges, GgufValue::of_strings(merges));
  metadata.set(key::kTokenTypes, GgufValue::of_i32s(std::vector<int32_t>(tokens.size(), 1)));
  write_gguf(dir / "vocab.gguf", metadata, {});

  const std::clock_t begin = std::clock();  // of the processor: other programs may be busy
  const GgufFile file = GgufFile::open(dir / "vocab.gguf");
  const double seconds = double(std::clock() - begin) / CLOCKS_PER_SEC;
  MESSAGE("128k tokens and merges: ", seconds * 1e3, " ms");
  CHECK(seconds < 1.0);  // 10 ms where this was written; the bound leaves room for sanitizers
  CHECK(file.tensors().empty());
  CHECK(*file.metadata().strings(key::kTokens) == tokens);
  CHECK(*file.metadata().strings(key::kMerges) == merges);
}

TEST_CASE("published vocabularies open" * doctest::test_suite("may skip")) {
  const fs::path data = shared_data("published vocabulary files");
  if (data.empty()) return;
  const GgufFile file = GgufFile::open(data / "tokenizers" / "deepseek-llm.gguf");
  CHECK(file.tensors().empty());
  CHECK(file.metadata().string(key::kTokenizerPre) == "deepseek-llm");
  REQUIRE(file.metadata().strings(key::kTokens));
  CHECK(file.metadata().strings(key::kTokens)->size() == 102400);
}
