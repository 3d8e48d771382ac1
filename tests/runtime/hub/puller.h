// A small hub, a cache of its own, and what pulling from one to the other says. Nothing waits longer than it must.
#pragma once

#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "quant/error.h"
#include "runtime/hub/pull.h"
#include "tests/runtime/hub/small_hub.h"
#include "tests/support/paths.h"
#include "tests/support/refusal.h"

namespace hearth::test {

// Loopback is asked directly, whatever proxy this machine has.
struct NoProxy {
  NoProxy() {
    for (const char* name : {"no_proxy", "NO_PROXY"}) setenv(name, "127.0.0.1,localhost", 1);
  }
};
inline const NoProxy no_proxy;

inline std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

struct Puller {
  explicit Puller(SSL_CTX* tls = nullptr) : hub(tls) {
    options.repository = SmallHub::kRepository;
    options.cache = folder.path().string();
    options.fetch.endpoint = hub.endpoint();
    options.fetch.tries = 3;
    options.fetch.first_wait = std::chrono::milliseconds(1);
    options.fetch.limits.stall_seconds = 1;
    options.fetch.limits.connect_seconds = 5;
  }

  // A checkpoint of two shards and small files.
  void add_checkpoint() {
    hub.add("config.json", "{\"model_type\": \"deepseek_v2\"}", false);
    hub.add("tokenizer.json", some_bytes(5000, 1), false);
    hub.add("model-00001-of-00002.safetensors", some_bytes(300'000, 2));
    hub.add("model-00002-of-00002.safetensors", some_bytes(200'000, 3));
    hub.add("README.md", "# Tiny", false);
    hub.add("pytorch_model.bin", some_bytes(100, 4));
  }

  hub::PullPlan plan() {
    return hub::plan_pull(
        options, [] {}, [this](const std::string& text) { told.push_back(text); });
  }
  hub::PullPlan pull() {
    const hub::PullPlan planned = plan();
    hub::pull(options, planned, progress, [this](const std::string& text) { told.push_back(text); });
    return planned;
  }
  std::string refused() {
    return refusal([this] { pull(); });
  }

  std::string snapshot() const { return cache().snapshot(SmallHub::kCommit); }
  std::string fetched(const std::string& path) const { return bytes_of(snapshot() + "/" + path); }
  bool is_there(const std::string& path) const { return fs::exists(snapshot() + "/" + path); }
  hub::RepositoryCache cache() const { return {options.cache, options.repository}; }
  bool is_whole(const std::string& path) const { return fetched(path) == hub.content(path); }
  // Names below blobs/ that are no checksums: what is half fetched.
  size_t n_partial() const {
    size_t n = 0;
    std::error_code error;
    for (const auto& entry : fs::recursive_directory_iterator(folder.path(), error))
      n += entry.path().extension() == ".incomplete" || entry.path().extension() == ".partial";
    return n;
  }

  SmallHub hub;
  TempDir folder;
  hub::PullOptions options;
  std::vector<std::string> told;
  std::function<void(const hub::DownloadProgress&)> progress = [](const hub::DownloadProgress&) {};
};

}  // namespace hearth::test
