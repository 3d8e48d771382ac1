// Going on after an interruption, whatever it was; what making a file takes.
#include "convert/make_file.h"

#include <doctest/doctest.h>

#include <chrono>

#include "convert/convert.h"
#include "convert/slab_pipeline.h"
#include "tests/convert/tiny_checkpoint.h"
#include "tests/support/refusal.h"
#include "tests/support/text_file.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// A conversion that can be stopped and begun again.
struct Stopping {
  explicit Stopping(const TinyCheckpoint& tiny = tiny_v3(false)) {
    tiny.write(checkpoint, 2);
    fs::create_directory(dir.path() / "out");
    options.checkpoint_dir = checkpoint;
    options.output = dir / "out/model.gguf";
    options.recipe = "q8_0";
    options.n_threads = 2;
    whole = made_at_once();
  }
  std::string made_at_once() {
    ConvertOptions other = options;
    other.output = dir / "whole.gguf";
    other.overwrite = true;
    other.progress = {};
    convert_checkpoint(other);
    return read_text(other.output);
  }
  // Stops as soon as more is on record than at the beginning; the message. What was found is `first`, the end `last`.
  std::string stopped() {
    first.reset();
    options.progress = [&](const ConvertProgress& p) {
      if (!first) first = p;
      last = p;
      return p.bytes_recorded == first->bytes_recorded;
    };
    return refusal([&] { convert_checkpoint(options); });
  }
  // Goes on to the end; what was found is `first`, and what became of it is the file that is made at once.
  std::string finished() {
    first.reset();
    options.progress = [&](const ConvertProgress& p) {
      if (!first) first = p;
      last = p;
      return true;
    };
    const std::string message = refusal([&] { convert_checkpoint(options); });
    if (!message.empty()) return message;
    const bool same = read_text(options.output) == whole;
    CHECK(same);
    CHECK(std::distance(fs::directory_iterator(dir / "out"), {}) == 1);
    return "";
  }
  std::string partial() const { return options.output + ".partial"; }
  std::string journal() const { return options.output + ".partial.journal"; }

  TempDir dir;
  fs::path checkpoint = dir.path() / "checkpoint";
  ConvertOptions options;
  std::optional<ConvertProgress> first;
  ConvertProgress last;
  std::string whole;  // the file's bytes
};

void flip_byte(const std::string& path, uint64_t at) {
  std::string text = read_text(path);
  text[at] = char(text[at] ^ 1);
  write_text(path, text);
}

}  // namespace

TEST_CASE("what was interrupted is gone on with, by any number of threads, to the same bytes") {
  Stopping place;
  uint64_t recorded = 0;
  int runs = 0;
  // More may come on record after the last report, so a run may find that nothing is left to do, and end.
  for (; runs < 100 && !fs::exists(place.options.output); ++runs) {
    place.options.n_threads = 1 + runs % 3;
    const std::string message = place.stopped();
    CAPTURE(message);
    CHECK(place.first->bytes_recorded >= recorded);
    CHECK(place.first->bytes_done == place.first->bytes_recorded);
    CHECK(contains(place.first->earlier, runs == 0 ? "" : "model.gguf.partial: going on from tensor "));
    CHECK(place.first->earlier.empty() == (runs == 0));
    recorded = place.last.bytes_recorded;
    if (message.empty()) break;
    CHECK(place.last.bytes_recorded > place.first->bytes_recorded);
    CHECK(contains(message, "interrupted; the same command goes on: "));
    CHECK(contains(message, " tensors are kept in " + place.partial()));
    CHECK(!fs::exists(place.options.output));
    if (recorded < place.last.bytes_total) continue;
    REQUIRE(place.finished() == "");
    CHECK(place.first->bytes_done == recorded);
  }
  CHECK(runs >= 1);
  CHECK(place.last.bytes_verified == place.last.bytes_total);  // what was kept is read back as well
  CHECK(place.last.source_bytes == 0);                         // all was on record
  const bool same = read_text(place.options.output) == place.whole;
  CHECK(same);
}

TEST_CASE("an interruption before anything is finished leaves nothing") {
  Stopping place;
  place.options.progress = [](const ConvertProgress&) { return false; };
  CHECK(refusal([&] { convert_checkpoint(place.options); }) == "interrupted: no file was written");
  CHECK(fs::is_empty(place.dir / "out"));
}

TEST_CASE("what belongs to another conversion is begun anew, and it is said why") {
  Stopping place;
  const auto anew = [&](const std::string& why) {
    place.whole = place.made_at_once();
    REQUIRE(place.finished() == "");
    CHECK(place.first->earlier == place.partial() + ": beginning anew: " + why);
    CHECK(place.first->bytes_done == 0);
    fs::remove(place.options.output);
    place.stopped();
  };
  place.stopped();
  place.options.recipe = "q4_0";
  anew("it was to become another file: other model, recipe or version");
  const fs::path shard = place.checkpoint / "model-00002-of-00002.safetensors";
  fs::last_write_time(shard, fs::last_write_time(shard) + std::chrono::seconds(1));
  anew("the weights' files have changed since");
  fs::resize_file(place.partial(), 100000);
  anew("its size is another one");
  write_text(place.journal(), "<html>");
  anew("its journal is damaged");
  fs::remove(place.journal());
  REQUIRE(place.finished() == "");
  CHECK(place.first->earlier == "");
  CHECK(place.first->bytes_done == 0);
}

TEST_CASE("a tensor that the disk did not keep is made again, and no other") {
  Stopping place;
  uint64_t recorded = 0;
  while (recorded < place.last.bytes_total || recorded == 0) {
    place.stopped();
    recorded = place.last.bytes_recorded;
  }
  const GgufFile file = GgufFile::open(place.dir / "whole.gguf");
  const Tensor& tensor = file.tensor("blk.1.ffn_up_exps.weight");
  flip_byte(place.partial(), uint64_t(tensor.data - file.parts().front()->bytes().data()) + 5);
  const std::string message = place.finished();
  CHECK(contains(message, "tensor blk.1.ffn_up_exps.weight: expected checksum"));
  CHECK(contains(message, "the disk did not keep what was written; the same command goes on: "));
  REQUIRE(place.finished() == "");
  CHECK(place.first->bytes_done == recorded - tensor.bytes());
}

TEST_CASE("two programs that make the same file") {
  Stopping place;
  std::string second;
  place.options.progress = [&](const ConvertProgress&) {
    if (second.empty()) second = refusal([&] { convert_checkpoint(place.options); });
    return true;
  };
  convert_checkpoint(place.options);
  CHECK(second == place.partial() + ": another process is writing it");
  const bool same = read_text(place.options.output) == place.whole;
  CHECK(same);
}

TEST_CASE("weights that are no numbers end it: nothing is kept") {
  TinyCheckpoint tiny = tiny_v3(false);
  const Stopping good(tiny);
  auto& last = tiny.tensors["model.layers.2.shared_head.head.weight"].bytes;
  last.replace(last.size() - 2, 2, "\xc0\x7f");
  ConvertOptions options = good.options;
  options.checkpoint_dir = good.dir / "bad";
  tiny.write(good.dir.path() / "bad", 1);
  CHECK(contains(refusal([&] { convert_checkpoint(options); }), "expected finite weights, found NaN"));
  CHECK(fs::is_empty(good.dir / "out"));
}

TEST_CASE("a plan says what it will take") {
  Stopping place;
  const MakingEstimate e = plan_conversion(place.options).estimate;
  CHECK(e.n_threads == 2);
  CHECK(e.file_bytes == place.whole.size());
  CHECK(e.source_bytes == fs::file_size(place.checkpoint / "model-00001-of-00002.safetensors") +
                              fs::file_size(place.checkpoint / "model-00002-of-00002.safetensors"));
  CHECK(e.encode_bytes_per_second > 1e5);
  CHECK(e.disk_bytes_per_second == 0);  // too small
  CHECK(e.least_seconds > 0);
  CHECK(e.most_seconds >= e.least_seconds);
  CHECK(e.memory_bytes > 1 << 20);
  CHECK(e.memory_bytes < uint64_t(4) << 30);
  CHECK(fs::is_empty(place.dir / "out"));
}

// The tensors of V3 and R1 that are made of the most at once; the sizes are those of its config.json. What a tensor is
// made of is as wide as it can be, F32.
TEST_CASE("671 billion weights on 1024 threads: less than 4 GiB") {
  class Rows : public RowMaker {
   public:
    Rows(const GgufTensorPlan& tensor, int64_t unit) : tensor_(tensor), unit_(unit) {}
    int64_t unit() const override { return unit_; }
    void encode(int64_t, int64_t, Scratch&, std::byte*) const override {}
    int64_t n_clamped() const override { return 0; }
    uint64_t source_bytes(int64_t, int64_t n) const override { return uint64_t(n * tensor_.shape.cols()) * 4; }
    void will_need(int64_t, int64_t) const override {}
    void dont_need(int64_t, int64_t) const override {}
    void release() const override {}

   private:
    const GgufTensorPlan& tensor_;
    int64_t unit_;
  };
  const Format* f32 = &format_of(FormatId::f32);
  FileToMake file;
  file.tensors = {{"token_embd.weight", f32, Shape(129280, 7168)},
                  {"blk.3.attn_k_b.weight", f32, Shape(128, 512, 128)},
                  {"blk.3.attn_output.weight", f32, Shape(7168, 16384)},
                  {"blk.0.ffn_down.weight", f32, Shape(7168, 18432)},
                  {"blk.3.ffn_gate_exps.weight", f32, Shape(256, 2048, 7168)},
                  {"blk.3.ffn_down_exps.weight", f32, Shape(256, 7168, 2048)},
                  {"blk.61.nextn.eh_proj.weight", f32, Shape(7168, 14336)}};
  file.rows = [&](size_t i) { return std::make_unique<Rows>(file.tensors[i], i == 1 ? 512 : 1); };
  CHECK(SlabPipeline::memory_bytes(file, 1024) < 3800u << 20);
  CHECK(SlabPipeline::memory_bytes(file, 64) < 400u << 20);
  const uint64_t before = SlabPipeline::memory_bytes(file, 16);
  for (int i = 0; i < 1000; ++i) file.tensors.push_back(file.tensors[4]);
  CHECK(SlabPipeline::memory_bytes(file, 16) == before);  // no more of them at once
}
