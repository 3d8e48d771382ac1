#include <doctest/doctest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "quant/gguf_keys.h"
#include "tests/quant/gguf_bytes.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

const Format& floats() {
  return format_of(FormatId::f32);
}

bool is_empty(const TempDir& dir) {
  return fs::is_empty(dir.path());
}

}  // namespace

TEST_CASE("every value type and every format comes back as it was written") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  const GgufMetadata metadata = every_type();
  const std::vector<GgufTensorPlan> plans = every_format();
  for (const uint32_t alignment : {8u, 32u, 64u, 4096u}) {
    CAPTURE(alignment);
    write_gguf(path, metadata, plans, alignment);
    const GgufFile file = GgufFile::open(path);
    CHECK(file.file_bytes() == gguf_file_bytes(metadata, plans, alignment));
    CHECK(file.metadata().unsigned_integer(key::kAlignment) == alignment);

    REQUIRE(file.metadata().entries().size() == metadata.entries().size() + 1);
    for (size_t i = 0; i < metadata.entries().size(); ++i) {
      const auto& [key, value] = metadata.entries()[i];
      const auto& [found_key, found] = file.metadata().entries()[i];
      CAPTURE(key);
      CHECK(found_key == key);
      CHECK(found.type == value.type);
      CHECK(found.is_array == value.is_array);
      CHECK(found.data == value.data);
    }

    REQUIRE(file.tensors().size() == plans.size());
    for (size_t i = 0; i < plans.size(); ++i) {
      const Tensor& tensor = file.tensors()[i];
      CAPTURE(tensor.name);
      CHECK(tensor.name == plans[i].name);
      CHECK(tensor.format == plans[i].format);
      CHECK(tensor.shape == plans[i].shape);
      CHECK((tensor.data - file.parts()[0]->bytes().data()) % alignment == 0);
      const std::vector<std::byte> expected = tensor_bytes(i, plans[i].bytes());
      REQUIRE(tensor.bytes() == expected.size());
      CHECK(std::memcmp(tensor.data, expected.data(), expected.size()) == 0);
    }
    CHECK(!fs::exists(path + ".partial"));
  }
}

TEST_CASE("the header is laid out as the format says") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  GgufMetadata metadata;
  metadata.set("general.name", GgufValue::of_string("small"));
  write_gguf(path, metadata,
             {{"a.weight", &format_of(FormatId::q8_0), Shape(3, 32)}, {"b.weight", &floats(), Shape(4)}}, 32);

  GgufBytes expected;
  expected.header(2, 2).key("general.name", GgufType::string).string("small");
  expected.key("general.alignment", GgufType::u32).number(uint32_t(32));
  expected.tensor("a.weight", {32, 3}, 8, 0).tensor("b.weight", {4}, 0, 128).pad(32);
  const std::string text = read_text(path);
  CHECK(text.substr(0, expected.text().size()) == expected.text());
  CHECK(text.size() == expected.text().size() + 128 + 32);  // 3 x 34 and 16 bytes, each padded to 32
  CHECK(text.substr(expected.text().size() + 102, 26) == std::string(26, '\0'));
}

TEST_CASE("nothing has the final name before finish, and nothing is left of a writer that did not finish") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  {
    GgufWriter writer(path, {}, {{"a", &floats(), Shape(4)}});
    CHECK(writer.partial_path() == path + ".partial");
    CHECK(!fs::exists(path));
    CHECK(fs::file_size(path + ".partial") == writer.file_bytes());
    writer.write(0, 0, tensor_bytes(0, 16));
    writer.sync();
    CHECK(GgufFile::open(writer.partial_path()).tensors().size() == 1);  // synced: may be read back and verified
    CHECK(!fs::exists(path));
  }
  CHECK(is_empty(dir));
}

TEST_CASE("an unfinished writer leaves the old file alone, a finished one replaces it") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  write_text(path, "old");
  { const GgufWriter writer(path, {}, {{"a", &floats(), Shape(4)}}); }
  CHECK(read_text(path) == "old");
  write_gguf(path, {}, {{"a", &floats(), Shape(4)}});
  CHECK(GgufFile::open(path).tensors().size() == 1);
}

TEST_CASE("what a killed process left is taken over") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  write_text(path + ".partial", std::string(100000, 'x'));
  write_gguf(path, {}, {{"a", &floats(), Shape(4)}});
  const std::string text = read_text(path);
  CHECK(text.size() == GgufFile::open(path).file_bytes());
  CHECK(!contains(text, "x"));
}

TEST_CASE("what an earlier writer left is kept as far as it is known to be whole") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  const std::vector<GgufTensorPlan> plans = {{"a", &floats(), Shape(5)}, {"b", &floats(), Shape(7)}};
  const auto leave = [&] {
    GgufWriter writer(path, {}, plans);
    writer.write(0, 0, tensor_bytes(0, 20));
    writer.write(1, 0, tensor_bytes(5, 28));
    writer.leave_partial(true);
  };
  const auto go_on = [&](std::vector<size_t> arrived, bool same_size) {
    GgufWriter writer(path, {}, plans, kGgufAlignment, [&](bool same) {
      CHECK(same == same_size);
      return arrived;
    });
    writer.write(1, 0, tensor_bytes(1, 28));
    writer.finish();
  };
  leave();
  CHECK(fs::exists(path + ".partial"));
  go_on({0}, true);
  const std::string text = read_text(path);
  write_gguf(path, {}, plans);
  CHECK(text == read_text(path));

  leave();
  CHECK(contains(refusal([&] { go_on({}, true); }), "tensor a: expected 20 bytes, 0 arrived"));
  CHECK(!fs::exists(path + ".partial"));
  leave();
  fs::resize_file(path + ".partial", 100);
  CHECK(contains(refusal([&] { go_on({0}, false); }), "tensor a: expected 20 bytes, 0 arrived"));
}

TEST_CASE("a checksum of all but the data") {
  GgufMetadata metadata;
  metadata.set("general.name", GgufValue::of_string("small"));
  const std::vector<GgufTensorPlan> plans = {{"a", &floats(), Shape(4)}};
  const uint64_t sum = gguf_header_checksum(metadata, plans);
  CHECK(gguf_header_checksum(metadata, plans) == sum);
  CHECK(gguf_header_checksum(metadata, {{"a", &floats(), Shape(5)}}) != sum);
  CHECK(gguf_header_checksum(metadata, {{"b", &floats(), Shape(4)}}) != sum);
  CHECK(gguf_header_checksum(metadata, {{"a", &floats(), Shape(4), true}}) != sum);
  metadata.set("general.name", GgufValue::of_string("Small"));
  CHECK(gguf_header_checksum(metadata, plans) != sum);
}

TEST_CASE("two writers of one file") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  {
    GgufWriter first(path, {}, {{"a", &floats(), Shape(4)}});
    CHECK(refusal([&] { GgufWriter(path, {}, {}); }) == path + ".partial: another process is writing it");
    first.write(0, 0, tensor_bytes(0, 16));
    first.finish();  // the second has not removed or emptied what the first writes
  }
  CHECK(GgufFile::open(path).tensors().size() == 1);
}

TEST_CASE("links to the file are written through, modes are kept, and what is no file is refused") {
  const TempDir dir;
  fs::create_directory(dir / "far");
  fs::create_symlink("far/x.gguf", dir / "link.gguf");
  write_gguf(dir / "link.gguf", {}, {{"a", &floats(), Shape(4)}});  // there is nothing yet
  CHECK(fs::is_symlink(dir / "link.gguf"));
  chmod((dir / "far/x.gguf").c_str(), 0640);
  write_gguf(dir / "link.gguf", {}, {{"a", &floats(), Shape(4)}, {"b", &floats(), Shape(4)}});
  CHECK(GgufFile::open(dir / "far/x.gguf").tensors().size() == 2);
  CHECK(fs::status(dir / "far/x.gguf").permissions() == fs::perms(0640));
  CHECK(std::distance(fs::directory_iterator(dir / "far"), {}) == 1);

  CHECK(contains(refusal([&] { GgufWriter("-", {}, {}); }), "standard output"));
  CHECK(!fs::exists("-"));
  const std::string path = dir / "x.gguf";
  REQUIRE(mkfifo((path + ".partial").c_str(), 0600) == 0);
  CHECK(contains(refusal([&] { GgufWriter(path, {}, {}); }), "x.gguf.partial: exists and is not a regular file"));
  CHECK(fs::is_fifo(path + ".partial"));
}

TEST_CASE("bytes that did not arrive are missed") {
  const TempDir dir;
  GgufWriter writer(dir / "x.gguf", {}, {{"a", &floats(), Shape(4)}, {"b", &floats(), Shape(4)}});
  writer.write(0, 0, tensor_bytes(0, 16));
  const std::string partial = writer.partial_path();
  CHECK(refusal([&] { writer.finish(); }) == partial + ": tensor b: expected 16 bytes, 0 arrived");
  writer.write(1, 0, tensor_bytes(1, 4));
  writer.write(1, 0, tensor_bytes(1, 12));  // written twice is not more
  CHECK(refusal([&] { writer.finish(); }) == partial + ": tensor b: expected 16 bytes, 12 arrived");
  writer.write(1, 13, tensor_bytes(1, 3));
  CHECK(refusal([&] { writer.finish(); }) == partial + ": tensor b: expected 16 bytes, 15 arrived");
  writer.write(1, 12, tensor_bytes(1, 1));
  writer.finish();
  CHECK(GgufFile::open(dir / "x.gguf").tensors().size() == 2);
}

TEST_CASE("bytes outside a tensor are refused") {
  const TempDir dir;
  GgufWriter writer(dir / "x.gguf", {}, {{"a", &floats(), Shape(4)}});
  CHECK(contains(refusal([&] { writer.write(0, 1, tensor_bytes(0, 16)); }),
                 "tensor a: 16 bytes at 1 do not fit into its 16"));
  CHECK(contains(refusal([&] { writer.write(0, ~size_t(0), tensor_bytes(0, 16)); }), "do not fit into its 16"));
}

TEST_CASE("tensors in pieces from several threads, in any order") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  const std::vector<GgufTensorPlan> plans = {{"a", &floats(), Shape(1000, 7)}, {"b", &floats(), Shape(3001)}};
  GgufWriter writer(path, {}, plans);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < plans.size(); ++i) {
        const std::vector<std::byte> bytes = tensor_bytes(i, plans[i].bytes());
        constexpr size_t kPiece = 333;
        const size_t n = (bytes.size() + kPiece - 1) / kPiece;
        for (size_t p = 0; p < n; ++p) {
          const size_t piece = t % 2 ? p : n - 1 - p;
          if (piece % 4 != t) continue;
          const size_t begin = piece * kPiece;
          writer.write(i, begin, std::span(bytes).subspan(begin, std::min(kPiece, bytes.size() - begin)));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  writer.finish();
  const GgufFile file = GgufFile::open(path);
  for (size_t i = 0; i < plans.size(); ++i) {
    const std::vector<std::byte> expected = tensor_bytes(i, plans[i].bytes());
    CHECK(std::memcmp(file.tensors()[i].data, expected.data(), expected.size()) == 0);
  }
}

TEST_CASE("patch replaces a value of the same length") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  GgufMetadata metadata;
  metadata.set("before", GgufValue::of_string("untouched"));
  metadata.set(key::kHearthChecksums, GgufValue::of_u64s({0, 0}));
  metadata.set("after", GgufValue::of_u32(7));
  {
    GgufWriter writer(path, metadata, {});
    writer.patch(key::kHearthChecksums, GgufValue::of_u64s({1, ~uint64_t(0)}));
    writer.patch("after", GgufValue::of_u32(8));

    CHECK(contains(refusal([&] { writer.patch(key::kHearthChecksums, GgufValue::of_u64s({1})); }),
                   "key hearth.checksums: reserved for 24 bytes"));
    CHECK(contains(refusal([&] { writer.patch("after", GgufValue::of_f32(1)); }), "key after: reserved for 4 bytes"));
    CHECK(contains(refusal([&] { writer.patch("none", GgufValue::of_u32(1)); }), "key none was not reserved"));
    writer.finish();
  }
  const GgufFile file = GgufFile::open(path);
  CHECK(file.metadata().string("before") == "untouched");
  CHECK(*file.metadata().u64s(key::kHearthChecksums) == std::vector<uint64_t>{1, ~uint64_t(0)});
  CHECK(file.metadata().unsigned_integer("after") == 8);
}

TEST_CASE("plans that no reader would take are refused before a file appears") {
  const TempDir dir;
  const auto refusal_of = [&](std::vector<GgufTensorPlan> plans) {
    return refusal([&] { GgufWriter(dir / "x.gguf", {}, std::move(plans)); });
  };
  const std::string longest(63, 'n');
  CHECK(refusal_of({{longest, &floats(), Shape(1)}}) == "");
  CHECK(contains(refusal_of({{longest + "n", &floats(), Shape(1)}}), "expected 1 to 63 bytes, found 64"));
  CHECK(contains(refusal_of({{"", &floats(), Shape(1)}}), "expected 1 to 63 bytes, found 0"));
  CHECK(refusal_of({{"a", &floats(), Shape(1)}, {"a", &floats(), Shape(1)}}) == "tensor a is planned twice");
  CHECK(refusal_of({{"a", &floats(), Shape(2, 0)}}) == "tensor a: shape [2, 0] has no elements");
  CHECK(refusal_of({{"a", &floats(), Shape()}}) == "tensor a: shape [] has no elements");
  CHECK(refusal_of({{"a", &format_of(FormatId::q4_k), Shape(2, 128)}}) ==
        "tensor a [2, 128]: rows of Q4_K need a multiple of 256 columns, found 128");
  CHECK(is_empty(dir));
}

TEST_CASE("places where no file can be are refused at once") {
  const TempDir dir;
  const auto refusal_of = [](const std::string& path) { return refusal([&] { GgufWriter(path, {}, {}); }); };
  CHECK(contains(refusal_of(dir / "none/x.gguf"), "cannot create: No such file or directory"));
  fs::create_directory(dir / "folder");
  CHECK(refusal_of(dir / "folder") ==
        (dir / "folder") + ": exists and is not a regular file, so it cannot be replaced");
}

TEST_CASE("a file larger than the process may write: one error, nothing left") {
  const TempDir dir;
  const bool refused = in_child([&] {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{100000, 100000};
    setrlimit(RLIMIT_FSIZE, &limit);
    const std::string message = refusal([&] { GgufWriter(dir / "x.gguf", {}, {{"a", &floats(), Shape(100000)}}); });
    return contains(message, "x.gguf.partial: cannot claim 400") && contains(message, "File too large");
  });
  CHECK(refused);
  CHECK(is_empty(dir));
}

TEST_CASE("a limit reached while writing: one error, nothing left") {
  const TempDir dir;
  const bool refused = in_child([&] {
    const std::string message = refusal([&] {
      GgufWriter writer(dir / "x.gguf", {}, {{"a", &floats(), Shape(100000)}});
      signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{100000, 100000};
      setrlimit(RLIMIT_FSIZE, &limit);
      writer.write(0, 0, tensor_bytes(0, 400000));  // the system takes the first part, then no more
      writer.finish();
    });
    return contains(message, "x.gguf.partial: cannot write") && contains(message, "File too large");
  });
  CHECK(refused);
  CHECK(is_empty(dir));
}

TEST_CASE("a full disk: known before any data, nothing left" * doctest::test_suite("may skip")) {
  const TempDir dir;
  const std::string disk = dir / "disk";
  fs::create_directory(disk);
  if (mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=256k") != 0) {
    MESSAGE("SKIP: a full disk (needs the right to mount a tmpfs)");
    return;
  }
  const std::string path = disk + "/x.gguf";
  const std::string message = refusal([&] { GgufWriter(path, {}, {{"a", &floats(), Shape(100000)}}); });
  const bool left = !fs::is_empty(disk);
  write_gguf(path, {}, {{"a", &floats(), Shape(10000)}});
  const bool fits = GgufFile::open(path).tensors().size() == 1;
  CHECK(umount(disk.c_str()) == 0);
  CHECK(contains(message, path + ".partial: cannot claim 400"));
  CHECK(contains(message, "No space left on device"));
  CHECK(!left);
  CHECK(fits);
}
