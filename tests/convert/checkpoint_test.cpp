#include "convert/checkpoint.h"

#include <doctest/doctest.h>

#include "tests/convert/tiny_checkpoint.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

std::string_view text_of(const SourceTensor& tensor) {
  return {reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size()};
}

}  // namespace

TEST_CASE("a checkpoint in one file, and in shards") {
  const TinyCheckpoint tiny = tiny_lite();
  for (const int shards : {1, 3}) {
    const TempDir dir;
    tiny.write(dir.path(), shards);
    const Checkpoint checkpoint = Checkpoint::open(dir.path());
    CHECK(checkpoint.tensors().size() == tiny.tensors.size());
    CHECK(checkpoint.files().size() == size_t(shards));
    CHECK(checkpoint.notes().empty());
    for (const auto& [name, tensor] : tiny.tensors) {
      const SourceTensor* found = checkpoint.find(name);
      REQUIRE(found);
      CHECK(text_of(*found) == tensor.bytes);
    }
    CHECK(checkpoint.find("no such tensor") == nullptr);
  }
}

TEST_CASE("shards that contradict their index") {
  const TinyCheckpoint tiny = tiny_lite();
  const TempDir dir;
  tiny.write(dir.path(), 3);
  const auto open = [&] { Checkpoint::open(dir.path()); };
  const std::string index = dir / "model.safetensors.index.json", second = dir / TinyCheckpoint::shard_name(1, 3);
  Json json = Json::parse(std::ifstream(index));
  CHECK(refusal(open) == "");

  SUBCASE("a shard is missing") {
    fs::remove(second);
    CHECK(contains(refusal(open), "1 of 3 shards are missing, the first: model-00002-of-00003.safetensors"));
  }
  SUBCASE("a shard is cut") {
    fs::resize_file(second, fs::file_size(second) - 1);
    CHECK(contains(refusal(open), "model-00002-of-00003.safetensors: "));
    CHECK(contains(refusal(open), "truncated"));
  }
  SUBCASE("a tensor is listed and absent") {
    json["weight_map"]["model.extra"] = TinyCheckpoint::shard_name(1, 3);
    write_text(index, json.dump());
    CHECK(
        contains(refusal(open), "model.extra is listed for model-00002-of-00003.safetensors, which does not hold it"));
  }
  SUBCASE("a tensor is listed in another shard") {
    auto& shard = json["weight_map"]["model.norm.weight"];
    const std::string wrong =
        shard == TinyCheckpoint::shard_name(1, 3) ? TinyCheckpoint::shard_name(0, 3) : TinyCheckpoint::shard_name(1, 3);
    shard = wrong;
    write_text(index, json.dump());
    CHECK(contains(refusal(open), "tensor model.norm.weight: expected in " + wrong + ", found in "));
  }
  SUBCASE("a tensor is in two shards: the index says which one counts, unless it names neither") {
    SafetensorsWriter overlay;
    const TinyTensor& norm = tiny.tensors.at("model.norm.weight");
    const std::string other(norm.bytes.size(), '\1');
    overlay.add("model.norm.weight", norm.dtype, norm.shape, other);
    write_text(dir / "x.safetensors", overlay.text());
    const std::string before = json["weight_map"]["model.norm.weight"];
    json["weight_map"]["model.norm.weight"] = "x.safetensors";
    write_text(index, json.dump());
    const Checkpoint checkpoint = Checkpoint::open(dir.path());
    CHECK(text_of(*checkpoint.find("model.norm.weight")) == other);
    REQUIRE(checkpoint.notes().size() == 1);
    CHECK(contains(checkpoint.notes()[0],
                   "1 tensor is in two files: the index says which one counts, the first: "
                   "model.norm.weight in " +
                       before + " and x.safetensors"));

    json["weight_map"].erase("model.norm.weight");
    json["weight_map"]["y"] = "x.safetensors";  // so that the file is still read
    write_text(index, json.dump());
    CHECK(contains(refusal(open),
                   "tensor model.norm.weight is in two files, " + before + " and x.safetensors, which differ"));
  }
  SUBCASE("a file that no index names is left aside, with a note") {
    write_text(dir / "x.safetensors", "not even a safetensors file");
    const Checkpoint checkpoint = Checkpoint::open(dir.path());
    REQUIRE(checkpoint.notes().size() == 1);
    CHECK(contains(checkpoint.notes()[0], "x.safetensors"));
  }
  SUBCASE("no index: the names tell whether all are there") {
    fs::remove(index);
    const Checkpoint checkpoint = Checkpoint::open(dir.path());
    CHECK(checkpoint.tensors().size() == tiny.tensors.size());
    REQUIRE(checkpoint.notes().size() == 1);
    CHECK(contains(checkpoint.notes()[0], "there is no model.safetensors.index.json: read all 3"));
    fs::remove(second);
    CHECK(contains(refusal(open), "1 of 3 shards are missing, the first: model-00002-of-00003.safetensors"));
  }
}

TEST_CASE("places where no checkpoint is") {
  const TempDir dir;
  CHECK(contains(refusal([&] { Checkpoint::open(dir / "nothing"); }), "expected the directory"));
  CHECK(contains(refusal([&] { Checkpoint::open(dir.path()); }), "has no model.safetensors"));
  write_text(dir / "pytorch_model.bin", "PK");
  CHECK(contains(refusal([&] { Checkpoint::open(dir.path()); }), "PyTorch .bin checkpoints are not supported"));
  write_text(dir / "model.safetensors", "");
  CHECK(contains(refusal([&] { Checkpoint::open(dir.path()); }), "is empty"));
}

TEST_CASE("several files with names of their own, and copies of a tensor in them") {
  const TinyCheckpoint tiny = tiny_lite();
  const TempDir dir;
  SafetensorsWriter a, b;
  for (const auto& [name, tensor] : tiny.tensors) {
    const bool first = name.find("layers.1.") != std::string::npos, both = name == "lm_head.weight";
    if (first || both) a.add(name, tensor.dtype, tensor.shape, tensor.bytes);
    if (!first || both) b.add(name, tensor.dtype, tensor.shape, tensor.bytes);
  }
  write_text(dir / "model-a.safetensors", a.text());
  write_text(dir / "model-b.safetensors", b.text());
  write_text(dir / "optimizer.safetensors", "something else");
  const Checkpoint checkpoint = Checkpoint::open(dir.path());
  CHECK(checkpoint.tensors().size() == tiny.tensors.size());
  REQUIRE(checkpoint.notes().size() == 3);
  CHECK(contains(checkpoint.notes()[0], "read all 2 safetensors files"));
  CHECK(contains(checkpoint.notes()[1], "1 tensor is in two files: the copies are equal"));
  CHECK(contains(checkpoint.notes()[2], "left aside: optimizer.safetensors"));
}

TEST_CASE("an index that names model.safetensors beside other files") {
  const TinyCheckpoint tiny = tiny_v3(false);
  const TempDir dir;
  SafetensorsWriter model, mtp;
  Json map;
  for (const auto& [name, tensor] : tiny.tensors) {
    const bool is_mtp = name.find("layers.2.") != std::string::npos;
    (is_mtp ? mtp : model).add(name, tensor.dtype, tensor.shape, tensor.bytes);
    map[name] = is_mtp ? "mtp.safetensors" : "model.safetensors";
  }
  write_text(dir / "model.safetensors", model.text());
  write_text(dir / "mtp.safetensors", mtp.text());
  write_text(dir / "model.safetensors.index.json", Json{{"weight_map", map}}.dump());
  CHECK(Checkpoint::open(dir.path()).tensors().size() == tiny.tensors.size());
  fs::remove(dir / "model.safetensors.index.json");
  const Checkpoint alone = Checkpoint::open(dir.path());
  CHECK(alone.find("model.layers.2.eh_proj.weight") == nullptr);
  CHECK(contains(alone.notes().at(0), "left aside: mtp.safetensors"));
}

TEST_CASE("names with a foreign prefix are found under the family's") {
  const TinyCheckpoint tiny = tiny_lite();
  const auto replaced = [&](const std::string& model, const std::string& head) {
    TinyCheckpoint other = tiny;
    other.rename(
        [&](const std::string& name) { return name == "lm_head.weight" ? head + name : model + name.substr(6); });
    const TempDir dir;
    other.write(dir.path());
    const Checkpoint checkpoint = Checkpoint::open(dir.path());
    for (const auto& [name, tensor] : tiny.tensors) {
      CAPTURE(name);
      const SourceTensor* found = checkpoint.find(name);
      REQUIRE(found);
      CHECK(text_of(*found) == tensor.bytes);
    }
    CHECK(
        contains(checkpoint.find("model.norm.weight")->place(), ": " + model + "norm.weight"));  // the file's own name
    return checkpoint.notes().at(0);
  };
  CHECK(contains(replaced("language_model.model.", "language_model."), "begin with language_model.model. instead of"));
  CHECK(contains(replaced("model.language_model.", ""), "begin with model.language_model. instead of"));
  CHECK(contains(replaced("base_model.model.model.", "base_model.model."), "base_model.model.model."));
  CHECK(contains(replaced("", ""), "lack the usual prefix model."));
}

TEST_CASE("adapters alone are no checkpoint") {
  const TempDir dir;
  write_text(dir / "adapter_model.safetensors", "");
  CHECK(contains(refusal([&] { Checkpoint::open(dir.path()); }), "only adapter_model.safetensors: a LoRA adapter"));
}
