// What read_config asks: a key, what tensors say where the key is missing, and the notes of what had to be guessed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quant/gguf.h"

namespace hearth {

inline constexpr int64_t kMaxWidth = 1 << 20;  // of anything that is multiplied

// Typed reading with bounds. The bounds are far above any model of the family: they only keep products of sizes from
// overflowing before the tensors' shapes are compared with them. All throw Error(model) naming the key.
class ConfigReader {
 public:
  explicit ConfigReader(const GgufFile& file);

  bool ours() const { return ours_; }  // written by this program, or a copy of such a file
  bool has(const char* key) const { return metadata().find(key) != nullptr; }
  int64_t integer(const char* key, int64_t low, int64_t high) const;
  int64_t integer_or(int64_t absent, const char* key, int64_t low, int64_t high) const;
  // `derived`: what tensors say, 0 where they say nothing; the second accepts 0. A key that is there is believed; a
  // contradiction is found when the tensors are looked up.
  int64_t integer_or_derived(int64_t derived, const char* key, int64_t low, int64_t high);
  int64_t count_or_derived(int64_t derived, const char* key, int64_t low, int64_t high);
  float number(const char* key, double low, double high) const;
  float number_or(float absent, const char* key, double low, double high) const;
  // Where the key is missing: `guess`, with a note.
  float number_or_guess(float guess, const char* whose, const char* key, double low, double high);

  // For what changes results and is in no key or shape.
  void note_guess(const char* key, const std::string& value, const std::string& whose);
  // "KEY is missing: assumed VALUE (WHOSE)": a line for each guess. Where keys are missing that tensors tell, as in the
  // first files of V2 (llama.cpp issue 7118: seven), one line that names all of both kinds.
  std::vector<std::string> notes() const;

  // The first tensor of this role in layers [0, n_layers); null: no layer has one.
  const Tensor* in_layers(const char* role, int64_t n_layers) const;
  // Its rows, or columns; 0: no layer has one.
  int64_t rows(const char* role, int64_t n_layers) const;
  int64_t cols(const char* role, int64_t n_layers) const;

  const GgufFile& file() const { return file_; }
  const GgufMetadata& metadata() const { return file_.metadata(); }
  const std::string& source() const { return file_.metadata().source; }

 private:
  struct Guess {
    std::string key, value, whose;
  };

  int64_t checked(const char* key, uint64_t value, int64_t low, int64_t high) const;

  const GgufFile& file_;
  std::vector<Guess> derived_, guessed_;  // of keys that are missing
  bool ours_ = false;
};

}  // namespace hearth
