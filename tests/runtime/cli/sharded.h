// A checkpoint in shards on a small hub, for `hearth pull REPOSITORY --convert RECIPE`.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <set>
#include <span>
#include <thread>
#include <utility>

#include "convert/safetensors.h"
#include "tests/runtime/cli/pulled.h"
#include "tests/support/safetensors_writer.h"

namespace hearth::test {

inline constexpr uint64_t kHeadBytes = 128 << 10;  // asked for at first, of each shard

// The demo checkpoint in shards, in the order of its tensors' names, each nearly as long as the others.
struct Sharded : Pulled {
  std::vector<std::string> shards;
  std::string out = folder / "tiny.gguf", work = out + ".partial.shards";

  explicit Sharded(size_t n_shards = 10) {
    for (const char* name : {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"})
      hub.add(name, content_of(demo_checkpoint() + "/" + name), false);
    hub.add("tiny-Q4_K_M.gguf", "not what is meant");
    const std::string whole = content_of(demo_checkpoint() + "/model.safetensors");
    std::map<std::string, hearth::SourceTensor> tensors;
    for (const auto& tensor : hearth::parse_safetensors(std::as_bytes(std::span(whole)), "demo"))
      tensors[tensor.name] = tensor;
    std::string index = "{\"weight_map\":{";
    size_t bytes = 0;
    SafetensorsWriter writer;
    const auto name = [&](size_t i) { return fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, n_shards); };
    for (const auto& [of, tensor] : tensors) {
      if (bytes > (shards.size() + 1) * whole.size() / n_shards) {
        add_shard(name(shards.size()), std::exchange(writer, {}));
      }
      writer.add(of, tensor.dtype->name, std::span(tensor.shape.dim).first(size_t(tensor.shape.rank)),
                 {reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size()});
      index += fmt::format("{}\"{}\":\"{}\"", bytes == 0 ? "" : ",", of, name(shards.size()));
      bytes += tensor.bytes.size();
    }
    add_shard(name(shards.size()), writer);
    REQUIRE(shards.size() == n_shards);
    hub.add("model.safetensors.index.json", index + "}}", false);
  }
  void add_shard(const std::string& name, const SafetensorsWriter& writer) {
    shards.push_back(name);
    hub.add(name, writer.text());
  }

  // What fetching first and converting then makes of it.
  const std::string& expected() {
    static const std::string bytes = [this] {
      Sharded apart;
      const ProcessResult fetched = apart.pull({"--include", "*.safetensors", "--include", "*.json"});
      REQUIRE_MESSAGE(fetched.exit_code == 0, fetched.err);
      const ProcessResult made = run_hearth({"convert", apart.snapshot(), apart.out, "--recipe", "q4_0"});
      REQUIRE_MESSAGE(made.exit_code == 0, made.err);
      return content_of(apart.out);
    }();
    return bytes;
  }
  static std::vector<std::string> with(const std::string& out, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"--convert", "q4_0", "--out", out});
    return more;
  }
  ProcessResult convert(std::vector<std::string> more = {}) const { return pull(with(out, std::move(more))); }
  void check_made() {
    const bool same = content_of(out) == expected();
    CHECK(same);
    CHECK(!fs::exists(work));
    CHECK(!fs::exists(out + ".partial"));
    CHECK(!fs::exists(out + ".partial.journal"));
  }

  // How many tensors are on record.
  size_t recorded() const {
    constexpr size_t kRecordBytes = 32;  // of a journal, and of its header
    const size_t bytes = content_of(out + ".partial.journal").size();
    return bytes < kRecordBytes ? 0 : bytes / kRecordBytes - 1;
  }
  // Shards that take room on the disk now, whole or begun.
  std::set<std::string> lying() const {
    std::set<std::string> oids;
    std::error_code error;
    for (fs::directory_iterator it(work + "/models--lab--Tiny-Chat/blobs", error), end; !error && it != end;
         it.increment(error)) {
      const std::string name = it->path().filename();
      oids.insert(name.substr(0, name.find('.')));
    }
    return oids;
  }
  // All of a shard, or what of it was missing, was asked for: not its header alone.
  static bool is_of_content(const HubRequest& request) { return !request.range || request.range->first > 0; }
  std::vector<HubRequest> content_requests(const std::string& shard) {
    std::vector<HubRequest> found;
    for (const HubRequest& request : hub.requests_of("/blob/" + hub.oid(shard)))
      if (is_of_content(request)) found.push_back(request);
    return found;
  }
};

// Looks at the disk all the time; the most shards that it saw.
class Watch {
 public:
  explicit Watch(const Sharded& sharded)
      : thread_([this, &sharded] {
          while (!stop_) {
            const std::set<std::string> now = sharded.lying();
            most_ = std::max(most_, now.size());
            seen_.insert(now.begin(), now.end());
            std::this_thread::sleep_for(std::chrono::microseconds(300));
          }
        }) {}
  ~Watch() { most(); }
  size_t most() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    return most_;
  }
  const std::set<std::string>& seen() {
    most();
    return seen_;
  }

 private:
  std::atomic<bool> stop_ = false;
  size_t most_ = 0;
  std::set<std::string> seen_;
  std::thread thread_;
};

}  // namespace hearth::test
