#include "convert/convert.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>

#include "quant/checksum.h"
#include "quant/gguf.h"
#include "quant/gguf_keys.h"
#include "tests/convert/tiny_checkpoint.h"
#include "tests/support/process.h"
#include "tests/support/refusal.h"
#include "tests/support/sanitized.h"

using namespace hearth;
using namespace hearth::test;

namespace {

struct Workplace {
  explicit Workplace(const TinyCheckpoint& tiny = tiny_lite(), int shards = 1) {
    tiny.write(checkpoint, shards);
    fs::create_directory(dir.path() / "out");
    options.checkpoint_dir = checkpoint;
    options.output = dir / "out/model.gguf";
    options.recipe = "q8_0";
    options.n_threads = 2;
  }
  std::string refused() const {
    return refusal([&] { convert_checkpoint(options); });
  }
  bool nothing_left() const { return fs::is_empty(dir.path() / "out"); }

  TempDir dir;
  fs::path checkpoint = dir.path() / "checkpoint";
  ConvertOptions options;
};

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The embedding has enough slabs for several threads.
TinyCheckpoint tiny_with_large_tensors() {
  TinyCheckpoint tiny;
  tiny.config = tiny_lite_config();
  tiny.config.update(Json{{"hidden_size", 256}, {"vocab_size", 20000}, {"num_hidden_layers", 2}});
  tiny.add_all_tensors(false);
  tiny.config["tie_word_embeddings"] = true;
  tiny.tensors.erase("lm_head.weight");
  return tiny;
}

// Puts one value into a tensor of the checkpoint.
template <class T>
void poke(TinyTensor& tensor, size_t index, T value) {
  std::memcpy(tensor.bytes.data() + index * sizeof value, &value, sizeof value);
}

}  // namespace

TEST_CASE("what the file says about itself") {
  const Workplace place;
  const ConvertReport report = convert_checkpoint(place.options);
  const GgufFile file = GgufFile::open(place.options.output);
  const GgufMetadata& m = file.metadata();
  CHECK(m.string(key::kArchitecture) == "deepseek2");
  CHECK(m.string(key::kType) == "model");
  CHECK(m.string(key::kName) == "checkpoint");
  CHECK(m.string(key::kHearthSource) == "checkpoint");
  CHECK(m.string(key::kHearthRecipe) == "q8_0");
  CHECK(!m.string(key::kHearthVersion)->empty());
  CHECK(m.unsigned_integer(key::kFileType) == 7);
  CHECK(m.unsigned_integer(key::kQuantizationVersion) == 2);
  CHECK(m.unsigned_integer(key::kAlignment) == 64);
  CHECK(m.find(key::kHearthMtpLayerCount) == nullptr);
  CHECK(m.strings(key::kTokens)->size() == 10);

  const std::vector<uint64_t>* checksums = m.u64s(key::kHearthChecksums);
  REQUIRE(checksums);
  REQUIRE(checksums->size() == file.tensors().size());
  for (size_t i = 0; i < checksums->size(); ++i) {
    const Tensor& tensor = file.tensors()[i];
    CHECK(checksum({tensor.data, tensor.bytes()}) == (*checksums)[i]);
  }
  CHECK(report.file_bytes == fs::file_size(place.options.output));
  CHECK(report.bits_per_weight > 8.5);
}

TEST_CASE("the checkpoint's own name goes before the directory's") {
  TinyCheckpoint tiny = tiny_lite();
  const auto source = [&](const char* name) {
    tiny.config["_name_or_path"] = name;
    Workplace place(tiny);
    convert_checkpoint(place.options);
    return *GgufFile::open(place.options.output).metadata().string(key::kHearthSource);
  };
  CHECK(source("deepseek-ai/DeepSeek-V2-Lite") == "deepseek-ai/DeepSeek-V2-Lite");
  CHECK(source("/home/someone/models/my-model") == "my-model");
  CHECK(source(".") == "checkpoint");
}

TEST_CASE("a folder of the hub's cache is named after its repository") {
  const TinyCheckpoint tiny = tiny_lite();
  const TempDir dir;
  const auto name_of = [&](const std::string& folder, const std::string& suffix) {
    const fs::path path = dir.path() / folder;
    tiny.write(path);
    ConvertOptions options;
    options.checkpoint_dir = path.string() + suffix;
    options.output = dir / "out.gguf";
    options.overwrite = true;
    convert_checkpoint(options);
    return *GgufFile::open(options.output).metadata().string(key::kName);
  };
  const std::string revision = "/snapshots/604d5664dddd88a0433dbae533b7fe9472482de0";
  for (const char* suffix : {"", "/", "//", "/.", "/../604d5664dddd88a0433dbae533b7fe9472482de0/"}) {
    CHECK(name_of("models--deepseek-ai--DeepSeek-V2-Lite" + revision, suffix) == "DeepSeek-V2-Lite");
  }
  CHECK(name_of("models--DeepSeek-V2-Lite" + revision, "") == "DeepSeek-V2-Lite");
  CHECK(name_of("my-model", "/") == "my-model");
  CHECK(name_of("snapshots/main", "") == "main");
}

TEST_CASE("recommended sampling, BOS and further ends of the small files are kept") {
  Workplace place;
  write_text(place.checkpoint / "generation_config.json",
             R"({"bos_token_id": 5, "eos_token_id": [6, 7], "temperature": 0.9, "top_p": 0.5})");
  write_text(place.checkpoint / "tokenizer_config.json", R"({"chat_template": "T"})");
  const ConvertReport report = convert_checkpoint(place.options);
  const GgufFile file = GgufFile::open(place.options.output);
  CHECK(file.metadata().number(key::kSamplingTemp) == doctest::Approx(0.9));
  CHECK(file.metadata().number(key::kSamplingTopP) == doctest::Approx(0.5));
  CHECK(file.metadata().unsigned_integer(key::kBosTokenId) == 5);
  CHECK(file.metadata().unsigned_integer(key::kEosTokenId) == 6);
  CHECK(file.metadata().unsigned_integer(key::kEotTokenId) == 7);
  CHECK(std::any_of(report.notes.begin(), report.notes.end(),
                    [](auto& note) { return contains(note, "token 7 ends a text besides EOS"); }));
}

TEST_CASE("who will open the file sees it before it is written") {
  Workplace place(tiny_v3(false));
  bool seen = false;
  place.options.check_planned = [&](const GgufFile& planned) {
    seen = true;
    CHECK(place.nothing_left());
    CHECK(planned.path() == place.options.output);
    CHECK(planned.metadata().unsigned_integer(key::kBlockCount) == 2);
    CHECK(planned.tensor("blk.2.nextn.eh_proj.weight").shape == Shape(256, 512));
    return std::vector<std::string>{"it will not sing"};
  };
  CHECK(plan_conversion(place.options).notes.back() == "it will not sing");
  CHECK(convert_checkpoint(place.options).notes.back() == "it will not sing");
  CHECK(seen);
  place.options.overwrite = true;
  place.options.check_planned = [&](const GgufFile&) -> std::vector<std::string> {
    fail(ErrorKind::model, "no token for byte 0x41");
  };
  const std::string before = read_file(place.options.output);
  CHECK(place.refused() == "no token for byte 0x41");
  CHECK(read_file(place.options.output) == before);
}

TEST_CASE("weights too large for F16 are counted and named") {
  TinyCheckpoint tiny = tiny_lite();
  poke(tiny.tensors["lm_head.weight"], 3, float_to_bf16(70000));
  poke(tiny.tensors["lm_head.weight"], 9, float_to_bf16(-1e9f));
  poke(tiny.tensors["model.layers.1.mlp.experts.2.up_proj.weight"], 0, float_to_bf16(1e6f));
  Workplace place(tiny);
  place.options.recipe = "F16";
  const ConvertReport report = convert_checkpoint(place.options);
  CHECK(contains(report.notes.back(), "1 of blk.1.ffn_up_exps.weight, 2 of output.weight"));
  place.options.overwrite = true;
  place.options.recipe = "bf16";
  for (const std::string& note : convert_checkpoint(place.options).notes) CHECK(!contains(note, "too large"));
}

TEST_CASE("a plan is exact and writes nothing") {
  for (const bool keep_mtp : {true, false}) {
    Workplace place(tiny_v3(true));
    place.options.keep_mtp = keep_mtp;
    const ConvertReport plan = plan_conversion(place.options);
    CHECK(place.nothing_left());
    const ConvertReport report = convert_checkpoint(place.options);
    CHECK(plan.file_bytes == fs::file_size(place.options.output));
    CHECK(plan.file_bytes == report.file_bytes);
    CHECK(plan.notes == report.notes);
    REQUIRE(plan.tensors.size() == report.tensors.size());
  }
}

TEST_CASE("the MTP layer is in the file, and hidden from programs that would refuse it") {
  Workplace place(tiny_v3(false));
  convert_checkpoint(place.options);
  const GgufFile file = GgufFile::open(place.options.output);
  CHECK(file.find_tensor("blk.2.nextn.eh_proj.weight"));
  CHECK(file.metadata().unsigned_integer(key::kHearthMtpLayerCount) == 1);
  // llama.cpp subtracts this key from block_count: with both, it would leave out a layer of the model.
  CHECK(!file.metadata().find(key::kNextnPredictLayers));
  CHECK(file.metadata().unsigned_integer(key::kBlockCount) == 2);
  size_t n_mtp = 0;
  for (const Tensor& tensor : file.tensors()) n_mtp += tensor.name.starts_with("blk.2.");
  uint64_t n_visible;
  std::memcpy(&n_visible, read_file(place.options.output).data() + 8, sizeof n_visible);
  CHECK(n_visible == file.tensors().size() - n_mtp);
}

TEST_CASE("the number of threads does not change a byte") {
  Workplace place(tiny_with_large_tensors());
  for (const char* recipe : {"q4_k_m", "bf16"}) {
    place.options.recipe = recipe;
    std::string first;
    for (const int threads : {1, 2, 5}) {
      if (kSanitized && threads == 2) continue;
      place.options.n_threads = threads;
      place.options.overwrite = true;
      convert_checkpoint(place.options);
      const std::string bytes = read_file(place.options.output);
      if (first.empty()) first = bytes;
      CHECK(bytes == first);
    }
  }
}

TEST_CASE("progress grows to the whole, then to the whole read back") {
  Workplace place(tiny_with_large_tensors());
  ConvertProgress last;
  int calls = 0;
  bool monotone = true;
  place.options.progress = [&](const ConvertProgress& p) {
    monotone = monotone && p.bytes_done >= last.bytes_done && p.source_bytes >= last.source_bytes &&
               p.bytes_verified >= last.bytes_verified && p.bytes_done <= p.bytes_total;
    last = p;
    ++calls;
    return true;
  };
  const ConvertReport report = convert_checkpoint(place.options);
  uint64_t total = 0;
  for (const ConvertPlanRow& row : report.tensors) total += row.bytes;
  CHECK(monotone);
  CHECK(calls > int(report.tensors.size()));
  CHECK(last.bytes_total == total);
  CHECK(last.bytes_done == total);
  CHECK(last.tensor == "verifying");
  CHECK(last.bytes_verified == total);
}

TEST_CASE("an interrupted conversion leaves an older file as it was") {
  Workplace place(tiny_with_large_tensors());
  write_text(place.options.output, "older");
  place.options.overwrite = true;
  for (const bool something_is_finished : {false, true}) {
    place.options.progress = [&](const ConvertProgress& p) { return something_is_finished && p.bytes_recorded == 0; };
    CHECK(contains(place.refused(), "interrupted"));
    CHECK(read_file(place.options.output) == "older");
    CHECK(fs::exists(place.options.output + ".partial") == something_is_finished);
  }
  place.options.progress = {};
  CHECK(place.refused() == "");
  CHECK(read_file(place.options.output).starts_with("GGUF"));
}

TEST_CASE("weights that are not finite are named with tensor and place, whoever finds them") {
  TinyCheckpoint tiny = tiny_with_large_tensors();
  poke(tiny.tensors["model.embed_tokens.weight"], 9000 * 256 + 17, uint16_t(0x7fc0));
  poke(tiny.tensors["model.embed_tokens.weight"], 15000 * 256 + 3, uint16_t(0x7fc0));
  Workplace place(tiny);
  place.options.n_threads = 4;
  CHECK(contains(place.refused(),
                 "model.safetensors: model.embed_tokens.weight: expected finite weights, found NaN at [9000, 17]"));
  CHECK(place.nothing_left());

  tiny = tiny_lite();
  poke(tiny.tensors["model.layers.1.self_attn.kv_b_proj.weight"], 7 * 32 + 5, uint16_t(0xff80));
  CHECK(contains(Workplace(tiny).refused(),
                 "model.layers.1.self_attn.kv_b_proj.weight: expected finite weights, found -infinity at [7, 5]"));
  tiny = tiny_lite();
  poke(tiny.tensors["model.norm.weight"], 3, uint16_t(0x7f80));
  CHECK(contains(Workplace(tiny).refused(), "model.norm.weight: expected finite weights, found infinity at [3]"));

  // FP8: as values, as blocks carried over, in rows and in transposed rows, and in the scales.
  for (const char* recipe : {"q8_0", "fp8"}) {
    CAPTURE(recipe);
    for (const std::string name :
         {"model.layers.0.self_attn.o_proj.weight", "model.layers.0.self_attn.kv_b_proj.weight"}) {
      const int64_t cols = name.find("kv_b") == std::string::npos ? 256 : 128;
      TinyCheckpoint fp8 = tiny_v3(true);
      poke(fp8.tensors[name], size_t(100 * cols + 21), uint8_t(0xff));
      Workplace nan(fp8);
      nan.options.recipe = recipe;
      CHECK(contains(nan.refused(), name + ": expected finite weights, found NaN at [100, 21]"));
      CHECK(nan.nothing_left());

      fp8 = tiny_v3(true);
      poke(fp8.tensors[name + "_scale_inv"], 1, std::numeric_limits<float>::infinity());
      Workplace scale(fp8);
      scale.options.recipe = recipe;
      CHECK(contains(scale.refused(), name));
      CHECK(contains(scale.refused(), "expected finite"));
      CHECK(scale.nothing_left());
    }
  }
}

TEST_CASE("a file larger than the process may write: one error, nothing left") {
  Workplace place(tiny_with_large_tensors());
  place.options.n_threads = 1;
  const uint64_t size = plan_conversion(place.options).file_bytes;
  for (const uint64_t limit : {uint64_t(1000), size / 2, size - 1}) {
    CAPTURE(limit);
    CHECK(in_child([&] {
      signal(SIGXFSZ, SIG_IGN);
      const rlimit file_size = {limit, limit};
      if (setrlimit(RLIMIT_FSIZE, &file_size) != 0) return false;
      return contains(place.refused(), "model.gguf.partial: cannot") && place.nothing_left();
    }));
  }
  CHECK(place.nothing_left());
}

TEST_CASE("outputs that cannot be") {
  Workplace place;
  write_text(place.options.output, "precious");
  CHECK(contains(place.refused(), "model.gguf: exists already, and overwriting was not asked for"));
  CHECK(read_file(place.options.output) == "precious");
  place.options.overwrite = true;
  CHECK(place.refused() == "");
  CHECK(read_file(place.options.output).starts_with("GGUF"));

  place.options.output = (place.checkpoint / "model.safetensors").string();
  const std::string before = read_file(place.options.output);
  CHECK(contains(place.refused(), "model.safetensors: is part of the checkpoint, so it cannot be the output"));
  CHECK(read_file(place.options.output) == before);

  place.options.output = (place.checkpoint / "model.gguf").string();  // beside the checkpoint is fine
  CHECK(place.refused() == "");
  place.options.output = place.dir / "no/such/folder.gguf";
  CHECK(contains(place.refused(), "cannot create"));
  place.options.output = "";
  CHECK(contains(place.refused(), "expected the name of an output file"));
  place.options.output = place.checkpoint.string();
  CHECK(contains(place.refused(), "is not a regular file"));
}

TEST_CASE("options and checkpoints that make no sense") {
  Workplace place;
  place.options.recipe = "q9";
  CHECK(contains(place.refused(), "unknown recipe q9"));
  place.options.recipe = "f32";
  place.options.n_threads = 0;
  CHECK(contains(place.refused(), "expected 1 thread or more, found 0"));
  place.options.n_threads = 1;
  for (const char* name : {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}) {
    CAPTURE(name);
    const std::string path = (place.checkpoint / name).string(), aside = path + ".aside";
    fs::rename(path, aside);
    CHECK(contains(place.refused(), name));
    write_text(path, "<html>");
    CHECK(contains(place.refused(), name));
    fs::rename(aside, path);
  }
  CHECK(place.nothing_left());
  for (const auto& [file, why] : std::map<std::string, std::string>{
           {"model.safetensors", "is a file, expected the directory of a Hugging Face checkpoint: try "},
           {"x.gguf", "is a GGUF file, which run and chat open as it is"}}) {
    write_text(place.checkpoint / "x.gguf", "GGUF");
    place.options.checkpoint_dir = place.checkpoint / file;
    CHECK(contains(place.refused(), file + ": " + why));
  }
  place.options.checkpoint_dir = place.checkpoint;
  fs::remove(place.checkpoint / "config.json");
  CHECK(contains(place.refused(), "has no config.json, but x.gguf: GGUF files need no conversion"));
  write_text(place.checkpoint / "adapter_config.json",
             R"({"base_model_name_or_path": "deepseek-ai/DeepSeek-V2-Lite"})");
  CHECK(contains(place.refused(),
                 "is a LoRA adapter, not a model: merge it into its base model (deepseek-ai/DeepSeek-V2-Lite)"));
  fs::remove(place.checkpoint / "adapter_config.json");
  fs::remove(place.checkpoint / "x.gguf");
  CHECK(contains(place.refused(), "has no config.json: expected the directory"));
  place.options.checkpoint_dir = place.dir / "nothing";
  CHECK(contains(place.refused(), "nothing: expected the directory of a Hugging Face checkpoint"));
}

// The queries alone have 64 MiB; they are a hole in the file, which maps like any other data.
TEST_CASE("memory is bounded by slabs, not by tensors") {
  TinyCheckpoint tiny;
  tiny.config = tiny_lite_config();
  tiny.config.update(
      Json{{"num_hidden_layers", 1}, {"num_attention_heads", 64}, {"num_key_value_heads", 64}, {"v_head_dim", 8}});
  tiny.add_all_tensors(false);
  constexpr int64_t kRope = 8176, kRows = 64 * (16 + kRope), kBytes = kRows * 64 * 2;
  tiny.config["qk_rope_head_dim"] = kRope;
  tiny.add_bf16("model.layers.0.self_attn.kv_a_proj_with_mqa.weight", {32 + kRope, 64});
  tiny.tensors.erase("model.layers.0.self_attn.q_proj.weight");
  Workplace place(tiny);

  const std::string path = (place.checkpoint / "model.safetensors").string();
  std::string text = read_file(path);
  uint64_t header;
  std::memcpy(&header, text.data(), sizeof header);
  const uint64_t begin = text.size() - 8 - header;
  const std::string name = "model.layers.0.self_attn.q_proj.weight";
  std::string extra = fmt::format(R"(,"{}":{{"dtype":"BF16","shape":[{},64],"data_offsets":[{},{}]}})", name, kRows,
                                  begin, begin + kBytes);
  extra.resize((extra.size() + 7) / 8 * 8, ' ');
  text.insert(text.rfind('}', 7 + header), extra);
  header += extra.size();
  std::memcpy(text.data(), &header, sizeof header);
  write_text(path, text);
  fs::resize_file(path, 8 + header + begin + kBytes);

  const auto resident_mib = [](const char* what) {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with(what)) return std::stod(line.substr(line.find(':') + 1)) / 1024;
    }
    return 0.0;
  };
  CHECK(in_child([&] {
    place.options.n_threads = 1;
    std::ofstream("/proc/self/clear_refs") << "5";  // the peak begins anew
    const double before = resident_mib("VmRSS");
    const std::string message = place.refused();
    const double grown = resident_mib("VmHWM") - before;
    fmt::print("grew by {:.1f} MiB for a tensor of 64 MiB {}\n", grown, message);
    std::fflush(stdout);
    return message.empty() && before > 0 && grown < 24;
  }));
}
