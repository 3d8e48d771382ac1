// The checkpoints with known logits: where they are, what they expect (README.md).
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "quant/gguf_keys.h"
#include "runtime/engine/model.h"
#include "tests/support/convert.h"
#include "tests/support/paths.h"

namespace hearth::test {

// A .npy file of float32 or float64 in C order, as floats.
inline std::vector<float> read_npy(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  REQUIRE_MESSAGE(bytes.size() > 10, path.string());
  REQUIRE(bytes.compare(0, 6, "\x93NUMPY") == 0);
  uint16_t header_length;
  std::memcpy(&header_length, bytes.data() + 8, 2);
  const std::string header = bytes.substr(10, header_length);
  REQUIRE(header.find("'fortran_order': False") != std::string::npos);
  const char* data = bytes.data() + 10 + header_length;
  const size_t n_bytes = bytes.size() - 10 - header_length;
  std::vector<float> values;
  if (header.find("<f8") != std::string::npos) {
    std::vector<double> wide(n_bytes / 8);
    std::memcpy(wide.data(), data, wide.size() * 8);
    values.assign(wide.begin(), wide.end());
  } else {
    REQUIRE(header.find("<f4") != std::string::npos);
    values.resize(n_bytes / 4);
    std::memcpy(values.data(), data, values.size() * 4);
  }
  return values;
}

struct Golden {
  std::string name;
  fs::path folder;
  std::vector<Token> tokens;
  std::vector<Token> greedy;  // the continuation; empty: not stored
  std::vector<float> logits;  // [tokens, V]
};

inline std::vector<Golden> goldens_in(const fs::path& parent) {
  std::vector<Golden> all;
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(parent)) {
    if (fs::exists(entry.path() / "logits.json")) folders.push_back(entry.path());
  }
  std::ranges::sort(folders);
  for (const fs::path& folder : folders) {
    Golden g{folder.filename().string(), folder, {}, {}, read_npy(folder / "logits.npy")};
    const auto json = nlohmann::json::parse(std::ifstream(folder / "logits.json"));
    g.tokens = json.at("tokens").get<std::vector<Token>>();
    if (json.contains("greedy")) g.greedy = json.at("greedy").get<std::vector<Token>>();
    all.push_back(std::move(g));
  }
  return all;
}

// Those in the tree.
inline const std::vector<Golden>& goldens() {
  static const std::vector<Golden> all = goldens_in(source_dir() / "tests" / "golden" / "models");
  REQUIRE(all.size() >= 6);
  return all;
}

// Those in the optional test data; none where that is not there.
inline std::vector<Golden> larger_goldens() {
  const fs::path shared = shared_data("the larger checkpoints with float64 logits");
  return shared.empty() ? std::vector<Golden>{} : goldens_in(shared / "golden");
}

// The checkpoint converted by a recipe; made once per test program.
inline std::string converted(const fs::path& checkpoint, const std::string& recipe) {
  static TempDir folder;
  std::string file = checkpoint.string() + "-" + recipe + ".gguf";
  std::ranges::replace(file, '/', '_');
  const std::string output = folder / file;
  if (!fs::exists(output)) convert(checkpoint, output, recipe);
  return output;
}

// The same file with its weights decoded to F32; made once.
inline std::string decoded(const std::string& path) {
  const std::string output = path + "-decoded";
  if (fs::exists(output)) return output;
  const GgufFile file = GgufFile::open(path);
  GgufMetadata metadata = file.metadata();
  metadata.erase(key::kHearthChecksums);
  metadata.erase(key::kHearthChecksumNames);
  std::vector<GgufTensorPlan> plan;
  for (const Tensor& tensor : file.tensors()) plan.push_back({tensor.name, &format_of(FormatId::f32), tensor.shape});
  GgufWriter writer(output, metadata, plan);
  for (size_t i = 0; i < plan.size(); ++i) {
    const Tensor& tensor = file.tensors()[i];
    std::vector<float> row(size_t(tensor.shape.cols()));
    for (int64_t r = 0; r < tensor.shape.rows(); ++r) {
      tensor.format->decode(tensor.data + size_t(r) * tensor.row_bytes(), row.data(), tensor.shape.cols());
      writer.write(i, size_t(r) * row.size() * sizeof(float), std::as_bytes(std::span(row)));
    }
  }
  writer.finish();
  return output;
}

inline Token most_likely(std::span<const float> row) {
  const float* const x = row.data();  // by hand: tests are not optimized, and rows are many
  size_t best = 0;
  for (size_t i = 1; i < row.size(); ++i) {
    if (x[i] > x[best]) best = i;
  }
  return Token(best);
}

// One by one after `tokens`.
inline std::vector<Token> continue_greedily(Model& model, std::span<const Token> tokens, size_t n) {
  KvCache cache = model.new_cache();
  std::vector<float> logits(size_t(model.config().vocab_size));
  model.run(tokens, cache, logits);
  std::vector<Token> out;
  while (out.size() < n) {
    out.push_back(most_likely(logits));
    model.run({&out.back(), 1}, cache, logits);
  }
  return out;
}

}  // namespace hearth::test
