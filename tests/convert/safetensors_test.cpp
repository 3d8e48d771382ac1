#include "convert/safetensors.h"

#include <doctest/doctest.h>

#include <cstring>

#include "tests/convert/tiny_checkpoint.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// Parses a copy of exactly these bytes on the heap, where a sanitizer sees every step past their end.
std::vector<SourceTensor> parse_header(std::string_view text) {
  const std::vector<char> copy(text.begin(), text.end());
  std::vector<SourceTensor> tensors = parse_safetensors(std::as_bytes(std::span(copy)), "x.safetensors");
  for (SourceTensor& tensor : tensors) tensor.bytes = {};  // the copy is gone
  return tensors;
}

std::string refused(std::string_view header, size_t data_bytes = 64) {
  return refusal([&] { parse_header(safetensors_text(header, std::string(data_bytes, '\0'))); });
}

void check_refused(std::string_view header, std::string_view why) {
  CAPTURE(header);
  const std::string message = refused(header);
  CAPTURE(message);
  CHECK(contains(message, "x.safetensors"));
  CHECK(contains(message, why));
}

const std::string kTwo = safetensors_text(
    R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]},
        "a":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}})",
    std::string(32, 'x'));

}  // namespace

TEST_CASE("tensors come in the order of their data, with shape, type and bytes") {
  const auto tensors = parse_safetensors(std::as_bytes(std::span(kTwo)), "x");
  REQUIRE(tensors.size() == 2);
  CHECK(tensors[0].name == "a");
  CHECK(tensors[0].shape == Shape(4));
  CHECK(std::string(tensors[0].dtype->name) == "BF16");
  CHECK(tensors[0].bytes.size() == 8);
  CHECK(tensors[1].name == "b");
  CHECK(tensors[1].shape == Shape(2, 3));
  CHECK(tensors[1].bytes.data() == reinterpret_cast<const std::byte*>(kTwo.data() + kTwo.size() - 24));
}

TEST_CASE("single values, empty tensors, gaps and no tensors at all are fine") {
  CHECK(parse_header(safetensors_text("{}", "")).empty());
  CHECK(parse_header(safetensors_text(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", "1234")).size() == 1);
  CHECK(parse_header(safetensors_text(R"({"a":{"dtype":"F32","shape":[0,4],"data_offsets":[0,0]}})", "")).size() == 1);
  CHECK(parse_header(safetensors_text(R"({"a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},)"
                                      R"("b":{"dtype":"I8","shape":[2],"data_offsets":[8,10]}})",
                                      std::string(16, '\0')))
            .size() == 2);
}

TEST_CASE("a file cut anywhere gives an error") {
  for (size_t size = 0; size < kTwo.size(); ++size) {
    CAPTURE(size);
    CHECK(refusal([&] { parse_header(kTwo.substr(0, size)); }) != "");
  }
}

TEST_CASE("a flipped bit anywhere in the header is read or refused, never more") {
  int refused_flips = 0;
  for (size_t at = 0; at < kTwo.size() - 32; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string text = kTwo;
      text[at] = char(text[at] ^ (1 << bit));
      refused_flips += !refusal([&] { parse_header(text); }).empty();
    }
  }
  CHECK(refused_flips > 500);
}

TEST_CASE("headers that contradict themselves or the file") {
  const std::string name(5000, 'n');
  check_refused("", "not valid JSON");
  check_refused("[]", "unexpected an array");
  check_refused("17", "unexpected a number");
  check_refused("{", "not valid JSON");
  check_refused(R"({"a":1})", "a: unexpected a number");
  check_refused(R"({"a":{"dtype":"F32","shape":[2]}})", "a: has no data_offsets");
  check_refused(R"({"a":{"shape":[2],"data_offsets":[0,8]}})", "a: has no dtype");
  check_refused(R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", "a: has no shape");
  check_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", "found another x");
  check_refused(R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "found another dtype");
  check_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{}})", "a occurs twice");
  check_refused(R"({"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}})", "a: expected a dtype of BF16");
  check_refused(R"({"a":{"dtype":4,"shape":[2],"data_offsets":[0,8]}})", "a: unexpected a number");
  check_refused(R"({"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})", "a: unexpected a number");
  check_refused(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", "unexpected a negative number");
  check_refused(R"({"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}})", "unexpected a number that is not whole");
  check_refused(R"({"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})", "unexpected an array");
  check_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", "expected 2 data_offsets, found 1");
  check_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}})", "expected 2 data_offsets");
  check_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", "run backwards");
  check_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,12]}})", "expected 8 bytes for F32 [2], found 12");
  check_refused(R"({"a":{"dtype":"F32","shape":[17],"data_offsets":[0,68]}})", "truncated");
  check_refused(R"({"a":{"dtype":"F32","shape":[2,1,1,1,1],"data_offsets":[0,8]}})", "at most 4 dimensions, found 5");
  check_refused(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})",
                "larger than the file");
  check_refused(R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]}})", "larger than the file");
  check_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}})", "truncated");
  check_refused(
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"I8","shape":[4],"data_offsets":[6,10]}})",
      "a and b overlap");
  check_refused(R"({"":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "empty, too long or holds");
  check_refused("{\"" + name + "\":{}}", "empty, too long or holds");
  check_refused(R"({"__metadata__":{"a":1}})", "unexpected a number");
  check_refused("{\"a\\u001b[2J\":1}", "holds control characters: a?[2J");  // no escape codes to terminals
  check_refused("{\"\xff\":{}}", "not valid JSON");
}

TEST_CASE("hostile headers end quickly: deep nesting, many dimensions") {
  check_refused("{\"a\":" + std::string(1'000'000, '['), "unexpected an array");
  std::string ones = "1";
  for (int i = 0; i < 100'000; ++i) ones += ",1";
  check_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[" + ones + "],\"data_offsets\":[0,4]}}",
                "more than 8 dimensions");
}

TEST_CASE("header lengths beyond the file and beyond reason") {
  const auto with_length = [](uint64_t length) {
    std::string bytes(108, ' ');
    std::memcpy(bytes.data(), &length, sizeof length);
    return bytes;
  };
  CHECK(contains(refusal([&] { parse_header(with_length(101)); }), "the header takes 101 bytes, the file has 108"));
  CHECK(contains(refusal([&] { parse_header(with_length(UINT64_MAX)); }), "header of at most 100000000 bytes"));
  CHECK(contains(refusal([&] { parse_header("short"); }), "at least 8 bytes, found 5"));
}

TEST_CASE("other files are refused by what they are") {
  CHECK(contains(refusal([] { parse_header("version https://git-lfs.github.com/spec/v1\n"); }), "Git LFS pointer"));
  CHECK(contains(refusal([] { parse_header("PK\3\4 and more bytes"); }), "PyTorch archive"));
  CHECK(contains(refusal([] { parse_header("GGUF and more bytes"); }), "a GGUF file"));
  CHECK(contains(refusal([] { parse_header("<!DOCTYPE html>"); }), "a web page"));
  std::string header = "{}";
  header.resize('<', ' ');  // a length that is the letter < means nothing
  CHECK(parse_header(safetensors_text(header, "")).empty());
}

TEST_CASE("index files") {
  const auto refused_index = [](std::string_view text) {
    return refusal([&] { parse_safetensors_index(text, "index.json"); });
  };
  CHECK(parse_safetensors_index(R"({"weight_map":{"a":"x.safetensors"}})", "").at("a") == "x.safetensors");
  CHECK(contains(refused_index("{"), "index.json: not valid JSON"));
  CHECK(contains(refused_index("[]"), "expected a JSON object, found array"));
  CHECK(contains(refused_index("{}"), "expected an object weight_map"));
  CHECK(contains(refused_index(R"({"weight_map":{}})"), "expected an object weight_map"));
  CHECK(contains(refused_index(R"({"weight_map":{"a":3}})"), "a: expected the name of a file, found 3"));
  for (const char* shard : {"../x", "/etc/passwd", "d/x.safetensors", "", ".", "..", "x\\u0000y"}) {
    CAPTURE(shard);
    CHECK(contains(refused_index(fmt::format(R"({{"weight_map":{{"a":"{}"}}}})", shard)), "a file beside the index"));
  }
}
