// Stored predictions of a model: the log-probabilities of every token at every scored position, to measure KL
// divergence against. Little-endian:
//
//   offset  0  "HEARTHKL"
//           8  u32 version (1)
//          12  u32 V, the vocabulary
//          16  u32 tokens per window
//          20  u32 windows
//          24  u64 XXH3-64 of the windows' token ids (int32), as they were run
//          32  char[64] the model's name, zero-padded
//          96  rows, one for each scored position in order:
//                f32 log-probability of the token that follows
//                f32 largest log-probability of the row
//                u16[V] codes: log-probability = largest - code * 24 / 65535, smaller ones are cut off there
//
// The step of 0.00037 nats, renormalised on reading, leaves an error of about 1e-8 in the divergence.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "quant/mapped_file.h"
#include "quant/output_file.h"
#include "runtime/tokenizer/tokenizer.h"

namespace hearth {

struct BaselineHeader {
  int64_t vocab_size = 0, window = 0, n_windows = 0;
  uint64_t tokens_checksum = 0;
  std::string model_name;

  int64_t rows_per_window() const { return window - 1 - window / 2; }  // positions window/2 .. window - 2
};

// Writes under a temporary name (quant/output_file.h); `finish` renames it. Destroyed unfinished, it leaves nothing.
class BaselineWriter {
 public:
  // Throws Error(file): cannot be written; Error(usage): `path` exists.
  BaselineWriter(const std::string& path, const BaselineHeader& header);

  void add(std::span<const float> log_probs, Token next);  // log_probs [V]; Throws Error(file): disk full
  void finish();

 private:
  void write(const void* data, size_t bytes);

  OutputFile file_;
  std::vector<uint16_t> codes_;
};

class BaselineReader {
 public:
  // Checks magic, version and that the file is exactly as long as its header says. Throws Error(file), Error(format).
  explicit BaselineReader(const std::string& path);

  const BaselineHeader& header() const { return header_; }
  // Throws Error(format) naming the first thing that differs.
  void require_same(const BaselineHeader& other) const;
  // The next row: normalised log-probabilities [V]; returns that of the token that followed.
  float next(std::span<float> log_probs);

 private:
  MappedFile file_;
  BaselineHeader header_;
  size_t at_ = 0;
};

}  // namespace hearth
