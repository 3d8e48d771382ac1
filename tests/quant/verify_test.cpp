#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "quant/checksum.h"
#include "quant/gguf_keys.h"
#include "quant/verify.h"
#include "tests/quant/gguf_bytes.h"
#include "tests/support/paths.h"

using namespace hearth;
using namespace hearth::test;

namespace {

std::vector<GgufTensorPlan> plans() {
  return {{"a", &format_of(FormatId::f32), Shape(3, 5)},
          {"b", &format_of(FormatId::q8_0), Shape(2, 2, 64)},
          {"c", &format_of(FormatId::bf16), Shape(7)}};
}

// All bytes 0x11: finite in each of the formats above.
std::vector<std::byte> bytes_of(const GgufTensorPlan& plan) {
  return std::vector(plan.bytes(), std::byte(0x11));
}

void write_file(const std::string& path, bool with_checksums) {
  GgufMetadata metadata;
  std::vector<uint64_t> sums;
  for (const GgufTensorPlan& plan : plans()) sums.push_back(checksum(bytes_of(plan)));
  if (with_checksums) metadata.set(key::kHearthChecksums, GgufValue::of_u64s(sums));
  GgufWriter writer(path, metadata, plans());
  for (size_t i = 0; i < plans().size(); ++i) writer.write(i, 0, bytes_of(plans()[i]));
  writer.finish();
}

// Changes bytes of a tensor in the file.
void overwrite(const std::string& path, const char* tensor, size_t offset, std::string_view bytes) {
  std::string text = read_text(path);
  {
    const GgufFile file = GgufFile::open(path);
    offset += size_t(file.tensor(tensor).data - file.parts()[0]->bytes().data());
  }
  write_text(path, text.replace(offset, bytes.size(), bytes));
}

std::vector<std::string> problems_of(const std::string& path) {
  return verify(GgufFile::open(path)).problems;
}

using Problems = std::vector<std::string>;

}  // namespace

TEST_CASE("a file that is what was written") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  write_file(path, true);
  const VerifyReport report = verify(GgufFile::open(path));
  CHECK(report.has_checksums);
  CHECK(report.problems == Problems{});
}

TEST_CASE("one flipped bit, anywhere in the weights, is found and its tensor named") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  for (const GgufTensorPlan& plan : plans()) {
    for (const size_t offset : {size_t(0), plan.bytes() / 2, plan.bytes() - 1}) {
      write_file(path, true);
      overwrite(path, plan.name.c_str(), offset, "\x10");
      const Problems problems = problems_of(path);
      REQUIRE(problems.size() == 1);
      CHECK(problems[0].starts_with(path + ": tensor " + plan.name + ": expected checksum "));
    }
  }
}

TEST_CASE("without checksums only weights that are not finite are found") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  write_file(path, false);
  overwrite(path, "a", 3, "\x10");
  const VerifyReport report = verify(GgufFile::open(path));
  CHECK(!report.has_checksums);
  CHECK(report.problems == Problems{});

  overwrite(path, "c", 2 * 6, "\x80\x7f");                               // infinity as bf16
  overwrite(path, "b", 2 * 68 + 34, std::string_view("\x00\x7e", 2));    // a NaN as the half scale of a block
  overwrite(path, "a", 4 * 7, std::string_view("\x00\x00\x80\xff", 4));  // -infinity
  overwrite(path, "a", 4 * 8, std::string_view("\x00\x00\xc0\x7f", 4));  // only the first of a tensor is told
  CHECK(problems_of(path) ==
        Problems{path + ": tensor a [3, 5]: expected finite weights, found -inf in row 1, column 2",
                 path + ": tensor b [2, 2, 64]: expected finite weights, found nan in row 2, column 32",
                 path + ": tensor c [7]: expected finite weights, found inf in row 0, column 6"});
}

TEST_CASE("checksums that do not fit the tensors") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  const std::vector<GgufTensorPlan> one = {plans()[0]};
  const auto write_with = [&](GgufValue checksums) {
    GgufMetadata metadata;
    metadata.set(key::kHearthChecksums, std::move(checksums));
    GgufWriter writer(path, metadata, one);
    writer.write(0, 0, bytes_of(one[0]));
    writer.finish();
  };
  write_with(GgufValue::of_u64s({1, 2}));
  CHECK(problems_of(path) ==
        Problems{path + ": key hearth.checksums: expected one checksum for each of 1 tensors, found 2"});
  write_with(GgufValue::of_u64s({0}));
  CHECK(problems_of(path) == Problems{path + ": tensor a: expected checksum 0000000000000000, found " +
                                      checksum_text(checksum(bytes_of(one[0])))});
  write_with(GgufValue::of_string("none"));
  CHECK_THROWS_WITH_AS(problems_of(path),
                       (path + ": key hearth.checksums: expected an array of u64, found string \"none\"").c_str(),
                       Error);
}

TEST_CASE("threads find the same, and progress ends at the whole") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  write_file(path, true);
  overwrite(path, "a", 0, "\x10");
  overwrite(path, "c", 0, "\x10");
  VerifyOptions options;
  uint64_t last = 0, total = 0;
  options.progress = [&](uint64_t done, uint64_t of) {
    CHECK(done > last);
    last = done;
    total = of;
  };
  options.parallel_for = [](size_t n, const std::function<void(size_t)>& body) {
    std::vector<std::thread> threads;
    for (size_t i = 0; i < n; ++i) threads.emplace_back(body, i);
    for (std::thread& thread : threads) thread.join();
  };
  const GgufFile file = GgufFile::open(path);
  CHECK(verify(file, options).problems == verify(file).problems);
  CHECK(verify(file).problems.size() == 2);
  uint64_t bytes = 0;
  for (const GgufTensorPlan& plan : plans()) bytes += plan.bytes();
  CHECK(last == bytes);
  CHECK(total == bytes);
}
