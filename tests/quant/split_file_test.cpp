#include "quant/split_file.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <ctime>

#include "tests/quant/split_parts.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// A first part without a tensor: what `gguf-split --no-tensor-first-split` writes.
GgufBytes metadata_part(uint64_t count, uint64_t n_tensors, std::string_view architecture = "deepseek2") {
  GgufBytes part;
  part.header(0, 4).key(key::kArchitecture, GgufType::string).string(architecture);
  add_split_keys(part, 0, count, n_tensors);
  return part;
}

GgufBytes value_part(uint64_t i, uint64_t count, uint64_t n_tensors, const std::string& name) {
  const float value = float(i);
  const Tensor tensor{name, &format_of(FormatId::f32), Shape(1), reinterpret_cast<const std::byte*>(&value)};
  return tensor_part(tensor, i, count, n_tensors);
}

// Part 1 holds the metadata, each other one tensor "t1", "t2" ... of one value, its part's number.
std::string write_parts(const TempDir& dir, uint64_t count) {
  write_text(dir / part_name(0, count), metadata_part(count, count - 1).text());
  for (uint64_t i = 1; i < count; ++i) {
    write_text(dir / part_name(i, count), value_part(i, count, count - 1, "t" + std::to_string(i)).text());
  }
  return dir / part_name(0, count);
}

std::string split_refusal(const std::string& path) {
  return refusal([&] { GgufFile::open(path); });
}

// Sets this process's limit of open files for as long as it lives; what is allowed at most stays.
class OpenFilesLimit {
 public:
  explicit OpenFilesLimit(rlim_t soft) {
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before_) == 0);
    const rlimit now{soft, before_.rlim_max};
    REQUIRE(setrlimit(RLIMIT_NOFILE, &now) == 0);
  }
  ~OpenFilesLimit() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

}  // namespace

TEST_CASE("split: a first part that holds metadata alone") {
  const TempDir dir;
  const std::string path = write_parts(dir, 3);
  for (uint64_t i = 0; i < 3; ++i) {
    const GgufFile file = GgufFile::open(dir / part_name(i, 3));
    CHECK(file.parts().size() == 3);
    CHECK(file.path() == path);
    CHECK(file.metadata().string(key::kArchitecture) == "deepseek2");
    REQUIRE(file.tensors().size() == 2);
    CHECK(*reinterpret_cast<const float*>(file.tensor("t2").data) == 2);
    CHECK(file.part_of(file.tensor("t2").data) == file.parts()[2].get());
    CHECK(file.part_of(file.parts()[0]->bytes().data()) == file.parts()[0].get());
    CHECK(file.part_of(reinterpret_cast<const std::byte*>(&dir)) == nullptr);
  }
}

TEST_CASE("split: a tensor to a part, of more parts than a process may have open at first, and quickly") {
  const TempDir dir;
  constexpr uint64_t kParts = 1300;
  const std::string path = write_parts(dir, kParts);
  const OpenFilesLimit few(256);
  const std::clock_t begin = std::clock();  // of the processor: other programs may be busy
  const GgufFile file = GgufFile::open(path);
  const double seconds = double(std::clock() - begin) / CLOCKS_PER_SEC;
  MESSAGE(kParts, " parts: ", seconds * 1e3, " ms");
  CHECK(seconds < 2.0);  // 40 ms where this was written; the bound leaves room for sanitizers
  REQUIRE(file.tensors().size() == kParts - 1);
  for (uint64_t i = 1; i < kParts; ++i) {
    const Tensor& tensor = file.tensors()[i - 1];
    CHECK(*reinterpret_cast<const float*>(tensor.data) == float(i));
    CHECK(mapped_file_at(tensor.data) == dir / part_name(i, kParts));
    CHECK(!file.parts()[i]->changed());
  }
}

TEST_CASE("split: more parts than a process can be allowed to have open are refused before any is") {
  const TempDir dir;
  const std::string path = write_parts(dir, 200);
  const int exit_code = [&] {  // in a process of its own: what was given up does not come back
    const pid_t child = fork();
    if (child == 0) {
      const rlimit low{100, 100};
      setrlimit(RLIMIT_NOFILE, &low);
      const std::string expected =
          path + ": 200 parts stay open: expected a process to be allowed 264 open files, found 100 (ulimit -n)";
      try {
        GgufFile::open(path);
      } catch (const Error& error) {
        _exit(error.kind == ErrorKind::resource && error.what() == expected ? 0 : 2);
      }
      _exit(1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }();
  CHECK(exit_code == 0);
}

TEST_CASE("split: parts that are missing are counted and named") {
  const TempDir dir;
  const std::string path = write_parts(dir, 7);
  std::filesystem::remove(dir / part_name(2, 7));
  CHECK(split_refusal(path) ==
        path + ": expected all 7 parts beside each other, one is missing: m-00003-of-00007.gguf");
  for (uint64_t i = 0; i < 6; ++i) std::filesystem::remove(dir / part_name(i, 7));
  CHECK(split_refusal(dir / part_name(6, 7)) ==
        path +
            ": expected all 7 parts beside each other, 6 are missing: m-00001-of-00007.gguf, m-00002-of-00007.gguf, "
            "m-00003-of-00007.gguf and 3 more");
}

TEST_CASE("split: parts of another file are told by what they say") {
  const TempDir dir;
  const std::string path = write_parts(dir, 3), second = dir / part_name(1, 3);
  SUBCASE("another number of tensors") {
    write_text(second, value_part(1, 3, 5, "t1").text());
    CHECK(split_refusal(path) == second +
                                     ": is a part of another file: split.tensors.count: expected 2 as in the first "
                                     "part, found 5");
  }
  SUBCASE("another architecture") {
    GgufBytes part;
    part.header(0, 4).key(key::kArchitecture, GgufType::string).string("llama");
    add_split_keys(part, 1, 3, 2);
    write_text(second, part.text());
    CHECK(split_refusal(path) ==
          second +
              ": is a part of another file: general.architecture: expected \"deepseek2\" as in the first part, found "
              "\"llama\"");
  }
  SUBCASE("another number") {
    write_text(second, value_part(2, 3, 2, "t2").text());
    CHECK(split_refusal(path) == second + ": expected part 2 of 3 by its name, its keys say part 3 of 3");
  }
  SUBCASE("a tensor that another part has") {
    write_text(second, value_part(1, 3, 2, "t2").text());
    CHECK(split_refusal(path) == (dir / part_name(2, 3)) + ": corrupt: tensor t2 occurs twice, and first in " + second);
  }
  SUBCASE("a part that ends early") {
    const std::string whole = value_part(1, 3, 2, "t1").text();
    write_text(second, whole.substr(0, whole.size() - 1));
    CHECK(contains(split_refusal(path), second + ": truncated or corrupt: "));
  }
}
