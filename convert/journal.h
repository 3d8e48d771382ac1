// Which tensors of an unfinished file are finished: a small file beside it, so that a later run need not make them
// again.
//
//   "HEARTHJ1"  u64 program  u64 plan  u64 sources          what determines the file's bytes
//   { u64 tensor  u64 checksum  i64 n_clamped  u64 seal } ...   seal: XXH3-64 of the three before and the numbers above
//
// A record is written only when the tensor's bytes are on disk. Records of other conditions, torn and damaged ones do
// not have their seal and count for nothing; of several records of one tensor the last counts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "quant/partial_file.h"

namespace hearth {

// Checksums of what determines the bytes of a file.
struct Conditions {
  uint64_t program = 0;  // its version and what its encoders do
  uint64_t plan = 0;     // metadata, names, formats, shapes, places
  uint64_t sources = 0;  // the files that the weights come from
};

struct FinishedTensor {
  uint64_t checksum = 0;  // XXH3-64 of its bytes in the file
  int64_t n_clamped = 0;  // weights too large for F16
};
using FinishedTensors = std::map<size_t, FinishedTensor>;  // by the place in the plan

// What the bytes of a journal say of a file of n_tensors under these conditions. Trusts nothing and refuses nothing.
FinishedTensors parse_journal(std::span<const std::byte> bytes, const Conditions& conditions, size_t n_tensors);
// Why the bytes are of no use, if they are not: "other files", for a person to read. Empty: they are, or there are
// none.
std::string journal_difference(std::span<const std::byte> bytes, const Conditions& conditions);

// Only whoever holds the lock of the unfinished file may use its journal.
class Journal {
 public:
  Journal(std::string path, const Conditions& conditions, size_t n_tensors);  // looks at nothing yet
  ~Journal();  // one that is begun and holds nothing is removed
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // What an earlier run has left is `finished` then, if it is of any use. Returns why it is not; empty: it is, or there
  // is no journal.
  std::string read();
  void forget() { finished_.clear(); }  // what was read is of no use
  // Begins an empty journal, or goes on with the one that was read. Throws Error(file).
  void begin();
  void go_on();
  // On disk when this returns. Throws Error(file).
  void add(const FinishedTensors& finished);
  // Takes back what was recorded of a tensor: it has to be made again. Throws Error(file).
  void take_back(size_t tensor);
  // All that is on record, read and added. Not while another thread adds.
  const FinishedTensors& finished() const { return finished_; }
  void remove();

 private:
  void open(bool empty);
  void append(const std::string& records);

  std::string path_;
  Conditions conditions_;
  size_t n_tensors_;
  FinishedTensors finished_;
  int fd_ = -1;
};

}  // namespace hearth
