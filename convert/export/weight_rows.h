// The rows of one weight of a checkpoint, wherever its values lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "convert/name_map.h"
#include "convert/row_maker.h"
#include "quant/format.h"
#include "quant/tensor.h"

namespace hearth {

// What a thread keeps between calls.
struct ExportScratch {
  RowMaker::Scratch maker;
  std::vector<std::byte> blocks;           // of the source
  std::vector<float> rows, part;           // decoded
  std::vector<std::byte> weights, scales;  // encoded
};

class WeightRows {
 public:
  virtual ~WeightRows() = default;

  virtual const Format& format() const = 0;  // what the source has them in
  // Rows are asked for in multiples of this where that costs nothing: others may be made more than once.
  virtual int64_t unit() const { return 1; }
  // Rows first .. first + n in format(), in the source itself or in `scratch.blocks`; empty: these rows are not to be
  // had like that, but by `read` alone. May not be aligned for their type.
  virtual std::span<const std::byte> blocks(int64_t first, int64_t n, ExportScratch& scratch) const = 0;
  // Codes of rows first .. first + n where they lie, [n, columns] of E4M3, and the scale of each 128 x 128 -> scales
  // [n / 128, columns / 128], rounded up. `first` is a multiple of 128. Empty: they do not lie like that.
  virtual std::span<const std::byte> fp8(int64_t /*first*/, int64_t /*n*/, float* /*scales*/) const { return {}; }
  // -> out [n, columns], as the format defines them. Throws Error(format) for weights that are not finite.
  virtual void read(int64_t first, int64_t n, ExportScratch& scratch, float* out) const = 0;

  // Hints to the kernel about the source's bytes.
  virtual void will_need(int64_t first, int64_t n) const = 0;
  virtual void dont_need(int64_t first, int64_t n) const = 0;
  virtual void release() const = 0;  // no row is needed any more
};

struct ExportWeight {
  std::string name;  // in the checkpoint: "model.layers.3.mlp.experts.0.up_proj.weight"
  Role role = Role::vector;
  Shape shape;  // [out, in] or [n]
  std::unique_ptr<WeightRows> rows;

  std::string module() const;  // without ".weight"
};

}  // namespace hearth
