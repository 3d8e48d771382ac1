// Where an export goes: what is refused, what a run that ended early leaves, and what the next one makes of it.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/file.h>

#include "convert/name_table.h"
#include "convert/safetensors_writer.h"
#include "tests/convert/export_place.h"
#include "tests/support/text_file.h"

using namespace hearth;
using namespace hearth::test;

namespace {

std::map<std::string, std::string> files_in(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(folder))
    files[entry.path().filename().string()] = read_text(entry.path().string());
  return files;
}

// A place whose export has several files of weights.
struct InShards : ExportPlace {
  explicit InShards(const TinyCheckpoint& tiny) : ExportPlace(tiny) {
    options.format = ExportFormat::kFp8;
    options.shard_bytes = 200'000;
    fs::create_directory(dir.path() / "out");
  }
  fs::path out() const { return dir.path() / "out"; }
  void run() { notes = export_model(options).notes; }
  // Ends when so many bytes of tensors are done, as Ctrl-C does.
  std::string interrupted_after(uint64_t bytes) {
    options.progress = [=](const ExportProgress& p) { return p.bytes_done < bytes; };
    const std::string message = refused();
    options.progress = {};
    return message;
  }
};

}  // namespace

TEST_CASE("a folder that is not empty, a file, the model's own folder") {
  InShards place(blocky_v3(true));
  write_text(place.out() / "letter.txt", "x");
  CHECK(
      contains(place.refused(), "out: expected an empty folder, found letter.txt, and overwriting was not asked for"));
  CHECK(files_in(place.out()) == std::map<std::string, std::string>{{"letter.txt", "x"}});
  write_text(place.out() / "notes.txt", "x");
  CHECK(contains(place.refused(), "found letter.txt and 1 more"));
  place.options.output = place.dir / "out/letter.txt";
  CHECK(contains(place.refused(), "letter.txt: expected a folder, found a file"));
  place.options.output = place.checkpoint();
  CHECK(contains(place.refused(), "checkpoint: holds the model that is to be exported, so it cannot be the output"));
  place.options.output = "";
  CHECK(contains(place.refused(), "expected the name of an output folder"));
  place.options.output = place.dir / "checkpoint/config.json/below";
  CHECK(contains(place.refused(), "below: cannot create"));
  place.options.output = place.dir / "out";
  place.options.n_threads = 0;
  CHECK(contains(place.refused(), "expected 1 thread or more, found 0"));
  place.options.n_threads = 1;
  place.options.shard_bytes = 0;
  CHECK(contains(place.refused(), "expected a shard size of 1 byte or more, found 0"));
}

TEST_CASE("overwriting replaces the model and nothing else") {
  InShards place(blocky_v3(true));
  place.run();
  const auto fp8 = files_in(place.out());
  write_text(place.out() / "letter.txt", "x");
  write_text(place.out() / "model-00099-of-00099.safetensors", "of a larger one");
  place.options.overwrite = true;
  place.options.format = ExportFormat::kBf16;
  place.options.shard_bytes = 1 << 30;
  place.run();
  CHECK(files_in(place.out()).size() == 6);  // one of weights, index, config, two of the tokenizer, the letter
  place.options.format = ExportFormat::kFp8;
  place.options.shard_bytes = 200'000;
  place.run();
  auto again = files_in(place.out());
  CHECK(again.erase("letter.txt") == 1);
  CHECK((again == fp8));
}

TEST_CASE("interrupted: whole files stay, the same command goes on and makes none of them again") {
  InShards place(blocky_v3(true));
  place.options.n_threads = 1;
  place.run();
  const auto whole = files_in(place.out());
  fs::remove_all(place.out());

  CHECK(contains(place.interrupted_after(1), "interrupted"));
  const std::string message = place.interrupted_after(700'000);
  CHECK(contains(message, "interrupted; the same command goes on: "));
  CHECK(contains(message, "files are kept in "));
  std::map<std::string, fs::file_time_type> kept;
  for (const auto& entry : fs::directory_iterator(place.out())) {
    const std::string name = entry.path().filename().string();
    CHECK((name == "export.partial" || name.ends_with(".safetensors")));  // no config.json, no index, nothing half
    if (name.ends_with(".safetensors")) kept[name] = fs::last_write_time(entry);
  }
  REQUIRE(!kept.empty());
  REQUIRE(kept.size() + 4 < whole.size());

  std::string earlier;
  place.options.progress = [&](const ExportProgress& p) {
    earlier = p.earlier;
    return true;
  };
  place.options.n_threads = 3;  // which changes nothing
  place.run();
  CHECK(contains(earlier, fmt::format("out: going on: {} of ", kept.size())));
  for (const auto& [name, time] : kept) CHECK((fs::last_write_time(place.out() / name) == time));
  CHECK((files_in(place.out()) == whole));
}

TEST_CASE("what an earlier run left is of no use: another form, another model, a file that was cut") {
  InShards place(blocky_v3(true));
  place.options.n_threads = 1;
  REQUIRE(contains(place.interrupted_after(700'000), "goes on"));
  std::string earlier;
  const auto listen = [&] {
    place.options.progress = [&](const ExportProgress& p) {
      earlier = p.earlier;
      return true;
    };
  };
  SUBCASE("another form") {
    place.options.format = ExportFormat::kBf16;
    listen();
    place.run();
    CHECK(contains(earlier, "out: begun anew: another model, form or version of this program"));
    CHECK(!fs::exists(place.out() / "export.partial"));
    CHECK(tensors_in(place.out()).size() > 0);  // the index fits the files
  }
  SUBCASE("the model has changed") {
    TinyCheckpoint other = blocky_v3(true);
    other.add_fp8("model.layers.0.mlp.up_proj.weight", {384, 256});
    other.write(place.checkpoint());
    listen();
    place.run();
    CHECK(contains(earlier, "begun anew"));
    CHECK(same_tensor(tensors_in(place.out()).at("model.layers.0.mlp.up_proj.weight"),
                      other.tensors.at("model.layers.0.mlp.up_proj.weight")));
  }
  SUBCASE("a file was cut") {
    const auto first = std::ranges::find_if(fs::directory_iterator(place.out()), fs::directory_iterator(),
                                            [](auto& e) { return e.path().extension() == ".safetensors"; });
    fs::resize_file(first->path(), 100);
    listen();
    place.run();
    const Checkpoint made = Checkpoint::open(place.out().string());
    CHECK(made.tensors().size() == Checkpoint::open(place.checkpoint()).tensors().size());
  }
}

TEST_CASE("two programs cannot write the same folder") {
  InShards place(blocky_v3(true));
  write_text(place.out() / "export.partial", "");
  const int fd = open((place.out() / "export.partial").c_str(), O_RDWR);
  REQUIRE(flock(fd, LOCK_EX) == 0);
  CHECK(contains(place.refused(), "export.partial: another process is writing it"));
  close(fd);
  place.run();
}

TEST_CASE("weights that are not finite end it for good, and nothing is kept") {
  for (const ExportFormat format : {ExportFormat::kFp8, ExportFormat::kBf16}) {
    for (const bool scale : {false, true}) {
      TinyCheckpoint tiny = blocky_v3(true);
      if (scale) {
        const float nan = NAN;
        tiny.tensors.at("model.layers.1.mlp.experts.2.down_proj.weight_scale_inv")
            .bytes.replace(4, 4, reinterpret_cast<const char*>(&nan), 4);
      } else {
        tiny.tensors.at("model.layers.1.mlp.experts.2.down_proj.weight").bytes[1000] = char(0xff);
      }
      InShards place(tiny);
      place.options.format = format;
      CAPTURE(export_format_name(format));
      CHECK(contains(place.refused(),
                     "model.layers.1.mlp.experts.2.down_proj.weight: expected finite weights, found NaN at ["));
      CHECK(fs::is_empty(place.out()));
    }
  }
}

TEST_CASE("a folder that was made for nothing is gone again") {
  InShards place(blocky_v3(true));
  fs::remove_all(place.out());
  CHECK(contains(place.interrupted_after(0), "interrupted: nothing was written"));
  CHECK(!fs::exists(place.out()));
}

// The checkpoint is a hole: 2 TiB of embedding that take no room.
TEST_CASE("a disk with less room than the model takes") {
  ExportPlace place;
  Json config = blocky_v3(false).config;
  config.update(Json{{"vocab_size", 1 << 24}, {"hidden_size", 1 << 16}, {"num_nextn_predict_layers", 0}});
  fs::create_directory(place.checkpoint());
  write_text(place.checkpoint() + "/config.json", config.dump());
  const HfConfig sizes = read_hf_config(place.checkpoint() + "/config.json");
  std::vector<NewTensor> tensors;
  for (const PlacedRow& row : placed_rows(sizes, 0)) {
    if (row.row->transform == Transform::v_part) continue;
    const int64_t n = row.row->transform == Transform::stack ? sizes.n_routed_experts : 1;
    for (int64_t e = 0; e < n; ++e) tensors.push_back({of_expert(row.hf(), e), "BF16", row.row->shape(sizes)});
  }
  const SafetensorsLayout layout = lay_out_safetensors(tensors);
  write_text(place.checkpoint() + "/model.safetensors", layout.header);
  fs::resize_file(place.checkpoint() + "/model.safetensors", layout.file_bytes);

  place.options.source = place.checkpoint();
  place.options.output = place.dir / "out";
  const ExportReport plan = plan_export(place.options);
  CHECK(plan.bytes > uint64_t(4) << 40);  // and as much for the head
  CHECK(plan.memory_bytes < uint64_t(2) << 30);
  CHECK(contains(place.refused(), fmt::format("out: expected room for {} bytes, found ", plan.bytes)));
  CHECK(!fs::exists(place.options.output));

  // What lies there is not lost for it: a model that may be replaced, or what an unfinished run of another one left.
  fs::create_directory(place.options.output);
  write_text(place.options.output + "/config.json", "{}");
  write_text(place.options.output + "/model-00001-of-00002.safetensors", "x");
  const auto before = files_in(place.options.output);
  place.options.overwrite = true;
  CHECK(contains(place.refused(), "out: expected room for "));
  CHECK(files_in(place.options.output) == before);
  write_text(place.options.output + "/export.partial", "another run\n");
  place.options.overwrite = false;
  CHECK(contains(place.refused(), "out: expected room for "));
  CHECK(read_text(place.options.output + "/export.partial") == "another run\n");
  fs::remove(place.options.output + "/export.partial");
  CHECK(files_in(place.options.output) == before);
}

TEST_CASE("models that cannot be exported") {
  ExportPlace place(blocky_v3(false));
  const std::string file = place.converted(place.checkpoint(), "bf16"), other = place.dir / "other.gguf";
  place.options.source = other;
  const auto refused_with = [&](const std::function<void(GgufParts&, GgufMetadata&)>& change) {
    rewrite_gguf(file, other, change);
    const std::string message = place.refused();
    CHECK(!fs::exists(place.options.output));
    return message;
  };
  CHECK(contains(refused_with([](GgufParts& parts, GgufMetadata&) { drop_tensor(parts, "blk.1.ffn_up_exps.weight"); }),
                 "other.gguf: 1 tensor is missing, the first: blk.1.ffn_up_exps.weight [4, 128, 256]"));
  CHECK(contains(refused_with([](GgufParts& parts, GgufMetadata&) {
                   drop_tensor(parts, "blk.0.attn_k_b.weight");
                   drop_tensor(parts, "output_norm.weight");
                 }),
                 "2 tensors are missing, the first: blk.0.attn_k_b.weight [2, 128, 128]"));
  CHECK(contains(refused_with([](GgufParts& parts, GgufMetadata&) {
                   parts.push_back({"blk.1.attn_sinks.weight", parts.front().second});
                 }),
                 "1 tensor is not of a model with 2 layers, the first: blk.1.attn_sinks.weight"));
  CHECK(contains(refused_with([](GgufParts& parts, GgufMetadata&) {
                   const auto q = std::ranges::find(parts, "blk.0.attn_q_a.weight", &GgufParts::value_type::first);
                   q->second.shape = Shape(256, 128);
                 }),
                 "blk.0.attn_q_a.weight: expected [128, 256], found [256, 128]"));
  CHECK(contains(refused_with([](GgufParts& parts, GgufMetadata&) {
                   const auto q = std::ranges::find(parts, "blk.0.attn_q_a.weight", &GgufParts::value_type::first);
                   q->second.format = &listed_format(202);
                   q->second.bytes.resize(size_t(128 * 256 / 32 * 18));
                 }),
                 "blk.0.attn_q_a.weight: expected a format that is computed here, found Q4_0_R8 (hearth quantize"));
  CHECK(contains(refused_with([](GgufParts&, GgufMetadata& metadata) {
                   metadata.set(key::kArchitecture, GgufValue::of_string("llama"));
                 }),
                 "llama"));
  CHECK(contains(refused_with([](GgufParts&, GgufMetadata& metadata) { metadata.erase(key::kExpertCount); }),
                 key::kExpertCount));
  CHECK(contains(refused_with([](GgufParts&, GgufMetadata& metadata) {
                   for (const char* key : {key::kTokens, key::kMerges, key::kTokenizerModel}) metadata.erase(key);
                 }),
                 "tokenizer"));
  fs::remove(other);
  CHECK(contains(place.refused(), "other.gguf: cannot open"));
  place.options.source = place.dir / "part-00001-of-00002.gguf";
  rewrite_gguf(file, place.options.source, [](GgufParts& parts, GgufMetadata& metadata) {
    metadata.set(key::kSplitNo, GgufValue::of_u16(0));
    metadata.set(key::kSplitCount, GgufValue::of_u16(2));
    metadata.set(key::kSplitTensorsCount, GgufValue::of_i32(int32_t(parts.size())));
  });
  CHECK(contains(place.refused(), "part-00002-of-00002.gguf"));
  place.options.source = place.dir / "out-of-nothing";
  fs::create_directory(place.dir.path() / "out-of-nothing");
  CHECK(contains(place.refused(), "out-of-nothing"));
  place.options.source = place.checkpoint();
  fs::remove(place.dir / "checkpoint/config.json");
  CHECK(contains(place.refused(), "checkpoint"));
}
