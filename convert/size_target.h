// The formats that lose least among those that a file's size allows.
//
// What a format costs a matrix is measured: rows of it are encoded, and the error of what they give is the squared
// error of each weight times the importance of its column (convert/importance.h), as a share of what they give. A
// residual stream to which 2 L blocks add alike is off by 1 / (2 L) of what one of them is off by, and so are the
// logits; the head's error is all theirs.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "convert/importance.h"
#include "convert/making_options.h"
#include "convert/name_map.h"
#include "convert/row_maker.h"
#include "quant/format.h"

namespace hearth {

// One way of storing some tensors.
struct FormatOption {
  const Format* format;
  uint64_t bytes;
  double loss;
};

// For each unit, which of its options: the least loss that greedy steps from each unit's smallest option find within
// so many bytes, of which `reserved` are taken already. Throws Error(usage) where even those are more, naming the least
// possible.
std::vector<size_t> choose_within(const std::vector<std::vector<FormatOption>>& units, uint64_t bytes,
                                  uint64_t reserved = 0);

// A matrix whose format is to be chosen.
struct OpenTensor {
  const OutputTensor* tensor;
  std::function<std::unique_ptr<RowMaker>(const Format&)> rows;
  ColumnWeights importance;
};

struct SizeTarget {
  std::vector<const Format*> formats;  // of the tensors
  double loss;                         // what the logits are expected to be off by: a share of their square
};

// Gate and up matrices of one layer get the same format. `reserved`: bytes that the rest of the file takes. Throws
// Error(usage) as choose_within, Error of reading.
SizeTarget fit_formats(const std::vector<OpenTensor>& tensors, int64_t n_layers, uint64_t bytes, uint64_t reserved,
                       int n_threads);

// The formats of all matrices that no rule of the options names, for a file of at most options.target_bytes with this
// metadata and these tensors. rows(i, F32): makes the rows of tensor i. Adds to `notes` what is expected of the file.
std::map<std::string, const Format*> fit_to_size(
    const MakingOptions& options, GgufMetadata metadata, const std::vector<OutputTensor>& tensors,
    const std::function<std::unique_ptr<RowMaker>(size_t, const Format&)>& rows, int64_t n_layers,
    std::vector<std::string>& notes);

}  // namespace hearth
