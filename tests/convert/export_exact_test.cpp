// What a form holds comes out bit for bit, and back again.
#include <doctest/doctest.h>

#include "quant/checksum.h"
#include "tests/convert/export_place.h"
#include "tests/support/text_file.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// Every tensor of the first is in the second, the same, and no other.
void check_same_tensors(const fs::path& expected, const fs::path& found) {
  const auto a = tensors_in(expected), b = tensors_in(found);
  CHECK(a.size() == b.size());
  for (const auto& [name, tensor] : a) {
    CAPTURE(name);
    REQUIRE(b.contains(name));
    const bool same = same_tensor(tensor, b.at(name));
    CHECK(same);
  }
}

// convert, export, convert: the same file; export: the same folder.
void check_inverse(ExportPlace& place, const fs::path& checkpoint, ExportFormat format, const std::string& recipe) {
  const std::string first = place.converted(checkpoint, recipe, "first");
  const fs::path folder = place.exported(first, format, "there");
  const std::string second = place.converted(folder, recipe, "second");
  const bool same_file = read_text(first) == read_text(second);
  CHECK(same_file);
  const fs::path again = place.exported(second, format, "again");
  for (const auto& entry : fs::directory_iterator(folder)) {
    CAPTURE(entry.path().string());
    const bool same = read_text(entry.path().string()) == read_text((again / entry.path().filename()).string());
    CHECK(same);
  }
}

}  // namespace

TEST_CASE("an FP8 checkpoint, through a file or not, keeps codes and scales of every weight, MTP layer included") {
  ExportPlace place(blocky_v3(true));
  const std::string file = place.converted(place.checkpoint(), "keep");
  check_same_tensors(place.checkpoint(), place.exported(file, ExportFormat::kFp8));
  CHECK(!place.noted("error"));
  const std::string by_file = read_text(place.dir / "out/model-00001-of-00001.safetensors");
  check_same_tensors(place.checkpoint(), place.exported(place.checkpoint(), ExportFormat::kFp8));
  const bool same = read_text(place.dir / "out/model-00001-of-00001.safetensors") == by_file;
  CHECK(same);
}

TEST_CASE("experts that a checkpoint keeps in one tensor are told apart") {
  TinyCheckpoint tiny = blocky_v3(false);
  ExportPlace place(tiny);
  const auto single = tensors_in(place.exported(place.checkpoint(), ExportFormat::kFp8));
  tiny.fuse_experts();
  ExportPlace fused(tiny);
  const auto parted = tensors_in(fused.exported(fused.checkpoint(), ExportFormat::kFp8));
  for (const auto& [name, tensor] : single) {
    CAPTURE(name);
    REQUIRE(parted.contains(name));
    CHECK(same_tensor(tensor, parted.at(name)));
  }
}

TEST_CASE("BF16 stays what it is: names, types, shapes, bytes") {
  for (const bool v3 : {false, true}) {
    ExportPlace place(v3 ? tiny_v3(false) : tiny_lite());
    const std::string file = place.converted(place.checkpoint(), "bf16");
    check_same_tensors(place.checkpoint(), place.exported(file, ExportFormat::kBf16));
    check_same_tensors(place.checkpoint(), place.exported(place.checkpoint(), ExportFormat::kBf16));
    CHECK(!place.noted("error"));
  }
}

TEST_CASE("convert, export and convert are inverse, of every form that is exact") {
  SUBCASE("bf16") {
    ExportPlace place(blocky_v3(false));
    check_inverse(place, place.checkpoint(), ExportFormat::kBf16, "bf16");
  }
  SUBCASE("fp8") {
    ExportPlace place(blocky_v3(true));
    check_inverse(place, place.checkpoint(), ExportFormat::kFp8, "keep");
    check_inverse(place, place.checkpoint(), ExportFormat::kFp8, "fp8");
  }
  SUBCASE("int4") {
    ExportPlace place(blocky_v3(false));
    const fs::path int4 = place.exported(place.checkpoint(), ExportFormat::kInt4, "int4");
    check_inverse(place, int4, ExportFormat::kInt4, "keep");
  }
  SUBCASE("int4 of all linear layers") {
    // attn_k_b, which is transposed, has no codes in a file (docs/quantized_checkpoints.md), so the folder is compared.
    ExportPlace place(blocky_v3(false));
    place.options.all_linears = true;
    const fs::path int4 = place.exported(place.checkpoint(), ExportFormat::kInt4, "int4");
    check_same_tensors(int4, place.exported(int4.string(), ExportFormat::kInt4, "again"));
  }
  SUBCASE("the golden models, whose matrices fit no blocks") {
    for (const char* name : {"lite", "v3_plain"}) {
      CAPTURE(name);
      ExportPlace place;
      check_inverse(place, source_dir() / "tests/golden/models" / name, ExportFormat::kBf16, "bf16");
    }
  }
}

TEST_CASE("kv_b and the experts come out of every layout that files have") {
  const TinyCheckpoint tiny = blocky_v3(false);
  ExportPlace place(tiny);
  const std::string file = place.converted(place.checkpoint(), "bf16");
  const Format& bf16 = format_of(FormatId::bf16);
  const auto unsplit = [&](GgufParts& parts, GgufMetadata&) {
    for (int layer = 0; layer < 3; ++layer) {
      const TinyTensor& kv_b = tiny.tensors.at("model.layers." + std::to_string(layer) + ".self_attn.kv_b_proj.weight");
      parts.push_back(
          {name::in_layer(layer, name::kAttnKvB), {&bf16, Shape(kv_b.shape[0], kv_b.shape[1]), kv_b.bytes}});
    }
  };
  SUBCASE("attn_kv_b beside its halves") {
    rewrite_gguf(file, place.dir / "other.gguf", unsplit);
  }
  SUBCASE("attn_kv_b alone") {
    rewrite_gguf(file, place.dir / "other.gguf", [&](GgufParts& parts, GgufMetadata& metadata) {
      for (int layer = 0; layer < 3; ++layer) {
        drop_tensor(parts, name::in_layer(layer, name::kAttnKB));
        drop_tensor(parts, name::in_layer(layer, name::kAttnVB));
      }
      unsplit(parts, metadata);
    });
  }
  SUBCASE("gate rows above up rows in one tensor") {
    rewrite_gguf(file, place.dir / "other.gguf", [&](GgufParts& parts, GgufMetadata&) {
      for (int layer = 1; layer < 3; ++layer) {
        const auto part = [&](const char* role) {
          return std::ranges::find(parts, name::in_layer(layer, role), &GgufParts::value_type::first)->second;
        };
        const GgufPart gate = part(name::kFfnGateExps), up = part(name::kFfnUpExps);
        const int64_t experts = gate.shape.dim[0];
        const size_t bytes = gate.bytes.size() / size_t(experts);
        std::string both;
        for (size_t e = 0; e < size_t(experts); ++e)
          both += gate.bytes.substr(e * bytes, bytes) + up.bytes.substr(e * bytes, bytes);
        const Shape shape(experts, 2 * gate.shape.dim[1], gate.shape.dim[2]);
        drop_tensor(parts, name::in_layer(layer, name::kFfnGateExps));
        drop_tensor(parts, name::in_layer(layer, name::kFfnUpExps));
        parts.push_back({name::in_layer(layer, name::kFfnGateUpExps), {&bf16, shape, both}});
      }
    });
  }
  check_same_tensors(place.checkpoint(), place.exported(place.dir / "other.gguf", ExportFormat::kBf16));
}

// Of a small model, so that a change of any byte is noticed: by names, headers, encoders.
TEST_CASE("recorded digests") {
  const std::vector<std::pair<ExportFormat, std::string>> recorded = {{ExportFormat::kBf16, "ba91493fbdd02da5"},
                                                                      {ExportFormat::kFp8, "ade00e639e98f670"},
                                                                      {ExportFormat::kInt4, "0b4c18d2b565450c"}};
  ExportPlace place;
  const std::string file = place.converted(source_dir() / "demo/checkpoint", "bf16");
  for (const auto& [format, digest] : recorded) {
    const fs::path folder = place.exported(file, format);
    Checksum sum;
    for (const char* name : {"model-00001-of-00001.safetensors", "model.safetensors.index.json"}) {
      const std::string text = read_text((folder / name).string());
      sum.add(std::as_bytes(std::span(text)));
    }
    CAPTURE(export_format_name(format));
    CHECK(checksum_text(sum.value()) == digest);
  }
}
