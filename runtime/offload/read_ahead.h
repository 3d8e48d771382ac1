// The disk tier: experts that are in the mapped file, but not in memory. The kernels would meet their pages one after
// the other and wait for each; so all that the router has named are asked for at once, and the disk has many requests
// to work on while the first expert computes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/ops.h"
#include "quant/gguf.h"

namespace hearth {

class ReadAhead {
 public:
  // wanted: whether some of the file will not be in memory. If all of it will, asking costs time and gains nothing.
  ReadAhead(const GgufFile& file, bool wanted) : file_(file), wanted_(wanted) {}
  bool wanted() const { return wanted_; }

  // ids [T,K]. Asks for what expert_bytes says, as far as it lies in the file, and waits for nothing.
  void experts(const FfnWeights& experts, std::span<const int32_t> ids) const;

 private:
  const GgufFile& file_;
  bool wanted_;
};

// Where the matrices of those experts lie, of each expert once; of experts without a slot in `experts` nowhere.
std::vector<std::span<const std::byte>> expert_bytes(const FfnWeights& experts, std::span<const int32_t> ids);

}  // namespace hearth
