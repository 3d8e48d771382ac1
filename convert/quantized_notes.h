// What becomes of weights that the checkpoint has quantized, in words.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "convert/carry.h"

namespace hearth {

// Of one tensor, for its row of the plan: "4-bit codes kept". Empty if the checkpoint has it in floats, or if it is FP8
// that becomes another format.
std::string remark_on_codes(const OutputTensor& tensor, const Format& format);

// Of all tensors: how many keep their codes and how many are encoded anew, and why.
class NotesOnCodes {
 public:
  explicit NotesOnCodes(bool keep) : keep_(keep) {}
  void add(const OutputTensor& tensor, const Format& format);
  std::vector<std::string> notes() const;

 private:
  bool keep_;                                      // by recipe keep
  std::map<std::string, int64_t> kept_, decoded_;  // texts, with the number of tensors of each
  int64_t n_anew_ = 0;
};

// After a conversion: what F16's rounding of scales did. Nothing if it did nothing.
std::vector<std::string> notes_on_loss(const CarryLoss& loss);

}  // namespace hearth
