// A file made of shards that are not all there when it is begun.
#include <doctest/doctest.h>

#include <algorithm>
#include <mutex>
#include <thread>

#include "convert/convert.h"
#include "convert/shard_order.h"
#include "tests/convert/quantized_checkpoint.h"
#include "tests/support/refusal.h"
#include "tests/support/text_file.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// Shards that come out of one folder into another when they are waited for, as few as can be.
class Coming : public ShardSource {
 public:
  Coming(const std::string& from, const std::string& to) : from_(from), to_(to) { fs::create_directory(to); }

  std::set<std::string> names() const override {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(from_))
      if (entry.path().extension() == ".safetensors") names.insert(entry.path().filename());
    return names;
  }
  std::vector<Shard> look_at(const std::vector<std::string>& names) override {
    std::vector<Shard> shards;
    for (const std::string& name : names) {
      const std::string text = read_text(from_ + "/" + name);
      uint64_t length = 0;
      std::memcpy(&length, text.data(), sizeof length);
      shards.push_back({name, text.size(), std::to_string(std::hash<std::string>()(text)), "",
                        text.substr(0, sizeof length + length)});
      if (there.contains(name)) shards.back().path = from_ + "/" + name;
    }
    return shards;
  }
  void planned(const ShardPlan& plan) override { planned_plan = plan; }
  void begin(const std::vector<std::string>& order) override { this->order = order; }
  std::string wait_for(const std::string& name, std::chrono::milliseconds) override {
    const std::lock_guard lock(mutex_);
    while (next_ < order.size() && lying_ < planned_plan.least) {
      fs::copy_file(from_ + "/" + order[next_], to_ + "/" + order[next_]);
      ++next_, ++lying_;
    }
    return fs::exists(to_ + "/" + name) ? to_ + "/" + name : "";
  }
  void done(const std::string& name) override {
    const std::lock_guard lock(mutex_);
    fs::remove(to_ + "/" + name);
    --lying_;
    gone.push_back(name);
  }
  std::string folder() const override { return to_; }
  void drop() override { dropped = true; }

  std::set<std::string> there;  // that need not come
  bool dropped = false;
  ShardPlan planned_plan;
  std::vector<std::string> order, gone;

 private:
  std::string from_, to_;
  std::mutex mutex_;
  size_t next_ = 0, lying_ = 0;
};

// A checkpoint in shards, and what it becomes where all of them are there.
struct Place {
  explicit Place(const TinyCheckpoint& tiny) {
    tiny.write(checkpoint);
    options.checkpoint_dir = checkpoint;
    options.output = dir / "model.gguf";
    options.recipe = "q8_0";
    options.n_threads = 3;
    in_shards(tiny, 7);
  }
  // Neighbours share a shard, as in checkpoints that are published.
  void in_shards(const TinyCheckpoint& tiny, size_t n) {
    fs::remove(checkpoint + "/model.safetensors");
    std::vector<SafetensorsWriter> files(n);
    size_t i = 0;
    for (const auto& [name, tensor] : tiny.tensors)
      files[i++ * n / tiny.tensors.size()].add(name, tensor.dtype, tensor.shape, tensor.bytes);
    for (size_t k = 0; k < n; ++k)
      write_text(checkpoint + "/" + TinyCheckpoint::shard_name(int(k), int(n)), files[k].text());
  }
  std::string whole() const {
    ConvertOptions other = options;
    other.output = dir / "whole.gguf";
    other.shards = nullptr;
    other.overwrite = true;
    other.progress = {};
    convert_checkpoint(other);
    return read_text(other.output);
  }

  TempDir dir;
  std::string checkpoint = dir / "checkpoint";
  ConvertOptions options;
};

}  // namespace

TEST_CASE("tensors are made as soon as the last of their shards is there") {
  using Needs = std::vector<std::vector<size_t>>;
  const auto order = [](const Needs& needs) { return order_by_shards(needs); };
  CHECK(order({}).least == 0);
  const ShardOrder layers = order({{0}, {0, 1}, {1, 2}, {}, {2}, {2, 3, 4}, {4}});
  CHECK(layers.tensors == std::vector<size_t>{3, 0, 1, 2, 4, 5, 6});
  CHECK(layers.shards == std::vector<size_t>{0, 1, 2, 3, 4});
  CHECK(layers.least == 3);
  // Layers 1, 10, 2 in the order of the alphabet: as they come, not as the file has them.
  CHECK(order({{0}, {2}, {1}}).tensors == std::vector<size_t>{0, 2, 1});
  CHECK(order({{0}, {2}, {1}}).least == 1);
  CHECK(order({{5, 0}, {1}, {2}}).least == 2);  // two that wait for each other, and those between one by one
  CHECK(order({{5, 0}, {1}, {2}}).shards == std::vector<size_t>{0, 1, 2, 5});
}

TEST_CASE("the same bytes of shards that come, with the least number of them, by any number of threads") {
  Place place(tiny_v3(true));
  const std::string whole = place.whole();
  for (const int threads : {1, 3}) {
    Coming coming(place.checkpoint, place.dir / ("work" + std::to_string(threads)));
    if (threads == 3) coming.there = {TinyCheckpoint::shard_name(2, 7)};
    place.options.shards = &coming;
    place.options.n_threads = threads;
    place.options.overwrite = true;
    const ConvertReport planned = plan_conversion(place.options);
    CHECK(planned.estimate.memory_bytes == 0);
    CHECK(coming.planned_plan.file_bytes == whole.size());
    CHECK(coming.planned_plan.least < 7);
    CHECK(coming.order.empty());
    convert_checkpoint(place.options);
    const bool same = read_text(place.options.output) == whole;
    CHECK(same);
    CHECK(coming.order.size() == (threads == 3 ? 6 : 7));
    CHECK(std::ranges::is_sorted(coming.order));
    CHECK(coming.gone.size() == coming.order.size());
    CHECK(fs::is_empty(coming.folder()));
    CHECK(!coming.dropped);
  }
}

TEST_CASE("shards of tensors that are on record do not come again; what determines the weights is their checksums") {
  Place place(tiny_v3(false));
  const std::string whole = place.whole();
  std::optional<uint64_t> first;
  const auto run = [&](const std::string& work, uint64_t stop_after) {
    Coming coming(place.checkpoint, place.dir / work);
    place.options.shards = &coming;
    first.reset();
    std::string earlier;
    place.options.progress = [&](const ConvertProgress& p) {
      if (!first) first = p.bytes_recorded;
      earlier = p.earlier;
      return p.bytes_recorded < stop_after;
    };
    const std::string message = refusal([&] { convert_checkpoint(place.options); });
    if (stop_after < whole.size()) CHECK(contains(message, "interrupted; the same command goes on: "));
    place.options.shards = nullptr;
    return std::tuple(coming.order, coming.gone, earlier);
  };
  const auto [order, gone, fresh] = run("first", whole.size() / 2);
  CHECK(fresh.empty());
  REQUIRE(!gone.empty());
  for (const auto& entry : fs::directory_iterator(place.checkpoint))  // other times of change, the same checksums
    fs::last_write_time(entry.path(), fs::file_time_type::clock::now());
  const auto [rest, rest_gone, earlier] = run("second", whole.size());
  CHECK(contains(earlier, "going on from tensor "));
  CHECK(rest.size() < order.size());
  for (const std::string& name : gone) CHECK(std::ranges::count(rest, name) == 0);
  const bool same = read_text(place.options.output) == whole;
  CHECK(same);

  fs::remove(place.options.output);
  REQUIRE(!std::get<1>(run("third", whole.size() / 2)).empty());
  TinyCheckpoint other = tiny_v3(false);
  other.tensors["model.norm.weight"].bytes[0] ^= 1;
  place.in_shards(other, 7);
  CHECK(contains(std::get<2>(run("fourth", whole.size())), "beginning anew: the weights' files have changed since"));
  const bool anew = read_text(place.options.output) == place.whole();
  CHECK(anew);
}

TEST_CASE("an interruption before anything is on record says what is kept") {
  Place place(tiny_v3(false));
  Coming coming(place.checkpoint, place.dir / "work");
  place.options.shards = &coming;
  place.options.progress = [](const ConvertProgress&) { return false; };
  CHECK(refusal([&] { convert_checkpoint(place.options); }) ==
        "interrupted; the same command goes on: what was fetched is kept in " + coming.folder());
  CHECK(!coming.dropped);
}

TEST_CASE("weights that are at fault leave nothing") {
  TinyCheckpoint tiny = tiny_v3(false);
  std::string& bytes = tiny.tensors["model.layers.1.self_attn.o_proj.weight"].bytes;
  bytes[bytes.size() - 1] = bytes[bytes.size() - 2] = '\xff';
  Place place(tiny);
  Coming coming(place.checkpoint, place.dir / "work");
  place.options.shards = &coming;
  CHECK(contains(refusal([&] { convert_checkpoint(place.options); }), "expected finite weights, found NaN"));
  CHECK(coming.dropped);
}

TEST_CASE("what has to be looked at before it is planned has to be there") {
  const auto refused = [](Place& place) {
    Coming coming(place.checkpoint, place.dir / "work");
    place.options.shards = &coming;
    const std::string why = refusal([&] { convert_checkpoint(place.options); });
    CHECK(coming.order.empty());
    CHECK(!fs::exists(place.options.output));
    return why;
  };
  const std::string pull_first = "so it has to be there first: pull it, then convert it";
  TinyCheckpoint floats = tiny_v3(false);
  Place copies(floats);
  write_text(copies.checkpoint + "/model-extra.safetensors",
             SafetensorsWriter()
                 .add("model.norm.weight", "BF16", floats.tensors["model.norm.weight"].shape,
                      floats.tensors["model.norm.weight"].bytes)
                 .text());
  CHECK(contains(refused(copies), "model.norm.weight: what becomes of this checkpoint depends on what is in it, "));
  CHECK(contains(refused(copies), pull_first));

  using P = Packing;
  for (const Packing& packing : {P{P::gptq, 4, false, 128, "F16"}, P{P::awq, 4, true, 128, "F16"},
                                 P{P::pack_quantized, 4, false, 128, "BF16"}}) {
    CAPTURE(packing.text());
    Place integers(quantize_checkpoint(floats, {packing}).quantized);
    CHECK(contains(refused(integers), pull_first));
  }

  Place sized(floats);
  sized.options.target_bytes = 1'000'000;
  CHECK(contains(refused(sized), "--target-size: measures all weights before the first is written"));
}
