#include <doctest/doctest.h>

#include <algorithm>
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

// Where a format keeps numbers that may be NaN or infinite: bytes from the beginning of a block.
struct Place {
  FormatId format;
  size_t offset, bytes;    // 2: fp16 unless the format is BF16; 1: e4m3; 8: fp16 in the top nibbles of four words
  bool in_header = false;  // from the beginning of a row instead
};
const std::vector<Place> kPlaces = {
    {FormatId::f32, 0, 4},          {FormatId::f16, 0, 2},          {FormatId::bf16, 0, 2},
    {FormatId::q4_0, 0, 2},         {FormatId::q4_1, 0, 2},         {FormatId::q4_1, 2, 2},
    {FormatId::q5_0, 0, 2},         {FormatId::q5_1, 0, 2},         {FormatId::q5_1, 2, 2},
    {FormatId::q8_0, 0, 2},         {FormatId::q2_k, 80, 2},        {FormatId::q2_k, 82, 2},
    {FormatId::q3_k, 108, 2},       {FormatId::q4_k, 0, 2},         {FormatId::q4_k, 2, 2},
    {FormatId::q5_k, 0, 2},         {FormatId::q5_k, 2, 2},         {FormatId::q6_k, 208, 2},
    {FormatId::iq4_nl, 0, 2},       {FormatId::iq4_xs, 0, 2},       {FormatId::f8_e4m3, 0, 4},
    {FormatId::f8_e4m3, 4, 1},      {FormatId::f8_e4m3, 131, 1},    {FormatId::i4_g128, 0, 2},
    {FormatId::tq2_0, 64, 2},       {FormatId::iq2_xxs, 0, 2},      {FormatId::iq2_xs, 0, 2},
    {FormatId::iq2_s, 0, 2},        {FormatId::iq3_xxs, 0, 2},      {FormatId::iq3_s, 0, 2},
    {FormatId::iq1_s, 0, 2},        {FormatId::iq1_m, 48, 8},       {FormatId::tq1_0, 52, 2},
    {FormatId::iq2_k, 0, 2},        {FormatId::iq3_k, 0, 2},        {FormatId::iq4_k, 0, 2},
    {FormatId::iq5_k, 0, 2},        {FormatId::iq6_k, 0, 2},        {FormatId::iq2_ks, 0, 2, true},
    {FormatId::iq3_ks, 0, 2, true}, {FormatId::iq4_ks, 0, 4, true}, {FormatId::iq5_ks, 0, 4, true},
};
// Any bits are numbers in NVFP4. In MXFP4 a scale may be too large for some levels (encode_fp4_test.cpp).
bool has_places(const Format& format) {
  return format.id != FormatId::nvfp4 && format.id != FormatId::mxfp4;
}

// Bit patterns that are no numbers, for a number of so many bytes.
std::vector<std::string> not_numbers(const Place& place) {
  using namespace std::string_literals;
  if (place.bytes == 1) return {"\x7f"s, "\xff"s};
  if (place.bytes == 8)
    return {"\0\0\0\0\0\xc0\0\x70"s, "\0\0\0\0\0\xc0\0\xf0"s, "\0\0\0\0\0\xe0\0\x70"s, "\0\x10\0\0\0\xc0\0\xf0"s};
  if (place.bytes == 4) return {"\x00\x00\x80\x7f"s, "\x00\x00\x80\xff"s, "\x00\x00\xc0\x7f"s, "\x01\x00\x80\xff"s};
  if (place.format == FormatId::bf16) return {"\x80\x7f"s, "\x80\xff"s, "\xc0\x7f"s, "\x81\xff"s};
  return {"\x00\x7c"s, "\x00\xfc"s, "\x00\x7e"s, "\x01\xfc"s};
}

TEST_CASE("in every format a scale, code or weight that is not a number is found, with and without checksums") {
  for (const Format& format : all_formats()) {
    const bool found = std::ranges::find(kPlaces, format.id, &Place::format) != kPlaces.end();
    CHECK_MESSAGE(found == has_places(format), format.name);
  }
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  for (const Place& place : kPlaces) {
    const Format& format = format_of(place.format);
    const int64_t cols = 3 * format.block_elems;
    const GgufTensorPlan plan{"blk.0.weight", &format, Shape(2, 5, cols)};
    {
      GgufWriter writer(path, {}, {plan});
      writer.write(0, 0, bytes_of(plan));
      writer.finish();
    }
    CHECK(problems_of(path).empty());
    for (const std::string& bits : not_numbers(place)) {
      CAPTURE(std::string(format.name));
      CAPTURE(place.offset);
      {
        GgufWriter writer(path, {}, {plan});
        writer.write(0, 0, bytes_of(plan));
        const std::span<const char> bad(bits);
        const size_t in_row = place.in_header ? 0 : format.row_header + 2 * format.block_bytes;
        writer.write(0, format.bytes(cols) * 7 + in_row + place.offset, std::as_bytes(bad));
        writer.finish();
      }
      const GgufFile file = GgufFile::open(path);
      const Problems problems = verify(file).problems;
      REQUIRE(problems.size() == 1);
      const size_t in_block = place.bytes == 1 ? place.offset - 4 : 0;
      const std::string column = std::to_string(place.in_header ? 0 : 2 * format.block_elems + in_block);
      CHECK(problems[0].starts_with(path + ": tensor blk.0.weight " + plan.shape.text() + ": expected finite weights"));
      CHECK(problems[0].ends_with(" in row 7, column " + column));
      CHECK(verify(file, {.checksums = false}).problems == problems);
    }
  }
}

TEST_CASE("a look at the scales says what decoding says") {
  for (const Format& format : all_formats()) {
    const int64_t cols = format.block_elems;
    std::vector<std::byte> block(format.bytes(cols));
    std::vector<float> weights(static_cast<size_t>(cols));
    uint32_t state = 1;
    int n_bad = 0;
    for (int i = 0; i < 4000; ++i) {
      for (std::byte& b : block) b = std::byte((state = state * 1664525u + 1013904223u) >> 24);
      if (i % 2) block[state % block.size()] |= std::byte(0x7c);
      if (i % 3 == 0) {  // the largest scales, so that an F8_E4M3 overflows
        for (const Place& place : kPlaces) {
          if (place.format == format.id && place.bytes == 4) block[place.offset + 3] = std::byte(0x7e);
        }
      }
      format.decode(block.data(), weights.data(), cols);
      const bool finite = std::ranges::all_of(weights, [](float w) { return std::isfinite(w); });
      n_bad += !finite;
      REQUIRE(format.finite(block.data(), cols) == finite);
    }
    CHECK_MESSAGE((n_bad > 0) == (format.id != FormatId::nvfp4), format.name);
    CHECK_MESSAGE(n_bad < 4000, format.name);
  }
}

TEST_CASE("without checksums a tensor is cut among threads, and its first bad weight is told once") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  const GgufTensorPlan plan{"large", &format_of(FormatId::f32), Shape(40, 1 << 18)};  // 40 MB: three pieces
  {
    GgufWriter writer(path, {}, {plan});
    writer.write(0, 0, bytes_of(plan));
    const float infinite = INFINITY;
    for (const size_t row : {39, 20, 17}) {
      writer.write(0, row * plan.format->bytes(1 << 18) + 4 * 11, std::as_bytes(std::span(&infinite, 1)));
    }
    writer.finish();
  }
  size_t pieces = 0;
  VerifyOptions options{.checksums = false};
  options.parallel_for = [&](size_t n, const std::function<void(size_t)>& body) {
    pieces = n;
    for (size_t i = n; i-- > 0;) body(i);
  };
  CHECK(verify(GgufFile::open(path), options).problems ==
        Problems{path + ": tensor large [40, 262144]: expected finite weights, found inf in row 17, column 11"});
  CHECK(pieces == 3);
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
  CHECK(problems_of(path) == Problems{path + ": key hearth.checksums: expected one checksum for each of 1 names in "
                                             "hearth.checksum_names, found 2"});
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

namespace {

// What a program does with a file that copies it: the same keys, and the tensors that it likes.
struct Copied {
  std::string name;
  const Format* format;
  Shape shape;
  std::vector<std::byte> bytes;
};

std::vector<Copied> tensors_of(const std::string& path) {
  std::vector<Copied> out;
  const GgufFile file = GgufFile::open(path);
  for (const Tensor& t : file.tensors()) out.push_back({t.name, t.format, t.shape, {t.data, t.data + t.bytes()}});
  return out;
}

// By hand, as our writer would put down which checksums are whose anew.
void write_copy(const std::string& path, const GgufMetadata& keys, const std::vector<Copied>& tensors) {
  GgufBytes header;
  header.header(tensors.size(), keys.entries().size());
  for (const auto& [name, value] : keys.entries()) {
    header.key(name, value.is_array ? GgufType::array : value.type);
    if (const auto* sums = std::get_if<std::vector<uint64_t>>(&value.data)) {
      header.number(uint32_t(value.type)).number(uint64_t(sums->size()));
      for (const uint64_t sum : *sums) header.number(sum);
    } else if (const auto* names = std::get_if<std::vector<std::string>>(&value.data)) {
      header.number(uint32_t(value.type)).number(uint64_t(names->size()));
      for (const std::string& text : *names) header.string(text);
    } else if (value.type == GgufType::u32) {
      header.number(uint32_t(std::get<uint64_t>(value.data)));
    } else {
      header.number(std::get<uint64_t>(value.data));  // where the appendix was
    }
  }
  std::string data;
  for (const Copied& t : tensors) {
    std::vector<uint64_t> dims;
    for (int i = t.shape.rank - 1; i >= 0; --i) dims.push_back(uint64_t(t.shape.dim[size_t(i)]));
    header.tensor(t.name, dims, uint32_t(t.format->id), data.size());
    data.append(reinterpret_cast<const char*>(t.bytes.data()), t.bytes.size());
    data.resize((data.size() + 63) / 64 * 64);
  }
  write_text(path, header.pad(64).text() + data);
}

// Four tensors of different bytes, the last in the appendix; `old` as files were that name no checksums.
void write_original(const std::string& path, bool old = false) {
  std::vector<GgufTensorPlan> plans = {{"a", &format_of(FormatId::f32), Shape(3, 64)},
                                       {"b", &format_of(FormatId::q8_0), Shape(2, 64)},
                                       {"c", &format_of(FormatId::bf16), Shape(128)},
                                       {"d", &format_of(FormatId::f32), Shape(32), true}};
  std::vector<std::vector<std::byte>> bytes;
  std::vector<uint64_t> sums;
  for (size_t i = 0; i < plans.size(); ++i) {
    bytes.push_back(std::vector<std::byte>(plans[i].bytes(), std::byte(0x11 + i)));
    sums.push_back(checksum(bytes.back()));
  }
  GgufMetadata metadata;
  metadata.set(key::kHearthChecksums, GgufValue::of_u64s(sums));
  {
    GgufWriter writer(path, metadata, plans);
    for (size_t i = 0; i < plans.size(); ++i) writer.write(i, 0, bytes[i]);
    writer.finish();
  }
  if (!old) return;
  GgufMetadata keys = GgufFile::open(path).metadata();
  keys.erase(key::kHearthChecksumNames);
  keys.erase(key::kHearthAppendix);
  write_copy(path, keys, tensors_of(path));
}

template <class F>
VerifyReport after(const F& change, bool old = false) {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  write_original(path, old);
  const GgufMetadata keys = GgufFile::open(path).metadata();
  std::vector<Copied> tensors = tensors_of(path);
  change(tensors);
  write_copy(path, keys, tensors);
  return verify(GgufFile::open(path));
}

void lose_appendix(std::vector<Copied>& tensors) {
  tensors.pop_back();
}
void sort_downwards(std::vector<Copied>& tensors) {
  std::ranges::sort(tensors, std::greater<>(), &Copied::name);
}
void requantize(Copied& t) {
  t.format = &format_of(FormatId::f16);
  t.bytes.assign(t.format->bytes(t.shape.cols()) * size_t(t.shape.rows()), std::byte(0x22));
}

}  // namespace

TEST_CASE("a copy that is as it was written, whatever its order, holds all that was written") {
  const VerifyReport whole = after([](auto&) {});
  CHECK(whole.problems == Problems{});
  CHECK(whole.n_matching == 4);
  CHECK_FALSE(whole.rewritten());

  const VerifyReport sorted = after(sort_downwards);
  CHECK(sorted.problems == Problems{});
  CHECK(sorted.n_matching == 4);
  CHECK(sorted.reordered);
  CHECK(sorted.rewritten());

  const VerifyReport renamed = after([](auto& t) { t[1].name = "elsewhere"; });
  CHECK(renamed.problems == Problems{});
  CHECK(renamed.n_matching == 4);
  CHECK(renamed.rewritten());
}

TEST_CASE("a copy without the appendix, with other formats or other tensors is rewritten and not damaged") {
  const VerifyReport lost = after(lose_appendix);
  CHECK(lost.problems == Problems{});
  CHECK(lost.n_matching == 3);
  CHECK(lost.n_missing == 1);
  CHECK(lost.rewritten());

  const VerifyReport changed = after([](auto& tensors) {
    lose_appendix(tensors);
    requantize(tensors[0]);
    sort_downwards(tensors);
    tensors.push_back({"new", &format_of(FormatId::f32), Shape(8), std::vector<std::byte>(32)});
  });
  CHECK(changed.problems == Problems{});
  CHECK(changed.n_matching == 2);
  CHECK(changed.n_other_format == 1);
  CHECK(changed.n_unknown == 1);
  CHECK(changed.n_missing == 1);
  CHECK(changed.n_damaged == 0);
}

TEST_CASE("damage in a copy is found all the same") {
  const VerifyReport report = after([](auto& tensors) {
    lose_appendix(tensors);
    sort_downwards(tensors);
    tensors[0].bytes[5] ^= std::byte(1);
    requantize(tensors[2]);
  });
  REQUIRE(report.problems.size() == 1);
  CHECK(report.problems[0].find("tensor c: expected checksum ") != std::string::npos);
  CHECK(report.n_damaged == 1);
  CHECK(report.n_other_format == 1);
  CHECK(report.n_matching == 1);
}

TEST_CASE("older files name no checksums: their order tells, and in a copy the bytes themselves") {
  const VerifyReport whole = after([](auto&) {}, true);
  CHECK(whole.problems == Problems{});
  CHECK(whole.n_matching == 4);
  CHECK_FALSE(whole.rewritten());

  const VerifyReport damaged = after([](auto& tensors) { tensors[2].bytes[0] ^= std::byte(1); }, true);
  CHECK(damaged.problems.size() == 1);

  const VerifyReport sorted = after(sort_downwards, true);
  CHECK(sorted.problems == Problems{});
  CHECK(sorted.n_matching == 4);
  CHECK(sorted.reordered);

  const VerifyReport copied = after(
      [](auto& tensors) {
        lose_appendix(tensors);
        requantize(tensors[0]);
      },
      true);
  CHECK(copied.problems == Problems{});
  CHECK(copied.n_matching == 2);
  CHECK(copied.n_unknown == 1);  // perhaps changed: nothing tells
  CHECK(copied.n_missing == 2);
}

TEST_CASE("of formats that are not computed the bytes are compared, and nothing else is looked at") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  const auto with = [&](char byte) {
    const std::string data(292 + 28, byte);
    const auto sum = checksum(std::as_bytes(std::span(data).first(292)));
    GgufBytes b;
    b.header(1, 2).key(key::kHearthChecksums, GgufType::array).number(uint32_t(GgufType::u64)).number(uint64_t(1));
    b.number(sum).key(key::kHearthChecksumNames, GgufType::array).number(uint32_t(GgufType::string));
    b.number(uint64_t(1)).string("a Q8_K").tensor("a", {256}, 15, 0).pad(32);
    return b.text() + data;
  };
  write_text(path, with('\x7f'));
  const VerifyReport report = verify(GgufFile::open(path));
  CHECK(report.problems == Problems{});
  CHECK(report.n_matching == 1);
  CHECK(report.n_not_computed == 1);
  CHECK(verify(GgufFile::open(path), {.checksums = false}).problems == Problems{});
  overwrite(path, "a", 53, "x");
  CHECK(problems_of(path).size() == 1);
}
